"""Escaping of untrusted text for display: names, reasons and messages must not steer a terminal or change a page.

The lowest module of the package, as error messages show such text, too. It knows characters and nothing of the domain.
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["as_lines", "html", "json_escaped", "markdown", "visible"]

# Printable according to Unicode, but invisible: fillers, joiners, variation selectors.
_UNSEEN: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def visible(text: str, *, lines: bool = False) -> str:
    """Return a text with control characters, bidirectional controls and invisible characters escaped.

    Args:
        text: untrusted text.
        lines: keep line feeds; else they are escaped, so that one message cannot look like two.
    """
    if text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None):
        return text
    return "".join(one if _is_seen(one) or (lines and one == "\n") else _escaped(one) for one in text)


def _is_seen(one: str) -> bool:
    return one.isprintable() and _UNSEEN.match(one) is None


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode()


def as_lines(lines: Iterable[str]) -> str:
    """Join lines into a text; line feeds inside a line are escaped."""
    return "\n".join(map(visible, lines))


def html(text: str) -> str:
    """Escape a text for an HTML element or attribute."""
    from html import escape  # noqa: PLC0415 - its table of entities is needed only for pages

    return escape(visible(text, lines=True))


def markdown(text: str) -> str:
    """Escape a text for a line, or a cell of a table, of Markdown: it makes no link, no picture, no element and no further cell."""
    plain = visible(text).replace("\\", "\\\\").replace("|", "\\|").replace("[", "\\[")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("`", "'")


def json_escaped(text: str) -> str:
    """Return equal JSON in which all invisible characters are escaped."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(one if one == "\n" or _is_seen(one) else _json_escape(one) for one in text)


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
