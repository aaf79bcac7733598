"""What the times of entries are worth: one writer whose clock is far ahead must not set everybody's for ever.

The time of an entry is never earlier than the one before, unless it is more than a day earlier: then its writer has seen, by the
storage's own clock, that what was said before is wrong. From there on the time goes on from the lower one (a *reset*).
"""

import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import format_time, parse_time

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Ahead", "is_uncertain", "plausible", "reset_by", "warn_of_resets"]

_DAY: Final = timedelta(days=1)
_MOST: Final = 64  # resets that are kept: the last ones

Reset = list[Any]  # the entry's number, its time, and the time above which what was said before is wrong


def reset_by(marks: Mapping[str, Any], seq: int, time: str) -> list[Reset] | None:
    """Return all resets if entry `seq` makes one, else None."""
    try:
        limit = format_time(parse_time(time) + _DAY)
    except (InvalidInputError, OverflowError, ValueError):
        return None
    if limit >= marks["time"]:
        return None
    # One that is no later than those before it says all that they say.
    return [*(one for one in marks.get("resets", ()) if one[1] < time), [seq, time, limit]][-_MOST:]


def plausible(resets: list[Reset], seq: int, time: str) -> str:
    """Return the latest time at which entry `seq` can have been written, which says `time`, by what later ones say."""
    said: list[str] = [time, *(earlier for later, earlier, limit in resets if seq < later and time > limit)]
    return min(said)


def is_uncertain(marks: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Tell whether later entries contradict the time of a row of this store."""
    resets = marks.get("resets", [])
    return bool(resets) and "from" not in row and plausible(resets, row["seq"], row["time"]) != row["time"]


def warn_of_resets(marks: Mapping[str, Any], question: str) -> None:
    """Warn that the answer to a question about times rests on some that later entries contradict."""
    if resets := marks.get("resets"):
        said = ", ".join(str(one[0]) for one in resets[:3])
        text = f"{question}: a clock was far ahead before entry {said}, so the times of entries before are not certain; `verify` names them"
        warnings.warn(text, UserWarning, stacklevel=5)


class Ahead:
    """Finds the entries whose time is wrong: far ahead of now, or of what later entries say.

    Args:
        now: the time, by the clock that is trusted.
    """

    def __init__(self, now: datetime) -> None:
        self._limit = format_time(now + _DAY)
        self._leaps: list[tuple[int, str, str]] = []  # entries at which the time went on by more than a day: number, time, actors
        self._last = ""
        self._wrong: dict[int, tuple[int, str, str, str]] = {}

    def look(self, entry: "Entry", marks: Mapping[str, Any]) -> None:
        """Take in the next entry."""
        seq, time = entry["seq"], entry["time"]
        for reset in marks.get("resets", ()):
            if reset[0] == seq:
                for leap in self._leaps:
                    if leap[1] > reset[2]:
                        self._wrong.setdefault(leap[0], (*leap, f"entry {seq} contradicts it by {time}"))
                self._leaps = [leap for leap in self._leaps if leap[1] <= reset[2]]
                self._last = time
        if time > self._last:
            actors = ", ".join(sorted({txn["actor"] for txn in entry["txns"]})) or "an unknown writer"
            if (self._last and time > self._limit) or _days(self._last, time):
                self._leaps.append((seq, time, actors))
            self._last = time

    def found(self) -> list[tuple[int, str]]:
        """Return the number of each, and what is wrong with it."""
        for leap in self._leaps:
            if leap[1] > self._limit:
                self._wrong.setdefault(leap[0], (*leap, "that time is still to come"))
        return [
            (seq, f"entry {seq} by {actors} has the time {time}, and {why}: its writer's clock was far ahead")
            for seq, time, actors, why in self._wrong.values()
        ]


def _days(before: str, after: str) -> bool:
    try:
        return not before or parse_time(after) - parse_time(before) > _DAY
    except InvalidInputError:
        return False
