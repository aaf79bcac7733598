"""A store against a dict: any history of puts, batches, removals, holds, clean-ups, repacking and copies gives what the model says."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import artifactstore
from artifactstore import NotFoundError, RefusedError
from artifactstore.store import Store

from .places import objects
from .test_gc import content

NAMES = st.sampled_from(["a", "b/c"])
SEEDS = st.integers(0, 3)
NO_GRACE = timedelta(0)


def bytes_of(seed: int) -> bytes:
    """Contents that share chunks: each is the beginning of one row of bytes, or a small one."""
    return b"small" if seed == 0 else content(9, 120_000 * seed)


class Upkeep(RuleBasedStateMachine):
    """The store beside a dict of versions, removals and holds."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.store: Store = artifactstore.open(self.root / "store", cache=self.root / "cache")
        self.versions: dict[str, list[tuple[int, bool]]] = {}  # name → (content, whether it was removed)
        self.aliases: dict[str, int] = {}
        self.holds: dict[str, int] = {}  # hold → content
        self.unnamed: set[int] = set()

    def teardown(self) -> None:
        if getattr(self, "versions", None):
            assert self.store.verify(level="full").findings == []
        if hasattr(self, "root"):
            shutil.rmtree(self.root, ignore_errors=True)

    def _put(self, store: Store, name: str, seed: int) -> None:
        rows = self.versions.setdefault(name, [])
        if not rows or rows[-1] != (seed, False):
            rows.append((seed, False))
        assert store.put(bytes_of(seed), name).version == len(rows)

    @rule(name=NAMES, seed=SEEDS)
    def put(self, name: str, seed: int) -> None:
        self._put(self.store, name, seed)

    @rule(seed=SEEDS)
    def put_unnamed(self, seed: int) -> None:
        self.store.put(bytes_of(seed))
        self.unnamed.add(seed)

    @rule(pairs=st.lists(st.tuples(NAMES, SEEDS), min_size=1, max_size=2, unique_by=lambda pair: pair[0]))
    def batch(self, pairs: list[tuple[str, int]]) -> None:
        with self.store.batch():
            for name, seed in pairs:
                self.store.put(bytes_of(seed), name)
        for name, seed in pairs:
            rows = self.versions.setdefault(name, [])
            if not rows or rows[-1] != (seed, False):
                rows.append((seed, False))

    def _alive(self) -> list[tuple[str, int, int]]:
        return [(name, k, seed) for name, rows in self.versions.items() for k, (seed, gone) in enumerate(rows, 1) if not gone]

    @precondition(lambda self: bool(self._alive()))
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        name, number, _ = data.draw(st.sampled_from(self._alive()))
        self.store.alias(f"{name}:v{number}", "best")
        self.aliases[name] = number

    @precondition(lambda self: bool(self._alive()))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name, number, seed = data.draw(st.sampled_from(self._alive()))
        if seed in self.holds.values() or self.aliases.get(name) == number:
            with pytest.raises(RefusedError):
                self.store.registry.remove(f"{name}:v{number}", "gone")
            return
        self.store.registry.remove(f"{name}:v{number}", "gone")
        self.versions[name][number - 1] = (seed, True)

    @precondition(lambda self: bool(self._alive()))
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        name, number, seed = data.draw(st.sampled_from(self._alive()))
        self.holds[self.store.registry.hold(f"{name}:v{number}", "evidence").id] = seed

    @precondition(lambda self: bool(self.holds))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        hold = data.draw(st.sampled_from(sorted(self.holds)))
        self.store.registry.release(hold, "settled")
        del self.holds[hold]

    @precondition(lambda self: bool(self.versions))
    @rule(other=st.booleans())
    def clean(self, other: bool) -> None:  # noqa: FBT001 - drawn
        store = artifactstore.open(self.store.url, cache=None) if other else self.store
        plan = store.maintenance.gc(dry_run=True, grace=NO_GRACE)
        done = store.maintenance.gc(grace=NO_GRACE)
        assert (plan.manifests, plan.packs, plan.bytes) == (done.manifests, done.packs, done.bytes)
        live = {seed for _, _, seed in self._alive()} | self.unnamed | {*self.holds.values()}
        assert len(objects(store.url, "manifests/")) == len(live)
        again = store.maintenance.gc(grace=NO_GRACE)
        assert (again.manifests, again.packs) == ((), ())

    @precondition(lambda self: bool(self.versions))
    @rule(below=st.sampled_from([0.3, 0.5, 1.0]))
    def repack(self, below: float) -> None:
        self.store.maintenance.repack(below=below)
        again = self.store.maintenance.repack(below=below)
        assert again.packs == ()

    @rule()
    def reopen(self) -> None:
        self.store = artifactstore.open(self.store.url, cache=self.root / "cache")

    @precondition(lambda self: bool(self.versions))
    @rule()
    def copy(self) -> None:
        self.store.maintenance.sync(self.root / "copy")
        self._check(artifactstore.open(self.root / "copy", "r", cache=None))

    @invariant()
    def all_is_there(self) -> None:
        if getattr(self, "versions", None):
            self._check(self.store)

    def _check(self, store: Store) -> None:
        known: dict[int, Any] = {}
        for name, rows in self.versions.items():
            for number, (seed, gone) in enumerate(rows, 1):
                ref = f"{name}:v{number}"
                if not gone:
                    if seed not in known:
                        known[seed] = store.get(ref)
                    assert known[seed] == bytes_of(seed)
                    assert store.artifact(ref).size == len(bytes_of(seed))
                else:
                    with pytest.raises(NotFoundError):
                        store.get(ref)


Upkeep.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestUpkeep = pytest.mark.slow(Upkeep.TestCase)
