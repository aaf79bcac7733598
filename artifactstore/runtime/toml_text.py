"""TOML with positions: messages name the line and column of what is wrong, also where the text is valid TOML.

It knows TOML and nothing of what the tables mean.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.local_files import READ

__all__ = ["Tables", "read_toml", "tables_of"]

_LARGEST: Final = 4 * 2**20  # bytes
_AT: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|(end of document))\)\s*$")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)
_OTHER: Final = re.compile(r"[^,\]}#\n]*")

Where = tuple[str | int, ...]  # keys and numbers of items


@dataclass(frozen=True, slots=True)
class Tables:
    """Values from a TOML file, or the same passed as a dict.

    Attributes:
        value: the values.
        name: the file, or the argument, for messages.
        folder: the folder that relative paths are relative to.
        at: key by key → line and column, where it is a file.
    """

    value: Mapping[str, Any]
    name: str
    folder: Path
    at: Mapping[Where, tuple[int, int]] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """Return where a value is, for a message: `keys.toml, line 3, column 7`, or `keys['alice']['roles']`."""
        known = path
        while known and known not in self.at:
            known = known[:-1]
        if known:
            line, column = self.at[known]
            return f"{self.name}, line {line}, column {column}"
        return self.name if self.at else self.name + "".join(f"[{step!r}]" for step in path)

    def fault(self, path: Where, text: str) -> InvalidInputError:
        """Return the error for a value."""
        return InvalidInputError(f"{self.where(*path)}: {text}")

    def check_fields(self, path: Where, table: Any, known: Mapping[str, Any] | tuple[str, ...]) -> Mapping[str, Any]:
        """Return a table whose fields are all known.

        Raises:
            InvalidInputError: not a table, or an unknown field; the nearest known one is named.
        """
        if not isinstance(table, Mapping):
            raise self.fault(path, f"{path[-1] if path else self.name} must be a table, got {table!r:.60}")
        for name in table:
            if name not in known:
                near = get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
                if isinstance(table[name], Mapping) and path:
                    hint += f"; or is its table [{str(name)[:60]}]?"
                raise self.fault((*path, name), f"unknown field {str(name)[:60]!r}; {hint}")
        return table


def tables_of(given: Any, what: str) -> Tables:
    """Return the tables of an argument that is a TOML file's path, or a dict with the same values.

    Args:
        given: the argument.
        what: its name, for messages.

    Raises:
        InvalidInputError: neither, or the file cannot be read.
    """
    if isinstance(given, Mapping):
        return Tables(given, what, Path())
    if isinstance(given, str | os.PathLike) and isinstance(os.fspath(given), str) and os.fspath(given):
        return read_toml(os.fspath(given))
    raise InvalidInputError(f"{what} must be the path of a TOML file or a dict, got {given!r:.60}")


def read_toml(path: str, *, name: str = "") -> Tables:
    """Read a TOML file.

    Args:
        path: its path.
        name: its name for messages; by default the path.

    Raises:
        InvalidInputError: it cannot be read, or is not TOML: with line and column.
    """
    if "\0" in path:
        raise InvalidInputError(f"{path[:200]!r} is not a valid path")
    full, name = Path(path).expanduser(), name or path
    try:
        with os.fdopen(os.open(full, READ), "rb") as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                os.set_blocking(file.fileno(), True)
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(raw) > _LARGEST:
        raise InvalidInputError(f"{name} has more than {_LARGEST:,} bytes")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise InvalidInputError(f"{name}, line {line}, column {column}: not UTF-8") from error
    value = _parsed(text, name)
    return Tables(value, name, full.parent, dict(_positions(text)))


def _parsed(text: str, name: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only where there is something to read

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = _AT.search(str(error))
        line, column = _place(text, len(text))
        if found is not None and found[1]:
            line, column = int(found[1]), int(found[2])
        reason = str(error)[: found.start()] if found is not None else str(error)
        raise InvalidInputError(f"{name}, line {line}, column {column}: {reason[:1].lower()}{reason[1:]}") from error


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


# -- positions; the text is valid TOML


def _positions(text: str) -> Iterator[tuple[Where, tuple[int, int]]]:
    """Yield the position of each key and each item of an array."""
    return ((path, _place(text, at)) for path, at in _Scanner(text).document())


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._items: dict[Where, int] = {}  # arrays of tables → how many so far

    def document(self) -> Iterator[tuple[Where, int]]:
        table: Where = ()
        while self._skip(_SPACE) < len(self._text):
            start = self._at
            if not self._text.startswith("[", start):
                yield from self._pair(table)
                continue
            listed = self._text.startswith("[[", start)
            self._at += 1 + listed
            table = self._resolved([key for key, _ in self._keys()], listed=listed)
            self._at += 1 + listed
            if table[-1] == 0:
                yield table[:-1], start
            yield table, start

    def _resolved(self, keys: list[str], *, listed: bool) -> Where:
        path: Where = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            if listed and number == len(keys):
                self._items[path] = self._items.get(path, 0) + 1
            if path in self._items:
                path = (*path, self._items[path] - 1)
        return path

    def _skip(self, what: "re.Pattern[str]") -> int:
        found = what.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._at

    def _keys(self) -> list[tuple[str, int]]:
        """Read a dotted key, up to what follows it."""
        found = []
        while True:
            start = self._skip(_BLANK)
            quoted = self._text[start] in "\"'"
            self._skip(_STRING if quoted else _BARE)
            found.append((_unquoted(self._text[start : self._at]) if quoted else self._text[start : self._at], start))
            if not self._text.startswith(".", self._skip(_BLANK)):
                return found
            self._at += 1

    def _pair(self, table: Where) -> Iterator[tuple[Where, int]]:
        path = table
        for key, start in self._keys():
            path = (*path, key)
            yield path, start
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        yield from self._value(path)

    def _value(self, path: Where) -> Iterator[tuple[Where, int]]:
        first = self._text[self._at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            yield from self._inside("]", path)
        elif first == "{":
            yield from self._inside("}", path)
        else:
            self._skip(_OTHER)

    def _inside(self, end: str, path: Where) -> Iterator[tuple[Where, int]]:
        self._at += 1
        number = 0
        while not self._text.startswith(end, self._skip(_SPACE)):
            if end == "]":
                yield (*path, number), self._at
                yield from self._value((*path, number))
                number += 1
            else:
                yield from self._pair(path)
            if self._text.startswith(",", self._skip(_SPACE)):
                self._at += 1
        self._at += 1


def _unquoted(text: str) -> str:
    import tomllib  # noqa: PLC0415 - see above

    return str(tomllib.loads(f"key = {text}")["key"])
