"""Columns of the audit trail's index: the facts of consecutive entries, as numbers, in memory or in a file of the cache.

Texts that many facts share are numbers; digests and ids are hashed to 64 bits, since each fact that is chosen is read and compared
anyway. So a million facts take some 70 MB, and a process maps the file and reads the columns that it asks for.
"""

import json
import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from artifactstore.catalog.changes import NO_CHANGE, Change
from artifactstore.catalog.events import Filter, Subject
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.loading import numpy
from artifactstore.runtime.local_files import is_own

__all__ = ["CODED", "About", "Columns", "Parts", "Row", "microseconds"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
CODED: Final = ("actor", "fact", "name", "alias")
_HASHED: Final = ("digest", "txn", "other")
_KINDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(CODED, "I"),
    **dict.fromkeys(_HASHED, "Q"),
    "times": "q",  # microseconds
    "seqs": "Q",
    "txns": "I",  # position of its transaction in its entry
    "places": "I",  # its position in its transaction
    "versions": "q",
    "entry_times": "q",  # of each entry
    "digests": "B",  # likewise
    "more_at": "I",  # facts that are void, change a value, or have a late clock …
    "more_ends": "Q",  # … and the ends of what is known of these
    "more": "B",
}
_PLAIN: Final = ("committed", NO_CHANGE, None)


class Row(NamedTuple):
    """What the index has of a fact.

    Attributes:
        values: its texts, by column; those of `_HASHED` are hashed here.
        time: its time in microseconds.
        seq: its entry.
        txn: position of its transaction there.
        place: its position in that.
        version: the number of a version, or -1.
        more: its outcome, what it changed, and its clock.
    """

    values: Mapping[str, str | None]
    time: int
    seq: int
    txn: int
    place: int
    version: int
    more: tuple[str, Change, float | None]


def hashed(text: str | None, seed: int) -> int:
    """Return the number of a text in a hashed column; 0 for None."""
    return 0 if text is None else xxh3_64_intdigest(text.encode(errors="surrogatepass"), seed) or 1


