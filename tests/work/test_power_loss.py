"""What was told is there after a loss of power at any moment, and nothing half-written is."""

import random
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import NotFoundError, Store
from tests.power import Disk

RANDOM = random.Random(5)
BIG = RANDOM.randbytes(300_000)


def put(store: Store, folder: Path, disk: Disk) -> None:
    for number in range(3):
        (folder / "d").mkdir(exist_ok=True)
        for one in range(3):
            (folder / "d" / f"f{one}").write_bytes(BIG[: 90_000 + number] + b"%d" % one)
        store.put(folder, "folder")
        disk.told(("there", f"folder:v{number + 1}", {f"d/f{one}": BIG[: 90_000 + number] + b"%d" % one for one in range(3)}))
        store.put({"number": number}, "value")
        disk.told(("value", f"value:v{number + 1}", {"number": number}))
    store.alias("value:v2", "best")
    disk.told(("value", "value:best", {"number": 1}))


def batch(store: Store, folder: Path, disk: Disk) -> None:
    with store.batch():
        for number in range(3):
            store.put(RANDOM.randbytes(50_000 + number), f"batch/{number}")
    disk.told(("names", ("batch/0", "batch/1", "batch/2")))


def run(store: Store, folder: Path, disk: Disk) -> None:
    store.put(BIG, "input")
    with store.run("train", code=False) as made:
        made.get("input")
        made.put({"w": 1}, "model")
        disk.told(("value", "model", {"w": 1}))


def clean_up(store: Store, folder: Path, disk: Disk) -> None:
    for number in range(4):
        store.put(BIG[:200_000] + RANDOM.randbytes(40_000 + number), "data")
    disk.told(("names", ("data",)))
    for number in (1, 3):
        store.registry.remove(f"data:v{number}", reason="r")
        disk.told(("gone", f"data:v{number}"))
    assert store.maintenance.gc(grace=timedelta(0)).packs
    store.put({"after": 1}, "value")
    disk.told(("value", "value", {"after": 1}))


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor means is read from /proc")


def repack(store: Store, folder: Path, disk: Disk) -> None:
    for number in range(4):
        store.put(BIG[:200_000] + random.Random(number).randbytes(40_000), "data")
    store.registry.remove("data:v1", reason="r")
    store.registry.remove("data:v2", reason="r")
    store.maintenance.gc(grace=timedelta(0))
    disk.told(("value", "data:v3", BIG[:200_000] + random.Random(2).randbytes(40_000)))
    assert store.maintenance.repack(below=1.0).packs
    store.maintenance.gc(grace=timedelta(0))
    disk.told(("gone", "data:v1"))


WORK: dict[str, Callable[[Store, Path, Disk], None]] = {
    "put": put,
    "batch": batch,
    "run": run,
    "clean-up": clean_up,
    "repack": repack,
}


def check(folder: Path, told: list[Any], *, created: bool) -> None:
    """Assert that a store has what was told, as it was told, and nothing that is damaged."""
    if not (folder / "store.json").exists():
        assert not created
        return
    store = artifactstore.open(folder, cache=None)
    gone = {ref for kind, ref, *_ in told if kind == "gone"}
    for kind, what, *value in told:
        if kind == "names":
            assert all(name in store for name in what)
        elif kind == "gone":
            assert not store.exists(what)
        elif kind == "value" and what not in gone:
            found = store.get(what)
            assert found == value[0] or what == "value", f"{what} is {found}"
        elif kind == "there":
            got = Path(store.get(what, folder.with_name("got") / what.replace(":", "-")))
            assert {str(one.relative_to(got)): one.read_bytes() for one in got.rglob("*") if one.is_file()} == value[0]
    report = store.verify(level="full")
    assert report.ok, str(report)
    store.put({"next": len(told)}, "next")  # it can be written
    assert not [one for one in store.verify().findings if one.severity != "note"]
    store.maintenance.gc(grace=timedelta(0))
    assert store.verify(level="full").ok


@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize("every", [pytest.param(23, id="some"), pytest.param(8, id="many", marks=pytest.mark.slow)])
def test_a_loss_of_power_takes_nothing_back(what: str, every: int, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "store")
    (tmp_path / "source").mkdir()
    with disk.recorded():
        store = artifactstore.create(tmp_path / "store", cache=None)
        disk.told(("names", ()))
        WORK[what](store, tmp_path / "source", disk)
    assert [step for step in disk.steps if step.what == "sync"]
    for moment in range(len(disk.steps) % every, len(disk.steps) + 1, every):
        for left, chance in (("nothing", None), ("a part", random.Random(moment)), ("another", random.Random(-moment))):
            target = tmp_path / f"{moment}-{left}" / "store"
            told = disk.after(moment, target, chance, torn=moment % 2 == 1)
            try:
                check(target, told, created=bool(told))
            except (AssertionError, artifactstore.ArtifactStoreError, NotFoundError) as error:
                pytest.fail(f"after step {moment} ({disk.steps[moment - 1]}), with {left} of what was not synced: {error!r}")
