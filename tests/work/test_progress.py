"""Every operation ends within a bounded number of its own requests, beside a writer that is often faster and looks at nothing."""

import itertools
import random
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from tests.maintenance.facts import state_of

TIME = "2026-01-01T00:00:00.000000Z"
REQUESTS = 900  # of one operation; most need less than fifty, a clean-up, which must be alone on one state, some hundreds
_count = itertools.count()


class Rival:
    """Appends an entry of its own before some of the requests of a store, as a process does that was always a bit faster.

    Args:
        url: of the store.
        chance: that an entry comes before a request.
        seed: of the dice.
    """

    def __init__(self, url: str, chance: float, seed: str) -> None:
        self._backend = MemoryBackend(url)
        self._chance = chance
        self._dice = random.Random(seed)
        self._busy = False
        self.requests = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for verb in ("read", "read_ranges", "read_into", "size", "list", "create", "write", "delete"):
            monkeypatch.setattr(MemoryBackend, verb, self._before(getattr(MemoryBackend, verb)))

    def _before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(backend: MemoryBackend, *args: Any, **options: Any) -> Any:
            if not self._busy and backend.url == self._backend.url:
                self.requests += 1
                assert self.requests < REQUESTS, "it comes to no end"
                # Reads go out together, on a link, or take microseconds.
                if self._dice.random() < self._chance / (8 if real.__name__.startswith("read") else 1):
                    self._append()
            return real(backend, *args, **options)

        return call

    def _append(self) -> None:
        self._busy = True
        try:
            seq, backend = self._head() + 1, self._backend
            previous = Digest.of(backend.read(entry_key(seq - 1) if seq > 1 else "store.json"))
            fact = {"fact": "measured", "digest": "blake3:" + "0" * 64, "metrics": {"m": seq}}
            txn = {"txn": new_id(), "birth": seq - 1, "base": seq - 1, "adoptable": True, "actor": "rival", "identity": "os"}
            written = {**txn, "host": "there", "tool": "other", "time": TIME, "facts": [fact]}
            backend.create(entry_key(seq), encode_entry(seq, previous, writer="0" * 32, time=TIME, txns=[written]))
        finally:
            self._busy = False

    def _head(self) -> int:
        return max(int(item.key[-17:-5]) for item in self._backend.list("journal/000000000/"))


def content(seed: int) -> bytes:
    return random.Random(seed).randbytes(90_000)


def made() -> Store:
    store = artifactstore.create(f"memory://progress-{next(_count)}", cache=None)
    for k in range(4):
        store.put(content(k), "n")
    store.put(content(9), "garbage")
    store.registry.remove("garbage:v1", "old")
    return store


def lose(store: Store) -> None:
    state = state_of(store)
    holder = str(state.current_manifest(store.artifact("n:v1").digest))
    MemoryBackend(store.url).delete(pack_key(state.manifests[holder][2][0]))


def _batch(store: Store) -> None:
    with store.batch():
        store.put(content(30), "n")
        store.alias("n", "best")


def _run(store: Store) -> None:
    with store.run("train") as run:
        run.use("n:v1")
        run.log(loss=1.0)


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "put": lambda s: s.put(content(20), "n"),
    "put what is there": lambda s: s.put(content(1), "another"),
    "put without a name": lambda s: s.put(content(21)),
    "batch": _batch,
    "alias": lambda s: s.alias("n:v1", "best"),
    "promote": lambda s: s.promote("n:v2", "production", reason="good"),
    "hold": lambda s: s.registry.hold("n:v1", reason="kept"),
    "remove": lambda s: s.registry.remove("n:v1", "old"),
    "run": _run,
    "gc": lambda s: s.maintenance.gc(grace=timedelta(0)),
    "repack": lambda s: s.maintenance.repack(),
    "repair": lambda s: s.maintenance.repair(),
    "get": lambda s: s.get("n"),
    "log": lambda s: s.log(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_ends_beside_a_writer_that_never_looks(monkeypatch: pytest.MonkeyPatch, operation: str):
    for lately in (False, True):
        store = made()
        if operation == "repair":
            lose(store)
        store = artifactstore.open(store.url, cache=None)
        store.names()
        if lately:  # it has lost a race before, and expects others
            store._session.core_to_write().appender._turns._until = 1e12
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Rival(store.url, 0.8, operation).watch(patch)
            OPERATIONS[operation](store)
        assert artifactstore.open(store.url, cache=None).verify().ok or operation == "repair"
