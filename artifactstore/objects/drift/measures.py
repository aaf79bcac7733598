"""Distances between two distributions: Population Stability Index, Jensen-Shannon, Kolmogorov-Smirnov; and the bins for them.

A bin that is empty on one side counts as a share of 0.0001, since its logarithm would be infinite.
"""

import math
from typing import Any, Final

from artifactstore.runtime.loading import numpy

__all__ = ["BINS", "MIN_SHARE", "bin_counts", "js", "ks", "psi"]

BINS: Final = 10  # quantile bins of the reference
MIN_SHARE: Final = 1e-4
_DISCRETE: Final = 2 * BINS  # distinct values of the reference up to which each has its own bin


def psi(reference: Any, current: Any) -> float:
    """Return the Population Stability Index of two lists of counts over the same bins: Σ (q - p) · ln(q / p).

    Args:
        reference: counts, not all 0.
        current: counts, not all 0.
    """
    p, q = _shares(reference, current)
    np = numpy()
    p, q = np.maximum(p, MIN_SHARE), np.maximum(q, MIN_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def js(reference: Any, current: Any) -> float:
    """Return the Jensen-Shannon distance of two lists of counts: the root of the divergence in bits, 0 (alike) to 1.

    As `scipy.spatial.distance.jensenshannon(p, q, base=2)`.
    """
    np = numpy()
    p, q = _shares(reference, current)
    middle = (p + q) / 2
    total = 0.0
    for one in (p, q):
        some = one > 0
        total += float((one[some] * np.log2(one[some] / middle[some])).sum())
    return math.sqrt(max(0.0, total / 2))


def _shares(reference: Any, current: Any) -> tuple[Any, Any]:
    """Return shares over the bins that are not empty on both sides."""
    np = numpy()
    p, q = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    some = (p + q) > 0
    p, q = p[some], q[some]
    return p / p.sum(), q / q.sum()


def ks(reference: tuple[Any, Any], current: tuple[Any, Any]) -> float:
    """Return the largest difference of two empirical distributions, each distinct sorted values with counts.

    As the statistic of `scipy.stats.ks_2samp`.
    """
    np = numpy()
    points = np.union1d(reference[0], current[0])
    below = []
    for values, counts in (reference, current):
        reached = np.concatenate([[0], np.cumsum(counts)])
        below.append(reached[np.searchsorted(values, points, side="right")] / reached[-1])
    return float(np.abs(below[0] - below[1]).max())


def bin_counts(reference: tuple[Any, Any], current: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return counts of both sides over the bins of the reference.

    Up to 20 distinct values of the reference are a bin each, and what lies between them is, too: a column of zeros and ones, or a
    constant, has no quantiles. Else the bins are tenths of the reference, open at both ends; a value on an edge belongs below it.

    Args:
        reference: distinct sorted values with counts, not empty.
        current: likewise; may be empty.
    """
    np = numpy()
    values = reference[0]
    if len(values) <= _DISCRETE:
        size = 2 * len(values) + 1

        def place(given: Any) -> Any:
            at = np.searchsorted(values, given, side="left")
            equal = (at < len(values)) & (values[np.minimum(at, len(values) - 1)] == given)
            return 2 * at + equal
    else:
        edges = np.unique(_quantiles(*reference))
        size = len(edges) + 1

        def place(given: Any) -> Any:
            return np.searchsorted(edges, given, side="left")

    counts = []
    for given, times in (reference, current):
        found = np.zeros(size, np.int64)
        if len(given):
            np.add.at(found, place(given), times)
        counts.append(found)
    return counts[0], counts[1]


def _quantiles(values: Any, counts: Any) -> Any:
    """Return the nine deciles inside, interpolated as `numpy.quantile` does; of integers rounded down, which parts them alike."""
    np = numpy()
    reached = np.cumsum(counts)
    total = int(reached[-1])
    whole = values.dtype.kind != "f"
    found = []
    for tenth in range(1, BINS):
        at, rest = divmod((total - 1) * tenth, BINS)
        low, high = (values[int(np.searchsorted(reached, one, side="right"))].item() for one in (at, min(at + 1, total - 1)))
        if whole:
            found.append(low + (high - low) * rest // BINS)
        elif math.isinf(low) or math.isinf(high):
            found.append(low)
        else:
            found.append(low + (high - low) * (rest / BINS))
    return np.array(found, values.dtype)
