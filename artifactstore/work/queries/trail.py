"""Index of the audit trail in this process: the facts that a query chooses are found without folding the journal again.

Outcomes, versions and values come from one fold of all entries, made by the first query. The facts themselves stay in the journal:
those that are chosen are read again, and compared with the digests that their entries had.
"""

import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.audit import Event, Filter, Found, Walk, event_of, with_received
from artifactstore.catalog.changes import NO_CHANGE, Change
from artifactstore.catalog.events import Subject, is_like, text_of
from artifactstore.errors import CorruptionError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.fetch import read_many
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import STRIDE
from artifactstore.model.digest import Digest
from artifactstore.model.facts import parse_entry
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Trail"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TOGETHER: Final = 256  # entries that are read concurrently
_DENSE: Final = 8  # if more than one entry of so many is wanted, all between them are read, from segments
_COLUMNS: Final = ("actor", "fact", "name", "alias", "digest", "txn")
_OTHER: Final = ("on", "hold")  # fields that name an artifact, or a hold on one, in another way


class Trail:
    """The facts of a journal in columns; texts are numbers, so that a million facts take some 60 MB."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._walk = Walk(self._journal.config.store)
        self._codes: dict[str, dict[str | None, int]] = {name: {None: 0} for name in (*_COLUMNS, "other")}
        self._columns = {name: array("I") for name in (*_COLUMNS, "other")}
        self._times = array("q")
        self._seqs = array("Q")
        self._txns = array("I")  # position of its transaction in its entry
        self._places = array("I")  # its position in its transaction
        self._versions = array("q")
        self._more: dict[
            int, tuple[str, Change, float | None]
        ] = {}  # of facts that are void, change a value, or have a late clock
        self._entry_times: list[datetime] = []
        self._digests = bytearray()

    def events(self, wanted: Filter, last: int, limit: int | None) -> list[Event] | None:
        """Return the newest `limit` facts up to entry `last` that are wanted, oldest first; None while another thread indexes.

        Raises:
            CorruptionError: the journal is damaged, or has changed since it was indexed.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._catch_up()
            places = self._chosen(wanted, last)
            if limit is not None and wanted.subject is None:
                places = places[-limit:] if limit else []
            return [*deque((event for event in self._made(places) if wanted.wants(event)), maxlen=limit)]
        except BaseException:
            self._begin()  # a half-indexed entry must not be counted twice
            raise
        finally:
            self._lock.release()

    # -- indexing

    def _catch_up(self) -> None:
        with self._journal.lock:
            head, digest = self._journal.head, self._journal.digest
        known = len(self._digests) // len(digest.raw)
        if known > head or (known == head and known and self._digest(head) != digest.raw):
            self._begin()  # the journal is another one
            known = 0
        if known < head:
            self._extend(self._journal.entries(known + 1, head), digest.raw)

    def _extend(self, entries: "Iterable[Entry]", last: bytes) -> None:
        """Index the next entries, the last of which has this digest; that of each other one is in the entry behind it."""
        for entry in entries:
            seq, previous = entry["seq"], Digest.parse(entry["previous"]).raw
            if seq > 1 and len(self._digests) == (seq - 1) * len(previous) and self._digest(seq - 1) != previous:
                key = entry_key(seq - 1)
                raise CorruptionError(f"{key} has changed since it was read: run `artifactstore verify`", location=key)
            if seq > 1 and len(self._digests) < (seq - 1) * len(previous):
                self._digests += previous
            for number, events in enumerate(self._walk.folded([entry])):
                for place, event in enumerate(events):
                    self._add(event, number, place)
            self._entry_times.append(self._walk.time)
        self._digests += last

    def _add(self, event: Event, number: int, place: int) -> None:
        for name in _COLUMNS:
            self._columns[name].append(self._code(name, getattr(event, name)))
        other = next((text for field in _OTHER if (text := text_of(event.fields, field)) is not None), None)
        self._columns["other"].append(self._code("other", other))
        self._times.append((event.time - _EPOCH) // _MICROSECOND)
        self._seqs.append(event.seq)
        self._txns.append(number)
        self._places.append(place)
        self._versions.append(-1 if event.version is None else event.version)
        change = NO_CHANGE if event.before is None and event.after is None else Change(event.before, event.after)
        if event.outcome != "committed" or change is not NO_CHANGE or event.clock is not None:
            self._more[len(self._seqs) - 1] = event.outcome, change, event.clock

    def _code(self, name: str, text: str | None) -> int:
        codes = self._codes[name]
        return codes.setdefault(text, len(codes))

    def _digest(self, seq: int) -> bytes:
        size = len(self._journal.digest.raw)
        return bytes(self._digests[(seq - 1) * size : seq * size])

    # -- choosing

    def _chosen(self, wanted: Filter, last: int) -> list[int]:
        """Return the places of facts that may be wanted: all that are, and few others."""
        if not self._seqs:
            return []
        np = numpy()
        within = np.frombuffer(self._seqs, np.uint64) <= last
        mask = within.copy()
        for name in ("txn", "alias", "actor", "fact"):
            if (value := getattr(wanted, name)) is not None:
                mask &= self._is(name, value)
        if (pattern := wanted.name) is not None:
            names = self._codes["name"].items()
            like = [code for text, code in names if text is not None and (text == pattern or is_like(text, pattern))]
            mask &= np.isin(np.frombuffer(self._columns["name"], np.uint32), like)
        times = np.frombuffer(self._times, np.int64)
        if wanted.since is not None:
            mask &= times >= (wanted.since - _EPOCH) // _MICROSECOND
        if wanted.until is not None:
            mask &= times <= (wanted.until - _EPOCH) // _MICROSECOND
        if wanted.subject is not None:
            mask = self._about(wanted.subject, mask) & within
        found: list[int] = np.flatnonzero(mask).tolist()
        return found

    def _is(self, name: str, text: str) -> Any:
        code = self._codes[name].get(text)
        np = numpy()
        column = np.frombuffer(self._columns[name], np.uint32)
        return np.zeros(len(column), bool) if code is None else column == code

    def _about(self, subject: Subject, mask: Any) -> Any:
        """Return where facts are about an artifact and chosen; of its holds, also where they are not: what releases them names only them."""
        np = numpy()
        names = [self._codes["name"].get(name, 0) for name, _ in subject.versions]
        column = np.frombuffer(self._columns["name"], np.uint32)
        about = self._is("digest", subject.digest) | self._is("other", subject.digest) | (np.isin(column, names) & (column != 0))
        return (about & (mask | self._is("fact", "held"))) | (mask & self._is("fact", "released"))

    # -- reading

    def _made(self, places: Sequence[int]) -> Iterator[Event]:
        """Yield the events at some places, in order."""
        seqs = list(dict.fromkeys(self._seqs[place] for place in places))
        at = 0
        for seq, entry in self._entries(seqs):
            facts: dict[int, list[Any]] = {}
            while at < len(places) and self._seqs[places[at]] == seq:
                place = places[at]
                txn = entry["txns"][self._txns[place]]
                if self._txns[place] not in facts:
                    facts[self._txns[place]] = [*with_received(txn)]
                raw, received = facts[self._txns[place]][self._places[place]]
                outcome, change, clock = self._more.get(place, ("committed", NO_CHANGE, None))
                version = None if self._versions[place] < 0 else self._versions[place]
                yield event_of(txn, raw, received, Found(seq, self._entry_times[seq - 1], version, outcome, change, clock))
                at += 1

    def _entries(self, seqs: Sequence[int]) -> "Iterator[tuple[int, Entry]]":
        """Yield entries by their numbers, each as it was when it was indexed."""
        for seq, raw in self._raw(seqs):
            if raw is None or Digest.of(raw, self._journal.config.digest).raw != self._digest(seq):
                key = entry_key(seq)
                text = "is missing" if raw is None else "has changed since it was read"
                raise CorruptionError(f"{key} {text}: run `artifactstore verify`", location=key)
            yield seq, self._journal.complete(parse_entry(raw, entry_key(seq)))

    def _raw(self, seqs: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yield the bytes of entries: one by one, or from segments where many in a row are wanted, or where only these have them."""
        backend, at = self._journal.cached_backend, 0
        dense = backend.is_remote and len(seqs) > _TOGETHER and len(seqs) * _DENSE > seqs[-1] - seqs[0]
        while at < len(seqs) and not dense:
            some = seqs[at : at + _TOGETHER]
            found = read_many(backend, [entry_key(seq) for seq in some])
            if None in found:
                break
            yield from zip(some, found, strict=True)
            at += len(some)
        if at == len(seqs):
            return
        wanted = dict.fromkeys(seqs[at:])
        for seq, raw in self._journal.raw_entries(max(1, min(seqs[at], seqs[-1] - STRIDE)), seqs[-1]):
            if seq in wanted:
                del wanted[seq]
                yield seq, raw
        yield from ((seq, None) for seq in wanted)
