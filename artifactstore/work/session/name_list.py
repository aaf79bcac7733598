"""The names of a store as sorted text in the cache, for completion in a shell, which has no time to load the fold.

A header with the end of the sorted lines (0: those are in the file of the fold); one line a name, sorted: name, number of versions, the newest version's digest, aliases; an empty line; then lines of what
came later, in which a line that begins with a tab is a run, and one with two tabs the entry that the list has reached. Derived and
only a hint: nothing but completion reads it. Imports little.
"""

import json
import mmap
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from artifactstore.runtime.local_files import READ, is_own, may_write, read_own

__all__ = ["Known", "NameList", "paths_file", "read_paths", "remember_paths", "store_folder"]

_HEADER: Final = b"artifactstore names 1 %012d\n"
_START: Final = len(_HEADER % 0)
_DIGEST: Final = 24  # characters of a digest, with its algorithm: enough to pass it on
_APPENDED: Final = 64 * 1024  # bytes, or a 32nd of the list: beyond, it is sorted again
_UNSORTED: Final = 2**20  # bytes of a list whose sorted names are in the file of the fold: beyond, it is cut
_NAMES: Final = 5000
_RUNS: Final = 500  # runs that are remembered
_AFTER: Final = "\U0010ffff".encode()  # after all that a name can have
_LINE: Final = 2**20  # bytes of the first line of a fold
_TAIL: Final = 64  # bytes that hold the last line
_VERSIONS: Final = 100  # versions whose paths are remembered


class Known(NamedTuple):
    """What is known of a name.

    Attributes:
        name: the name.
        versions: the number of its versions; 0 if unknown.
        digest: the first digits of the newest version's digest, with the algorithm; empty if unknown.
        aliases: alias → version.
    """

    name: str
    versions: int
    digest: str
    aliases: dict[str, int]

    @classmethod
    def parse(cls, line: bytes) -> "Known":
        """Parse a line."""
        name, count, digest, aliases = line.decode().split("\t")
        pairs = (one.rpartition("=") for one in aliases.split())
        return cls(name, int(count or 0), digest, {alias: int(number) for alias, _, number in pairs})

    def line(self) -> bytes:
        """Return it as a line."""
        aliases = " ".join(f"{alias}={number}" for alias, number in self.aliases.items())
        return f"{self.name}\t{self.versions or ''}\t{self.digest}\t{aliases}\n".encode()