class Columns:
    """The facts of consecutive entries; those of a file cannot be added to.

    Args:
        seed: of the hashes: as no one else knows it, two texts that count as one cannot be made.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.texts: dict[str, list[str | None]] = {name: [] for name in CODED}  # those that are not in the columns before these
        self._columns: dict[str, Any] = {name: array(kind) for name, kind in _KINDS.items()}

    def __len__(self) -> int:
        return len(self._columns["seqs"])

    def __getitem__(self, column: str) -> Any:
        return self._columns[column]

    def view(self, column: str) -> Any:
        """Return a column as an array of NumPy, to compute with at once: while it exists nothing can be added."""
        np, values = numpy(), self._columns[column]
        return np.frombuffer(values, _KINDS[column]) if len(values) else np.zeros(0, _KINDS[column])

    def add(self, row: Row, codes: Mapping[str, dict[str | None, int]]) -> None:
        """Append a fact; `codes` has the numbers of texts, and gets those of new ones."""
        columns = self._columns
        for name in CODED:
            text, known = row.values[name], codes[name]
            if text not in known:
                known[text] = len(known)
                self.texts[name].append(text)
            columns[name].append(known[text])
        for name in _HASHED:
            columns[name].append(hashed(row.values[name], self.seed))
        columns["times"].append(row.time)
        columns["seqs"].append(row.seq)
        columns["txns"].append(row.txn)
        columns["places"].append(row.place)
        columns["versions"].append(row.version)
        if row.more != _PLAIN:
            outcome, change, clock = row.more
            columns["more_at"].append(len(self) - 1)
            columns["more"].frombytes(json.dumps([outcome, change.before, change.after, clock]).encode())
            columns["more_ends"].append(len(columns["more"]))

    def more(self, at: int) -> tuple[str, Change, float | None]:
        """Return the outcome of a fact, what it changed, and its clock."""
        known = self._columns["more_at"]
        found = bisect_left(known, at)
        if found == len(known) or known[found] != at:
            return _PLAIN
        ends = self._columns["more_ends"]
        begin = int(ends[found - 1]) if found else 0
        outcome, before, after, clock = json.loads(bytes(self._columns["more"][begin : int(ends[found])]))
        return outcome, NO_CHANGE if before is None and after is None else Change(before, after), clock

    def chosen(self, wanted: Filter, last: int, codes: Mapping[str, list[int] | None], about: "About | None") -> Any:
        """Return the places of the facts that are wanted, as an array of NumPy.

        Args:
            wanted: the conditions.
            last: the last entry that counts.
            codes: the numbers of the texts that each column may have; None: any.
            about: what is known of the artifact that is asked for, from the columns before these; gets what is found here.
        """
        np = numpy()
        within = self.view("seqs") <= last
        mask = within.copy()
        for name, some in codes.items():
            if some is not None:
                mask &= _among(self.view(name), some)
        if wanted.txn is not None:
            mask &= self.view("txn") == np.uint64(hashed(wanted.txn, self.seed))
        if wanted.since is not None:
            mask &= self.view("times") >= microseconds(wanted.since)
        if wanted.until is not None:
            mask &= self.view("times") <= microseconds(wanted.until)
        if about is None:
            return np.flatnonzero(mask)
        digest, fact = np.uint64(about.digest), self.view("fact")
        its = _among(self.view("name"), about.names) | (self.view("digest") == digest) | (self.view("other") == digest)
        # What releases a hold names only that, so its holds are met also where they were not asked for.
        held, released = (_among(fact, about.kinds[kind]) for kind in ("held", "released"))
        places = np.flatnonzero(((its & (mask | held)) | (mask & released)) & within)
        columns = [self.view(name)[places].tolist() for name in ("fact", "digest", "other", "name", "versions")]
        concerned = [about.concerns(self, row) for row in zip(places.tolist(), *columns, strict=True)]
        return places[np.array(concerned, np.bool_) & mask[places]]

    # -- files

    def joined(self, later: "Columns") -> "Columns":
        """Return these and later columns as one."""
        made = Columns(self.seed)
        for name in CODED:
            made.texts[name] = [*self.texts[name], *later.texts[name]]
        for name in _KINDS:
            for part in (self, later):
                made._columns[name].frombytes(memoryview(part[name]).cast("B"))
        ends, at = made._columns["more_ends"], made._columns["more_at"]
        for k in range(len(self._columns["more_at"]), len(at)):
            at[k] += len(self)
            ends[k] += len(self._columns["more"])
        return made

    def to_bytes(self) -> bytes:
        """Return everything as bytes, with a checksum."""
        spans, body, at = {}, [], 0
        for name in _KINDS:
            raw = bytes(memoryview(self._columns[name]).cast("B")) + b"\0" * 8  # so that each may be moved to a multiple of 8
            raw = raw[: len(raw) - len(raw) % 8]
            size = len(self._columns[name]) * self._columns[name].itemsize
            spans[name] = (at, size)
            body.append(raw)
            at += len(raw)
        whole = b"".join(body)
        about = {"spans": spans, "texts": self.texts, "seed": self.seed, "checksum": hash_bytes(whole, "blake3").hex()}
        head = json.dumps(about).encode()
        return head + b" " * (-(len(head) + 1) % 8) + b"\n" + whole

    @classmethod
    def from_bytes(cls, raw: Any, *, fixed: bool) -> "Columns":
        """Return columns from the output of `to_bytes`.

        Args:
            raw: the bytes, or a map of a file.
            fixed: whether nothing will be added; then the columns stay where they are.

        Raises:
            ValueError: damaged.
            KeyError: of another form.
            TypeError: likewise.
        """
        end = raw.find(b"\n") + 1
        head = json.loads(bytes(raw[:end]))
        body = memoryview(raw)[end:]
        if hash_bytes(body, "blake3").hex() != head["checksum"]:
            raise ValueError("a checksum does not match")
        made = cls(int(head["seed"]))
        made.texts = {name: [*head["texts"][name]] for name in CODED}
        for name, kind in _KINDS.items():
            at, size = head["spans"][name]
            part = body[at : at + size]
            if fixed and size:
                made._columns[name] = part.cast(kind)
            else:
                made._columns[name].frombytes(part)
        return made

    def write(self, path: Path) -> None:
        """Write everything into a file of the cache."""
        replace_whole(path, self.to_bytes(), private=True)

    @classmethod
    def map(cls, path: Path) -> "Columns":
        """Map a file that `write` has written.

        Raises:
            OSError: it cannot be read, or belongs to another user.
            ValueError: it is damaged.
            KeyError: of another form.
            TypeError: likewise.
        """
        with path.open("rb") as file:
            if not is_own(path.stat()):
                raise PermissionError(path)
            return cls.from_bytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), fixed=True)


class Parts:
    """The columns of a file and those behind them, as one."""

    def __init__(self, first: Columns, rest: Columns) -> None:
        self.first = first
        self.rest = rest

    @classmethod
    def empty(cls) -> "Parts":
        """Return columns of no entry."""
        seed = int.from_bytes(os.urandom(8))
        return cls(Columns(seed), Columns(seed))

    def __len__(self) -> int:
        return len(self.first) + len(self.rest)

    def entries(self, column: str = "entry_times") -> int:
        """Return the number of entries."""
        return len(self.first[column]) + len(self.rest[column])

    def texts(self, name: str) -> list[str | None]:
        """Return the texts of a column, by number."""
        return [None, *self.first.texts[name], *self.rest.texts[name]]

    def number(self, column: str, place: int) -> int:
        """Return a fact's number in a column."""
        first = len(self.first)
        return int(self.first[column][place] if place < first else self.rest[column][place - first])

    def more(self, place: int) -> tuple[str, Change, float | None]:
        """Return the outcome of a fact, what it changed, and its clock."""
        first = len(self.first)
        return self.first.more(place) if place < first else self.rest.more(place - first)

    def time(self, seq: int) -> datetime:
        """Return the time of an entry."""
        (found,) = array("q", self.of_entry("entry_times", seq, 8))
        return EPOCH + found * MICROSECOND

    def of_entry(self, column: str, seq: int, size: int) -> bytes:
        """Return the `size` bytes that a column has of an entry."""
        at, values = seq - 1, self.first
        if at >= len(values["entry_times"]):
            at, values = at - len(values["entry_times"]), self.rest
        rows = size // values[column].itemsize
        found: bytes = values[column][at * rows : (at + 1) * rows].tobytes()  # a copy: another thread may add to what is viewed
        return found

    def numbers(self, column: str, places: Any) -> Any:
        """Return the numbers of facts in a column; places and numbers are arrays of NumPy, the places in order."""
        np, first = numpy(), len(self.first)
        split = int(np.searchsorted(places, first))
        return np.concatenate([self.first.view(column)[places[:split]], self.rest.view(column)[places[split:] - first]])

    def chosen(self, wanted: Filter, last: int, codes: Mapping[str, list[int] | None], about: "About | None" = None) -> Any:
        """Return the places of the facts that are wanted; see `Columns.chosen`."""
        found = [part.chosen(wanted, last, codes, about) for part in (self.first, self.rest)]
        return numpy().concatenate([found[0], found[1] + len(self.first)])

    def transactions(self, places: Any, limit: int | None, *, facts: bool) -> tuple[list[list[int]], int]:
        """Return places by their transactions: so many of the newest, or as many as have so many facts; and the number of all."""
        np = numpy()
        seqs, txns = self.numbers("seqs", places), self.numbers("txns", places)
        starts = np.flatnonzero((seqs[1:] != seqs[:-1]) | (txns[1:] != txns[:-1])) + 1
        if len(places):
            starts = np.concatenate([[0], starts])
        first = 0 if limit is None else max(0, len(starts) - limit)
        if limit and facts:
            first = max(0, int(np.searchsorted(starts, len(places) - limit, "right")) - 1)
        return [one.tolist() for one in np.split(places, starts[first:])[1:]], len(starts)


