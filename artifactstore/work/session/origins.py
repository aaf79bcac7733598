"""Which version a folder of this machine was put as, or was got from: remembered in the cache, never in the folder itself.

Lines of JSON, the newest last. Derived: without it a folder is recognised by its content alone.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol, TypedDict, Unpack

from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.local_files import read_own
from artifactstore.runtime.records import dataclass
from artifactstore.work.session.session import Session

__all__ = ["Origin", "Origins", "remember"]

_LIMIT: Final = 2**20  # bytes: some thousand lines; beyond, older lines of the same folders, then the oldest, are dropped


_MEMORY: Final = 1000  # folders


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the content of a folder or file came from.

    Attributes:
        folder: its real path.
        store: id of the store.
        url: of the store, without credentials.
        name: the artifact's name, or None.
        digest: the artifact's digest.
        how: `put` or `get`.
        path: path in the artifact of what was got, or empty.
        paths: patterns that a get was restricted to.
        exclude: patterns that a put left out.
        links: `keep`, or `follow`.
    """

    folder: str
    store: str
    url: str
    name: str | None
    digest: str
    how: str
    path: str = ""
    paths: Sequence[str] = ()
    exclude: Sequence[str] = ()
    links: str = "keep"


_added: dict[tuple[Path, str], Origin] = {}  # by this process: a program that puts the same folder again and again writes once


class OriginOptions(TypedDict, total=False):
    """What else an origin has; see `Origin`."""

    path: str
    paths: Sequence[str]
    exclude: Sequence[str]
    links: str


class Named(Protocol):
    """An artifact with its name."""

    @property
    def name(self) -> str | None:
        """The name, or None."""

    @property
    def digest(self) -> str:
        """The digest."""


class Origins:
    """The origins that one cache folder remembers; safe for concurrent processes.

    Args:
        cache: the folder, or None: nothing is remembered.
    """

    def __init__(self, cache: Path | None) -> None:
        self._path = None if cache is None else cache / "origins"

    def add(self, origin: Origin) -> None:
        """Remember an origin; a failure is ignored."""
        if self._path is None or _added.get((self._path, origin.folder)) == origin:
            return
        if len(_added) >= _MEMORY:
            _added.clear()
        _added[self._path, origin.folder] = origin
        line = json.dumps({key: value for key, value in asdict(origin).items() if value}).encode() + b"\n"
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                os.write(fd, line)  # a single write with O_APPEND: lines of several processes do not mix
                full = os.fstat(fd).st_size > _LIMIT
            finally:
                os.close(fd)
            if full:
                kept = {one.folder: one for one in self._all()}
                lines = [json.dumps(asdict(one)).encode() + b"\n" for one in kept.values()]
                while sum(map(len, lines)) > _LIMIT // 2:
                    lines = lines[len(lines) // 4 + 1 :]
                replace_whole(self._path, *lines, private=True)

    def of(self, path: str, store: str) -> tuple[Origin, str] | None:
        """Return the origin of a path, or of the nearest folder above it, and the path below that folder.

        The newest origin in the given store counts, else the newest in any.
        """
        known: dict[str, Origin] = {}
        for one in self._all():
            if one.store == store or (found := known.get(one.folder)) is None or found.store != store:
                known[one.folder] = one
        folder, inner = path, ""
        while True:
            if (found := known.get(folder)) is not None:
                return found, inner
            above, name = os.path.split(folder)
            if above == folder:
                return None
            folder, inner = above, f"{name}/{inner}" if inner else name

    def below(self, path: str, store: str) -> list[Origin]:
        """Return the origins in a store of existing files and folders below a folder, by path."""
        top = f"{path.rstrip('/')}/"
        known = {one.folder: one for one in self._all() if one.store == store and one.folder.startswith(top)}
        return [known[folder] for folder in sorted(known) if os.path.lexists(folder)]

    def _all(self) -> Iterator[Origin]:
        try:
            lines = [] if self._path is None else read_own(self._path).splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, TypeError):
                yield Origin(**json.loads(line))


def remember(session: Session, folder: str, artifact: Named, *, how: str, **options: Unpack[OriginOptions]) -> None:
    """Remember in the cache of a session what a folder or file, by its real path, was put as or got from."""
    if session.cache is not None:
        Origins(session.cache).add(
            Origin(folder, session.core().config.store, session.url, artifact.name, artifact.digest, how, **options)
        )
