"""The p-value of the two-sample Kolmogorov-Smirnov statistic, as `scipy.stats.ks_2samp` chooses it."""

import math
from typing import Final

from artifactstore.runtime.loading import numpy

__all__ = ["p_value"]

_EXACT: Final = 10_000  # values of the larger sample up to which paths are counted; scipy's own limit
_SMALL: Final = 1000  # values of both samples together whose counts of paths fit into a float
_FAR: Final = 9.0  # n·d² above which counts far from the diagonal do not: p < 3e-8
_CANCELLED: Final = 1e-11  # p below which the difference of counts has too few digits
_TAIL: Final = 6.0  # n·d² above which Pelz and Good's terms cancel: p < 1e-5
_SQRT_2PI: Final = math.sqrt(2 * math.pi)


def p_value(distance: float, m: int, n: int) -> float:
    """Return the probability of a distance at least as large between two samples of one continuous distribution.

    Samples of up to 10,000 values are counted exactly (Hodges, 1958); larger ones by the distribution of one sample of
    m·n / (m + n) values, with the terms of Pelz and Good (1976). Ties make the result too large, never too small.

    Args:
        distance: the statistic, 0 to 1.
        m: number of values of one sample, at least 1.
        n: number of values of the other.
    """
    found = None
    if m + n <= _SMALL or (max(m, n) <= _EXACT and m * n / (m + n) * distance**2 < _FAR):
        found = _exact(distance, max(m, n), min(m, n))
    return _asymptotic(distance, round(m * n / (m + n))) if found is None or found < _CANCELLED else found


def _exact(distance: float, m: int, n: int) -> float:
    """Count the paths that stay inside of the band, row by row: Schröer and Trenkler (1995), as `psmirnov` of R does."""
    np = numpy()
    limit = (0.5 + math.floor(distance * m * n - 1e-7)) / (m * n)
    if limit < 0:
        return 1.0
    row = np.zeros(n + 1)
    row[: math.floor(limit * n) + 1] = 1.0
    scale = 0.0  # logarithm of what the counts were divided by: they have thousands of digits
    for i in range(1, m + 1):
        centre = i / m
        low = max(0, math.ceil((centre - limit) * n))
        high = min(n, math.floor((centre + limit) * n))
        inside = np.cumsum(row[low : high + 1])
        if low > high or not inside[-1] > 0:
            return 1.0  # no path is that close to the diagonal
        largest = inside[-1]
        scale += math.log(largest)
        row[:] = 0.0
        row[low : high + 1] = inside / largest
    every = math.lgamma(m + n + 1) - math.lgamma(m + 1) - math.lgamma(n + 1)
    found = -math.expm1(math.log(row[n]) + scale - every) if row[n] > 0 else 1.0
    return min(1.0, found)


def _asymptotic(distance: float, n: int) -> float:
    """Return the survival function of the one-sample statistic, without scipy."""
    if distance <= 0 or n < 1:
        return 1.0
    if distance >= 1:
        return 0.0
    square = n * distance * distance
    if square >= _TAIL:  # twice the one-sided probability: a tenth off for 100 values, less for more
        return min(1.0, 2 * math.exp(-((6 * n * distance + 1) ** 2) / (18 * n)))
    return min(1.0, max(0.0, 1.0 - _pelz_good(n, math.sqrt(square))))


def _pelz_good(n: int, z: float) -> float:
    """Return P(√n·D ≤ z): K0(z) + K1(z)/√n + K2(z)/n + K3(z)/n^1.5 (Pelz and Good, 1976; Simard and L'Ecuyer, 2011)."""
    pi2, pi4, pi6 = math.pi**2, math.pi**4, math.pi**6
    exponent = -pi2 / 8 / z**2
    if exponent < -700:
        return 0.0
    terms = [0.0, 0.0, 0.0, 0.0]
    last = math.ceil(16 * z / math.pi)
    for k in range(1, last + 1):
        odd = (2 * k - 1) ** 2
        weight = math.exp(exponent * odd)
        terms[0] += weight
        terms[1] += weight * (-(z**2) + pi2 / 4 * odd)
        terms[2] += weight * (6 * z**6 + 2 * z**4 + (2 * z**4 - 5 * z**2) * pi2 / 4 * odd + pi4 * (1 - 2 * z**2) / 16 * odd**2)
        terms[3] += weight * (
            -30 * z**6
            - 90 * z**8
            + pi2 * (135 * z**4 - 96 * z**6) / 4 * odd
            + pi4 * (-60 * z**2 + 212 * z**4) / 16 * odd**2
            + pi6 * (5 - 30 * z**2) / 64 * odd**3
        )
    scales = (z, 6 * z**4, 72 * z**7, 6480 * z**10)
    terms = [term * _SQRT_2PI / scale for term, scale in zip(terms, scales, strict=True)]
    for k in range(1, last + 1):
        weight = k**2 * math.exp(-pi2 / 2 / z**2 * k**2)
        terms[2] -= weight * pi2 * _SQRT_2PI / (36 * z**3)
        terms[3] += weight * (3 * z**2 - pi2 * k**2) * pi2 * _SQRT_2PI / (216 * z**6)
    return float(sum(term / n ** (power / 2) for power, term in enumerate(terms)))
