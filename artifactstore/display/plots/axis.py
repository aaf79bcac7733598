"""Axes: what of some values can be placed, where, and the round numbers beside it."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from artifactstore.errors import InvalidInputError

__all__ = ["Axis", "axis_of", "number_of", "ticks_between"]

_CATEGORIES: Final = 40  # values of texts that an axis has room for
_TICKS: Final = 6
_LARGEST: Final = sys.float_info.max
_WHOLE: Final = 7  # different whole numbers that have a tick each
# Steps of times, in seconds, and the form of their labels; longer ones are months and years.
_AGES: Final = 6e10  # seconds, within the years of `datetime`
_DAY: Final = 86_400.0
_STEPS: Final = (
    (1, "%H:%M:%S"), (2, "%H:%M:%S"), (5, "%H:%M:%S"), (10, "%H:%M:%S"), (30, "%H:%M:%S"), (60, "%H:%M"), (120, "%H:%M"), (300, "%H:%M"),
    (600, "%H:%M"), (1800, "%H:%M"), (3600, "%H:%M"), (2 * 3600, "%m-%d %H:%M"), (6 * 3600, "%m-%d %H:%M"),
    (12 * 3600, "%m-%d %H:%M"), (_DAY, "%Y-%m-%d"), (2 * _DAY, "%Y-%m-%d"), (7 * _DAY, "%Y-%m-%d"), (14 * _DAY, "%Y-%m-%d"), (30 * _DAY, "%Y-%m-%d"),
    (91 * _DAY, "%Y-%m-%d"), (365 * _DAY, "%Y-%m-%d"), (3650 * _DAY, "%Y"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        label: what it shows.
        kind: number, log, time or category.
        low: the value at its begin; the logarithm on a logarithmic one.
        high: the value at its end.
        ticks: (position, label) of each tick; positions are between 0 and 1.
        names: the values of a category axis, as text.
        ends: the smallest and the largest value.
    """

    label: str
    kind: Literal["number", "log", "time", "category"]
    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    names: dict[str, int] = field(default_factory=dict)
    ends: tuple[float, float] = (0.0, 1.0)

    def at(self, value: Any) -> float | None:
        """Return the position of a value between 0 and 1; None if it has none."""
        if self.kind == "category":
            place = None if value is None else self.names.get(str(value))
            return None if place is None else (place + 0.5) / len(self.names)
        number = number_of(value)
        if number is None or (self.kind == "log" and number <= 0):
            return None
        number = math.log10(number) if self.kind == "log" else number
        return (number / 2 - self.low / 2) / (self.high / 2 - self.low / 2)  # halves: no difference overflows

    @property
    def extent(self) -> str:
        """The first and the last value in words."""
        if self.kind == "category":
            return f"{len(self.names):,} values"
        if self.kind == "time" and all(abs(one) < _AGES for one in self.ends):
            return " to ".join(f"{datetime.fromtimestamp(one, UTC):%Y-%m-%d %H:%M}" for one in self.ends)
        low, high = (10**one if self.kind == "log" else one for one in self.ends)
        return f"{low:.4g} to {high:.4g}"


