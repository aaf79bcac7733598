"""Values as people read them."""

import json
from typing import Any, Final
from unicodedata import normalize

__all__ = ["amount", "format_value", "pair"]


def amount(size: int) -> str:
    """Format bytes for people: `1.2 MB`."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{size} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError  # the loop always returns


_LONGEST: Final = 80  # characters of a value


def format_value(value: Any) -> str:
    """Format a value for display."""
    return _part(f"{value:.6g}" if isinstance(value, float) else _whole(value), 0)


def pair(old: Any, new: Any) -> tuple[str, str]:
    """Format two different values so that their difference is visible."""
    shown = format_value(old), format_value(new)
    if normalize("NFC", shown[0]) != normalize("NFC", shown[1]):
        return shown
    whole = _whole(old), _whole(new)
    if whole[0] == whole[1] or normalize("NFC", whole[0]) == normalize("NFC", whole[1]):
        whole = json.dumps(old), json.dumps(new)  # 1 and "1"; accents in one character and in two
    alike = next((i for i, (one, other) in enumerate(zip(*whole, strict=False)) if one != other), min(map(len, whole)))
    begin = max(0, alike - _LONGEST // 2)
    return _part(whole[0], begin), _part(whole[1], begin)


def _whole(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(text: str, begin: int) -> str:
    end = begin + _LONGEST
    return ("…" if begin else "") + text[begin:end] + ("…" if len(text) > end else "")
