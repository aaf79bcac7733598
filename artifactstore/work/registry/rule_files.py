"""Files of rules: TOML, or the same as Python values; an error names the file, the line and the column."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.work.settings.paths import local_path

__all__ = ["RuleTables", "check_pattern", "load_rules", "required_reason"]

_LARGEST: Final = 2**22  # bytes of a file
_PATTERN: Final = re.compile(r"[A-Za-z0-9._/\[\]!?*-]{1,200}", re.ASCII)
_POSITION: Final = re.compile(r"^(.*) \(at line (\d+), column (\d+)\)$", re.DOTALL)


class RuleTables:
    """The tables of a source of rules.

    Attributes:
        tables: each `[[gate]]` or `[[retention]]`.
    """

    def __init__(self, tables: Sequence[Mapping[str, Any]], what: str, name: str = "", text: str = "") -> None:
        self.tables = tables
        self._what = what
        self._name = name
        self._lines = text.splitlines()

    def error(self, number: int | None, key: Any, text: str) -> InvalidInputError:
        """Return an error in table `number`, or in none, at a key of it where that is known."""
        if not self._name:
            return InvalidInputError(f"{self._what} {(number or 0) + 1}: {text}")
        line, column = self._position(number, str(key))
        return InvalidInputError(f"{self._name}, line {line}, column {column}: {text}")

    def _position(self, number: int | None, key: str) -> tuple[int, int]:
        """Find a key in the text of a table, or of the file: its first occurrence there, or the table's header."""
        header = re.compile(rf"\s*\[\[\s*{self._what}\s*\]\]")
        starts = [at for at, line in enumerate(self._lines) if header.match(line)]
        start = starts[number] if number is not None and number < len(starts) else 0
        end = starts[number + 1] if number is not None and number + 1 < len(starts) else len(self._lines)
        wanted = re.compile(rf"(?<![A-Za-z0-9_-])[\"']?{re.escape(key)}[\"']?\s*=") if key else None
        for at in range(start, end):
            found = wanted.search(self._lines[at].partition("#")[0]) if wanted is not None else None
            if found is not None:
                return at + 1, found.start() + 1
        return start + 1, 1


def load_rules(source: Any, what: str) -> RuleTables:
    """Load rules.

    Args:
        source: a path of a TOML file with tables `[[<what>]]`; or a dict of one table, of such a file, or a list of tables.
        what: gate or retention.

    Raises:
        InvalidInputError: not such a file or value; with its line and column.
    """
    if isinstance(source, str | os.PathLike):
        return _load_file(local_path(source, "rules"), what)
    tables = source
    if isinstance(source, Mapping):
        tables = source[what] if set(source) == {what} else [source]
    if not isinstance(tables, list | tuple) or not all(isinstance(one, Mapping) for one in tables):
        raise InvalidInputError(f"rules must be a path, a dict or a list of dicts, got {type(source).__name__}")
    return RuleTables(tables, what)


def _load_file(path: Path, what: str) -> RuleTables:
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidInputError(f"{path} is too large for a file of rules")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise InvalidInputError(f"no file of rules at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read the rules in {path}: {error}") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _POSITION.match(str(error))
        where = f", line {match[2]}, column {match[3]}" if match is not None else ""
        raise InvalidInputError(f"{path.name}{where}: {match[1] if match is not None else error}") from error
    except RecursionError:
        raise InvalidInputError(f"{path.name}: nested too deeply") from None
    tables = RuleTables((), what, path.name, text)
    for key in found:
        if key != what:
            raise tables.error(None, key, f"there is no {key!r} in a file of rules; expected [[{what}]]")
    rows = found.get(what)
    if not isinstance(rows, list) or not rows or not all(isinstance(one, dict) for one in rows):
        raise InvalidInputError(f"{path.name}: expected at least one [[{what}]]")
    tables.tables = rows
    return tables


def check_pattern(pattern: Any) -> str:
    """Return a pattern of names, as of `find(name=)`: `*` matches any text, `/` too.

    Raises:
        InvalidInputError: it matches no name.
    """
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise InvalidInputError(f"names = {pattern!r:.200}: must be a name or a pattern such as 'churn/*'")
    return pattern


def required_reason(reason: Any, why: str) -> str:
    """Return a reason.

    Raises:
        InvalidInputError: it is missing or blank.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInputError(f"reason={reason!r}: must state why {why}")
    return reason
