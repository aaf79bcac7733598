"""Flow collections of YAML: `[a, {b: c}]`."""

import re
from collections.abc import Callable
from typing import Any, Final

from artifactstore.runtime.yaml.scalars import Fault, fold, is_blank, quoted_end, scalar, unquoted

__all__ = ["DEEPEST", "Balance", "parse_flow"]

DEEPEST: Final = 64  # levels
_ALIAS: Final = re.compile(r"\*([^\s\[\]{},]+)")


def parse_flow(text: str, fault: Fault, alias: Callable[[str], Any], depth: int) -> Any:
    """Return the value of a flow collection.

    Args:
        text: the collection, and perhaps a comment.
        fault: makes the error for what is wrong.
        alias: returns the value of an alias.
        depth: levels above it.
    """
    value, end = _Flow(text, fault, alias, depth).value(0)
    if not is_blank(text[end:]):
        raise fault("unexpected text after a flow collection")
    return value


class Balance:
    """Finds the end of a flow collection, piece by piece."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._before = ""

    def end(self, piece: str) -> int:
        """Return the offset after the last bracket in a line; -1 if it is not there. All but the first line begin with a line break."""
        skip = False
        for number, sign in enumerate(piece):
            if skip:
                skip = False
            elif self._quote:
                if sign == "\\" and self._quote == '"':
                    skip = True
                elif sign == self._quote:
                    self._quote = ""
            elif sign in "\"'" and (self._before in " \t\n[{,:" or not self._before):
                self._quote = sign
            elif sign == "#" and self._before in " \t\n":
                return -1
            elif sign in "[{":
                self._depth += 1
            elif sign in "]}":
                self._depth -= 1
                if not self._depth:
                    return number + 1 - (piece[0] == "\n")
            self._before = sign
        return -1


class _Flow:
    """A flow collection: `[a, {b: c}]`."""

    def __init__(self, text: str, fault: Fault, alias: Callable[[str], Any], depth: int) -> None:
        self._text = text
        self._fault = fault
        self._alias = alias
        self._depth = depth

    _SPACE: Final = re.compile(r"(?:[ \t\n]|(?:(?<=[ \t\n])|^)#[^\n]*)*")
    _PLAIN: Final = re.compile(r"(?:[^\[\]{},:#\n]|:(?![ \t\n,\[\]{}]|$)|(?<![ \t\n])#|\n(?![ \t]*#))*")

    def _space(self, at: int) -> int:
        match = self._SPACE.match(self._text, at)
        return at if match is None else match.end()

    def value(self, at: int) -> tuple[Any, int]:
        at = self._space(at)
        first = self._text[at : at + 1]
        if first in {"[", "{"}:
            self._depth += 1
            if self._depth > DEEPEST:
                raise self._fault(f"more than {DEEPEST} levels")
            found = self._sequence(at + 1) if first == "[" else self._mapping(at + 1)
            self._depth -= 1
            return found
        if first in {'"', "'"}:
            end = quoted_end(self._text, first, at + 1)
            if end < 0:
                raise self._fault("a quoted text does not end")
            return unquoted(self._text[at:end], self._fault), end
        if first in {"&", "!", "%", "@", "`", "|", ">"}:
            raise self._fault(f"a value in brackets cannot begin with {first!r}")
        if first == "*" and (alias := _ALIAS.match(self._text, at)) is not None:
            return self._alias(alias[1]), alias.end()
        match = self._PLAIN.match(self._text, at)
        end = at if match is None else match.end()
        return scalar(fold(self._text[at:end].strip(" \t\n"))), end

    def _sequence(self, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            at = self._space(at)
            if self._text[at : at + 1] == "]":
                return found, at + 1
            value, end = self.value(at)
            after = self._space(end)
            if self._text[after : after + 1] == ":":  # a pair without braces
                inner, end = self.value(after + 1)
                value, after = {_hashable(value, self._fault): inner}, self._space(end)
            elif end == at:
                raise self._fault("expected a value")
            found.append(value)
            at = self._next(after, "]")

    def _mapping(self, at: int) -> tuple[dict[Any, Any], int]:
        found: dict[Any, Any] = {}
        while True:
            at = self._space(at)
            if self._text[at : at + 1] == "}":
                return found, at + 1
            key, end = self.value(at)
            if end == at:
                raise self._fault("expected a key")
            key, after, value = _hashable(key, self._fault), self._space(end), None
            if self._text[after : after + 1] == ":":
                value, end = self.value(after + 1)
                after = self._space(end)
            if key in found:
                raise self._fault(f"the key {str(key)[:60]!r} is there twice")
            found[key] = value
            at = self._next(after, "}")

    def _next(self, at: int, end: str) -> int:
        sign = self._text[at : at + 1]
        if sign == ",":
            return at + 1
        if sign != end:
            raise self._fault(f"expected a comma or {end}")
        return at


def _hashable(key: Any, fault: Fault) -> Any:
    if isinstance(key, dict | list):
        raise fault("a key must be a text or a number")
    return key
