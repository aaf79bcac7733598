"""Segments: the journal's facts in columns with the raw entries. Derived; may be deleted at any time.

A segment is trusted only after the chain over its raw bytes was recomputed, and everything that is relied on is
parsed from those bytes: the columns serve DuckDB, Polars and people.
"""

import json
import re
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Backend, Stored
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError
from artifactstore.journal.chain import previous_of
from artifactstore.journal.fetch import read_many
from artifactstore.model.digest import ALGORITHMS, Digest
from artifactstore.model.facts import parse_entry
from artifactstore.runtime.loading import arrow
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Sealed",
    "Segment",
    "choose",
    "list_derived",
    "list_segments",
    "merge_from",
    "read_raw",
    "read_segments",
    "seal",
    "segment_fault",
    "segments_of",
]

SEGMENT_FORMAT: Final = 1
STRIDE: Final = 256  # entries after the last segment before a new one is sealed
LONGEST: Final = 16_384  # entries of one segment: some 2 s to seal, and seven segments for a hundred thousand
TOGETHER: Final = 8  # segments that are read concurrently
_KEY: Final = re.compile(r"segments/(\d+)-(\d{12})-(\d{12})-([0-9a-f]{64})\.parquet", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, as described by its key.

    Attributes:
        first: its first entry.
        last: its last entry.
        digest: hex of the digest of the last entry's bytes.
        key: its key.
    """

    first: int
    last: int
    digest: str
    key: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a writer did and saw when it sealed.

    Attributes:
        segment: the new segment.
        derived: the objects derived from the journal before that.
        speed: bytes a second at which the segment was written.
    """

    segment: Segment
    derived: list[Stored]
    speed: float


def list_derived(backend: Backend) -> list[Stored]:
    """Return the objects derived from the journal. A backend without listings has none."""
    return list(backend.list("segments/")) if backend.listable else []


def list_segments(backend: Backend) -> list[Segment]:
    """Return a backend's segments."""
    return segments_of(list_derived(backend))


def segments_of(items: Iterable[Stored]) -> list[Segment]:
    """Return the segments of a known format in a listing; others are skipped."""
    found: list[Segment] = []
    for item in items:
        match = _KEY.fullmatch(item.key)
        if match is not None and int(match[1]) == SEGMENT_FORMAT and 1 <= int(match[2]) <= int(match[3]):
            found.append(Segment(int(match[2]), int(match[3]), match[4], item.key))
    return found


def choose(segments: Sequence[Segment], after: int) -> list[Segment]:
    """Choose segments that cover the entries after `after` without a hole, the longest first."""
    chosen: list[Segment] = []
    while True:
        usable = [s for s in segments if s.first <= after + 1 and s.last > after]
        if not usable:
            return chosen
        best = max(usable, key=lambda s: s.last)
        chosen.append(best)
        after = best.last


def read_raw(data: bytes, segment: Segment, previous: Digest | None) -> list[bytes] | None:
    """Return a segment's raw entries if their chain holds, else None.

    Args:
        data: the segment's bytes.
        segment: as described by its key.
        previous: digest of the entry before its first, where known.
    """
    from artifactstore.model.parquet.bounded import Bounded  # noqa: PLC0415 - a kept fold needs no segment

    pa = arrow()
    try:
        raws: list[bytes] = Bounded(data).read("raw".__eq__).column("raw").drop_null().to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None
    if len(raws) != segment.last - segment.first + 1:
        return None
    expected = None if previous is None else str(previous)
    algorithm = "blake3" if previous is None else previous.algorithm
    for raw in raws:
        declared = previous_of(raw)
        if expected is None and declared is not None:
            algorithm = declared.partition(":")[0]
            if algorithm not in ALGORITHMS:
                return None
        elif declared != expected:
            return None
        expected = str(Digest.of(raw, algorithm))
    return raws if expected == f"{algorithm}:{segment.digest}" else None


def segment_fault(data: bytes, segment: Segment, last: bytes | None) -> str | None:
    """Return a segment's fault, or None.

    Args:
        data: its bytes.
        segment: as described by its key.
        last: the bytes of the journal's entry with its last number; None where the journal ends earlier.
    """
    pa, pq = arrow(), arrow("parquet")
    raws = read_raw(data, segment, None)
    if raws is None:
        return "is damaged: its entries do not match its key"
    if raws[-1] != last:
        return "has another history than the journal"
    rows: dict[str, list[object]] = {name: [] for name in _schema(pa).names}
    for seq, raw in enumerate(raws, segment.first):
        _add_rows(rows, seq, raw)
    try:
        stored = pq.read_table(pa.BufferReader(data), use_threads=False)
        same = [name for name in rows if name in stored.column_names]
        true = pa.table(rows, schema=_schema(pa)).select(same)
        return None if stored.select(same).equals(true) else "has columns that contradict its own entries"
    except (pa.ArrowException, OSError) as error:
        return f"is damaged: {error}"


def seal(backend: Backend, raws: Iterator[tuple[int, bytes]], digest: Digest) -> tuple[Segment, float] | None:
    """Write a segment of consecutive entries, the last with this digest; None if it could not be written (it is only derived).

    A segment that readers would reject is not written.

    Returns:
        The segment, and the bytes a second at which it was written, 0 if another writer was first.
    """
    pa, pq = arrow(), arrow("parquet")
    rows: dict[str, list[object]] = {name: [] for name in _schema(pa).names}
    first = last = 0
    for seq, raw in raws:
        first, last = first or seq, seq
        _add_rows(rows, seq, raw)
    if not last:
        return None
    sink = pa.BufferOutputStream()
    # All entries are different: a dictionary gains nothing, and a reader would have to count it before trusting it.
    shared = [name for name in rows if name != "raw"]
    pq.write_table(pa.table(rows, schema=_schema(pa)), sink, use_dictionary=shared, compression="zstd", compression_level=1)
    segment = Segment(first, last, digest.hex, f"segments/{SEGMENT_FORMAT}-{first:012d}-{last:012d}-{digest.hex}.parquet")
    data: bytes = sink.getvalue().to_pybytes()
    if read_raw(data, segment, None) is None:
        return None  # readers would reject it, and each would fetch it in vain
    begun = clock.perf_counter()
    try:
        backend.create(segment.key, data)
    except AlreadyExistsError:
        return segment, 0.0
    except ArtifactStoreError:
        return None
    return segment, len(data) / max(clock.perf_counter() - begun, 1e-6)


def _schema(pa: Any) -> "pa.Schema":
    text, number = pa.string(), pa.int64()
    fields = {"seq": number, "raw": pa.binary(), "entry_time": text, "txn": text, "time": text, "actor": text, "reason": text}
    fields |= {
        "fact": text,
        "name": text,
        "version": number,
        "alias": text,
        "digest": text,
        "manifest": text,
        "run": text,
        "json": text,
    }
    return pa.schema(list(fields.items()))


def _add_rows(rows: dict[str, list[object]], seq: int, raw: bytes) -> None:
    entry = parse_entry(raw, f"entry {seq}")
    whole: bytes | None = raw
    txns: list[Mapping[str, Any]] = [*entry["txns"]] or [{}]
    for txn in txns:
        for fact in txn.get("facts") or [{}]:
            values = {
                "seq": seq,
                "raw": whole,
                "entry_time": entry["time"],
                "txn": txn.get("txn"),
                "time": txn.get("time"),
                "actor": txn.get("actor"),
                "reason": fact.get("reason", txn.get("reason")),
                "json": json.dumps(fact, ensure_ascii=False, sort_keys=True) if fact else None,
            }
            for name, column in rows.items():
                column.append(values[name] if name in values else _fitting(name, fact.get(name)))
            whole = None


def _fitting(column: str, value: object) -> object:
    """Return a fact's value if its column can hold it: an unknown kind may use the field for something else."""
    if column == "version":
        return value if isinstance(value, int) and 0 <= value < 2**63 else None
    return value if isinstance(value, str) else None


def read_segments(
    backend: Backend, chosen: Sequence[Segment], first: Sequence[bytes | None]
) -> Iterator[tuple[Segment, bytes | None]]:
    """Yield segments with their bytes, a few at a time: those of a million entries are hundreds of megabytes."""
    yield from zip(chosen, first, strict=False)
    for at in range(TOGETHER, len(chosen), TOGETHER):
        some = chosen[at : at + TOGETHER]
        yield from zip(some, read_many(backend, [segment.key for segment in some]), strict=True)


def merge_from(known: Sequence[Segment], last: int) -> int:
    """Return where a new segment should begin: it merges the newest ones while they are not much longer than it (log-structured)."""
    first = max([0, *(s.last for s in known)]) + 1
    while True:
        before = [s for s in known if s.last == first - 1]
        if not before:
            return first
        longest = min(before, key=lambda s: s.first)
        length = longest.last - longest.first + 1
        if length > 4 * (last - first + 1) or length + last - first + 1 > LONGEST:
            return first
        first = longest.first
