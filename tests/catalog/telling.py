"""A state, told facts one entry at a time."""

import copy
from itertools import count
from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id

Fact = dict[str, Any]


def digest(word: str) -> str:
    return str(Digest.of(word.encode()))


def named(word: str) -> str:
    """An id that is the same in every run."""
    return Digest.of(word.encode()).hex[:32]


def stored(word: str, manifest: str | None = None, packs: list[str] | None = None, **more: Any) -> Fact:
    return {
        "fact": "stored",
        "digest": digest(word),
        "manifest": named(manifest or f"m-{word}"),
        "manifest_digest": digest("manifest"),
        "size": 1,
        "files": 1,
        "packs": [named(pack) for pack in packs or [f"p-{word}"]],
        **more,
    }


def versioned(word: str, name: str | None = "x", **more: Any) -> Fact:
    return {"fact": "versioned", "name": name, "digest": digest(word), "kind": "data", **more}


def aliased(alias: str = "best", name: str = "x", **more: Any) -> Fact:
    return {"fact": "aliased", "name": name, "alias": alias, **more}


def removed(word: str | None = None, **more: Any) -> Fact:
    return {"fact": "removed", **({} if word is None else {"digest": digest(word)}), **more}


def condemned(*manifests: str, packs: tuple[str, ...] = ()) -> Fact:
    return {"fact": "condemned", "manifests": [named(one) for one in manifests], "packs": [named(one) for one in packs]}


def relocated(word: str, before: str, after: str, packs: tuple[str, ...] = ("p-new",)) -> Fact:
    return {
        "fact": "relocated",
        "digest": digest(word),
        "from": named(before),
        "to": named(after),
        "manifest_digest": digest("manifest"),
        "packs": [named(one) for one in packs],
    }


def held(word: str, hold: str = "hold") -> Fact:
    return {"fact": "held", "hold": named(hold), "digest": digest(word)}


def edge(kind: str, run: str, word: str) -> Fact:
    return {"fact": kind, "run": run, "digest": digest(word)}


_ENTRIES = count(1)


def received(*facts: Fact, **more: Any) -> Fact:
    """What another store said, each time in a later entry of its own."""
    return {
        "fact": "received",
        "store": "d" * 32,
        "seq": next(_ENTRIES),
        "entry": digest("entry"),
        "actor": "eve",
        "identity": "os",
        "time": "2020-01-01T00:00:00.000000Z",
        "facts": list(facts),
        **more,
    }


class Story:
    """A fold and all entries that it was told.

    Attributes:
        state: the fold.
        entries: what it was told.
    """

    def __init__(self) -> None:
        self.state = State()
        self.entries: list[Any] = []

    def txn(self, *facts: Fact, **more: Any) -> dict[str, Any]:
        head = self.state.head
        origin = {"actor": "ann", "identity": "os", "host": "h", "tool": "t", "time": "2026-01-01T00:00:00.000000Z"}
        return {"txn": new_id(), "birth": head, "base": head, "adoptable": True, **origin, "facts": list(facts), **more}

    def append(self, *txns: dict[str, Any], **more: Any) -> list[str | None]:
        """Fold an entry; returns the words of the rules that the transactions broke."""
        seq = self.state.head + 1
        time = f"2026-01-01T00:{seq // 60 % 60:02d}:{seq % 60:02d}.000000Z"
        entry: Any = {"format": 1, "seq": seq, "previous": "", "writer": "0" * 32, "time": time, "txns": list(txns), **more}
        self.entries.append(copy.deepcopy(entry))
        return [None if void is None else void.code for void in self.state.apply(entry)]

    def tell(self, *facts: Fact, **more: Any) -> str | None:
        """Append one transaction; returns the word of the rule that it broke."""
        return self.append(self.txn(*facts, **more))[0]

    def versions(self, name: str = "x") -> list[str]:
        return [row["digest"] for row in self.state.names.get(name, ())]