class About:
    """An artifact of which facts are wanted, in numbers; see `Subject.concerns`.

    Args:
        subject: the artifact.
        names: its names → their numbers.
        kinds: kinds of facts → their numbers, at most one each.
        seed: of the hashes.
    """

    def __init__(self, subject: Subject, names: Mapping[str, int], kinds: Mapping[str, list[int]], seed: int) -> None:
        self.digest = hashed(subject.digest, seed)
        self.names = [*names.values()]
        self.kinds = kinds
        self._kinds = {number: kind for kind, numbers in kinds.items() for number in numbers}
        self._versions = {(names[name], number) for name, number in subject.versions if name in names}
        self._named = {name for name, _ in self._versions}
        self._holds: set[int] = set()

    def concerns(self, columns: Columns, row: tuple[int, int, int, int, int, int]) -> bool:
        """Return whether a fact speaks of it; its place, kind, digest, other, name, version. They are asked in order."""
        at, fact, digest, other, name, version = row
        kind = self._kinds.get(fact)
        if kind == "released":
            return other in self._holds
        if digest == self.digest or (other == self.digest and kind != "held"):
            if kind == "versioned" and name and version >= 0:
                self._versions.add((name, version))
                self._named.add(name)
            if kind == "held":
                self._holds.add(other)
            return True
        if not name:
            return False
        if kind == "aliased":
            return (name, version) in self._versions or (name, columns.more(at)[1].before) in self._versions
        if version < 0 and not digest:
            return name in self._named
        return (name, version) in self._versions


def microseconds(time: datetime) -> int:
    """Return a time as a number."""
    return (time - EPOCH) // MICROSECOND


def _among(column: Any, codes: list[int]) -> Any:
    np = numpy()
    return column == np.uint32(codes[0]) if len(codes) == 1 else np.isin(column, np.array(codes, np.uint32))
