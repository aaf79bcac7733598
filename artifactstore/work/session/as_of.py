"""Time travel: the state as of an entry number, a time, or the end of a day; one state for each query."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.times import plausible, warn_of_resets
from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.fetch import read_or_none
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_derived
from artifactstore.journal.snapshots import Snapshot, snapshots_of, worth
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import format_time
from artifactstore.model.facts import parse_entry

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["is_first", "one_state", "state_at"]

Opened = tuple[State, str] | None  # and the digest of the last entry folded
_HEAD: Final = re.compile(r"([0-9]{1,12}):((?:blake3|sha256):[0-9a-f]{64})", re.ASCII)


_asked: ContextVar[set[int] | None] = ContextVar("artifactstore_asked", default=None)  # journals that a query has caught up


@contextmanager
def one_state(*, anew: bool = False) -> Iterator[None]:
    """Answer a query from a single state: only the first access to the head inside catches up with the journal.

    Args:
        anew: do not rely on what an enclosing query has read.
    """
    token = _asked.set(set() if anew else set(_asked.get() or ()))
    try:
        yield
    finally:
        _asked.reset(token)


def is_first(journal: Journal) -> bool:
    """Return True if this access to the head must catch up with the journal: always, except for later ones of one query."""
    asked = _asked.get()
    if asked is None:
        return True
    first = id(journal) not in asked
    asked.add(id(journal))
    return first


def state_at(journal: Journal, moment: object, open_snapshot: Callable[[Snapshot], Opened]) -> State:
    """Fold the entries up to a moment; an earlier snapshot saves reading the entries that it covers.

    Args:
        journal: the store's.
        moment: an entry's number, an aware datetime, a date (the end of that day, UTC), or a head as `Store.head` gives it.
        open_snapshot: opens a snapshot whose bytes match their digest.

    Raises:
        InvalidInputError: a naive datetime, another type, an entry that does not exist.
        CorruptionError: an entry is damaged or missing.
    """
    limit = _limit_of(_entry_of_head(journal, moment), journal.catch_up())
    view, last = _begin(journal, limit, open_snapshot) or (State(journal.config.store), None)
    with journal.lock:
        resets = list(journal.fold.header.get("resets", ()))
    if isinstance(limit, str):
        warn_of_resets({"resets": resets}, f"at({moment})")
    for entry in journal.entries(view.head + 1):
        if last not in (None, entry["previous"]):
            return state_at(journal, moment, lambda _: None)  # that snapshot is not of this history
        if _is_behind(limit, entry["seq"], _written_at(entry, view, resets)):
            break
        last = None
        view.apply(entry)
    return view


def _written_at(entry: "Entry", view: State, resets: list[list[Any]]) -> str:
    """Return when an entry was written, as far as the rest of the journal supports its claim."""
    if any(one[0] == entry["seq"] for one in resets):
        return entry["time"]
    return plausible(resets, entry["seq"], max(entry["time"], view.header["time"]))


def _begin(journal: Journal, limit: int | str, open_snapshot: Callable[[Snapshot], Opened]) -> Opened:
    """Open the newest snapshot before a moment that the journal, as known now, vouches for."""
    with journal.lock:
        vouched: dict[str, int] = dict(journal.fold.snapshots)
    for snapshot in worth(snapshots_of(list_derived(journal.backend), State.LAYOUT), 0) if vouched else ():
        fine = all(vouched.get(one.digest) == one.seq for one in snapshot.members)
        raw = read_or_none(journal.backend, entry_key(snapshot.seq)) if fine else None
        # An entry's own time is never later than the fold's estimate: most snapshots are ruled out before they are read.
        if raw is None or _is_behind(limit, snapshot.seq, parse_entry(raw, entry_key(snapshot.seq))["time"]):
            continue
        try:
            opened = open_snapshot(snapshot)
        except CorruptionError:
            continue  # derived data; one that does without the damaged one may be left
        if opened is None:
            continue
        view, last = opened
        fits = view.head == snapshot.seq and last == str(Digest.of(raw, journal.config.digest))
        if fits and not _is_behind(limit, view.head, view.header["time"]):
            return opened
        view.close()
    return None


def _is_behind(limit: int | str, seq: int, time: str) -> bool:
    return seq > limit if isinstance(limit, int) else time > limit


def _limit_of(moment: object, head: int) -> int | str:
    """Return the last entry that counts, or the time until which entries count.

    Raises:
        InvalidInputError: a naive datetime, another type, an entry that does not exist.
    """
    if isinstance(moment, str):
        moment = _moment_of(moment)
    if isinstance(moment, bool) or not isinstance(moment, int | date):
        raise InvalidInputError(f"at({moment!r}): expected an entry's number, an aware datetime or a date")
    if isinstance(moment, int):
        if not 0 <= moment <= head:
            raise InvalidInputError(f"at({moment}): the journal has entries 1 to {head}")
        return moment
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidInputError(f"at({moment!r}): the datetime must have a time zone; use datetime.now(UTC) or .astimezone()")
        try:
            return format_time(moment)
        except OverflowError as error:
            raise InvalidInputError(f"at({moment!r}): not a time of this calendar in UTC") from error
    return format_time(datetime.combine(moment, time.max, UTC))


def _entry_of_head(journal: Journal, moment: object) -> object:
    """Return the number of the entry that a head, `12:blake3:ab…`, names, if the journal still has it; anything else as it is.

    Raises:
        InvalidInputError: the entry is another one here.
    """
    match = _HEAD.fullmatch(moment) if isinstance(moment, str) else None
    if match is None:
        return moment
    seq = int(match[1])
    raw = read_or_none(journal.backend, entry_key(seq)) if seq else journal.config.raw
    found = None if raw is None else str(Digest.of(raw, journal.config.digest))
    if found != match[2]:
        here = "is not there" if found is None else f"is {found} here"
        raise InvalidInputError(f"at({moment!r}): entry {seq} {here}: this is another history, or the end of it was lost")
    return seq


def _moment_of(text: str) -> int | date:
    """Return an entry's number, a date, or a time in UTC unless it names a zone.

    Raises:
        InvalidInputError: another form.
    """
    if text.isdecimal() and len(text) < 8:  # longer ones are dates: 20261129
        return int(text)
    try:
        if len(text) <= 10:
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        forms = "an entry's number, a date such as 2026-11-29, or a time such as 2026-11-29T14:00:00+01:00"
        raise InvalidInputError(f"at({text!r}): expected {forms}") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
