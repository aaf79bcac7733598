"""Formatting of values for people."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from unicodedata import normalize

__all__ = ["BARS", "counted", "duration", "format_pair", "format_size", "format_value", "moment", "short_digest", "sparkline"]


def format_size(size: int) -> str:
    """Format bytes for people: `1.2 MB`."""
    if size < 1000:
        return f"{size} bytes"
    number = size / 1000
    for unit in ("kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError  # the loop always returns


def counted(many: int, plural: str) -> str:
    """Format a number of things: `1 entry`, `2,000 entries`."""
    if many != 1:
        return f"{many:,} {plural}"
    return f"1 {plural.removesuffix('ies')}y" if plural.endswith("ies") else f"1 {plural.removesuffix('s')}"


def moment(time: datetime) -> str:
    """Format a time in UTC to the second."""
    return time.isoformat(" ", "seconds")[:19]  # four times as fast as strftime


def duration(seconds: float) -> str:
    """Format a duration for people: `0.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"


_SHORT: Final = 12  # hexadecimal digits of a digest that are shown


def short_digest(digest: str) -> str:
    """Shorten a digest: `blake3:0123456789ab…`."""
    algorithm, _, number = digest.partition(":")
    return f"{algorithm}:{number[:_SHORT]}…"


BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """Draw a series in one line of text: the largest of each part; a gap where nothing is finite."""
    width = min(width, len(values))
    parts = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    tops = [max((one for one in part if abs(one) < float("inf")), default=None) for part in parts]
    known = [one for one in tops if one is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(" " if one is None else BARS[round((one - low) / step)] for one in tops)


_LONGEST: Final = 80  # characters of a value


def format_value(value: Any) -> str:
    """Format a value for display."""
    return _excerpt(f"{value:.6g}" if isinstance(value, float) else _full_text(value), 0)


def format_pair(old: Any, new: Any) -> tuple[str, str]:
    """Format two different values so that their difference is visible."""
    shown = format_value(old), format_value(new)
    if normalize("NFC", shown[0]) != normalize("NFC", shown[1]):
        return shown
    whole = _full_text(old), _full_text(new)
    if whole[0] == whole[1] or normalize("NFC", whole[0]) == normalize("NFC", whole[1]):
        whole = json.dumps(old), json.dumps(new)  # 1 and "1"; accents in one character and in two
    alike = next((i for i, (one, other) in enumerate(zip(*whole, strict=False)) if one != other), min(map(len, whole)))
    begin = max(0, alike - _LONGEST // 2)
    return _excerpt(whole[0], begin), _excerpt(whole[1], begin)


def _full_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _excerpt(text: str, begin: int) -> str:
    end = begin + _LONGEST
    return ("…" if begin else "") + text[begin:end] + ("…" if len(text) > end else "")
