"""The rules of the fold once more, written for being read: slow, without any of the library's code."""

from typing import Any


class Reference:
    """Tells which transactions take effect."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.effective: set[str] = set()
        self.condemned: set[str] = set()
        self.last_condemned = 0
        self.holders: dict[str, list[str]] = {}
        self.versions: dict[str, list[tuple[str, bool]]] = {}
        self.aliases: dict[tuple[str, str], int | None] = {}
        self.held: dict[str, str] = {}

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
        if txn["txn"] in self.effective or not birth < seq <= birth + self.window:
            return False
        if not birth <= base < seq or base < self.last_condemned:
            return False
        kinds = {fact["fact"] for fact in txn["facts"]}
        if "condemned" in kinds and (together > 1 or base != seq - 1):
            return False
        brings: set[str] = set()
        for fact in txn["facts"]:
            if not self._fact_good(fact, brings):
                return False
            if fact["fact"] == "stored":
                brings.add(fact["digest"])
        return True

    def _fact_good(self, fact: dict[str, Any], brings: set[str]) -> bool:
        kind = fact["fact"]
        if kind == "stored":
            return not self.condemned & {fact["manifest"], *fact["packs"]}
        if kind == "relocated":
            holders = self.holders.get(fact["digest"], [])
            return holders[-1:] == [fact["from"]] and not self.condemned & {fact["to"], *fact["packs"]}
        if kind in {"versioned", "held"}:
            return fact["digest"] in brings or bool(self.holders.get(fact["digest"]))
        if kind == "removed":
            if "version" not in fact:
                return fact["digest"] not in self.held.values()
            return self._version(fact) is not None and self._version(fact)[0] not in self.held.values()  # type: ignore[index]
        if kind == "aliased":
            version = self._version(fact)
            if "expect" in fact and self.aliases.get((fact["name"], fact["alias"])) != fact["expect"]:
                return False
            return version is not None and not version[1] and bool(self.holders.get(version[0]))
        return True

    def _version(self, fact: dict[str, Any]) -> tuple[str, bool] | None:
        rows = self.versions.get(fact["name"], [])
        return rows[fact["version"] - 1] if fact["version"] <= len(rows) else None

    def _take(self, fact: dict[str, Any], seq: int) -> None:
        kind = fact["fact"]
        if kind == "stored":
            self.holders.setdefault(fact["digest"], []).append(fact["manifest"])
        elif kind == "relocated":
            self.holders[fact["digest"]].append(fact["to"])
        elif kind == "condemned":
            self.last_condemned = seq
            self.condemned |= {*fact["manifests"], *fact["packs"]}
            for digest, holders in self.holders.items():
                self.holders[digest] = [one for one in holders if one not in self.condemned]
        elif kind == "versioned":
            rows = self.versions.setdefault(fact["name"], [])
            if not rows or rows[-1] != (fact["digest"], False):
                rows.append((fact["digest"], False))
        elif kind == "aliased":
            self.aliases[fact["name"], fact["alias"]] = fact["version"]
        elif kind == "held":
            self.held[fact["hold"]] = fact["digest"]
        elif kind == "released":
            self.held.pop(fact["hold"], None)
        elif kind == "removed":
            for name, rows in self.versions.items():
                for k, (digest, _) in enumerate(rows):
                    this = digest == fact["digest"] if "version" not in fact else (name, k + 1) == (fact["name"], fact["version"])
                    if this:
                        rows[k] = (digest, True)
