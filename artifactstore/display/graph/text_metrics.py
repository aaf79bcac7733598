"""Text metrics without fonts: XML-safe text, upper bounds of its width, and shortening."""

import unicodedata
from typing import Final

__all__ = ["MONO", "clean", "escaped", "has_known_width", "short_alias", "shortened", "width"]

MONO: Final = 0.61  # width of a monospaced character, relative to the font size

# Width of ASCII from the space on in DejaVu Sans, in hundredths of the font size: of the common sans-serif fonts only Verdana is wider.
_BOLD: Final = bytes((
    35, 46, 53, 84, 70, 101, 88, 31, 46, 46, 53, 84, 38, 42, 38, 37, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70,
    40, 40, 84, 84, 84, 58, 100, 78, 77, 74, 83, 69, 69, 83, 84, 38, 38, 78, 64, 100, 84, 85, 74, 85, 77, 73,
    69, 82, 78, 111, 78, 73, 73, 46, 37, 46, 84, 50, 50, 68, 72, 60, 72, 68, 44, 72, 72, 35, 35, 67, 35, 105,
    72, 69, 72, 72, 50, 60, 48, 72, 66, 93, 65, 66, 59, 72, 37, 72, 84,
))  # fmt: skip
_PLAIN: Final = bytes((
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 77, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64,
    62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98,
    64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84,
))  # fmt: skip
_KNOWN: Final = 0x700  # end of Latin, Greek, Cyrillic, Armenian, Hebrew and Arabic letters, whose bounds are tight
_WIDE_FROM: Final = 0x600  # Arabic letters in isolated form
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN: Final = frozenset(
    "\u00ad\u034f\u115f\u1160\u180e\u200b\u2028\u2029\u2060\u2061\u2062\u2063\u2064\u2800\u3164\ufeff\uffa0"
)


def clean(text: str) -> str:
    """Return text that is valid in XML and shows what it is: without control characters, surrogates, bidi overrides or invisibles."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(one: str) -> str:
    number = ord(one)
    if number < 0x20:
        return chr(0x2400 + number)  # the picture of a control character
    if 0x7F <= number < 0xA0 or 0xD800 <= number < 0xE000 or number & 0xFFFE == 0xFFFE or 0xFDD0 <= number < 0xFDF0:
        return "\ufffd"
    return "\ufffd" if one in _TURNING or one in _UNSEEN else one


def escaped(text: str) -> str:
    """Escape text for an element or an attribute of XML."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def has_known_width(text: str) -> bool:
    """Return whether the width of a text is known well; other text needs an explicit width."""
    return text.isascii() or all(map(_bounded, text))


def _bounded(one: str) -> bool:
    if one.isascii() or one in "…·→\u200d":
        return True
    if unicodedata.east_asian_width(one) in "WF":
        return True  # square in every font
    return ord(one) < _KNOWN and unicodedata.category(one) not in {"Mn", "Me", "Cf"}


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper bound of a text's width, in pixels."""
    table, total = (_BOLD if bold else _PLAIN), 0
    for one in text:
        number = ord(one)
        if 32 <= number < 127:
            total += table[number - 32]
        else:
            total += _wide(one, number)
    return total * size / 100


def _wide(one: str, number: int) -> int:
    """Return the width of a non-ASCII character, in hundredths of the font size."""
    if number >= 0x1F000:
        return 130  # mostly emoji
    if unicodedata.east_asian_width(one) in "WF":
        return 102
    if unicodedata.category(one) in {"Mn", "Me", "Cf"}:
        return 0
    return 112 if one.isupper() or one in "…→" or number > _WIDE_FROM else 88


def shortened(text: str, limit: float, size: float, *, bold: bool = False) -> str:
    """Shorten a text to a width by cutting its middle: names differ at their ends."""
    text = clean(text)
    if len(text) <= limit and width(text, size, bold=bold) <= limit:
        return text
    text = text if len(text) <= 2 * limit else text[: int(limit)] + text[-int(limit) :]  # no character is narrower than a pixel
    low, high = 0, len(text) - 1
    while low < high:  # the number of characters kept
        keep = (low + high + 1) // 2
        if width(_middle(text, keep), size, bold=bold) <= limit:
            low = keep
        else:
            high = keep - 1
    return _middle(text, low)


def _middle(text: str, keep: int) -> str:
    head = (keep + 1) // 2
    return text[:head].rstrip() + "…" + text[len(text) - (keep - head) :].lstrip()


def short_alias(alias: str, label: str) -> str:
    """Return an alias without its name if the label beside it has the same name."""
    name, _, word = alias.rpartition(":")
    return word if label.startswith(name + ":") else alias
