"""Reliability of entry times: one writer whose clock is far ahead must not advance the store's time for good.

The time of an entry is never earlier than the one before, unless by more than a day: then its writer has seen, by the
storage's own clock, that the earlier times are wrong. From there on time continues from the lower one (a *reset*).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import format_time, parse_time
from artifactstore.runtime.remarks import remark

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["ClockCheck", "is_uncertain", "plausible", "reset_by", "warn_of_resets"]

_DAY: Final = timedelta(days=1)
_MAX_RESETS: Final = 64  # max resets kept: the latest ones

Reset = list[Any]  # the entry's number, its time, and the time above which earlier entries' times are wrong


def reset_by(header: Mapping[str, Any], seq: int, time: str) -> list[Reset] | None:
    """Return all resets if entry `seq` makes one, else None."""
    try:
        limit = format_time(parse_time(time) + _DAY)
    except (InvalidInputError, OverflowError, ValueError):
        return None
    if limit >= header["time"]:
        return None
    # A reset that is not later than those before it covers them.
    return [*(one for one in header.get("resets", ()) if one[1] < time), [seq, time, limit]][-_MAX_RESETS:]


def plausible(resets: list[Reset], seq: int, time: str) -> str:
    """Return the latest possible time of entry `seq`, which has the time `time`, given later resets."""
    times: list[str] = [time, *(earlier for later, earlier, limit in resets if seq < later and time > limit)]
    return min(times)


def is_uncertain(header: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Return whether later entries contradict the time of a row of this store."""
    resets = header.get("resets", [])
    return bool(resets) and "from" not in row and plausible(resets, row["seq"], row["time"]) != row["time"]


def warn_of_resets(header: Mapping[str, Any], question: str) -> None:
    """Warn that the answer to a query about times depends on times that later entries contradict."""
    if resets := header.get("resets"):
        entries = ", ".join(str(one[0]) for one in resets[:3])
        text = f"{question}: a clock was far ahead before entry {entries}, so the times of earlier entries are uncertain; `verify` lists them"
        remark(text)


class ClockCheck:
    """Finds the entries whose time is wrong: far ahead of now, or of later entries.

    Args:
        now: the current time, by a trusted clock.
    """

    def __init__(self, now: datetime) -> None:
        self._limit = format_time(now + _DAY)
        self._leaps: list[tuple[int, str, str]] = []  # entries at which the time jumped by more than a day: number, time, actors
        self._last = ""
        self._wrong: dict[int, tuple[int, str, str, str]] = {}

    def check(self, entry: "Entry", header: Mapping[str, Any]) -> None:
        """Check the next entry."""
        seq, time = entry["seq"], entry["time"]
        for reset in header.get("resets", ()):
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
        """Return the number of each such entry, and what is wrong with it."""
        for leap in self._leaps:
            if leap[1] > self._limit:
                self._wrong.setdefault(leap[0], (*leap, "that time is in the future"))
        return [
            (seq, f"entry {seq} by {actors} has the time {time}, and {why}: its writer's clock was far ahead")
            for seq, time, actors, why in self._wrong.values()
        ]


def _days(before: str, after: str) -> bool:
    try:
        return not before or parse_time(after) - parse_time(before) > _DAY
    except InvalidInputError:
        return False
