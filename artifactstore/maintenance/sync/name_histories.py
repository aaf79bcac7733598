"""Histories of names during an import: versions, removals, moves of aliases. Values, nothing else.

The same small model serves both sides: the source up to some entry, and the target's planned
state. It follows the fold (catalog.fold.state).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State

__all__ = ["Histories", "VersionRow", "share_prefix"]


@dataclass(slots=True)
class VersionRow:
    """One version.

    Attributes:
        digest: the artifact's.
        own: whether it was put in this store, not received.
        removed: whether it is removed.
        gone: whether it counts as removed only because its content was never imported.
        time: of its entry, where it was put.
    """

    digest: str
    own: bool = True
    removed: bool = False
    gone: bool = False
    time: str = ""


@dataclass(slots=True)
class Histories:
    """Histories of names.

    Attributes:
        rows: name → its versions.
        moves: name → alias → the versions that it was moved to (None: it was deleted).
    """

    rows: dict[str, list[VersionRow]] = field(default_factory=dict)
    moves: dict[str, dict[str, list[int | None]]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> Self:
        """Extract the histories from a state; later changes of the state do not matter."""
        rows = {
            name: [
                VersionRow(row["digest"], is_own(row), "removed" in row, bool(row.get("removed", {}).get("gone")), row["time"])
                for row in versions
            ]
            for name, versions in state.names.items()
        }
        moves = {
            name: {alias: [move["version"] for move in moved] for alias, moved in aliases.items()}
            for name, aliases in state.aliases.items()
        }
        return cls(rows, moves)

    def counts(self, name: str) -> dict[str, int]:
        """Return the numbers of versions and of alias moves of a name, as `received` expects them."""
        moves = sum(map(len, self.moves.get(name, {}).values()))
        return {"versions": len(self.rows.get(name, ())), "moves": moves}

    def add(self, name: str, row: VersionRow) -> int | None:
        """Add a version to a name; return its number, or None where the newest version already has that digest."""
        rows = self.rows.setdefault(name, [])
        if rows and rows[-1].digest == row.digest and not rows[-1].removed:
            return None
        rows.append(row)
        return len(rows)

    def number(self, fact: Mapping[str, Any]) -> int | None:
        """Return the version number that a fact refers to by `{name, version}` or `{name, digest}`, or None."""
        rows = self.rows.get(fact["name"], [])
        if fact.get("version") is not None:
            return int(fact["version"]) if 1 <= fact["version"] <= len(rows) else None
        return next((k for k in range(len(rows), 0, -1) if rows[k - 1].digest == fact.get("digest")), None)

    def move(self, name: str, alias: str, number: int | None) -> int:
        """Move an alias; return how often it has been moved."""
        moves = self.moves.setdefault(name, {}).setdefault(alias, [])
        moves.append(number)
        return len(moves)

    def remove(self, fact: Mapping[str, Any], *, own: bool) -> list[tuple[str, int]]:
        """Apply a removal; return the versions that it removed, or whose removal it completes."""
        if "name" in fact:
            number = self.number(fact)
            named = [] if number is None else [(fact["name"], number)]
        elif own:
            named = [
                (name, k) for name, rows in self.rows.items() for k, row in enumerate(rows, 1) if row.digest == fact["digest"]
            ]
        else:
            named = []
        found = []
        for name, number in named:
            row = self.rows[name][number - 1]
            if (not row.removed or row.gone) and (own or not row.own):
                row.removed, row.gone = True, False
                found.append((name, number))
        return found


def share_prefix(a: list[Any], b: list[Any]) -> bool:
    """Whether one of two histories is a prefix of the other."""
    least = min(len(a), len(b))
    return a[:least] == b[:least]
