"""Columns of the audit trail's index: the facts of consecutive entries, as numbers, in memory or in a file of the cache.

Texts that many facts share are numbers; digests and ids are hashed to 64 bits, since each fact that is chosen is read and compared
anyway. So a million facts take some 70 MB, and a process maps the file and reads the columns that it asks for.
"""

import json
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from artifactstore.catalog.changes import NO_CHANGE, Change
from artifactstore.catalog.events import Filter
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.loading import numpy
from artifactstore.runtime.local_files import is_own

__all__ = ["CODED", "EPOCH", "MICROSECOND", "Columns", "Row", "microseconds"]

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


def hashed(text: str | None) -> int:
    """Return the number of a text in a hashed column; 0 for None."""
    return 0 if text is None else xxh3_64_intdigest(text.encode(errors="surrogatepass")) or 1


class Columns:
    """The facts of consecutive entries; those of a file cannot be added to."""

    def __init__(self) -> None:
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
            columns[name].append(hashed(row.values[name]))
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

    def chosen(
        self, wanted: Filter, last: int, codes: Mapping[str, list[int] | None], about: Mapping[str, list[int]]
    ) -> list[int]:
        """Return the places of facts that may be wanted: all that are, and few others.

        Args:
            wanted: the conditions.
            last: the last entry that counts.
            codes: the numbers of the texts that each column may have; None: any.
            about: the numbers of the names of an artifact that is asked for, and those of `held` and `released`.
        """
        np = numpy()
        within = self.view("seqs") <= last
        mask = within.copy()
        for name, some in codes.items():
            if some is not None:
                mask &= _among(self.view(name), some)
        if wanted.txn is not None:
            mask &= self.view("txn") == np.uint64(hashed(wanted.txn))
        if wanted.since is not None:
            mask &= self.view("times") >= microseconds(wanted.since)
        if wanted.until is not None:
            mask &= self.view("times") <= microseconds(wanted.until)
        if wanted.subject is not None:
            digest = np.uint64(hashed(wanted.subject.digest))
            its = _among(self.view("name"), about["name"]) | (self.view("digest") == digest) | (self.view("other") == digest)
            # What releases a hold names only that, so its holds are met also where they were not asked for.
            held, released = (_among(self.view("fact"), about[kind]) for kind in ("held", "released"))
            mask = ((its & (mask | held)) | (mask & released)) & within
        found: list[int] = np.flatnonzero(mask).tolist()
        return found

    # -- files

    def joined(self, later: "Columns") -> "Columns":
        """Return these and later columns as one."""
        made = Columns()
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
        head = json.dumps({"spans": spans, "texts": self.texts, "checksum": hash_bytes(whole, "blake3").hex()}).encode()
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
        made = cls()
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


def microseconds(time: datetime) -> int:
    """Return a time as a number."""
    return (time - EPOCH) // MICROSECOND


def _among(column: Any, codes: list[int]) -> Any:
    np = numpy()
    return column == np.uint32(codes[0]) if len(codes) == 1 else np.isin(column, np.array(codes, np.uint32))