def number_of(value: Any) -> float | None:
    """Return a finite number, or a time in seconds; None for anything else."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def axis_of(label: str, values: Sequence[Any], *, log: bool = False, margin: float = 0.0) -> Axis:
    """Return the axis of some values: of texts and booleans one with categories, else one of numbers or times.

    Args:
        label: what it shows.
        values: the values; None where there is none.
        log: a logarithmic scale.
        margin: share of the range that is added at both ends.

    Raises:
        InvalidInputError: too many different texts, or nothing that a logarithmic scale can show.
    """
    known = [value for value in values if value is not None]
    if known and not any(isinstance(value, int | float | datetime) and not isinstance(value, bool) for value in known):
        names = {name: i for i, name in enumerate(sorted({str(value) for value in known}))}
        if len(names) > _CATEGORIES:
            raise InvalidInputError(f"{label} has {len(names):,} different texts: an axis has room for {_CATEGORIES}")
        if log:
            raise InvalidInputError(f"log=: {label} has texts; a logarithmic scale needs numbers")
        return Axis(label, "category", 0.0, 1.0, [((i + 0.5) / len(names), name) for name, i in names.items()], names)
    times = any(isinstance(value, datetime) for value in known)
    numbers = [number for value in known if (number := number_of(value)) is not None]
    if log:
        if times:
            raise InvalidInputError(f"log=: {label} is a time; a logarithmic scale needs numbers")
        positive = [math.log10(number) for number in numbers if number > 0]
        if numbers and not positive:
            raise InvalidInputError(f"log=: {label} has no positive number; a logarithmic scale needs them")
        numbers = positive
    ends = low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    if not high / 2 - low / 2 > abs(high) * 1e-12:
        space = 1800.0 if times else 0.5 if log or not low else abs(low) / 10
        low, high = max(low - space, -_LARGEST), min(high + space, _LARGEST)
    elif math.isfinite(room := margin * (high - low)):
        low, high = max(low - room, -_LARGEST), min(high + room, _LARGEST)
    kind: Literal["number", "log", "time"] = "log" if log else "time" if times else "number"
    ticks = _log_ticks(low, high) if log else _time_ticks(low, high) if times else ticks_between(low, high)
    if (
        not log
        and len(whole := set(known)) <= _WHOLE
        and all(isinstance(one, int) for one in whole)
        and len(numbers) == len(known)
    ):
        ticks = [(float(one), f"{one:,}") for one in sorted(whole)]
    scale = Axis(label, kind, low, high)
    placed = [(place, text) for value, text in ticks if (place := _place(scale, value)) is not None]
    return Axis(label, kind, low, high, placed, ends=ends)


def _place(axis: Axis, value: float) -> float | None:
    place = (value / 2 - axis.low / 2) / (axis.high / 2 - axis.low / 2)
    return min(1.0, max(0.0, place)) if -1e-6 <= place <= 1 + 1e-6 else None


def ticks_between(low: float, high: float, count: int = _TICKS) -> list[tuple[float, str]]:
    """Return round numbers between two numbers, with their labels."""
    span = high - low
    if not math.isfinite(span) or span <= max(abs(low), abs(high)) * 1e-12:
        return [(low, f"{low:.3g}"), (high, f"{high:.3g}")]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    if not power:  # below what floats can show
        return [(low, f"{low:.3g}"), (high, f"{high:.3g}")]
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    values = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, _number(value, step)) for value in values]


def _number(value: float, step: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        return f"{value:.{min(digits, 12)}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:,.{min(decimals, 12)}f}"


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return powers of ten, of a short range also numbers between them, of a long one some of them."""
    first, last = math.floor(low), math.ceil(high)
    step = max(1, -(-(last - first) // 8))
    factors = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 3.5 else (1,)
    found = [(power + math.log10(factor), power, factor) for power in range(first, last + 1, step) for factor in factors]
    ticks = [
        (place, f"{factor * 10.0**power:g}")
        for place, power, factor in found
        if low - 1e-9 <= place <= high + 1e-9 and abs(power) < 300
    ]
    return ticks if len(ticks) > 1 else [(low, f"{10**low:.3g}"), (high, f"{10**high:.3g}")]


def _time_ticks(low: float, high: float) -> list[tuple[float, str]]:
    raw = (high - low) / _TICKS
    step, form = next(((step, form) for step, form in _STEPS if step >= raw), _STEPS[-1])
    if not (high - low) / step < 4 * _TICKS:
        return []  # numbers among times, or more years than there are
    first = math.ceil(low / step)
    values = [number * step for number in range(first, math.floor(high / step) + 1)]
    values = values if len(values) > 1 else [low, high]
    try:
        return [(value, f"{datetime.fromtimestamp(value, UTC):{form}}") for value in values]
    except (OverflowError, ValueError, OSError):
        return []
