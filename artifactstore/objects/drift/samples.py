"""Samples of a column in bounded memory: exact while the distinct values fit, otherwise a summary whose error is known.

`Numbers` keeps values that have an order, `Categories` keeps counts of values that have none.
"""

from typing import Any, Final

from artifactstore.runtime.loading import numpy

__all__ = ["Categories", "Numbers"]

_LABELS: Final = 1000  # distinct values whose texts are kept, to be shown
_HEAVY: Final = 1024  # most frequent values that a summary of categories always keeps


class Numbers:
    """Values with an order, sorted, with how often each occurs.

    Once more than `limit` distinct values came, they are summarised by merging equal-weight representatives (Munro and
    Paterson, 1980): each level of merges shifts a rank by at most one representative's weight.

    Args:
        limit: distinct values that are kept.

    Attributes:
        count: number of values.
        low: the smallest, or None.
        high: the largest, or None.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self.count = 0
        self.low: Any = None
        self.high: Any = None
        self._limit = limit
        self._fresh: list[tuple[Any, Any]] = []
        self._held = 0
        self._levels: list[tuple[Any, Any] | None] = []
        self._depth = 0

    @property
    def error(self) -> float:
        """The most that a share of values below some value can be off; 0.0 if every value was kept."""
        return self._depth / (self._limit // 4) if self._depth else 0.0

    def add(self, values: Any, counts: Any = None) -> None:
        """Add values of one dtype; `counts` says how often each occurs."""
        np = numpy()
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        if counts is None:
            values, counts = np.unique(values, return_counts=True)
        self.count += int(counts.sum())
        self._fresh.append((values, counts))
        self._held += len(values)
        if self._held > self._limit:
            self._reduce()

    def _reduce(self) -> None:
        merged = _merged(self._fresh)
        if len(merged[0]) * 2 <= self._limit:
            self._fresh, self._held = [merged], len(merged[0])
            return
        block = _thinned(*merged, self._limit // 4)
        self._fresh, self._held, at = [], 0, 0
        while at < len(self._levels) and (other := self._levels[at]) is not None:
            block = _thinned(*_merged([other, block]), self._limit // 4)
            self._levels[at] = None
            at += 1
        if at == len(self._levels):
            self._levels.append(None)
        self._levels[at] = block
        self._depth = max(self._depth, at + 1)

    def finish(self) -> tuple[Any, Any]:
        """Return the values, sorted and distinct, and how often each occurs."""
        return _merged([*self._fresh, *(level for level in self._levels if level is not None)])


def _merged(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Merge sorted samples."""
    np = numpy()
    if not parts:
        return np.zeros(0), np.zeros(0, np.int64)
    if len(parts) == 1:
        return parts[0]
    values, inverse = np.unique(np.concatenate([one for one, _ in parts]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, inverse.ravel(), np.concatenate([one for _, one in parts]))
    return values, counts


def _thinned(values: Any, counts: Any, most: int) -> tuple[Any, Any]:
    """Return at most `most` representatives, each of which stands for the same number of values."""
    np = numpy()
    if len(values) <= most:
        return values, counts
    reached = np.cumsum(counts)
    total = int(reached[-1])
    bounds = np.arange(most + 1, dtype=np.float64) * total / most
    bounds = bounds.astype(np.int64)
    middles = (bounds[:-1] + bounds[1:]) // 2
    at = np.searchsorted(reached, middles, side="right")
    weights = np.diff(bounds)
    chosen, inverse = np.unique(at, return_inverse=True)
    kept = np.zeros(len(chosen), np.int64)
    np.add.at(kept, inverse.ravel(), weights)
    return values[chosen], kept


class Categories:
    """Values without an order, each by a hash of 64 bits, with how often it occurs.

    Once more than `limit` distinct values came, only those whose hash ends with some zero bits are kept, and the most
    frequent: the same ones in every sample, so that two samples still show which values they share.

    Args:
        limit: distinct values that are kept.

    Attributes:
        count: number of values.
        bits: lowest bits of a hash that are zero in what is kept; 0 if all values are.
        labels: hash → text, of some values.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self.count = 0
        self.bits = 0
        self.labels: dict[int, str] = {}
        self._limit = limit
        self._parts: list[tuple[Any, Any]] = []
        self._held = 0

    def add(self, hashes: Any, counts: Any, texts: Any = ()) -> None:
        """Add distinct values.

        Args:
            hashes: a hash of each.
            counts: how often each occurs.
            texts: called with an index, returns the value's text.
        """
        np = numpy()
        order = np.argsort(hashes, kind="stable")
        for at in range(min(len(hashes), _LABELS)):
            if len(self.labels) >= _LABELS:
                break
            self.labels.setdefault(int(hashes[at]), texts(at))
        self.count += int(counts.sum())
        self._parts.append((hashes[order], counts[order]))
        self._held += len(hashes)
        if self._held > 2 * self._limit:
            self._reduce()

    def _reduce(self) -> None:
        np = numpy()
        hashes, counts = _merged(self._parts)
        first = bool(self.bits)  # what came since may not be in the sample
        while len(hashes) > self._limit or first:
            self.bits += not first
            first = False
            keep = (hashes & np.uint64((1 << self.bits) - 1)) == 0
            keep[np.argsort(-counts, kind="stable")[: min(_HEAVY, self._limit // 4)]] = True
            if keep.all():
                break
            hashes, counts = hashes[keep], counts[keep]
        self._parts, self._held = [(hashes, counts)], len(hashes)

    def finish(self) -> tuple[Any, Any]:
        """Return the hashes, sorted and distinct, and how often each value occurs."""
        np = numpy()
        self._reduce()
        hashes, counts = self._parts[0]
        return hashes.astype(np.uint64, copy=False), counts

    def distinct(self) -> int:
        """Return the number of distinct values; estimated if not all are kept."""
        np = numpy()
        hashes, _ = self.finish()
        if not self.bits:
            return len(hashes)
        return int(((hashes & np.uint64((1 << self.bits) - 1)) == 0).sum()) << self.bits