class NameList:
    """The list of one store; a failure to read or write it is ignored.

    Args:
        folder: the store's folder in the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "names"
        self._head: int | None = None
        self._names: dict[str, None] = {}
        self._runs: dict[str, str] = {}

    # -- writing

    def see(self, seq: int, facts: Iterator[Any]) -> None:
        """Note the names and runs in the facts of an entry, unless the list has them already."""
        if self._head is None:
            self._head = self._reached()
        if self._head == 0 or seq <= self._head:  # without a list, all is written anyway
            return
        for fact in facts:
            kind = fact["fact"]
            if kind == "started":
                self._runs[str(fact["run"])] = str(fact.get("name", ""))
            elif kind in {"versioned", "aliased", "removed"} and isinstance(fact.get("name"), str):
                self._names[fact["name"]] = None

    def note(self, fold: Any) -> None:
        """Write what was seen, as the fold has it now; without a list, write all."""
        if self._head is None:
            self._head = self._reached()
        if self._head == fold.head or (self._head > 0 and not self._names and not self._runs):
            return
        with suppress(OSError):
            if self._head == 0 or fold.head < self._head:
                self._write_all(fold)
            else:
                lines = [known.line() for name in self._names if (known := _known(fold, name)) is not None]
                lines += [f"\t{run}\t{name}\n".encode() for run, name in self._runs.items() if _is_plain(run + name)]
                self._append(b"".join(lines) + b"\t\t%d\n" % fold.head)
            self._head = fold.head
        self._names, self._runs = {}, {}

    def _reached(self) -> int:
        """Return the entry that the list has reached; 0 without a list."""
        try:
            with self._path.open("rb") as file:
                if file.read(_START)[:-13] != _HEADER[:-6]:
                    return 0
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL))
                return int(file.read().rpartition(b"\t\t")[2])
        except (OSError, ValueError):
            return 0

    def _append(self, lines: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        try:
            os.write(fd, lines)  # a single write with O_APPEND: lines of several processes do not mix
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size <= _APPENDED:
            return
        with _Lines(self._path) as found:
            if size - found.end <= max(_APPENDED, size // 32):
                return
            if not found.is_sorted and size <= _UNSORTED:
                return
            names = {line.partition(b"\t")[0]: line for line in found.data[_START : found.end].splitlines()}
            names |= {line.partition(b"\t")[0]: line for line in found.names()}
            merged, runs, head, is_sorted = [names[name] for name in sorted(names)], found.runs(), found.head(), found.is_sorted
        if is_sorted:
            self._replace(merged, runs, head)
        else:
            self._replace(None, [*merged[-_NAMES:], *runs], head)

    def _write_all(self, fold: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not may_write(self._path.parent):  # a cache in an image is only read
            return
        names = None if fold.base is not None else sorted(fold.names)  # a large store's are in the fold's file, sorted
        newer = () if fold.base is None else fold.names.changed
        lines = None if names is None else [known.line()[:-1] for name in names if (known := _known(fold, name)) is not None]
        runs = {} if fold.base is not None else dict([*fold.runs.items()][-_RUNS:])
        later = [f"\t{run}\t{row['name']}".encode() for run, row in runs.items() if _is_plain(f"{run}{row['name']}")]
        later += [
            known.line()[:-1]
            for name in dict.fromkeys([*fold.aliases, *newer])
            if (known := _known(fold, name)) is not None and fold.base is not None
        ]
        self._replace(lines, later, b"%d" % fold.head)

    def _replace(self, names: list[bytes] | None, later: list[bytes], head: bytes) -> None:
        """Write the list; without sorted names, as those are in the file of the fold."""
        from artifactstore.runtime.atomic_files import replace_whole  # noqa: PLC0415 - completion only reads

        body = b"".join(line + b"\n" for line in names or ())
        tail = b"".join(line + b"\n" for line in later) + b"\t\t" + head + b"\n"
        replace_whole(self._path, _HEADER % (0 if names is None else _START + len(body)), body, tail, private=True)

    # -- reading

    def read(self, prefix: str, most: int) -> "tuple[list[Known], list[str]]":
        """Return the names that begin with a prefix; of more than `most` only the next parts of the names, up to a slash.

        Returns:
            Names, and folders of names with `/` at their ends.
        """
        wanted = prefix.encode()
        with suppress(OSError, ValueError), _Lines(self._path) as lines:
            newer = {line.partition(b"\t")[0]: line for line in lines.names() if line.startswith(wanted)}
            names = {line.partition(b"\t")[0]: line for line in islice(lines.following(wanted), most + 1)} | newer
            if len(names) <= most:
                return [Known.parse(names[name]) for name in sorted(names)], []
            found, at = {}, wanted
            while (line := next(lines.following(wanted, at), None)) is not None:
                name = line.partition(b"\t")[0]
                part = _part(name, wanted)
                found[part] = line
                at = part + _AFTER if part[-1:] == b"/" else name + b"\n"
            found |= {_part(name, wanted): line for name, line in newer.items()}
            folders = [part.decode() for part in sorted(found) if part[-1:] == b"/"]
            return [Known.parse(found[part]) for part in sorted(found) if part[-1:] != b"/"], folders
        return [], []

    def find(self, name: str) -> Known | None:
        """Return what is known of one name."""
        wanted = name.encode() + b"\t"
        with suppress(OSError, ValueError), _Lines(self._path) as lines:
            found = [line for line in lines.names() if line.startswith(wanted)] or [*islice(lines.following(wanted), 1)]
            return Known.parse(found[-1]) if found else None
        return None

    def runs(self) -> dict[str, str]:
        """Return the newest runs, the newest first: id → name."""
        with suppress(OSError, ValueError), _Lines(self._path) as lines:
            found: dict[str, str] = {}
            for line in reversed(lines.runs()):
                run, name = line.decode().split("\t")[1:3]
                found[run] = name
            return found
        return {}


class _Lines:
    """The lines of a list, read where they are: a list of a hundred thousand names is not read as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        fd = os.open(self._path, READ)
        try:
            if not is_own(os.fstat(fd)):
                raise PermissionError(self._path)
            self.data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        if self.data[: _START - 13] != _HEADER[:-6]:
            raise ValueError(self._path)
        end = int(self.data[_START - 13 : _START])
        self.is_sorted, self.end = end > 0, end or _START
        self._later = self.data[self.end :].splitlines()
        return self

    def __exit__(self, *_: object) -> None:
        self.data.close()

    def names(self) -> list[bytes]:
        """Return the later lines of names."""
        return [line for line in self._later if line[:1] != b"\t"]

    def runs(self) -> list[bytes]:
        """Return the lines of the newest runs."""
        return [line for line in self._later if line[:1] == b"\t" != line[1:2]][-_RUNS:]

    def head(self) -> bytes:
        """Return the entry reached."""
        return self._later[-1].strip() if self._later else b"0"

    def following(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        """Yield the sorted lines that begin with a prefix, from the first that is not before `start`."""
        data, low, high = self.data, _START, self.end
        key = max(prefix, start)
        if not self.is_sorted:
            yield from self._in_fold(prefix, key)
            return
        while low < high:
            begin = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            stop = data.find(b"\n", begin, self.end)
            low, high = (stop + 1, high) if data[begin:stop] < key else (low, begin)
        while low < self.end:
            stop = data.find(b"\n", low, self.end)
            line = data[low:stop]
            if not line.startswith(prefix):
                return
            yield line
            low = stop + 1

    def _in_fold(self, prefix: bytes, key: bytes) -> Iterator[bytes]:
        """Yield the lines of a large store from the file of its fold, whose rows are sorted by name."""
        with self._path.with_name("fold.json").open("rb") as file:
            base = json.loads(file.readline(_LINE))["base"]
        path = self._path.with_name(str(base))
        if base is None or not is_own(path.stat()):
            return
        import sqlite3  # noqa: PLC0415 - large stores alone

        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            query = "select key, value from names where key >= ? and key < ? order by key"
            for name, value in db.execute(query, (key.decode(errors="replace"), prefix.decode() + "\U0010ffff")):
                count, last = json.loads(value)
                if _is_plain(name):
                    yield Known(name, count, last["digest"][:_DIGEST], {}).line()


def _part(name: bytes, prefix: bytes) -> bytes:
    """Return a name up to the first slash after a prefix."""
    end = name.find(b"/", len(prefix))
    return name if end < 0 else name[: end + 1]


def _known(fold: Any, name: str) -> Known | None:
    rows = fold.names.get(name)
    if not rows or not _is_plain(name):
        return None
    moves = fold.aliases.get(name, {})
    aliases = {alias: steps[-1]["version"] for alias, steps in moves.items() if steps[-1]["version"] and _is_plain(alias)}
    return Known(name, len(rows), rows[-1]["digest"][:_DIGEST], aliases)


def _is_plain(text: str) -> bool:
    """Return whether a text that others wrote fits into a line."""
    return text.isprintable() and "\t" not in text and len(text) < 1000


# -- paths in versions


def store_folder(session: Any) -> Path | None:
    """Return the folder that the cache has for the store of a session, or None without a cache."""
    return None if session.cache is None else session.cache / "stores" / session.core().config.store


def paths_file(folder: Path, name: str, version: int) -> Path:
    """Return the file for the paths of a version, in a store's folder in the cache."""
    return folder / "paths" / f"{name.replace('/', '+')}+v{version}"


def remember_paths(folder: Path, name: str, version: int, paths: list[str]) -> None:
    """Remember the paths of a version, for completion; a failure is ignored."""
    path = paths_file(folder, name, version)
    text = "\n".join(one for one in paths if _is_plain(one))
    with suppress(OSError, UnicodeEncodeError):
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        old = sorted(path.parent.iterdir(), key=lambda one: one.stat().st_mtime)[:-_VERSIONS]
        for one in old:
            one.unlink(missing_ok=True)


def read_paths(folder: Path, name: str, version: int) -> list[str]:
    """Return the remembered paths of a version."""
    try:
        return read_own(paths_file(folder, name, version)).decode().split("\n")
    except (OSError, ValueError):
        return []
