"""The values of metrics in order, for searches: made when a metric is first asked for, and brought up to date by what was measured since.

Not a part of the state: nothing is judged by it, and no cache has it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from artifactstore.catalog.comparison import Comparison

__all__ = ["SortedMetrics"]

_TOUCHED: Final = 5000  # keys measured since, beyond which the values are sorted again


class SortedMetrics:
    """The digests of measured artifacts, in the order of the values of a metric."""

    def __init__(self) -> None:
        self._sorted: dict[str, tuple[list[float], list[str]]] = {}
        self._touched: set[str] = set()

    def touch(self, key: str) -> None:
        """Note that the values of a digest may have changed."""
        if self._sorted:
            self._touched.add(key)

    def chosen(self, table: Mapping[str, Mapping[str, float]], metric: str, test: "Comparison") -> Iterator[str]:
        """Yield the digests whose value of a metric meets a comparison."""
        if len(self._touched) > _TOUCHED:
            self._sorted, self._touched = {}, set()
        if metric not in self._sorted:
            pairs = [(row[metric], key) for key, row in table.items() if metric in row and not key.startswith("run:")]
            pairs.sort(key=itemgetter(0))
            self._sorted[metric] = [value for value, _ in pairs], [key for _, key in pairs]
        values, keys = self._sorted[metric]
        low, high = bisect_left(values, test.number), bisect_right(values, test.number)
        spans: Mapping[str, tuple[tuple[int, int], ...]] = {
            ">=": ((low, len(keys)),),
            ">": ((high, len(keys)),),
            "<=": ((0, high),),
            "<": ((0, low),),
            "==": ((low, high),),
            "!=": ((0, low), (high, len(keys))),
        }
        for key in chain.from_iterable(keys[begin:end] for begin, end in spans[test.op]):
            if key not in self._touched:
                yield key
        for key in sorted(self._touched):
            row: Any = table.get(key)
            if row is not None and metric in row and test(row[metric]):
                yield key
