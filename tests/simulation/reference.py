"""The rules of the fold once more, written for being read: slow, without any of the library's code."""

from collections.abc import Iterator
from typing import Any


class Reference:
    """Tells which transactions take effect."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.effective: set[str] = set()
        self.condemned: set[str] = set()
        self.last_condemned = 0
        self.moved = False
        self.holders: dict[str, list[str]] = {}
        self.manifests: dict[str, str] = {}  # what each holds
        self.versions: dict[str, list[list[Any]]] = {}  # digest, whether removed, whether said here
        self.aliases: dict[tuple[str, str], int | None] = {}
        self.moves: dict[str, int] = {}
        self.gates: set[str] = set()  # aliases that no plain move may change
        self.held: dict[tuple[bool, str], str] = {}  # whether said here, hold
        self.received: dict[tuple[str, str], int] = {}

    def apply(self, entry: dict[str, Any]) -> list[bool]:
        outcome = []
        for txn in entry["txns"]:
            good = self._good(txn, entry["seq"], len(entry["txns"]))
            if good:
                self.effective.add(txn["txn"])
                for fact in txn["facts"]:
                    self._take(fact, entry["seq"])
            outcome.append(good)
        return outcome

    def _good(self, txn: dict[str, Any], seq: int, together: int) -> bool:
        base, birth = txn["base"], txn["birth"]
        if self.moved or txn["txn"] in self.effective or not birth < seq <= birth + self.window:
            return False
        if not birth <= base < seq or base < self.last_condemned:
            return False
        kinds = {fact["fact"] for fact in txn["facts"]}
        refers = kinds & {"versioned", "aliased", "held", "produced", "stored", "relocated"}
        if kinds & {"condemned", "moved_to"} and (together > 1 or base != seq - 1 or refers):
            return False
        brings: set[str] = set()
        ended: set[str] = set()
        for fact in txn["facts"]:
            good = self._received_good(fact, brings, ended) if fact["fact"] == "received" else self._fact_good(fact, brings)
            if not good:
                return False
            if fact["fact"] == "stored":
                brings.add(fact["digest"])
        return True

    def _fact_good(self, fact: dict[str, Any], brings: set[str]) -> bool:
        kind = fact["fact"]
        if kind == "stored":
            held = self.manifests.get(fact["manifest"], fact["digest"])
            return held == fact["digest"] and not self.condemned & {fact["manifest"], *fact["packs"]}
        if kind == "relocated":
            holders = self.holders.get(fact["digest"], [])
            held = self.manifests.get(fact["to"], fact["digest"])
            new = held == fact["digest"] and not self.condemned & {fact["to"], *fact["packs"]}
            return holders[-1:] == [fact["from"]] and new
        if kind in {"versioned", "held"}:
            return self._there(fact["digest"], brings)
        if kind == "removed":
            if "version" not in fact:
                return fact["digest"] not in self.held.values()
            return self._version(fact) is not None and self._version(fact)[0] not in self.held.values()  # type: ignore[index]
        if kind == "aliased":
            if "expect" in fact and self.aliases.get((fact["name"], fact["alias"])) != fact["expect"]:
                return False
            if fact["version"] is None:
                return True
            version = self._version(fact)
            return (
                fact["alias"] not in self.gates and version is not None and not version[1] and bool(self.holders.get(version[0]))
            )
        return True

    def _there(self, digest: str, brings: set[str]) -> bool:
        return digest in brings or bool(self.holders.get(digest))

    def _received_good(self, fact: dict[str, Any], brings: set[str], ended: set[str]) -> bool:
        for name, counts in fact.get("expect", {}).items():
            if (len(self.versions.get(name, [])), self.moves.get(name, 0)) != (counts["versions"], counts["moves"]):
                return False
        for inner in self._told(fact):
            if self.received.get((fact["store"], _subject(inner)), 0) >= fact["seq"]:
                return False
            if inner["fact"] == "versioned" and not (
                self._there(inner["digest"], brings) or inner["digest"] in fact.get("gone", [])
            ):
                return False
            if inner["fact"] == "held" and not self._there(inner["digest"], brings):
                return False
            if inner["fact"] == "released":
                ended.add(inner["hold"])
            standing = [digest for (own, hold), digest in self.held.items() if own or hold not in ended]
            if inner["fact"] == "removed" and inner["digest"] in standing:
                return False
        return True

    def _told(self, fact: dict[str, Any]) -> Iterator[dict[str, Any]]:
        layout = {"stored", "relocated", "condemned", "moved_to", "received"}
        return (inner for inner in fact["facts"] if inner["fact"] not in layout)

    def _version(self, fact: dict[str, Any]) -> list[Any] | None:
        rows = self.versions.get(fact["name"], [])
        return rows[fact["version"] - 1] if fact["version"] <= len(rows) else None

    def _take(self, fact: dict[str, Any], seq: int, *, own: bool = True, gone: Any = ()) -> None:
        kind = fact["fact"]
        if kind == "stored":
            self.holders.setdefault(fact["digest"], []).append(fact["manifest"])
            self.manifests[fact["manifest"]] = fact["digest"]
        elif kind == "relocated":
            self.holders[fact["digest"]].append(fact["to"])
            self.manifests[fact["to"]] = fact["digest"]
        elif kind == "condemned":
            self.last_condemned = seq
            self.condemned |= {*fact["manifests"], *fact["packs"]}
            for digest, holders in self.holders.items():
                self.holders[digest] = [one for one in holders if one not in self.condemned]
        elif kind == "moved_to":
            self.moved = True
        elif kind == "received":
            for inner in self._told(fact):
                self.received[fact["store"], _subject(inner)] = fact["seq"]
                self._take(inner, seq, own=False, gone=fact.get("gone", []))
        elif kind == "versioned":
            rows = self.versions.setdefault(fact["name"], [])
            if not rows or rows[-1][0] != fact["digest"] or rows[-1][1]:
                rows.append([fact["digest"], fact["digest"] in gone, own])
        elif kind == "aliased":
            self.aliases[fact["name"], fact["alias"]] = fact["version"]
            self.moves[fact["name"]] = self.moves.get(fact["name"], 0) + 1
        elif kind == "gated":
            (self.gates.discard if fact["rules"] is None else self.gates.add)(fact["alias"])
        elif kind == "held":
            self.held[own, fact["hold"]] = fact["digest"]
        elif kind == "released":
            self.held.pop((False, fact["hold"]), None)
            if own:
                self.held.pop((True, fact["hold"]), None)
        elif kind == "removed":
            for name, rows in self.versions.items():
                for k, row in enumerate(rows):
                    named = "version" in fact and (name, k + 1) == (fact["name"], fact["version"])
                    if named or ("version" not in fact and own and row[0] == fact["digest"]):
                        row[1] = row[1] or own or not row[2]


def _subject(fact: dict[str, Any]) -> str:
    if fact["fact"] == "aliased":
        return f"alias {fact['name']} {fact['alias']}"
    if fact["fact"] in {"held", "released"}:
        return f"hold {fact['hold']}"
    if fact["fact"] in {"versioned", "removed"}:
        return f"name {fact['name']}"
    return f"digest {fact['digest']}"
