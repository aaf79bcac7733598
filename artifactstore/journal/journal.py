"""The journal as one process sees it: catch up, read, append; one loop a process, shared by its threads.

Rules 2 (catch up), 3 (append) and 10 (segments) of docs/reference/protocol.md. The fold is injected: this room asks it to
judge and never looks into facts, except for what moves their bytes (spilled facts).
"""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.caching import evict
from artifactstore.errors import ConflictError, CorruptionError, FormatError
from artifactstore.journal import segments as seg
from artifactstore.journal.chain import entry_key, facts_key, join
from artifactstore.journal.fetch import Recent, fetch_run, last_listed, list_folders, read_many, read_or_none
from artifactstore.journal.fold import Fold, FoldStore
from artifactstore.journal.heads import Heads, KnownHead
from artifactstore.journal.snapshots import Opener, Snapshot, begin
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY, Config, parse_entry, parse_facts
from artifactstore.runtime.loading import gc_paused
from artifactstore.runtime.remarks import remark
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Journal"]


_TRIES: Final = 3  # snapshots to read on from before all entries are read
_LONG: Final = 100_000  # entries: from here on a hint is worthwhile


class Journal:
    """The chain of entries of one store and the fold over it.

    Attributes:
        backend: the store's.
        cached_backend: the backend, perhaps behind a cache, for segments and spilled facts, which never change.
        config: `store.json`.
        fold: the state after the entries read so far; change it only through this class, read it under `lock`.
        lock: guards `fold`.
        digest: of the last entry's bytes.
        known: the head that this machine has seen.
    """

    def __init__(
        self,
        backend: Backend,
        config: Config,
        make_fold: Callable[[], Fold],
        keeper: FoldStore | None = None,
        cached_backend: Backend | None = None,
        *,
        open_snapshot: Opener | None = None,
        heads: Heads | None = None,
    ) -> None:
        self.backend = backend
        self.cached_backend = cached_backend or backend
        self.config = config
        self.lock = threading.RLock()
        self.fold: Any = make_fold()
        self.digest = Digest.of(config.raw, config.digest)
        self.known = KnownHead(heads, backend.url)
        self._make_fold = make_fold
        self._keeper = keeper
        self._open_snapshot = open_snapshot
        self._ended = False  # whether a cold start has seen that nothing follows
        self._snapshot: Snapshot | None = None  # the fold's start, until a fact is known to vouch for it
        self._cold, self._doubted = True, False
        self._saved = 0
        self._sealed = 0
        self._known, self._read = 0, 0
        self._recent = Recent()
        self._watched: dict[str, tuple[int, str | None] | None] = {}

    @property
    def head(self) -> int:
        """Return the number of the last entry read."""
        return int(self.fold.head)

    def catch_up(self, *, confirm: bool = False, taken: int = 0) -> int:
        """Read every entry up to the head, checking the chain; returns the head.

        One round trip when nothing is new; cold, at most three after `store.json`.

        Args:
            confirm: also check that the last entry read still exists: an append after an entry that was taken back
                (a folder restored from a copy, a recreated store) would leave a hole or a fork for ever.
            taken: an entry that exists, as a failed create has shown: if it follows the last one, it also confirms that one.

        Raises:
            ConflictError: another store is at this URL now.
            CorruptionError: the chain is broken or has a hole.
            FormatError: a newer version wrote here.
            BackendError: the head cannot be determined.
        """
        with self.lock:
            confirm |= self._doubted
            if taken > self.head and not self._cold and self._follow():
                return self.head
            if not self._cold:
                # Over a network both requests are sent at once; on a disk a thread costs more than a read.
                both = confirm and self.backend.is_remote
                last, following = read_many(self.backend, [self._last_key(), entry_key(self.head + 1)]) if both else (None, None)
                if not confirm or not self._was_taken_back(last):
                    try:
                        return self.head if both and following is None else self._read_on(self.head)
                    except CorruptionError:
                        self._doubted = True  # what was read last may be what was damaged: it is looked at again, once repaired
                        raise
            with gc_paused():
                return self._read_all()

    def _follow(self) -> bool:
        """Read on, two entries at a time; True if one follows the last: its `previous` is that one's digest."""
        before = self.head
        try:
            self._read_on(before, step=2)
        except CorruptionError:
            if not self._was_taken_back(None):
                raise
        return self.head > before

    def confirm(self) -> int:
        """Read the last entry again and return its number: for a writer that has sent nothing yet.

        One request, where `catch_up(confirm=True)` makes two. Entries appended meanwhile are not seen; creating the next
        entry finds them. Catches up if nothing was read yet, or the last entry is gone.

        Raises:
            As `catch_up`.
        """
        with self.lock:
            return self.catch_up() if self._cold or self._was_taken_back(None) else self.head

    def _read_all(self) -> int:
        """Catch up from an empty state."""
        refused: set[str] = set()
        before, tries = self._read, 0
        while True:
            tries += 1
            try:
                self.known.begin()
                joint = self._open_cold(refused if tries <= _TRIES else None)
                head = self.head if self._ended else self._read_on(self._known)
                # Segments cover entries up to head - 1 only: if no entry follows them, they do not belong to this journal.
                believed = joint is None or head > joint
            except (CorruptionError, FormatError):
                believed = False  # perhaps only derived objects are wrong; if the journal itself is, reading it below raises
            begun, self._snapshot = self._snapshot, None
            false = [] if begun is None else [one for one in begun.members if not self.fold.vouches(one.digest, one.seq)]
            if begun is None or (believed and not false):
                break
            refused.update(one.key for one in (false if believed else begun.members))
        if not believed:
            # The journal alone is authoritative: start again without derived objects.
            self._start(self._make_fold(), Digest.of(self.config.raw, self.config.digest))
            self.known.begin()
            self._read_on(last_listed(self.backend, 1))
        self._keep()
        self._cold = False
        if self._read - before > _LONG and self._open_snapshot is not None:
            text = f"{self._read - before:,} entries of {self.backend.url} had to be read one by one"
            remark(f"{text}: `artifactstore snapshot` saves other processes from that")
        return self.head

    def use_cached_fold(self) -> bool:
        """Use the cached fold as it is, if the backend is unreachable; False if there is none.

        For reading only: the next catch-up starts again.
        """
        with self.lock:
            if self._cold and self.head == 0:
                kept = None if self._keeper is None else self._keeper.load()
                if kept is None:
                    return False
                self._start(kept[0], Digest.parse(kept[1]))
            return True

    def _last_key(self) -> str:
        return entry_key(self.head) if self.head else CONFIG_KEY

    def _was_taken_back(self, raw: bytes | None) -> bool:
        """Whether the last entry read (`raw`: if it was read again already) is gone; if so, everything is read again."""
        if raw is None:
            raw = read_or_none(self.backend, self._last_key())
        if raw is not None and Digest.of(raw, self.config.digest) == self.digest:
            return False
        if read_or_none(self.backend, CONFIG_KEY) != self.config.raw:
            raise ConflictError(
                f"the store at {self.backend.url} was replaced by another store since it was opened: open it again"
            )
        self._cold = True
        self._start(self._make_fold(), Digest.of(self.config.raw, self.config.digest))
        return True

    def _read_on(self, known: int, *, step: int = 1) -> int:
        for raw in fetch_run(self.backend, self.head + 1, known, step=step):
            self._take(raw)
        if not self._cold:
            self._keep()
        return self.head

    def _keep(self) -> None:
        self.known.reach(self.head, self.digest)
        if self._keeper is not None and self.known.fault is None and self._keeper.is_due(self.fold, self._saved):
            self._keeper.save(self.fold, str(self.digest))
            self._saved = self.head
        if self._keeper is not None:
            self._keeper.note(self.fold)

    def _start(self, fold: Any, digest: Digest) -> None:
        self.fold, self.digest, self._saved, self._doubted = fold, digest, fold.head, False

    def accept(self, raw: bytes, entry: "Entry") -> None:
        """Fold an entry that this process has just appended: its bytes need not be read again."""
        with self.lock:
            # Another thread may have read it already, and later entries.
            if entry["seq"] == self.head + 1:
                self._fold(raw, entry)
                self._keep()

    def watch(self, txn: str) -> None:
        """Keep the verdict on a transaction until `unwatch`, for any number of entries."""
        with self.lock:
            self._watched[txn] = None

    def unwatch(self, txn: str) -> None:
        """Stop watching a transaction."""
        with self.lock:
            self._watched.pop(txn, None)

    def verdict(self, txn: str) -> tuple[int, str | None] | None:
        """Return (entry, why void or None) of a transaction that is watched or was seen within the window, else None."""
        with self.lock:
            return self._watched.get(txn) or self.fold.verdict(txn)

    def raw_entries(self, first: int = 1, last: int | None = None, *, recent: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield (number, bytes as stored) of entries, from verified segments, else from the journal.

        With `recent`, as they were when this process read or appended them, if it has not long since.
        """
        last = self.head if last is None else min(last, self.head)
        seq = first
        with self.lock:
            near = recent and bool(self._recent.between(first, last))
        for segment in seg.choose(seg.list_segments(self.backend), first - 1) if last - first >= seg.STRIDE and not near else ():
            data, joint = read_many(self.cached_backend, [segment.key, entry_key(segment.last)])
            raws = None if data is None else seg.read_raw(data, segment, None)
            # The chain inside holds, so all of it is as authentic as its last entry, which the journal confirms.
            if raws is None or joint is None or raws[-1] != joint or segment.first > seq:
                break
            for n, raw in enumerate(raws, segment.first):
                if n == seq and n <= last:
                    yield n, raw
                    seq += 1
        if seq <= last:
            with self.lock:
                read = self._recent.between(seq, last) if recent else []
            yield from enumerate(read or fetch_run(self.backend, seq, last, end=last), seq)

    def entries(self, first: int = 1, last: int | None = None) -> "Iterator[Entry]":
        """Yield decoded entries with all their facts, each checked to follow its predecessor."""
        previous = Digest.of(self.config.raw, self.config.digest) if first == 1 else None
        for seq, raw in self.raw_entries(first, last):
            if previous is None:
                # In the middle of the journal the first entry's own `previous` is trusted.
                previous = Digest.parse(parse_entry(raw, entry_key(seq))["previous"])
            entry = join(raw, seq, previous)
            previous = Digest.of(raw, self.config.digest)
            yield self.complete(entry)

    def seal(self) -> seg.Sealed | None:
        """Seal a segment if enough entries follow the last; covers entries up to head - 1 only.

        Returns:
            What was sealed and seen; None if nothing was, or another writer was first.
        """
        with self.lock:
            head = self.head
        if head - 1 - self._sealed < seg.STRIDE:
            return None
        derived = seg.list_derived(self.backend)
        known = seg.segments_of(derived)
        self._sealed = max([0, *(s.last for s in known)])
        if head - 1 - self._sealed < seg.STRIDE:
            return None
        first = seg.merge_from(known, head - 1)
        raws = list(self.raw_entries(first, min(head - 1, first + seg.LONGEST - 1), recent=True))
        if not raws:
            return None
        sealed = seg.seal(self.backend, iter(raws), Digest.of(raws[-1][1], self.config.digest))
        if sealed is None:
            return None
        self._sealed = sealed[0].last
        return seg.Sealed(sealed[0], derived, sealed[1]) if sealed[1] else None

    # -- inside

    def _open_cold(self, refused: set[str] | None) -> int | None:
        """Start from a cached fold, a snapshot that is not refused, and from segments; return where segments ended, if any were used.

        Sets `_known`, up to where listings show entries. Two round trips, one without segments or news, two more with a snapshot.
        """
        kept = None if self._keeper is None else self._keeper.load()
        start = 0 if kept is None else int(kept[0].head)
        self._start(self._make_fold(), Digest.of(self.config.raw, self.config.digest))
        self._ended = False
        with Pool(4) as pool:
            after = pool.submit(read_or_none, self.backend, entry_key(start + 1)) if start and self.backend.is_remote else None
            listed = pool.submit(seg.list_derived, self.backend)
            cached_backend = pool.submit(list_folders, self.backend, start + 1, 2)
            if kept is not None and start:
                # A cached fold counts only after its last entry's bytes were read again and match.
                raw = read_or_none(self.backend, entry_key(start))
                if raw is not None and str(Digest.of(raw, self.config.digest)) == kept[1]:
                    self._start(kept[0], Digest.parse(kept[1]))
            derived = listed.result()
            segments = seg.segments_of(derived)
            self._known, more = cached_backend.result()
            nothing = after is not None and after.result() is None and self._known <= start and not more
            if self._open_snapshot is not None and refused is not None:
                begun = begin(
                    self.backend, derived, self.fold, refused, open_snapshot=self._open_snapshot, algorithm=self.config.digest
                )
                if begun is not None:
                    self._start(begun[0], begun[1])
                    self._snapshot = begun[2]
                    if self.backend.is_remote:
                        self._saved = 0  # it was downloaded: cache it for the next process
            self._sealed = max([0, *(s.last for s in segments)])
            chosen = seg.choose(segments, self.head) if self._sealed - self.head >= self._few() else []
            # Nothing follows the cached fold, nor is listed after it: that is not asked again.
            self._ended = nothing and self.head == start and not chosen
            if self.head != start:
                self._known, more = 0, True
            behind = max(self._known, chosen[-1].last if chosen else self.head)
            rest = pool.submit(last_listed, self.backend, behind + 1) if more or behind > self._known else None
            first = read_many(self.cached_backend, [segment.key for segment in chosen[: seg.TOGETHER]])
            if rest is not None:
                self._known = max(self._known, rest.result())
        joint: int | None = None
        for segment, data in seg.read_segments(self.cached_backend, chosen, first):
            raws = None if data is None else seg.read_raw(data, segment, self.digest if segment.first == self.head + 1 else None)
            if raws is None:
                evict(self.cached_backend, segment.key)
                break
            for raw in raws[self.head + 1 - segment.first :]:
                self._take(raw)
            joint = self.head
        return joint

    def _few(self) -> int:
        """Return how many entries are read as fast one by one as from a segment, for which Arrow must be loaded."""
        return seg.STRIDE if self.backend.is_remote or "pyarrow" in sys.modules else 8 * seg.STRIDE

    def _take(self, raw: bytes) -> None:
        self._read += 1
        self._fold(raw, join(raw, self.head + 1, self.digest))

    def _fold(self, raw: bytes, entry: "Entry") -> None:
        outcome = self.fold.apply(self.complete(entry))
        if self._keeper is not None:
            self._keeper.see(entry)
        self._recent.add(entry["seq"], raw)
        self.digest = Digest.of(raw, self.config.digest)
        self.known.see(entry["seq"], self.digest)
        for txn, void in zip(entry["txns"], outcome, strict=True) if self._watched else ():
            one = txn["txn"]
            if one in self._watched and ((found := self._watched[one]) is None or found[1] is not None):
                self._watched[one] = (entry["seq"], None if void is None else str(void))

    def complete(self, entry: "Entry") -> "Entry":
        """Fetch the facts of transactions that are too large for the entry."""
        for txn in entry["txns"]:
            spilled = txn.get("spilled")
            if spilled is not None and not txn["facts"]:
                key = facts_key(spilled["id"])
                raw = read_or_none(self.cached_backend, key)
                if raw is not None and str(Digest.of(raw, self.config.digest)) != spilled["digest"]:
                    evict(self.cached_backend, key)  # it may have been damaged in transit
                    raw = read_or_none(self.cached_backend, key)
                if raw is None or str(Digest.of(raw, self.config.digest)) != spilled["digest"]:
                    state = "is missing" if raw is None else "does not match its digest"
                    raise CorruptionError(
                        f"{key}, referenced by {entry_key(entry['seq'])}, {state}: restore it from a copy of the store",
                        digest=spilled["digest"],
                        location=key,
                    )
                txn["facts"] = parse_facts(raw, key)
        return entry
