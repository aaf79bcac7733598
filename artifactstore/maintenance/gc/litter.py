"""Litter: objects that are no part of any artifact and that nothing can need any more.

Posted transactions whose window has passed, segments that a longer one covers, snapshots older than the newest that is
believed, and temporary files that killed writers left. All of it is derived or unfinished: it goes without being condemned.
Facts that are too large for their entries are part of the journal: they stay.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from artifactstore.backend.base import Backend, Stored
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.journal.chain import INBOX, INBOX_FOLDER, entry_key, inbox_folder
from artifactstore.journal.fetch import read_or_none
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import Segment, list_derived, read_raw, segments_of
from artifactstore.journal.snapshots import content_key, snapshots_of
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import WINDOW

__all__ = ["Litter", "clock_key", "find_litter"]

_TEMPORARY: Final = timedelta(days=1)  # a writer whose half-written file vanishes gets an error without a cause
_FOLDS: Final = "segments/folds/"
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Litter:
    """What goes without being condemned.

    Attributes:
        sizes: key → bytes.
        reasons: key → why nothing needs it.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, items: Iterable[Stored], reason: str) -> None:
        """Add objects."""
        for item in items:
            self.sizes[item.key], self.reasons[item.key] = item.size, reason


def clock_key(head: int) -> str:
    """Return a new key for an object whose time of modification is the time of the storage's own clock."""
    return f"{inbox_folder(head)}clock-{new_id()}"


def find_litter(journal: Journal, grace: timedelta, now: datetime | None, head: int) -> Litter:
    """Find litter.

    Args:
        journal: the store's.
        grace: of unfinished uploads.
        now: the time by the store's clock; None: nothing is old.
        head: the last entry.
    """
    backend, litter = journal.backend, Litter()
    if head > WINDOW:
        past = (item for item in backend.list(INBOX) if _is_past(item.key, head))
        litter.add(past, f"it waited in the inbox, and its window of {WINDOW} entries has passed")
    derived = list_derived(backend)
    _find_segments(journal, derived, litter)
    _find_snapshots(journal, derived, litter, max(grace, _TEMPORARY), now)
    if now is not None:
        old = (one for one in _temporaries(backend) if _is_older(one, now, max(grace, _TEMPORARY)))
        litter.add(old, "a temporary file that a killed writer left")
    return litter


def _is_past(key: str, head: int) -> bool:
    """Return whether the transactions of a folder of the inbox can take effect no more."""
    number = key.removeprefix(INBOX).partition("/")[0]
    return number.isdecimal() and (int(number) + 1) * INBOX_FOLDER - 1 + WINDOW < head


def _is_older(item: Stored, now: datetime, age: timedelta) -> bool:
    return item.modified is not None and now - item.modified >= age


def _find_segments(journal: Journal, derived: Iterable[Stored], litter: Litter) -> None:
    """Find the segments that a longer one covers, if that is believed."""
    sizes = {item.key: item for item in derived}
    segments = sorted(segments_of(sizes.values()), key=lambda one: (one.first, -one.last))
    longest: list[Segment] = []
    covered: dict[str, list[str]] = {}  # key of the longer one → keys
    for one in segments:
        over = next((s for s in longest if s.first <= one.first and s.last >= one.last), None)
        if over is None:
            longest.append(one)
        else:
            covered.setdefault(over.key, []).append(one.key)
    for one in longest:
        if one.key in covered and _is_believed(journal, one):
            litter.add((sizes[key] for key in covered[one.key]), f"the segment {one.key} covers it")


def _is_believed(journal: Journal, segment: Segment) -> bool:
    data = read_or_none(journal.backend, segment.key)
    last = read_or_none(journal.backend, entry_key(segment.last)) if segment.last < journal.head else None
    raws = None if data is None or last is None else read_raw(data, segment, None)
    return raws is not None and raws[-1] == last


def _find_snapshots(journal: Journal, derived: Iterable[Stored], litter: Litter, age: timedelta, now: datetime | None) -> None:
    """Find the snapshots of this version's layout that a newer believed one replaces, and contents that no pointer leads to."""
    listed: Mapping[str, Stored] = {item.key: item for item in derived}
    snapshots = snapshots_of(listed.values(), journal.fold.LAYOUT)
    believed = [one for one in snapshots if journal.fold.vouches(one.digest, one.seq)]
    for one in snapshots:
        if believed and one.seq < believed[0].seq:
            pointers = [
                key for key in listed if key.startswith("segments/fold-") and key.endswith(f"{one.digest.partition(':')[2]}.json")
            ]
            litter.add(_there(listed, one.key), "a newer snapshot replaces it")
            if all(key in litter.sizes for key in pointers):
                litter.add(_there(listed, content_key(one.digest)), "a newer snapshot replaces it")
    # Whatever else is named after a content leads to it, also what a later version writes.
    pointed = {name for key in listed if not key.startswith(_FOLDS) for name in _HEX.findall(key)}
    for key, item in listed.items():
        name = key.removeprefix(_FOLDS).removesuffix(".sqlite")
        if key.startswith(_FOLDS) and name not in pointed and now is not None and _is_older(item, now, age):
            litter.add([item], "a snapshot whose publication never finished")


def _there(listed: Mapping[str, Stored], key: str) -> Iterator[Stored]:
    if key in listed:
        yield listed[key]


def _temporaries(backend: Backend) -> Iterable[Stored]:
    """Return the temporary files of writers that were killed, where the backend makes such files."""
    while True:
        found = getattr(backend, "temporaries", None)
        if found is not None:
            items: Iterable[Stored] = found()
            return items
        if not isinstance(backend, Wrapper):
            return ()
        backend = backend.inner
