"""A clean-up of another process between what a call reads of the journal and what it reads of the content: nobody sees damage."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import NotFoundError, Store

FIRST, SECOND = (np.random.default_rng(seed).bytes(300_000) for seed in range(2))
NOTHING = timedelta(0)


def repaired(store: Store, _folder: Path) -> None:
    found = store.maintenance.repair()
    assert not found.lost
    assert found.report.ok


CALLS: dict[str, Callable[[Store, Path], Any]] = {
    "verify": lambda store, _: store.verify(level="full").ok or pytest.fail("damage"),
    "repair": repaired,
    "repack": lambda store, _: store.maintenance.repack(below=1.0),
    "usage": lambda store, _: store.maintenance.usage("version"),
    "gc": lambda store, _: store.maintenance.gc(grace=NOTHING),
    "gc, dry": lambda store, _: store.maintenance.gc(grace=NOTHING, dry_run=True),
    "sync": lambda store, folder: store.maintenance.sync(str(folder / "copy")),
    "import": lambda store, folder: store.maintenance.sync(str(folder / "other"), names=["*"]),
    "bundle": lambda store, folder: store.maintenance.bundle(folder / "store.zip"),
    "snapshot": lambda store, _: store.maintenance.snapshot(),
    "put": lambda store, _: store.put(SECOND, "again", verify=True),
    "put of what is near": lambda store, _: store.put(FIRST + b"more", "gone"),
    "get": lambda store, _: store.get("stays") == SECOND or pytest.fail("other bytes"),
    "get of what goes": lambda store, _: store.get("gone:v1") == FIRST or pytest.fail("other bytes"),
    "reading of what goes": lambda store, _: store.open_file("gone:v1").read(),
    "diff": lambda store, _: store.diff("gone:v1", "stays"),
    "dossier": lambda store, folder: store.lineage("stays").export("dossier", folder / "dossier.zip"),
}
# What says that it was removed, where its own objects are what goes: call → what it reads then.
GOES = {"get of what goes": {"read", "read_ranges"}, "reading of what goes": {"read", "read_ranges"}, "diff": {"read"}}


@pytest.mark.parametrize("moved", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", CALLS)
def test_a_clean_up_in_the_middle_is_no_damage(
    what: str, *, moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = False
    for call in ("read", "read_large", "read_ranges", "list"):
        folder = tmp_path / call
        artifactstore.create(folder / "other", cache=None)
        made = artifactstore.create(folder / "store", cache=None)
        made.put(FIRST, "gone")
        made.put(SECOND, "stays")
        made.put(SECOND[:200_000] + FIRST[:50_000], "shares")
        store, other = (artifactstore.open(made.url, cache=None) for _ in range(2))
        backend = type(store._session.core().backend)
        real, busy = getattr(backend, call), list[str]()

        def overtaken(self: Any, key: str, *more: Any, real: Any = real, busy: list[str] = busy, other: Store = other) -> Any:
            if not busy and key.startswith(("manifests/", "packs/")):
                busy.append(key)
                other.registry.remove("gone:v1", reason="no longer wanted")
                other.maintenance.gc(grace=NOTHING)
                if moved:
                    other.maintenance.repack(below=1.0)
                    other.maintenance.gc(grace=NOTHING)
            return real(self, key, *more)

        with monkeypatch.context() as patch:
            patch.setattr(backend, call, overtaken)
            with pytest.raises(NotFoundError, match="was removed") if call in GOES.get(what, ()) else nullcontext():
                CALLS[what](store, folder)
        met = met or bool(busy)
        after = artifactstore.open(made.url, cache=None)
        assert after.verify(level="full").ok
        assert not after.log(fact="damaged")
        assert after.get("stays") == SECOND
    assert met or what == "snapshot"
