"""Received facts: how far another store's history has been imported, and what it may change here.

Local facts take precedence: received facts never change versions, runs, holds, taints, metrics or
descriptions that were recorded here, only what was received the same way. How far each *subject* of another store (a name, an
alias, a digest, a run, a hold) was received is part of the fold, so that nothing counts twice.
"""

from collections.abc import Mapping
from typing import Any, Final

from artifactstore.model.facts import Fact

__all__ = ["LAYOUT", "hold_key", "is_own", "origin_of", "subject"]

# Positions of another store's bytes, its moves, its derived data, its rules and its refusals mean nothing here.
LAYOUT: Final = frozenset(
    {"stored", "relocated", "condemned", "moved_to", "snapshot", "gated", "retained", "refused", "anchored", "damaged"}
)
_RUNS: Final = frozenset({"started", "finished", "used", "produced"})
_HOLDS: Final = frozenset({"held", "released"})


def subject(fact: Mapping[str, Any]) -> str:
    """Return the subject of a fact, as a key: facts of one subject are received in order and without gaps."""
    kind = fact.get("fact")
    if kind in _RUNS or (kind == "measured" and "digest" not in fact):
        return f"run:{fact.get('run', '')}"
    if kind in _HOLDS:
        return f"hold:{fact['hold']}"
    if kind == "aliased":
        return f"alias:{fact['name']}:{fact['alias']}"
    if kind in {"versioned", "described", "removed"}:
        name = fact.get("name")
        return f"unnamed:{fact.get('digest', '')}" if name is None else f"name:{name}"
    if kind in {"measured", "tainted", "cleared", "approved", "signed"}:
        return f"digest:{fact['digest']}"
    return "other"  # a kind of fact unknown to this version


def hold_key(stamp: Fact, hold: str) -> str:
    """Return the key of a hold in the fold: a received hold is distinct from a local one with the same id."""
    return f"received/{hold}" if "from" in stamp else hold


def is_own(row: Mapping[str, Any]) -> bool:
    """Return whether a row of the fold was recorded here, not received."""
    return "from" not in row


def origin_of(row: Mapping[str, Any]) -> str | None:
    """Return the origin of a received row, as `<store>:<entry>`; None for a local row."""
    return None if is_own(row) else f"{row['from']}:{row['entry']}"
