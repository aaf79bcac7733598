"""Status: which version a folder of this machine came from, and what changed in it since."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import newest
from artifactstore.display.displayed import Displayed, outline_of
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.listing import Extra, identify
from artifactstore.model.reference import Reference
from artifactstore.work.put.arguments import FolderOptions
from artifactstore.work.put.sources import PutSource
from artifactstore.work.queries.diff import Diff
from artifactstore.work.queries.sides import LocalSide, StoredSide, hashed, listed
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.origins import Origin, Origins
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path, matches

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["FolderStatus", "Status", "status"]

_HOW: Final = {"put": "put as", "get": "got from", "content": "has the content of", "against": "against"}


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What is known of one folder or file.

    Attributes:
        path: its path, as it was passed.
        ref: the version that it came from.
        how: `put` or `get` if this machine remembers that, `content` if it has the content of that version, or `against`.
        newest: the newest version of the name, if it is another one; else None.
        diff: what changed since, from the version to the folder.
    """

    path: str
    ref: str
    how: str
    newest: str | None
    diff: Diff


class Status(Displayed, Sequence[FolderStatus]):
    """The folders that were examined; true if anything changed in one of them."""

    def __init__(self, folders: Sequence[FolderStatus]) -> None:
        self._folders = tuple(folders)

    def __getitem__(self, at: Any) -> Any:
        return self._folders[at]

    def __len__(self) -> int:
        return len(self._folders)

    def __bool__(self) -> bool:
        return any(one.diff for one in self._folders)

    def __repr__(self) -> str:
        return str(self)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Section  # noqa: PLC0415 - most processes show no report

        found: list[Block] = []
        for one in self._folders:
            body = [*outline_of(one.diff)]
            if one.newest is not None:
                body.append(Line(f"{one.newest} is newer"))
            found.append(Section(f"{one.path}: {_HOW[one.how]} {one.ref}", body))
        return found


@one_state()
def status(session: Session, path: Any, *, against: str | None, options: FolderOptions) -> Status:
    """Examine a file or folder of this machine; see `Store.status`."""
    given = local_path(path, "path")
    if not os.path.lexists(given):
        raise InvalidInputError(f"no such path: {os.fspath(path)!r}")
    if against is not None:
        return Status([_compared(session, given, "against", StoredSide(session, against), options)])
    store, origins, real = session.core().config.store, Origins(session.cache), os.path.realpath(given)
    found = origins.of(real, store)
    if found is not None and found[0].store == store:
        origin, inner = found
        return Status([_since(session, given, origin, inner, options)])
    below = origins.below(real, store)
    if below:
        shown = [given / os.path.relpath(one.folder, real) for one in below]
        return Status([_since(session, path, one, "", options) for path, one in zip(shown, below, strict=True)])
    return Status([_recognised(session, given, None if found is None else found[0], options)])


def _since(session: Session, given: Path, origin: Origin, inner: str, options: FolderOptions) -> FolderStatus:
    """Compare a folder with what is remembered as its origin."""
    with session.query_state() as state:
        ref = _reference(state, origin.name, origin.digest)
    path = "/".join(filter(None, (origin.path, inner)))
    ref = str(replace(Reference.parse(ref), path=path or None))

    def keeps(one: str) -> bool:
        whole = f"{path}/{one}" if path else one
        return any(matches(whole, pattern.rstrip("/")) for pattern in origin.paths)

    if not inner and origin.how == "put":
        remembered: FolderOptions = {}
        if origin.exclude:
            remembered["exclude"] = origin.exclude
        if origin.links != "keep":
            remembered["links"] = origin.links
        options = {**remembered, **options}
    return _compared(session, given, origin.how, StoredSide(session, ref, keeps if origin.paths else None), options)


def _reference(state: State, name: str | None, digest: str) -> str:
    """Return the newest version that an artifact is of a name, or of any name; its digest if it has none."""
    versions = [(row[0], row[1]) for row in state.versions_by_digest.get(digest, ()) if name is None or row[0] == name]
    return f"{versions[-1][0]}:v{versions[-1][1]}" if versions else digest


def _recognised(session: Session, given: Path, elsewhere: Origin | None, options: FolderOptions) -> FolderStatus:
    """Compare a folder with the version that has its content."""
    source = listed(session, given, options)
    likely: list[tuple[str, str]] = []
    with session.query_state() as state:
        size, count = source.folder.size, len(source.folder.paths)
        likely = [
            (digest, row.get("content", digest))
            for digest, row in state.stored.items()
            if (row.get("files"), row.get("size")) == (count, size)
        ]
        if likely:  # else nothing needs to be read
            digests = hashed(session, source)
            content, digest = _identity(source, digests, session.core().algorithm)
            likely = sorted((one for one in likely if content == one[1]), key=lambda one: one[0] != digest)
        for found, _ in likely:
            ref = _reference(state, None, found)
            if state.holders.get(found) and (ref != found or found in state.unnamed):
                return _compared(session, given, "content", StoredSide(session, ref), options, read=(source, digests))
    known = f"; it was {elsewhere.how} with the store at {elsewhere.url}" if elsewhere is not None else ""
    raise NotFoundError(
        f"no version in {session.url} has the content of {given}, and no put or get of it is remembered{known}: compare it with a "
        "version, against='NAME:v1'"
    )


def _identity(source: PutSource, digests: Sequence[bytes], algorithm: str) -> tuple[str, str]:
    folder = source.folder
    content, digest = identify(zip(folder.paths, digests, strict=True), Extra(folder.folders, folder.links), algorithm)
    return str(content), str(digest)


def _compared(
    session: Session,
    given: Path,
    how: str,
    stored: StoredSide,
    options: FolderOptions,
    *,
    read: tuple[PutSource, Sequence[bytes]] | None = None,
) -> FolderStatus:
    if read is None:
        source = listed(session, given, options)
        read = source, hashed(session, source)
    source, digests = read
    local = LocalSide(session.core().algorithm, given, source, digests, stored)
    with session.query_state() as state:
        found = session.resolve(stored.ref)
        last = None if found.name is None else newest(state, found.name)
    newer = f"{found.name}:v{last}" if found.version is not None and last is not None and last > found.version else None
    return FolderStatus(str(given), stored.ref, how, newer, Diff(stored, local, key=(), exact=False))
