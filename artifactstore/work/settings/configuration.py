"""Configuration files: `[tool.artifactstore]` of the nearest `pyproject.toml`, and the user's `config.toml`; both optional.

Imports little: completion in a shell reads them, too.
"""

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.local_files import is_own
from artifactstore.runtime.remarks import remark

__all__ = ["NamedStore", "Setting", "absolute", "configuration", "project_file", "user_file", "user_folder"]

_KEYS: Final[Mapping[str, tuple[type, ...]]] = {
    "url": (str,), "actor": (str,), "identity": (str,), "prefix": (str,), "cache": (str,), "cache_bytes": (str, int), "stores": (dict,),
}  # fmt: skip
_OF_A_STORE: Final[Mapping[str, tuple[type, ...]]] = {"url": (str,), "endpoint": (str,), "profile": (str,)}
_TYPES: Final = {str: "string", int: "whole number", dict: "table"}
_warned: set[str] = set()  # files that were warned of
_OPTIONS: Final = {"endpoint": "endpoint_url", "profile": "profile"}  # key → storage option


class Setting(NamedTuple):
    """A value, and where it is set.

    Attributes:
        value: the value.
        origin: the file.
    """

    value: Any
    origin: str


class NamedStore(NamedTuple):
    """A store that configuration gives a name: `[stores.team]`.

    Attributes:
        url: its URL.
        options: its storage options.
        origin: the file.
    """

    url: str
    options: Mapping[str, str] = MappingProxyType({})
    origin: str = ""


class Configuration(NamedTuple):
    """What the files set; a project's file goes before the user's.

    Attributes:
        values: key → value.
        stores: name → store.
    """

    values: Mapping[str, Setting]
    stores: Mapping[str, NamedStore]

    def get(self, key: str) -> Any:
        """Return a value, or None."""
        found = self.values.get(key)
        return None if found is None else found.value


def user_file() -> Path | None:
    """Return the path of the user's file, `$XDG_CONFIG_HOME/artifactstore/config.toml`; None for a user without a home."""
    top = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        return Path(top or Path("~/.config").expanduser()) / "artifactstore" / "config.toml"
    except RuntimeError:
        return None


def user_folder(what: str) -> str:
    """Return the user's folder for caches (`cache`) or for data (`data`).

    Raises:
        RuntimeError: there is none: no $HOME, and a user unknown to the system, as in many containers.
    """
    if sys.platform == "linux":  # as platformdirs has it, whose import takes 10 ms
        default = {"cache": "~/.cache", "data": "~/.local/share"}[what]
        top = os.environ.get(f"XDG_{what.upper()}_HOME", "").strip()
        text = str((Path(top) if top else Path(default).expanduser()) / "artifactstore")
    else:
        import platformdirs  # noqa: PLC0415 - only if no other setting applies

        text = getattr(platformdirs, f"user_{what}_dir")("artifactstore", appauthor=False)
    if not Path(text).is_absolute():
        raise RuntimeError(text)
    return text


def configuration(*, needed: bool = False) -> Configuration:
    """Read the files that apply to the current folder.

    Args:
        needed: whether the store's URL depends on it; else a file that is not TOML, which may have nothing to do with stores, is
            passed over.

    Raises:
        InvalidInputError: a file is not TOML, or has an unknown key or a value of another type; names the file.
    """
    values: dict[str, Setting] = {}
    stores: dict[str, NamedStore] = {}
    for path, table in _tables(needed=needed):
        for key, value in _checked(table, _KEYS, path, "").items():
            if key == "stores":
                for name, one in value.items():
                    stores.setdefault(name, _store(path, name, one))
            elif key not in values:
                values[key] = Setting(absolute(value, path) if key == "cache" else value, str(path))
    return Configuration(values, stores)


def _tables(*, needed: bool) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    path, section = _project(needed=needed)
    if path is not None:
        _warn_of_others(path, own=False)
        yield path, section
    path_of_user = user_file()
    if path_of_user is not None and (found := _parsed(path_of_user, needed=needed)):
        _warn_of_others(path_of_user, own=True)
        yield path_of_user, found


def project_file() -> Path | None:
    """Return the nearest `pyproject.toml` upwards that has a section of this library, or None."""
    return _project(needed=False)[0]


def _project(*, needed: bool) -> tuple[Path | None, Mapping[str, Any]]:
    try:
        here = Path.cwd()
    except OSError:
        return None, {}  # the current folder is gone: then no project is around it
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        tools = _parsed(path, needed=needed).get("tool")
        section = tools.get("artifactstore") if isinstance(tools, dict) else None
        if isinstance(section, dict):
            return path, section
    return None, {}


def _parsed(path: Path, *, needed: bool) -> dict[str, Any]:
    try:
        data = path.read_bytes() if path.is_file() else b""  # reading a pipe of that name would never end
    except OSError:
        return {}
    if not data:
        return {}
    try:
        return _toml(data)
    except ValueError as error:
        if not needed:
            return {}
        raise InvalidInputError(f"cannot read {path} ({error}): fix it, or pass the URL of the store") from error


@lru_cache(maxsize=8)  # each opening asks three times
def _toml(data: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only where there is something to read

    return tomllib.loads(data.decode())


def _warn_of_others(path: Path, *, own: bool) -> None:
    """Warn once of a file that another user can change; a project's file may be shared by a group."""
    try:
        st = path.stat()
    except OSError:
        return
    if (is_own(st) if own else not st.st_mode & stat.S_IWOTH) or str(path) in _warned:
        return
    _warned.add(str(path))
    mend = (
        f"chmod go-w {path}"
        if st.st_uid in {0, getattr(os, "getuid", int)()} or not own
        else f"it belongs to another user; chown {path}"
    )
    remark(f"other users can change {path}, which decides what your stores are: {mend}")


def _checked(table: Mapping[str, Any], keys: Mapping[str, tuple[type, ...]], path: Path, where: str) -> Mapping[str, Any]:
    for key, value in table.items():
        kind = keys.get(key)
        if kind is None:
            from difflib import get_close_matches  # noqa: PLC0415 - only for a message

            near = get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(keys)}"
            raise InvalidInputError(f"{path}: unknown key {where}{key!s:.60}; {hint}")
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = " or a ".join(_TYPES[one] for one in kind)
            raise InvalidInputError(f"{path}: {where}{key} must be a {expected}, got {value!r:.60}")
    return table


def _store(path: Path, name: str, table: Any) -> NamedStore:
    if not isinstance(table, dict) or "url" not in table:
        raise InvalidInputError(f"{path}: [stores.{name}] must be a table with a url")
    if not name or any(sign in name for sign in "/\\:") or name.startswith((".", "~")):
        raise InvalidInputError(f"{path}: {name!r} cannot name a store: it must not look like a path or a URL")
    _checked(table, _OF_A_STORE, path, f"stores.{name}.")
    options = {option: table[key] for key, option in _OPTIONS.items() if key in table}
    return NamedStore(absolute(table["url"], path), options, str(path))


def absolute(text: str, path: Path) -> str:
    """Return a URL as it is, and a path relative to the file that names it."""
    if not text or "://" in text:
        return text
    expanded = Path(text).expanduser()
    return str(expanded if expanded.is_absolute() else path.parent / expanded)
