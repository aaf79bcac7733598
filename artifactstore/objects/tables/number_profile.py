"""Statistics of columns of numbers, of many columns at once: each row of a matrix is a column of the table."""

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NumberColumns", "finite_rows", "frequent_of", "quantiles_of", "rounded_rows"]

_BINS: Final = 20  # bins of a histogram
_DIGITS: Final = 12  # significant digits of a float: the last ones depend on the processor
_EXACT: Final = 22  # 10**22 is the highest power of ten that is a float
_SMALLEST: Final = _DIGITS - _EXACT  # power of ten of the smallest number that such a power brings to twelve digits
_LARGEST: Final = _DIGITS - _SMALLEST


def finite_rows(values: "pa.Array", rows: int) -> tuple[Any, Any, Any]:
    """Return the numbers of several columns as a matrix.

    Args:
        values: the columns, one after the other.
        rows: rows of the table, at least 1.

    Returns:
        The numbers; which of them are finite and not missing (None: all are); per column the count of infinite ones.
    """
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    count = len(values) // rows
    none = np.zeros(count, np.int64)
    if not pa.types.is_floating(values.type):
        present = None
        if values.null_count:
            present = np.asarray(values.is_valid()).reshape(count, rows)
            values = values.fill_null(0)
        numbers = np.asarray(values)
        return (
            numbers.astype(np.uint64 if numbers.dtype.kind == "u" else np.int64, copy=False).reshape(count, rows),
            present,
            none,
        )
    numbers = values.to_numpy(zero_copy_only=False).reshape(count, rows)
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers, None, none
    return numbers, finite, np.isinf(numbers).sum(1)


class NumberColumns:
    """Accumulates statistics over all rows of several columns of one type.

    Args:
        kind: their type.
        count: number of columns.
    """

    def __init__(self, kind: "pa.DataType", count: int) -> None:
        del kind  # known when the first values come
        np = numpy()
        self._nulls, self._infinite, self._count = (np.zeros(count, np.int64) for _ in range(3))
        self._mean, self._squares = np.zeros(count), np.zeros(count)  # of finite numbers; squared deviations from the mean
        self._sums = [0] * count  # of integers, which may exceed 64 bits
        self._low: Any = None
        self._high: Any = None

    def add(self, place: slice, values: "pa.Array", rows: int) -> None:
        """Add some rows of some of the columns.

        Args:
            place: the columns.
            values: their values, one column after the other.
            rows: rows of each, at least 1.
        """
        np = numpy()
        numbers, present, infinite = finite_rows(values, rows)
        whole = numbers.dtype.kind != "f"
        count = np.full(len(numbers), rows) if present is None else present.sum(1)
        self._nulls[place] += rows - count - infinite
        self._infinite[place] += infinite
        self._extremes(place, numbers, present)
        if whole:
            # Halve each number, so that no sum of them overflows.
            kept = numbers if present is None else np.where(present, numbers, 0)
            high, low = (kept >> 32).sum(1).tolist(), (kept & 0xFFFFFFFF).sum(1).tolist()
            self._sums[place] = [
                before + (upper << 32) + lower for before, upper, lower in zip(self._sums[place], high, low, strict=True)
            ]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            apart = numbers.astype(np.float64)
            if present is not None:
                apart[~present] = 0.0
            mean = np.where(count > 0, apart.sum(1) / np.maximum(count, 1), 0.0)
            apart -= mean[:, None]
            if present is not None:
                apart[~present] = 0.0
            np.multiply(apart, apart, out=apart)  # not `dot`, which starts threads
            squares = apart.sum(1)
            # Merge the means and squares of two samples (Chan, Golub and LeVeque, 1979).
            before = self._count[place]
            total, step = before + count, mean - self._mean[place]
            share = count / np.maximum(total, 1)
            step[count == 0] = 0.0
            self._squares[place] += squares + step * step * before * share
            self._mean[place] += step * share
            self._count[place] = total

    def _extremes(self, place: slice, numbers: Any, present: Any) -> None:
        np = numpy()
        if self._low is None:
            low, high = _limits(np, numbers.dtype)
            self._low, self._high = np.full(len(self._count), high), np.full(len(self._count), low)
        low, high = _limits(np, numbers.dtype)
        lowest = numbers.min(1) if present is None else np.where(present, numbers, high).min(1)
        highest = numbers.max(1) if present is None else np.where(present, numbers, low).max(1)
        self._low[place] = np.minimum(self._low[place], lowest)
        self._high[place] = np.maximum(self._high[place], highest)

    def finish(self) -> list[dict[str, Any]]:
        """Return the statistics of each column as JSON."""
        np = numpy()
        found: list[dict[str, Any]] = [{"nulls": nulls} for nulls in self._nulls.tolist()]
        for column, infinite in zip(found, self._infinite.tolist(), strict=True):
            if infinite:
                column["infinite"] = infinite
        if self._low is None:
            return found
        whole = self._low.dtype.kind != "f"
        with np.errstate(over="ignore", invalid="ignore"):
            deviations = rounded_rows(np.sqrt(self._squares / np.maximum(self._count - 1, 1)))
        lows, highs = (one.tolist() if whole else rounded_rows(one.astype(np.float64)) for one in (self._low, self._high))
        counts = self._count.tolist()
        means = [total / max(count, 1) for total, count in zip(self._sums, counts, strict=True)] if whole else self._mean
        columns = zip(found, counts, lows, highs, rounded_rows(np.asarray(means, np.float64)), deviations, strict=True)
        for column, count, low, high, mean, deviation in columns:
            if count:
                column |= {"min": low, "max": high, "mean": mean, "std": deviation if count > 1 else 0.0}
        return found


