"""The profile of a table: statistics that need not open it (docs/reference/format.md, "Side content").

Counts of rows and of missing values, extremes, means and deviations cover all rows, in one pass; quantiles, a histogram, the
most frequent values and the number of distinct ones cover every k-th row. Memory is bounded, however long a table and its
texts are.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import xxhash

from artifactstore.objects.tables.arrow_types import (
    as_json,
    frictionless,
    is_moment,
    is_number,
    is_text,
    no_rows,
    plain,
    plain_type,
    rounded,
    seconds_of,
)
from artifactstore.objects.tables.row_hashes import RowHashes, hash_rows
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Profiler", "fingerprint"]

_SAMPLE: Final = 100_000  # max rows of a sample
_SAMPLE_BYTES: Final = 2**28  # max bytes of a sample: a hundred thousand images may be the whole table
_STRIDE: Final = 65_536  # rows at a time: their converted values fit a processor's cache
_BINS: Final = 20  # bins of a histogram
_TOP: Final = 50
_EXTREMES: Final = 64  # max extremes held per column: they may be long texts
_SPARE: Final = 2**20  # bytes of buffers that a batch may reference beyond its own


def fingerprint(schema: "pa.Schema", batches: "Sequence[pa.RecordBatch]", *, full: bool) -> str | None:
    """Return a fingerprint of a table: equal tables with the same memory layout share it, other tables almost surely do not.

    Takes a few milliseconds for a table that takes half a second to profile.

    Returns:
        The fingerprint; None for a small slice of large buffers, all of which would have to be read.
    """
    hasher = xxhash.xxh3_128(schema.serialize())
    for batch in batches:
        if batch.get_total_buffer_size() > 2 * batch.nbytes + _SPARE:
            return None
        for column in batch.columns:
            hasher.update(b"%d %d %d" % (full, column.offset, len(column)))
            held = [column, column.dictionary] if hasattr(column, "dictionary") else [column]
            for buffer in (one for part in held for one in part.buffers()):
                hasher.update(b"" if buffer is None else buffer)
    return str(hasher.hexdigest())


class Profiler:
    """Computes the profile of a table, batch by batch.

    Args:
        schema: of the table.
        full: include every row in the sample, which then needs the memory of the whole table.

    Attributes:
        hashes: the row hashes.
    """

    def __init__(self, schema: "pa.Schema", *, full: bool = False) -> None:
        self.hashes = RowHashes()
        self._schema = schema
        self._full = full
        self._every = 1
        self._columns = {field.name: _Column(field.type) for field in schema}
        self._sample: list[Any] = []
        self._held = 0  # bytes of the sample

    def add(self, table: "pa.Table") -> None:
        """Add some rows."""
        for start in range(0, table.num_rows, _STRIDE):
            part = table.slice(start, _STRIDE)
            first = -self.hashes.rows % self._every
            self.hashes.add(hash_rows(part))
            for name, column in self._columns.items():
                column.add(plain(part.column(name)))
            self._sample.append(_every(part, first, self._every))
            self._held += _weight(self._sample[-1])
            while not self._full and (self.hashes.rows > _SAMPLE * self._every or self._heavy()):
                self._thin()

    def _heavy(self) -> bool:
        return self._held > _SAMPLE_BYTES and self.hashes.rows > self._every  # a single row cannot be halved

    def _thin(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._sample = [_every(pa.concat_tables(self._sample), 0, 2)]
        self._every *= 2
        self._held = _weight(self._sample[0])

    def finish(self) -> dict[str, Any]:
        """Return the profile as a JSON value."""
        import pyarrow as pa  # noqa: PLC0415

        sample = pa.concat_tables(self._sample) if self._sample else no_rows(self._schema)
        return {
            "format": 1,
            "rows": self.hashes.rows,
            "every": self._every,
            "schema": {
                "fields": [
                    {"name": field.name, "type": frictionless(field.type), "arrow": as_json(str(field.type))}
                    for field in self._schema
                ]
            },
            "columns": {
                name: {**column.finish(), **_sampled(plain(sample.column(name)))} for name, column in self._columns.items()
            },
        }


def _every(table: "pa.Table", first: int, step: int) -> "pa.Table":
    """Return every `step`-th row, starting at `first`."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    return table if step == 1 else table.take(pa.array(np.arange(first, table.num_rows, step)))


def _weight(table: "pa.Table") -> int:
    """Return the bytes of a table that scale with its rows: category values are shared by all rows."""
    import pyarrow as pa  # noqa: PLC0415

    return sum(column.nbytes for column in table.columns if not pa.types.is_dictionary(column.type))


