"""Index of the audit trail: the facts that a query chooses are found without folding the journal again.

Outcomes, versions and values come from one fold of all entries, made by the first query on a machine, and kept in the cache with
the index; a later process goes on where that ended. The facts themselves stay in the journal: those that are chosen are read
again, and compared with the digests that their entries had.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.audit import Event, Filter, Found, Transaction, Walk, event_of, transaction_of, with_received
from artifactstore.catalog.changes import NO_CHANGE, Change, Changes
from artifactstore.catalog.events import is_like, text_of
from artifactstore.catalog.fold.state import State
from artifactstore.errors import CorruptionError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.fetch import read_many, read_or_none
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import STRIDE
from artifactstore.model.digest import Digest, hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.loading import gc_paused
from artifactstore.runtime.local_files import read_own
from artifactstore.work.queries.past_state import PastState
from artifactstore.work.queries.trail_columns import CODED, About, Columns, Parts, Row, microseconds
from artifactstore.work.session.caches import FoldCache

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Trail"]

_TOGETHER: Final = 256  # entries that are read concurrently
_PATIENCE: Final = 10.0  # seconds that a question waits for another thread: then it folds the journal by itself
_FEW: Final = 64  # entries of which all facts are read at once
_DENSE: Final = 8  # if more than one entry of so many is wanted, all between them are read, from segments
_HOLDS: Final = frozenset({"held", "released"})  # facts that name a hold; others name in `on` a second artifact
_BLOCKS: Final = 64  # blocks of facts that are remembered once they were looked at
_LAYOUT: Final = 2  # version of the index in the cache
_SHARE: Final = 16  # the file of columns is written anew when more than one fact of so many is not in it …
_STEP: Final = 2000  # … and at least so many


class Trail:
    """The facts of a journal in columns: those of a file of the cache, and what came later.

    Args:
        journal: the journal.
        cache: keeps the index and its fold for later processes; None to keep nothing.
    """

    def __init__(self, journal: Journal, cache: FoldCache | None = None) -> None:
        self._journal = journal
        self._cache = cache
        self._lock = threading.Lock()
        self._begin()
        self._load()

    def _begin(self) -> None:
        self._walk: Walk | None = Walk(self._journal.config.store)
        self._left: tuple[State, bytes] | None = (
            None  # the fold and the values that another process has left, until they are needed
        )
        self._parts = Parts.empty()
        self._file: Path | None = None  # of the first part
        self._codes: dict[str, dict[str | None, int]] | None = {name: {None: 0} for name in CODED}

    def events(self, wanted: Filter, last: int, limit: int | None) -> Sequence[Event] | None:
        """Return the newest `limit` facts up to entry `last` that are wanted, oldest first; None while another thread indexes.

        Those of more than a few entries are read when they are looked at.

        Raises:
            CorruptionError: the journal is damaged, or has changed since it was indexed.
        """
        if not self._lock.acquire(timeout=_PATIENCE):
            return None
        try:
            self._catch_up()
            places = self._chosen(wanted, last)
            if limit is not None:
                places = places[max(0, len(places) - limit) :]
            return self._events(places)
        except BaseException:
            self._begin()  # a half-indexed entry must not be counted twice
            raise
        finally:
            self._lock.release()

    def transactions(
        self, wanted: Filter, last: int, *, after: int = 0, limit: int | None = None, facts: bool = False
    ) -> tuple[list[Transaction], int] | None:
        """Return the newest transactions of the entries `after` to `last` with a fact that is wanted, oldest first.

        Args:
            wanted: the conditions.
            last: the last entry.
            after: the entry before the first.
            limit: how many.
            facts: whether `limit` is a number of facts: then as many transactions as have these.

        Returns:
            The transactions, and the number of older ones; None while another thread indexes.

        Raises:
            CorruptionError: as for `events`.
        """
        if not self._lock.acquire(timeout=_PATIENCE):
            return None
        try:
            self._catch_up()
            places = self._chosen(wanted, last)
            if after:
                places = places[self._parts.numbers("seqs", places) > after]
            kept, many = self._parts.transactions(places, limit, facts=facts)
            return self._described(kept), many - len(kept)
        except BaseException:
            self._begin()
            raise
        finally:
            self._lock.release()

    # -- the cache

    def _load(self) -> None:
        """Take up the index that another process has left; anything unusual counts as none."""
        found = None if self._cache is None else self._cache.load_with()
        if found is None or self._cache is None:
            return
        state, _, more = found
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            about = json.loads(more["about"])
            if about["layout"] != _LAYOUT or state.header["store"] != self._journal.config.store:
                return
            file = self._cache.folder / os.path.basename(about["file"])  # noqa: PTH119 - never a file elsewhere
            parts = Parts(Columns.map(file), Columns.from_bytes(more["rest"], fixed=False))
            if parts.entries() == state.head and parts.first.seed == parts.rest.seed:
                self._parts, self._file, self._codes, self._walk = parts, file, None, None
                self._left = (state, more["values"])

    def _going_on(self) -> Walk:
        """Return the reading of the journal, where the index ends."""
        if self._walk is None:
            assert self._left is not None
            assert self._file is not None
            state, newer = self._left
            changes = Changes()
            checksum, _, values = read_own(_values(self._file)).partition(b"\n")
            if checksum.decode() != hash_bytes(values, "blake3").hex():
                raise ValueError("a checksum does not match")
            changes.load(json.loads(values), newer=False)
            changes.load(json.loads(newer), newer=True)
            self._walk, self._left = Walk(self._journal.config.store, state, changes), None
        return self._walk

    def _save(self, digest: Digest) -> None:
        """Leave the index, which ends with the entry of this digest, to other processes; a failure is ignored."""
        if self._cache is None:
            return
        changes, folder = self._going_on().changes, self._cache.folder
        with suppress(OSError):
            first, rest = self._parts.first, self._parts.rest
            if self._file is None or len(rest) > max(_STEP, len(first) // _SHARE):
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"index-{os.urandom(8).hex()}"
                whole = first.joined(rest)
                whole.write(file)
                values = json.dumps(changes.to_json(newer=False)).encode()
                replace_whole(_values(file), hash_bytes(values, "blake3").hex().encode(), b"\n", values, private=True)
                self._parts, self._file = Parts(whole, Columns(whole.seed)), file
            os.utime(self._file)
            about = {"layout": _LAYOUT, "file": self._file.name}
            more = {
                "about": json.dumps(about).encode(),
                "rest": self._parts.rest.to_bytes(),
                "values": json.dumps(changes.to_json(newer=True)).encode(),
            }
            self._cache.save(self._going_on().state, str(digest), more)
            # A file that another process may be about to open is left: it has read the previous record.
            files = [path for path in folder.glob("index-*") if not path.suffix]
            for old in sorted(files, key=lambda path: path.stat().st_mtime)[:-2]:
                old.unlink(missing_ok=True)
                _values(old).unlink(missing_ok=True)

    # -- indexing

    def _catch_up(self) -> None:
        with self._journal.lock:
            head, digest = self._journal.head, self._journal.digest
        known = self._known()
        if known > head or (known == head and known and self._digest(head) != digest.raw):
            self._begin()  # the journal is another one
            known = 0
        if known == head:
            return
        loaded = self._left is not None
        try:
            with gc_paused():
                self._extend(self._journal.entries(known + 1, head), digest.raw)
        except (CorruptionError, OSError, ValueError, KeyError, TypeError):
            if not loaded:
                raise
            self._begin()  # what was left by another process may be of another history, or damaged
            self._extend(self._journal.entries(1, head), digest.raw)
        self._save(digest)

    def _known(self) -> int:
        return self._parts.entries("digests") // len(self._journal.digest.raw)

    def _extend(self, entries: "Iterable[Entry]", last: bytes) -> None:
        """Index the next entries, the last of which has this digest; that of each other one is in the entry behind it."""
        walk, known, part = self._going_on(), self._known(), self._parts.rest
        if self._codes is None:
            self._codes = {name: {text: code for code, text in enumerate(self._parts.texts(name))} for name in CODED}
        for entry in entries:
            seq, previous = entry["seq"], Digest.parse(entry["previous"]).raw
            if seq > 1 and known == seq - 1 and self._digest(known) != previous:
                key = entry_key(seq - 1)
                raise CorruptionError(f"{key} has changed since it was read: run `artifactstore verify`", location=key)
            if known < seq - 1:
                part["digests"].frombytes(previous)
                known += 1
            for number, events in enumerate(walk.folded([entry])):
                for place, event in enumerate(events):
                    part.add(_row(event, number, place), self._codes)
            part["entry_times"].append(microseconds(walk.time))
        part["digests"].frombytes(last)

    def _digest(self, seq: int, parts: Parts | None = None) -> bytes:
        return (parts or self._parts).of_entry("digests", seq, len(self._journal.digest.raw))

    # -- choosing

    def _chosen(self, wanted: Filter, last: int) -> Any:
        """Return the places of the facts that are wanted, as an array of NumPy."""
        codes = {name: self._codes_of(name, getattr(wanted, name)) for name in CODED}
        if (pattern := wanted.name) is not None and any(sign in pattern for sign in "*?["):
            texts = enumerate(self._parts.texts("name"))
            codes["name"] = [code for code, text in texts if text is not None and (text == pattern or is_like(text, pattern))]
        about = None
        if wanted.subject is not None:
            names = {name for name, _ in wanted.subject.versions}
            numbers = {text: code for code, text in enumerate(self._parts.texts("name")) if text in names and text is not None}
            kinds = {kind: self._codes_of("fact", kind) or [] for kind in ("held", "released", "versioned", "aliased")}
            about = About(wanted.subject, numbers, kinds, self._parts.first.seed)
        return self._parts.chosen(wanted, last, codes, about)

    def _codes_of(self, name: str, text: str | None) -> list[int] | None:
        """Return the number of a text in a column, None where none is wanted."""
        if text is None:
            return None
        return [code for code, known in enumerate(self._parts.texts(name)) if known == text]

    # -- reading

    def _events(self, found: Any) -> Sequence[Event]:
        parts, places, seqs = self._parts, found.tolist(), self._parts.numbers("seqs", found)

        def read(some: Sequence[int]) -> list[Event]:
            return [event for _, event in self._made(some, parts)]  # without the lock: what is there stays as it is

        if int((seqs[1:] != seqs[:-1]).sum()) < _FEW:
            return read(places)
        backend = self._journal.cached_backend
        alone = not backend.is_remote and read_or_none(backend, entry_key(int(seqs[0]))) is not None
        return _Late(read, places, _TOGETHER if alone else STRIDE * _TOGETHER)

    def _described(self, groups: Sequence[Sequence[int]]) -> list[Transaction]:
        """Return the transactions of facts that were chosen."""
        whole = [self._around(group[0]) for group in groups]
        events = dict(self._made([place for some in whole for place in some], self._parts))
        found = []
        for group, places in zip(groups, whole, strict=True):
            with self._journal.lock:
                state = PastState(self._journal.fold, self._parts.number("seqs", places[0]))
                matching = [events[place] for place in group]
                found.append(transaction_of(state, [events[place] for place in places], matching))
        return found

    def _around(self, place: int) -> range:
        """Return the places of all facts of the transaction of a fact."""
        first, last, end = place, place + 1, len(self._parts)
        mine = self._parts.number("seqs", place), self._parts.number("txns", place)
        while first and (self._parts.number("seqs", first - 1), self._parts.number("txns", first - 1)) == mine:
            first -= 1
        while last < end and (self._parts.number("seqs", last), self._parts.number("txns", last)) == mine:
            last += 1
        return range(first, last)

    def _made(self, places: Sequence[int], parts: Parts) -> Iterator[tuple[int, Event]]:
        """Yield places with their events, in order."""
        seqs = list(dict.fromkeys(parts.number("seqs", place) for place in places))
        at = 0
        for seq, entry in self._entries(seqs, parts):
            facts: dict[int, list[Any]] = {}
            while at < len(places) and parts.number("seqs", places[at]) == seq:
                place = places[at]
                number = parts.number("txns", place)
                txn = entry["txns"][number]
                if number not in facts:
                    facts[number] = [*with_received(txn)]
                raw, received = facts[number][parts.number("places", place)]
                outcome, change, clock = parts.more(place)
                version = parts.number("versions", place)
                known = Found(seq, parts.time(seq), None if version < 0 else version, outcome, change, clock)
                yield place, event_of(txn, raw, received, known)
                at += 1

    def _entries(self, seqs: Sequence[int], parts: Parts) -> "Iterator[tuple[int, Entry]]":
        """Yield entries by their numbers, each as it was when it was indexed."""
        for seq, raw in self._raw(seqs):
            if raw is None or Digest.of(raw, self._journal.config.digest).raw != self._digest(seq, parts):
                key = entry_key(seq)
                text = "is missing" if raw is None else "has changed since it was read"
                raise CorruptionError(f"{key} {text}: run `artifactstore verify`", location=key)
            yield (
                seq,
                self._journal.complete(json.loads(raw)),
            )  # it was checked when it was indexed, which takes three times as long

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


class _Late(Sequence[Event]):
    """Facts that are read when they are looked at, some at a time.

    Args:
        read: reads facts by their places.
        places: their places.
        step: how many are read at a time: one by one from their entries, or many from segments.
    """

    def __init__(self, read: Callable[[Sequence[int]], list[Event]], places: Sequence[int], step: int) -> None:
        self._read = read
        self._places = places
        self._step = step
        self._known: dict[int, list[Event]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        number = range(len(self))[at]
        block, offset = divmod(number, self._step)
        if (found := self._known.get(block)) is None:
            if len(self._known) >= _BLOCKS:
                del self._known[next(iter(self._known))]
            found = self._known[block] = self._read(self._places[block * self._step : (block + 1) * self._step])
        return found[offset]


def _values(file: Path) -> Path:
    """Return the file of the values of a file of columns."""
    return file.with_suffix(".values")


def _row(event: Event, number: int, place: int) -> Row:
    other = text_of(event.fields, "hold" if event.fact in _HOLDS else "on")
    values = {**{name: getattr(event, name) for name in (*CODED, "digest", "txn")}, "other": other}
    change = NO_CHANGE if event.before is None and event.after is None else Change(event.before, event.after)
    version = -1 if event.version is None else event.version
    return Row(values, microseconds(event.time), event.seq, number, place, version, (event.outcome, change, event.clock))
