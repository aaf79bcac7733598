"""Scalars of YAML: what a text without quotes means, and what quoted and folded texts are."""

import re
from collections.abc import Callable
from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["Fault", "fold", "folded", "is_blank", "quoted_end", "scalar", "unquoted", "without_comment"]

Fault = Callable[[str], InvalidInputError]  # makes the error for what is wrong, with its line

_DIGITS: Final = 300  # of a number; longer ones stay text
_COMMENT: Final = re.compile(r"(?:^|[ \t])#")
_DOUBLE: Final = re.compile(
    r"\\(\n[ \t]*|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|[ \t]*\n[ \t]*((?:\n[ \t]*)*)", re.DOTALL
)
_FOLD: Final = re.compile(r"[ \t]*\n[ \t]*((?:\n[ \t]*)*)")
_ESCAPES: Final = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b", " ": " ",
    '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_HALF: Final = re.compile("[\ud800-\udfff]")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True, "TRUE": True, "false": False,
    "False": False, "FALSE": False, ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")},
}  # fmt: skip


_INNER: Final = {'"': re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL), "'": re.compile(r"(?:[^']|'')*")}  # of a quoted text


def quoted_end(line: str, quote: str, at: int = 0) -> int:
    """Return the offset after the quote that ends a text, from `at` in this line on; -1 if it goes on in the next one."""
    match = _INNER[quote].match(line, at)
    end = at if match is None else match.end()
    return end + 1 if line[end : end + 1] == quote else -1


def is_blank(text: str) -> bool:
    """Return whether a text has nothing but spaces and a comment."""
    return not text.strip(" \t\n") or re.match(r"[ \t]+#", text) is not None


def without_comment(text: str) -> str:
    """Return a line of a text without quotes, without the comment after it."""
    match = _COMMENT.search(text)
    return (text if match is None else text[: match.start()]).rstrip(" \t")


def scalar(text: str) -> Any:
    """Return the value of a text without quotes, by YAML's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _OTHER_BASE.fullmatch(text):
            return int(text, 0)
    return text


def unquoted(text: str, fault: Fault) -> str:
    """Return the value of a quoted text, which begins and ends with its quotes."""
    if text[0] == "'":
        return fold(text[1:-1].replace("''", "'"))

    def replaced(match: re.Match[str]) -> str:
        escape = match[1]
        if escape is None:
            return " " if not match[2] else "\n" * match[2].count("\n")
        if escape[0] == "\n":
            return ""
        if len(escape) > 1:
            number = int(escape[1:], 16)
            if number > 0x10FFFF:
                raise fault(f"no character has the number {escape[1:]}")
            return chr(number)
        if escape not in _ESCAPES:
            raise fault(f"unknown escape \\{escape}")
        return _ESCAPES[escape]

    found = _DOUBLE.sub(replaced, text[1:-1])
    if _HALF.search(found) is None:
        return found
    try:  # JSON writes some characters as two halves
        return found.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise fault("half of a character") from error


def fold(text: str) -> str:
    """Join the lines of a text: a line break becomes a space, and each further one a line break."""
    return _FOLD.sub(_folding, text)


def _folding(match: re.Match[str]) -> str:
    return " " if not match[1] else "\n" * match[1].count("\n")


def folded(lines: list[str]) -> str:
    """Join the lines of a folded text: single line breaks become spaces, except around lines that are indented more."""
    text, blank, before = "", 0, ""
    for number, line in enumerate(lines):
        if not line:
            blank += 1
            continue
        if number == blank:
            text = "\n" * blank + line
        elif before[:1] in " \t" or line[:1] in " \t":
            text += "\n" * (blank + 1) + line
        else:
            text += ("\n" * blank if blank else " ") + line
        blank, before = 0, line
    return text
