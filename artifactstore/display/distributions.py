"""Small charts of the columns of a table, from its recorded profile. A profile may be false: what is malformed is not drawn."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.display.outline import BREAK, Bars, Inline, Span
from artifactstore.display.values import counted

__all__ = ["distribution"]

_MOST: Final = 100  # bars of a histogram
_NAMED: Final = 2  # most frequent values that are named beside their bar
_SHARES: Final = 4  # values that have a share of their own
_WORD: Final = 14  # characters of a value


def distribution(profile: Mapping[str, Any], name: str, kind: str, *, tips: bool) -> Inline:
    """Return the distribution of a column: a histogram of numbers and times, the shares of the most frequent other values.

    Args:
        profile: the profile of its table.
        name: its name.
        kind: its type, as in the profile.
        tips: whether each bar has a text under the pointer.
    """
    column = profile["columns"].get(name, {})
    every = profile.get("every", 1)
    sample = f" of every {every:,}th row" if isinstance(every, int) and every > 1 else ""
    found = _histogram(column, kind, sample, tips=tips)
    return found if found is not None else _shares(column, profile, sample)


def _histogram(column: Mapping[str, Any], kind: str, sample: str, *, tips: bool) -> Bars | None:
    drawn = column.get("histogram")
    if not isinstance(drawn, Mapping):
        return None
    counts, edges = drawn.get("counts", []), drawn.get("edges", [])
    if not (_numbers(counts, least=0) and _numbers(edges) and 0 < len(counts) == len(edges) - 1 <= _MOST):
        return None
    texts = [_edge(one, kind) for one in edges]
    title = f"{texts[0]} to {texts[-1]}: {counted(len(counts), 'bins')}{sample}"
    each = [f"{texts[i]} to {texts[i + 1]}: {counted(count, 'values')}{sample}" for i, count in enumerate(counts)]
    return Bars(counts, each if tips else (), title)


def _numbers(values: Any, least: float = -math.inf) -> bool:
    return isinstance(values, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e300 and one >= least for one in values
    )


def _edge(value: float, kind: str) -> str:
    if kind in {"date", "datetime"}:
        try:
            return f"{datetime.fromtimestamp(value, UTC):{'%Y-%m-%d' if kind == 'date' else '%Y-%m-%d %H:%M'}}"
        except (OverflowError, ValueError, OSError):
            pass  # a year that Python has no date of
    return f"{value:.4g}"


def _shares(column: Mapping[str, Any], profile: Mapping[str, Any], sample: str) -> Inline:
    """Return the shares of the most frequent values; nothing if no value is frequent."""
    top, distinct = column.get("top", []), column.get("distinct")
    if not (isinstance(top, list) and all(isinstance(one, list) and len(one) == 2 and _numbers(one[1:], least=0) for one in top)):
        return ""
    known = sum(count for _, count in top)
    filled = profile["rows"] - column.get("nulls", 0)
    if not top or top[0][1] < 2:
        return Span("all distinct", "label") if distinct == filled > 1 and not sample else ""
    full = known if sample else filled  # of a sample only the frequent values are known
    first = top[:_SHARES]
    total = max(full, known)
    rest = total - sum(count for _, count in first)
    words = [f"{_word(value)} {count / total:.0%}" for value, count in first]
    bars = Bars(
        [*(count for _, count in first), rest],
        [
            *(f"{value}: {counted(count, 'rows')}{sample}"[:200] for value, count in first),
            f"other values: {counted(rest, 'rows')}",
        ],
        ", ".join(words),
        of_whole=True,
    )
    return [bars, BREAK, Span(", ".join(words[:_NAMED]) + (" …" if rest or len(first) > _NAMED else ""), "label")]


def _word(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _WORD else text[: _WORD - 1] + "…"
