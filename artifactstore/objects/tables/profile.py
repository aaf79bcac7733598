"""The profile of a table: statistics that need not open it (docs/reference/format.md, "Side content").

Counts of rows and of missing values, extremes, means and deviations cover all rows, in one pass; quantiles, a histogram, the
most frequent values and the number of distinct ones cover every k-th row. Memory is bounded, however long a table and its
texts are. Columns of one type are handled together, so that ten thousand short ones take few calls.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import xxhash

from artifactstore.objects.tables.arrow_types import (
    as_json,
    frictionless,
    is_moment,
    is_number,
    is_text,
    no_rows,
    seconds_of,
)
from artifactstore.objects.tables.column_stacks import groups_of, stacks
from artifactstore.objects.tables.number_profile import NumberColumns, finite_rows, frequent_of, quantiles_of
from artifactstore.objects.tables.row_hashes import RowHashes, mix, seeds_of, sum_hashes
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OtherColumns", "Profiler", "fingerprint", "frequent"]

_SAMPLE: Final = 100_000  # max rows of a sample
_SAMPLE_BYTES: Final = 2**28  # max bytes of a sample: a hundred thousand images may be the whole table
_STRIDE: Final = 65_536  # rows at a time: their converted values fit a processor's cache
_TOP: Final = 50  # frequent values of a column
_STEPS: Final = 100  # from the lowest quantile of a column to the highest
_WIDE: Final = 1000  # columns of a table from which on these are fewer: a profile must not be as large as its table
_WIDE_TOP: Final = 10
_WIDE_STEPS: Final = 20
_EXTREMES: Final = 64  # max extremes held per column: they may be long texts
_EXACT: Final = 2.0**53  # below it a float represents every integer exactly
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
        self._groups = groups_of(schema)
        wide = len(schema) > _WIDE
        self._steps, self._top = (_WIDE_STEPS, _WIDE_TOP) if wide else (_STEPS, _TOP)
        self._seeds = seeds_of(schema.names)
        self._columns = [
            (NumberColumns if is_number(kind) else OtherColumns)(kind, len(numbers)) for kind, numbers, _ in self._groups
        ]
        self._sample: list[Any] = []
        self._held = 0  # bytes of the sample

    def add(self, table: "pa.Table") -> None:
        """Add some rows."""
        np = numpy()
        for start in range(0, table.num_rows, _STRIDE):
            part = table.slice(start, _STRIDE)
            first = -self.hashes.rows % self._every
            sums = np.zeros(part.num_rows, np.uint64)
            for index, place, values in stacks(part, self._groups):
                self._columns[index].add(place, values, part.num_rows)
                sums += sum_hashes(values, self._seeds[self._groups[index][1][place]])
            self.hashes.add(mix(sums))
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
        names = self._schema.names
        columns: dict[str, dict[str, Any]] = {name: {} for name in names}
        fields: list[dict[str, Any]] = [{"name": name} for name in names]
        for (_, numbers, _), group in zip(self._groups, self._columns, strict=True):
            columns |= zip([names[number] for number in numbers], group.finish(), strict=True)
            kind = self._schema.field(numbers[0]).type
            about = {"type": frictionless(kind), "arrow": as_json(str(kind))}
            for number in numbers:
                fields[number] |= about
        for index, place, values in stacks(sample, self._groups):
            some = self._groups[index][1][place]
            for number, found in zip(some, self._sampled(values, len(some)), strict=True):
                columns[names[number]] |= found
        return {
            "format": 1,
            "rows": self.hashes.rows,
            "every": self._every,
            "schema": {"fields": fields},
            "columns": columns,
        }

    def _sampled(self, values: "pa.Array", count: int) -> list[dict[str, Any]]:
        """Return the statistics of sampled columns of one type, which come one after the other."""
        import pyarrow as pa  # noqa: PLC0415

        np = numpy()
        kind, rows = values.type, len(values) // count
        found: list[dict[str, Any]] = [{} for _ in range(count)]
        counted = {*range(count)}
        if is_number(kind) and rows:
            numbers, present, _ = finite_rows(values, rows)
            numbers = numbers.astype(np.float64)
            if present is not None:
                numbers[~present] = np.nan
            found, ordered = quantiles_of(numbers, self._steps)
            if pa.types.is_floating(kind):
                steps = (ordered[:, 1:] != ordered[:, :-1]).sum(1).tolist()
                full = np.arange(count) if present is None else np.flatnonzero(present.all(1))
                for number in full.tolist():
                    found[number]["distinct"] = 1 + steps[number]
                counted.difference_update(full.tolist())
            elif numbers.size and np.nanmax(np.abs(numbers), initial=0.0) < _EXACT:
                for column, counts in zip(found, frequent_of(ordered, self._top), strict=True):
                    column.update(counts)
                counted.clear()
        elif is_moment(kind) and rows:
            seconds, rest = seconds_of(values)
            numbers = (seconds + rest / 1e9).reshape(count, rows)
            if values.null_count:
                numbers[np.asarray(values.is_null()).reshape(count, rows)] = np.nan
            found = quantiles_of(numbers, self._steps)[0]
        if is_number(kind) or is_moment(kind) or is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
            for number in sorted(counted):
                found[number].update(frequent(values.slice(number * rows, rows), 0 if pa.types.is_floating(kind) else self._top))
        return found


def _every(table: "pa.Table", first: int, step: int) -> "pa.Table":
    """Return every `step`-th row, starting at `first`."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    return table if step == 1 else table.take(pa.array(np.arange(first, table.num_rows, step)))


