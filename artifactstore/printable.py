"""Text from elsewhere as it may be shown: whoever wrote a name, a reason or a message must not steer the terminal or the page of its reader.

The lowest room of the house, for messages of errors show such text, too. It knows characters and no things.
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["as_lines", "html", "json_escaped", "visible"]

# Printable by Unicode's word, and yet not seen: fillers, joiners, selectors of variants.
_UNSEEN: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def visible(text: str, *, lines: bool = False) -> str:
    """Return a text with what a terminal would obey, what turns the direction of a line, and what is not seen, written out.

    Args:
        text: from elsewhere.
        lines: line feeds stay; else they are written out, so that a text cannot look like two.
    """
    if text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None):
        return text
    return "".join(one if _is_seen(one) or (lines and one == "\n") else _escaped(one) for one in text)


def _is_seen(one: str) -> bool:
    return one.isprintable() and _UNSEEN.match(one) is None


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode()


def as_lines(lines: Iterable[str]) -> str:
    """Return lines as one text; what is in a line cannot make another."""
    return "\n".join(map(visible, lines))


def html(text: str) -> str:
    """Return a text for an element or an attribute of HTML."""
    from html import escape  # noqa: PLC0415 - its table of entities is for pages alone

    return escape(visible(text, lines=True))


def json_escaped(text: str) -> str:
    """Return JSON in which all that is not seen is written as JSON's own escapes; it says the same."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(one if one == "\n" or _is_seen(one) else _json_escape(one) for one in text)


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