def _limits(np: Any, dtype: Any) -> tuple[Any, Any]:
    """Return the lowest and the highest number of a dtype, as that dtype."""
    if dtype.kind == "f":
        return dtype.type(-math.inf), dtype.type(math.inf)
    return dtype.type(np.iinfo(dtype).min), dtype.type(np.iinfo(dtype).max)


def quantiles_of(numbers: Any, steps: int) -> tuple[list[dict[str, Any]], Any]:
    """Return quantiles and histogram of each row of a matrix of float64, in which NaN is missing.

    Args:
        numbers: the matrix.
        steps: steps from the lowest quantile to the highest.

    Returns:
        The statistics of each column, and the sorted matrix, missing values last.
    """
    np = numpy()
    ordered = np.sort(numbers, axis=1)
    counts = np.full(len(ordered), ordered.shape[1]) - np.isnan(ordered).sum(1)
    found: list[dict[str, Any]] = [{} for _ in range(len(ordered))]
    some = np.flatnonzero(counts)
    if not len(some):
        return found, ordered
    held, last = ordered[some], counts[some] - 1
    ranks = np.arange(steps + 1) * last[:, None] // steps
    quantiles = rounded_rows(np.take_along_axis(held, ranks, 1))
    low, high = held[:, 0], held[np.arange(len(held)), last]
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = np.isfinite(high - low)
        level = low == high
        edges = np.linspace(np.where(level, low - 0.5, low), np.where(level, high + 0.5, high), _BINS + 1, axis=1)
    drawn &= (edges[:, :-1] < edges[:, 1:]).all(1)  # close large numbers do not have that many floats between them
    ends = np.zeros(edges.shape, np.int64)
    ends[:, -1] = last + 1
    for row, inner, count, places in zip(held, edges[:, 1:-1], (last + 1).tolist(), ends, strict=True):
        places[1:-1] = row[:count].searchsorted(inner)
    bins, texts = np.diff(ends, axis=1).tolist(), rounded_rows(edges)
    for i, (column, has_histogram) in enumerate(zip(some.tolist(), drawn.tolist(), strict=True)):
        found[column]["quantiles"] = quantiles[i]
        if has_histogram:
            found[column]["histogram"] = {"counts": bins[i], "edges": texts[i]}
    return found, ordered


def frequent_of(ordered: Any, most: int) -> list[dict[str, Any]]:
    """Return the number of distinct values, and the `most` frequent ones, of each row of a sorted matrix of whole numbers.

    Values that occur once are among these only if they are few. Missing numbers are NaN, and last.
    """
    np = numpy()
    starts = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
    starts &= ~np.isnan(ordered)
    at = np.flatnonzero(starts)
    ends = np.empty_like(at)
    lasts = np.arange(1, len(ordered) + 1) * ordered.shape[1] - np.isnan(ordered).sum(1)  # behind the numbers of each row
    ends[:-1] = at[1:]
    rows = at // ordered.shape[1]
    final = np.append(rows[1:] != rows[:-1], True) if len(at) else np.zeros(0, bool)
    ends[final] = lasts[rows[final]]
    counts, values = ends - at, ordered.reshape(-1)[at].astype(np.int64)
    found: list[dict[str, Any]] = []
    for low, high in pairwise([0, *np.cumsum(starts.sum(1)).tolist()]):
        one: dict[str, Any] = {"distinct": high - low}
        if high > low:
            times, numbers = counts[low:high], values[low:high]
            if high - low > most:
                often = np.flatnonzero(times >= max(2, int(np.partition(times, -most)[-most])))[:10_000]
                times, numbers = times[often], numbers[often]
            pairs = [[number, count] for number, count in zip(numbers.tolist(), times.tolist(), strict=True)]
            one["top"] = sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))[:most]
        found.append(one)
    return found


def rounded_rows(numbers: Any) -> list[Any]:
    """Return floats rounded to twelve digits, as nested lists; None for those that are not finite, which JSON cannot express."""
    np = numpy()
    flat = np.asarray(numbers, np.float64).reshape(-1)
    size = np.abs(flat)
    usual = (size < 1e33) & ((size >= 1e-10) | (size == 0.0))
    # The power of ten below each number. Both that and the digits are exact, so their product or quotient is the nearest float.
    shift = _LARGEST - np.searchsorted(_powers(_SMALLEST, 33), np.where(usual, size, 1.0), side="right")
    exact = _powers(0, _EXACT)
    up, down = exact[np.maximum(shift, 0)], exact[np.maximum(-shift, 0)]
    made = np.rint(np.where(usual, flat, 1.0) * up / down) / up * down
    listed = made.tolist()
    for i in np.flatnonzero(~usual).tolist():
        value = float(flat[i])
        listed[i] = float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    width = numbers.shape[-1]
    if numbers.ndim == 1:
        return [*listed]
    return [listed[at : at + width] for at in range(0, len(listed), width)]


@cache
def _powers(first: int, last: int) -> Any:
    return numpy().array([float(f"1e{one}") for one in range(first, last + 1)])
