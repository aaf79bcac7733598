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
from artifactstore.journal.snapshots import DELTAS, Snapshot, published, snapshots_of
from artifactstore.model.digest import Digest
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
    """Find the snapshots of this version's layout that newer believed ones replace, and contents that no pointer leads to."""
    listed: Mapping[str, Stored] = {item.key: item for item in derived}
    found = published(listed.values(), journal.fold.LAYOUT)
    whole = [one for one in found if one.since is None and journal.fold.vouches(one.digest, one.seq)]
    deltas = sum(one.since is not None for one in found)
    newest = _newest(journal, listed.values()) if deltas else ()
    kept = {one.key for one in newest}
    for one in found:
        if one.since is None:
            # What the newest deltas are on stays with them.
            old = bool(whole) and one.seq < whole[0].seq and one.key not in kept
        else:
            old = bool(newest) and one.key not in kept and one.seq <= newest[-1].seq
        if old:
            hexed = one.digest.partition(":")[2]
            pointers = [key for key in listed if not key.startswith((_FOLDS, DELTAS)) and key.endswith(f"{hexed}.json")]
            litter.add(_there(listed, one.key), "a newer snapshot replaces it")
            if all(key in litter.sizes for key in pointers):
                litter.add(_there(listed, one.content), "a newer snapshot replaces it")
    # Whatever else is named after a content leads to it, also what a later version writes.
    pointed = {name for key in listed if not key.startswith((_FOLDS, DELTAS)) for name in _HEX.findall(key)}
    for key, item in listed.items():
        name = key.removeprefix(_FOLDS).removesuffix(".sqlite").removeprefix(DELTAS).removesuffix(".layer")
        if key.startswith((_FOLDS, DELTAS)) and name not in pointed and now is not None and _is_older(item, now, age):
            litter.add([item], "a snapshot whose publication never finished")


def _newest(journal: Journal, derived: Iterable[Stored]) -> tuple[Snapshot, ...]:
    """Return the newest snapshot that the journal vouches for and that can be read, with all that it is on."""
    derived, refused = list(derived), set[str]()
    while True:
        found = next(iter(snapshots_of(derived, journal.fold.LAYOUT, refused)), None)
        if found is None:
            return ()
        bad = [one.key for one in found.members if not journal.fold.vouches(one.digest, one.seq) or not _is_there(journal, one)]
        if not bad:
            return found.members
        refused.update(bad)


def _is_there(journal: Journal, snapshot: Snapshot) -> bool:
    """Return whether the bytes of a delta are what is vouched for: others go because of it. Whole ones are not read."""
    if snapshot.since is None:
        return True
    data = read_or_none(journal.backend, snapshot.content)
    return data is not None and str(Digest.of(data, journal.config.digest)) == snapshot.digest


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
