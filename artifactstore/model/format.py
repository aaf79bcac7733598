"""Version numbers of the store format: an entry has the lowest that its facts need, a reader reads up to the highest that it knows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from artifactstore.errors import FormatError

__all__ = ["FIRST", "FORMAT", "check_format", "needed"]

FIRST: Final = 1  # of every store that uses nothing newer
FORMAT: Final = 3  # the highest that this version reads
_SECOND: Final = frozenset({"gated", "retained"})  # kinds of facts that give power over others, and came later


def needed(facts: Sequence[Mapping[str, Any]]) -> int:
    """Return the lowest format that has these facts."""
    found = FIRST
    for fact in facts:
        kind = fact.get("fact")
        if kind == "versioned":
            if "expect" in fact:
                return 3
        elif kind in _SECOND:
            found = 2
    return found


def check_format(raw: bytes, what: str) -> None:
    """Refuse bytes that a newer version wrote, whatever else is wrong with them.

    Raises:
        FormatError: their `format` is newer than this version supports.
    """
    try:
        found = json.loads(raw).get("format")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(found, int) and found > FORMAT:
        raise FormatError(f"{what} has store format {found}, this version reads up to {FORMAT}: upgrade artifactstore")
