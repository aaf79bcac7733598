"""Stores for tests: entries made by hand, backends that count or fail as they are told."""

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.fold.state import State
from artifactstore.errors import BackendError
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.journal.journal import Journal
from artifactstore.model.actor import Actor
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import Config

TIME = "2026-01-01T00:00:00.000000Z"
CONFIG = Config.new("c" * 32, "blake3", {"small": (64, 128, 256)}, TIME)
AUTHOR = Actor("ann", "os", "host", "tests")
_NUMBER = itertools.count()


class Memory(MemoryBackend):
    """A place of its own, whose verbs can be made to fail once.

    Attributes:
        script: what the next creates of entries do: `ok`, `lost`, `refused`, `late`, `forbidden`, `broken`.
        later: what is still in flight.
    """

    def __init__(self) -> None:
        super().__init__(f"memory://journal-{next(_NUMBER)}-{new_id()}")
        self.script: list[str] = []
        self.later: list[tuple[str, bytes]] = []
        self.log: list[tuple[str, str]] = []
        self.deaf = False

    def read(self, key: str) -> bytes:
        self.log.append(("read", key))
        if self.deaf:
            raise BackendError("no answer", transient=True)
        return super().read(key)

    def create(self, key: str, data: bytes) -> None:
        self.log.append(("create", key))
        step = self.script.pop(0) if self.script and key.startswith("journal/") else "ok"
        if step == "refused":
            raise BackendError("503", transient=True)
        if step == "forbidden":
            raise BackendError("403", transient=False)
        if step == "late":
            self.later.append((key, data))
            raise BackendError("timed out", transient=True)
        super().create(key, data)
        if step == "lost":
            raise BackendError("the reply got lost", transient=True)
        if step == "broken":
            raise BackendError("the disk failed after it wrote", transient=False)


def digest(word: str) -> str:
    return str(Digest.of(word.encode()))


def measured(word: str = "a", value: float = 1.0) -> dict[str, Any]:
    return {"fact": "measured", "digest": digest(word), "metrics": {"m": value}}


def txn(seq: int, *facts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "txn": new_id(),
        "birth": seq - 1,
        "base": seq - 1,
        "adoptable": True,
        "actor": "ann",
        "identity": "os",
        "host": "host",
        "tool": "tests",
        "time": TIME,
        "facts": list(facts or (measured(),)),
        **more,
    }


def fill(
    backend: MemoryBackend,
    count: int,
    *,
    config: Config = CONFIG,
    make: Callable[[int], Iterable[dict[str, Any]]] = lambda seq: [txn(seq)],
) -> list[bytes]:
    """Append entries by hand behind `store.json`."""
    previous, raws = Digest.of(config.raw, config.digest), []
    for seq in range(1, count + 1):
        raw = encode_entry(seq, previous, writer="0" * 32, time=TIME, txns=list(make(seq)))
        backend.write(entry_key(seq), raw)
        previous = Digest.of(raw, config.digest)
        raws.append(raw)
    return raws


def journal_of(backend: MemoryBackend, snapshots: Any = None, config: Config = CONFIG) -> Journal:
    with_config(backend, config)
    return Journal(backend, config, State, snapshots)


def with_config(backend: Backend, config: Config = CONFIG) -> Backend:
    """Put `store.json` where a store has it; a scripted place does not note it."""
    write = partial(MemoryBackend.write, backend) if isinstance(backend, MemoryBackend) else backend.write
    write("store.json", config.raw)
    return backend


def appender_of(journal: Journal) -> Appender:
    return Appender(journal, AUTHOR, sleep=lambda _: None)


class Refused(Exception):  # noqa: N818
    """What `refuse` makes of a void."""

    def __init__(self, void: Any) -> None:
        super().__init__(str(void))
        self.void = void
