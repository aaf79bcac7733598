"""Files of rules: TOML, or the same as Python values; an error names the file, the line and the column."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.toml_text import Tables, read_toml
from artifactstore.work.settings.paths import local_path

__all__ = ["RuleTables", "check_pattern", "load_rules"]

_PATTERN: Final = re.compile(r"[A-Za-z0-9._/\[\]!?*-]{1,200}", re.ASCII)


class RuleTables:
    """The tables of a source of rules.

    Attributes:
        tables: each `[[gate]]` or `[[retention]]`.
    """

    def __init__(self, tables: Sequence[Mapping[str, Any]], what: str, file: Tables | None = None) -> None:
        self.tables = tables
        self._what = what
        self._file = file

    def error(self, number: int, path: str | Sequence[str | int], text: str) -> InvalidInputError:
        """Return an error in table `number`, at a key of it or a path into it, as far as that is there."""
        if self._file is None:
            return InvalidInputError(f"{self._what} {number + 1}: {text}")
        return self._file.fault((self._what, number, *((path,) if isinstance(path, str) else path)), text)


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
    if not path.exists():
        raise InvalidInputError(f"no file of rules at {path}")
    file = read_toml(str(path), name=path.name)
    for key in file.value:
        if key != what:
            raise file.fault((key,), f"there is no {key!r} in a file of rules; expected [[{what}]]")
    rows = file.value.get(what)
    if not isinstance(rows, list) or not rows or not all(isinstance(one, dict) for one in rows):
        raise file.fault((what,), f"expected at least one [[{what}]]")
    return RuleTables(rows, what, file)


def check_pattern(pattern: Any) -> str:
    """Return a pattern of names, as of `find(name=)`: `*` matches any text, `/` too.

    Raises:
        InvalidInputError: it matches no name.
    """
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise InvalidInputError(f"names = {pattern!r:.200}: must be a name or a pattern such as 'churn/*'")
    return pattern
