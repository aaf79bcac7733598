"""Repair of the history: `store.json`, entries, facts files and marks of copies.

The one exception to "nothing is overwritten" (docs/reference/protocol.md, rule 9): a damaged object is replaced by bytes
that the chain vouches for. An entry's digest is in the next one; of the last entry, an anchor or the source's own record has it. So a
source can supply bytes, never another history. This module knows one backend and the sources' bytes; it never folds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from artifactstore.backend.base import Backend
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError
from artifactstore.journal.chain import entry_key, facts_key, folder_of, key_number, previous_of
from artifactstore.journal.fetch import last_listed
from artifactstore.journal.replica import PREFIX, mark_body
from artifactstore.maintenance.repair.history_sources import KEYS, HistorySource, read_if_possible
from artifactstore.maintenance.repair.report import Lost, Restored
from artifactstore.maintenance.sync.object_copy import create_with_retries
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import parse_json
from artifactstore.model.facts import CONFIG_KEY, parse_config, parse_entry, parse_facts
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Mended", "mend_history"]

_BATCH: Final = 64  # entries read at a time
_LONGEST: Final = 20_000  # entries in a row that a source may replace


@dataclass(slots=True)
class Mended:
    """The outcome.

    Attributes:
        restored: objects replaced or created again.
        lost: objects that no source has as the chain vouches for them.
        bytes: key → the right bytes.
        last: the number of the last entry.
    """

    restored: list[Restored] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    bytes: dict[str, bytes] = field(default_factory=dict)
    last: int = 0


def mend_history(
    backend: Backend,
    sources: Sequence[HistorySource],
    *,
    anchors: Mapping[int, str] = {},
    dry_run: bool = False,
) -> Mended:
    """Check a store's history object by object, and replace what is damaged by what the chain vouches for.

    Args:
        backend: the store's.
        sources: where the bytes may come from, in order of preference.
        anchors: entry → digest recorded elsewhere: it vouches for the last entry, and for entries that are missing at the end.
        dry_run: only find out; nothing is written.

    Raises:
        BackendError: the backend cannot be reached.
    """
    walk = _Walk(backend, sources, anchors)
    walk.run()
    if not dry_run:
        overtaken = ""
        for key, raw in list(walk.done.bytes.items()):
            seq = key_number(key)
            if seq is not None and overtaken:
                # It continues the entries that a source has; here another one came instead.
                _is_lost(walk, key, f"another writer appended {overtaken} during the repair: run it again")
            elif not _put_right(backend, key, raw, walk) and seq is not None:
                overtaken = key
    return walk.done


def _is_lost(walk: "_Walk", key: str, why: str) -> None:
    walk.done.restored = [one for one in walk.done.restored if one.key != key]
    walk.done.lost.append(Lost(key, "", key, why))


def _put_right(backend: Backend, key: str, raw: bytes, walk: "_Walk") -> bool:
    """Create an object, or replace it if it is still as damaged as it was found; False if something else is there now."""
    try:
        there = read_if_possible(backend, key)
        if there is None:
            try:
                if not create_with_retries(backend, key, raw):
                    there = read_if_possible(backend, key)
                    if there is None:  # it exists and cannot be read: a link to itself
                        backend.write(key, raw)
            except BackendError as error:
                if error.transient:
                    raise
                backend.write(key, raw)  # it exists and cannot be read: a bad sector
        elif there != raw and there == walk.found.get(key):
            backend.write(key, raw)
    except BackendError as error:
        if error.transient:
            raise
        _is_lost(walk, key, f"cannot be written: {error}")
    else:
        if there not in {None, raw, walk.found.get(key)}:
            _is_lost(walk, key, "another writer put something else there during the repair: run it again")
            return False
    return True


def _is_unreadable(backend: Backend, key: str) -> bool:
    """Return whether an object exists and cannot be read."""
    try:
        backend.read(key)
    except NotFoundError:
        return bool(backend.obstacle(key))
    except BackendError as error:
        if error.transient:
            raise
        return True
    return False


class _Walk:
    """Goes through a history from `store.json` on, each object checked against the one before."""

    def __init__(self, backend: Backend, sources: Sequence[HistorySource], anchors: Mapping[int, str]) -> None:
        self.backend, self.sources, self.anchors = backend, sources, anchors
        self.done = Mended()
        self.found: dict[str, bytes | None] = {}  # damaged objects as they are
        self.algorithm = ""
        self.store = ""
        self._cache: dict[int, bytes | None] = {}
        self._listed = last_listed(backend, 1) if backend.listable else self._probe()
        folder = folder_of(self._listed + 1).rstrip("/")
        if not backend.is_remote and read_if_possible(backend, folder) is not None:
            self.done.lost.append(Lost(folder, "", folder, "is a file in the place of a folder: move it away, then try again"))
        else:
            while not backend.is_remote and _is_unreadable(backend, entry_key(self._listed + 1)):
                self._listed += 1  # listings of a folder leave out what is no file, as a link to itself or a folder
        self.end = max([self._listed, *(seq for seq in anchors if sources)])
        self._spilled: dict[str, str] = {}
        self._digests: dict[int, Digest] = {}  # of the last entries, and of those that damaged marks speak of
        self._marks = list(self._damaged_marks())
        self._marked = {_mark_seq(key) for key, _, _ in self._marks}

    def _probe(self) -> int:
        seq = 0
        while read_if_possible(self.backend, entry_key(seq + 1)) is not None:
            seq += 1
        return seq

    def run(self) -> None:
        seq = 0
        while seq <= self.end:
            raw = self._read(seq)
            fault = self._fault(seq, raw)
            if fault is None and raw is not None and self.anchors.get(seq, digest := str(self._digest(seq, raw))) != digest:
                fault, accepted = "is not the entry that this machine has seen", True
            else:
                accepted = fault is None
            if fault is not None and (found := self._from_sources(seq, accepted=accepted)) is not None:
                start, run = found
                for at, (one, source) in enumerate(run, start):
                    if one != (there := self._read(at)):
                        self._replace(_key(at), one, there, source)
                    self._take(at, one)
                seq = start + len(run)
                continue
            if not accepted:
                self.done.lost.append(Lost(_key(seq), "", _key(seq), str(fault)))
            if raw is not None and self._unreadable(seq, raw) is None:
                self._take(seq, raw)
            seq += 1
        self.done.last = self._listed
        self._facts()
        for key, right, raw in self._marks:
            if (body := right()) is not None:
                self._replace(key, body, raw, KEYS)

    def _take(self, seq: int, raw: bytes) -> None:
        """Go on behind an entry: note its digest, and the facts files that it names."""
        self._digests[seq] = self._digest(seq, raw)
        if seq - 3 not in self._marked:
            self._digests.pop(seq - 3, None)
        if seq and b'"spilled"' in raw:
            entry: Entry = parse_entry(raw, _key(seq))
            for txn in entry["txns"]:
                if (spilled := txn.get("spilled")) is not None:
                    self._spilled[facts_key(spilled["id"])] = spilled["digest"]

    # -- entries

    def _read(self, seq: int) -> bytes | None:
        """Return an entry as it is, `store.json` for 0."""
        if seq not in self._cache:
            if len(self._cache) > 4 * _BATCH:
                for old in [one for one in self._cache if one < seq - 2]:
                    del self._cache[old]
            wanted = range(seq, min(seq + _BATCH, self._listed + 1)) if seq else range(1)
            with Pool(max(1, min(self.backend.concurrency, 16))) as pool:
                raws = pool.map(lambda one: read_if_possible(self.backend, _key(one)), wanted)
                self._cache.update(zip(wanted, raws, strict=True))
        return self._cache.get(seq)

    def _digest(self, seq: int, raw: bytes) -> Digest:
        if seq == 0:
            config = parse_config(raw, CONFIG_KEY)
            self.algorithm, self.store = config.digest, config.store
        return Digest.of(raw, self.algorithm or "blake3")

    def _unreadable(self, seq: int, raw: bytes) -> str | None:
        try:
            if seq == 0:
                parse_config(raw, CONFIG_KEY)
            elif parse_entry(raw, _key(seq))["seq"] != seq:
                return "has another number"
        except ArtifactStoreError as error:
            return str(error)
        return None

    def _fault(self, seq: int, raw: bytes | None) -> str | None:
        before = self._digests.get(seq - 1)
        if raw is None and (obstacle := self.backend.obstacle(_key(seq))):
            return f"is missing: {obstacle}"
        if raw is None:
            missing = f"is missing: this machine has seen the journal up to entry {self.end}"
            return missing if seq > self._listed else "is missing or cannot be read"
        if (fault := self._unreadable(seq, raw)) is not None:
            return fault
        if seq and before is not None and previous_of(raw) != str(before):
            return f"does not follow {_key(seq - 1)}: one of the two was changed"
        return None

    def _from_sources(self, seq: int, *, accepted: bool) -> tuple[int, list[tuple[bytes, HistorySource]]] | None:
        """Return where the right bytes begin, and those bytes with their sources: from here on, or from the entry before on.

        Args:
            seq: an entry with a fault.
            accepted: whether it follows the one before all the same: then that one is right.
        """
        for start in (seq,) if accepted else (seq, seq - 1):
            previous = self._digests.get(start - 1)
            if start >= 0 and (start in {0, seq} or previous is not None):
                for k, source in enumerate(self.sources):
                    run = self._run(start, previous, [source, *self.sources[:k], *self.sources[k + 1 :]])
                    if run is not None:
                        return start, run
        return None

    def _run(
        self, start: int, previous: Digest | None, sources: Sequence[HistorySource]
    ) -> list[tuple[bytes, HistorySource]] | None:
        """Return consecutive entries from sources that join this journal at both ends, or None."""
        run: list[tuple[bytes, HistorySource]] = []
        for seq in range(start, min(self.end, start + _LONGEST) + 1):
            offered = ((one.entry(seq), one) for one in sources)
            found = next(((raw, one) for raw, one in offered if raw is not None and self._fits(seq, raw, previous)), None)
            if found is None:
                return None
            run.append(found)
            previous = self._digest(seq, found[0])
            after = self._read(seq + 1) if seq < self._listed else None
            if after is not None and previous_of(after) == str(previous) and self._unreadable(seq + 1, after) is None:
                return run
            if seq == self.end and self._is_end(seq, previous, sources):
                return run
        return None

    def _is_end(self, seq: int, digest: Digest, sources: Sequence[HistorySource]) -> bool:
        if seq in self.anchors:
            return self.anchors[seq] == str(digest)
        return any(one.confirms(seq, digest) for one in sources)

    def _fits(self, seq: int, raw: bytes, previous: Digest | None) -> bool:
        return self._unreadable(seq, raw) is None and (seq == 0 or previous is None or previous_of(raw) == str(previous))

    def _replace(self, key: str, raw: bytes, before: bytes | None, source: HistorySource) -> None:
        self.found[key] = before
        self.done.bytes[key] = raw
        self.done.restored.append(Restored(key, source.name))

    # -- what hangs on entries

    def _facts(self) -> None:
        for key, digest in self._spilled.items():
            algorithm = digest.partition(":")[0]

            def right(raw: bytes | None, key: str = key, digest: str = digest, algorithm: str = algorithm) -> bool:
                return raw is not None and str(Digest.of(raw, algorithm)) == digest and _is_facts(raw, key)

            raw = read_if_possible(self.backend, key)
            if not right(raw):
                self._from_any(key, raw, right, "is missing" if raw is None else "does not match its digest")

    def _from_any(self, key: str, there: bytes | None, right: Callable[[bytes | None], bool], why: str) -> None:
        for source in self.sources:
            raw = source.object(key)
            if raw is not None and right(raw):
                self._replace(key, raw, there, source)
                return
        self.done.lost.append(Lost(key, "", key, why))

    def _damaged_marks(self) -> "Iterator[tuple[str, Callable[[], bytes | None], bytes]]":
        """Yield the damaged marks of a copy, each with what makes it again: its content follows from its key."""
        for item in list(self.backend.list(PREFIX)) if self.backend.listable else ():
            raw = read_if_possible(self.backend, item.key)
            if raw is not None and not _is_mark(raw, item.key) and _mark_seq(item.key) is not None:
                yield item.key, partial(self._mark, item.key), raw

    def _mark(self, key: str) -> bytes | None:
        seq, hexed = _mark_seq(key), key.rpartition("-")[2].removesuffix(".json")
        digest = (
            None if seq is None else self._digests.get(seq) if hexed == "end" else Digest(self.algorithm, bytes.fromhex(hexed))
        )
        return None if digest is None or seq is None or not self.store else mark_body(self.store, seq, digest)


def _key(seq: int) -> str:
    return entry_key(seq) if seq else CONFIG_KEY


def _mark_seq(key: str) -> int | None:
    """Return the entry that a mark's key names, or None if it is no mark's key."""
    seq, _, rest = key.removeprefix(PREFIX).removesuffix(".json").partition("-")
    known = (
        len(seq) == 12 and seq.isdecimal() and (rest == "end" or (len(rest) == 64 and all(c in "0123456789abcdef" for c in rest)))
    )
    return int(seq) if known else None


def _is_facts(raw: bytes, key: str) -> bool:
    try:
        parse_facts(raw, key)
    except ArtifactStoreError:
        return False
    return True


def _is_mark(raw: bytes, key: str) -> bool:
    try:
        found = parse_json(raw, key)
    except (ArtifactStoreError, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("store"), str)