def _weight(table: "pa.Table") -> int:
    """Return the bytes of a table that scale with its rows: category values are shared by all rows."""
    import pyarrow as pa  # noqa: PLC0415

    if not any(map(pa.types.is_dictionary, table.schema.types)):
        return int(table.nbytes)
    return sum(column.nbytes for column in table.columns if not pa.types.is_dictionary(column.type))


class OtherColumns:
    """Accumulates statistics over all rows of several columns of one type, not numbers.

    Args:
        kind: their type.
        count: number of columns.
    """

    def __init__(self, kind: "pa.DataType", count: int) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._nulls = [0] * count
        self._extremes: list[list[Any]] = [[] for _ in range(count)]
        moment = is_moment(kind) and not pa.types.is_duration(kind)  # Arrow has no extremes of durations
        self._ordered = is_text(kind) or moment or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)

    def add(self, place: slice, values: "pa.Array", rows: int) -> None:
        """Add some rows of some of the columns, one column after the other."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        for number, start in zip(range(place.start, place.stop), range(0, len(values), rows), strict=True):
            column = values.slice(start, rows)
            missing = column.null_count
            self._nulls[number] += missing
            if self._ordered and missing < rows:
                found = pc.min_max(column)
                extremes = self._extremes[number]
                extremes += [found["min"], found["max"]]
                if len(extremes) > _EXTREMES:
                    both = pc.min_max(pa.array(extremes))
                    extremes[:] = [both["min"], both["max"]]

    def finish(self) -> list[dict[str, Any]]:
        """Return the statistics of each column as JSON."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        made: list[dict[str, Any]] = []
        for nulls, extremes in zip(self._nulls, self._extremes, strict=True):
            found: dict[str, Any] = {"nulls": nulls}
            if extremes:
                low, high = extremes if len(extremes) == 2 else pc.min_max(pa.array(extremes)).values()
                found |= {"min": as_json(low), "max": as_json(high)}
            made.append(found)
        return made


def frequent(column: "pa.Array", most: int) -> dict[str, Any]:
    """Return the number of distinct values and the `most` frequent ones; values that occur once only if they are few."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    column = column.drop_null() if column.null_count else column
    counted = column.value_counts()
    found: dict[str, Any] = {"distinct": len(counted)}
    if not most or not len(counted):
        return found
    values, counts = counted.field("values"), counted.field("counts")
    if len(counted) > most:
        times = np.asarray(counts)
        least = max(2, int(np.partition(times, -most)[-most]))
        rows = pa.array(np.flatnonzero(times >= least)[:10_000])
        values, counts = values.take(rows), counts.take(rows)
    known = values if is_moment(values.type) else values.to_pylist()
    pairs = [[as_json(value), count] for value, count in zip(known, counts.to_pylist(), strict=True)]
    found["top"] = sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))[:most]
    return found