class _Column:
    """Accumulates statistics over all rows of a column."""

    def __init__(self, kind: "pa.DataType") -> None:
        self._kind = plain_type(kind)
        self._nulls = self._infinite = self._count = self._sum = 0
        self._mean = self._squares = 0.0  # of finite numbers; sum of squared deviations from the mean
        self._extremes: list[Any] = []

    def add(self, column: "pa.Array") -> None:
        """Add some rows."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        kind = self._kind
        if is_number(kind):
            numbers, nulls, infinite = _numbers(column)
            self._nulls += nulls
            self._infinite += infinite
            if len(numbers):
                self._add_numbers(numbers)
            return
        self._nulls += column.null_count
        moment = is_moment(kind) and not pa.types.is_duration(kind)  # Arrow has no extremes of durations
        ordered = is_text(kind) or moment or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)
        if ordered and column.null_count < len(column):
            found = pc.min_max(column)
            self._extremes += [found["min"], found["max"]]
            if len(self._extremes) > _EXTREMES:
                both = pc.min_max(pa.array(self._extremes))
                self._extremes = [both["min"], both["max"]]

    def _add_numbers(self, numbers: Any) -> None:
        np = numpy()
        self._extremes += [numbers.min(), numbers.max()]
        if numbers.dtype.kind != "f":
            # Halve each number, so that no sum of them overflows.
            self._sum += (int((numbers >> 32).sum()) << 32) + int((numbers & 0xFFFFFFFF).sum())
        with np.errstate(over="ignore", invalid="ignore"):
            apart = numbers.astype(np.float64)
            count, mean = len(apart), float(apart.mean())
            apart -= mean
            np.multiply(apart, apart, out=apart)  # not `dot`, which starts threads
            squares = float(apart.sum())
            # Merge the means and squares of two samples (Chan, Golub and LeVeque, 1979).
            total, step = self._count + count, mean - self._mean
            self._squares += squares + step * step * self._count * count / total
            self._mean += step * count / total
            self._count = total

    def finish(self) -> dict[str, Any]:
        """Return the statistics as JSON."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        found: dict[str, Any] = {"nulls": self._nulls}
        if self._infinite:
            found["infinite"] = self._infinite
        if not self._extremes:
            return found
        if not is_number(self._kind):
            both = pc.min_max(pa.array(self._extremes))
            return {**found, "min": as_json(both["min"]), "max": as_json(both["max"])}
        low, high = min(self._extremes).item(), max(self._extremes).item()
        whole = isinstance(low, int)
        mean = self._sum / self._count if whole else self._mean
        deviation = math.sqrt(self._squares / (self._count - 1)) if self._count > 1 else 0.0
        return {**found, "min": as_json(low), "max": as_json(high), "mean": rounded(mean), "std": rounded(deviation)}


def _numbers(column: "pa.Array") -> tuple[Any, int, int]:
    """Return the finite numbers of a column, the count of missing ones, and the count of infinite ones."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    if not pa.types.is_floating(column.type):
        numbers = np.asarray(column.drop_null() if column.null_count else column)
        return numbers.astype(np.uint64 if numbers.dtype.kind == "u" else np.int64, copy=False), column.null_count, 0
    numbers = column.to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers, 0, 0
    infinite = int(np.isinf(numbers).sum())
    return numbers[finite], len(numbers) - int(finite.sum()) - infinite, infinite


def _sampled(column: "pa.Array") -> dict[str, Any]:
    """Return the statistics of a sampled column."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    found: dict[str, Any] = {}
    kind = column.type
    if is_number(kind):
        numbers = _numbers(column)[0].astype(np.float64)
    elif is_moment(kind):
        seconds, rest = seconds_of(column.drop_null())
        numbers = seconds + rest / 1e9
    else:
        numbers = np.zeros(0)
    if len(numbers):
        ranks = np.arange(101) * (len(numbers) - 1) // 100
        ordered = np.sort(numbers)
        found["quantiles"] = [rounded(float(one)) for one in ordered[ranks]]
        if math.isfinite(float(ordered[-1]) - float(ordered[0])):
            with suppress(ValueError):  # close large numbers do not have that many floats between them
                counts, edges = np.histogram(numbers, _BINS)
                found["histogram"] = {"counts": counts.tolist(), "edges": [rounded(float(edge)) for edge in edges]}
    if is_number(kind) or is_moment(kind) or is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        found |= _frequent(column, top=not pa.types.is_floating(kind))
    return found


def _frequent(column: "pa.Array", *, top: bool) -> dict[str, Any]:
    """Return the number of distinct values and the most frequent ones; values that occur once only if they are few."""
    np = numpy()
    column = column.drop_null()
    counted = column.value_counts()
    counts = np.asarray(counted.field("counts"))
    found: dict[str, Any] = {"distinct": len(counts)}
    if not top or not len(counts):
        return found
    least = int(np.partition(counts, -_TOP)[-_TOP]) if len(counts) > _TOP else 1
    rows = np.flatnonzero(counts >= max(least, 2 if len(counts) > _TOP else 1))
    values = counted.field("values")
    pairs = [[as_json(values[int(i)]), int(counts[i])] for i in rows[:10_000]]
    found["top"] = sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))[:_TOP]
    return found
