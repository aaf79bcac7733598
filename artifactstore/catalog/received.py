"""Received facts: what of another store's history has been taken in, and what it may say here.

A store's own word stands above what it was told: received facts never change versions, runs, holds, marks, measures or
descriptions that were said here, only what came the same way. How far each *subject* of another store (a name, an
alias, a digest, a run, a hold) was taken in is part of the fold, so that nothing counts twice.
"""

from collections.abc import Mapping
from typing import Any, Final

from artifactstore.model.facts import Fact

__all__ = ["LAYOUT", "hold_key", "is_own", "origin_of", "subject"]

# Where another store's bytes lie, where it went, and what was derived from it, means nothing here.
LAYOUT: Final = frozenset({"stored", "relocated", "condemned", "moved_to", "snapshot"})
_RUNS: Final = frozenset({"started", "finished", "used", "produced"})
_HOLDS: Final = frozenset({"held", "released"})


def subject(fact: Mapping[str, Any]) -> str:
    """Return what a fact speaks of, as a key: facts of one subject are received in order and without a gap."""
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
    if kind in {"measured", "tainted", "cleared", "approved"}:
        return f"digest:{fact['digest']}"
    return "other"  # of a kind that this version doesn't know


def hold_key(stamp: Fact, hold: str) -> str:
    """Return the key of a hold in the fold: one that was received is another than one of the same id that was put here."""
    return f"received/{hold}" if "from" in stamp else hold


def is_own(row: Mapping[str, Any]) -> bool:
    """Tell whether a row of the fold was said here, and not received."""
    return "from" not in row


def origin_of(row: Mapping[str, Any]) -> str | None:
    """Return the store and entry where a row was said, as `<store>:<entry>`; None where it was here."""
    return None if is_own(row) else f"{row['from']}:{row['entry']}"
