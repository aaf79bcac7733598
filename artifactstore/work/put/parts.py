"""A put whose content several processes have stored: each stores its files, and one of them makes them one artifact.

What the others have stored is plain values, sent by any means that they have; nothing of it is visible before the one commit,
and until then clean-up spares it as it spares every upload (docs/decisions/0090).
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NoReturn

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.write.source import Folder, Source, check_folder
from artifactstore.errors import CondemnedBeforeCommitError, InvalidInputError
from artifactstore.runtime.records import dataclass
from artifactstore.work.put.known_content import candidates
from artifactstore.work.put.uncommitted import ingested
from artifactstore.work.session.session import Session
from artifactstore.work.session.write_guard import refuse_if_moved

__all__ = ["Parts", "StoredPart", "store_part"]


@dataclass(frozen=True, slots=True)
class StoredPart:
    """Files that one process has stored; it can be pickled.

    Attributes:
        store: id of the store.
        manifest: their chunks.
        packs: ids of the packs that were written for them.
        uploaded: bytes of these packs.
        alive_at: the head at which all that it refers to was known to be alive.
        sha256: path → raw SHA-256, if requested.
    """

    store: str
    manifest: Manifest
    packs: frozenset[str]
    uploaded: int
    alive_at: int
    sha256: Mapping[str, bytes] = field(default_factory=dict)


def store_part(session: Session, files: Sequence[Source], *, name: str | None = None, sha256: bool = False) -> StoredPart:
    """Store files for an artifact that another process, or a later call, commits. They are durable when this returns.

    Args:
        session: the store.
        files: with paths in the artifact.
        name: of the artifact: content that its newest versions have is not stored again.
        sha256: also compute each file's SHA-256, as `kind="model"` asks for.

    Raises:
        InvalidInputError: two files have one path.
        RefusedError: the store is read-only.
        BackendError: a pack could not be written.
        Exception: whatever reading a file raises.
    """
    core = session.core_to_write()
    folder = Folder(sorted(files, key=lambda one: one.path.encode()))
    check_folder(folder)
    with session.state() as state:
        refuse_if_moved(session.url, state)
        alive_at, wanted = state.head, candidates(state, name)
    done = ingested(session, folder, wanted, sha256=sha256 and core.algorithm != "sha256")
    return StoredPart(core.config.store, done.manifest, frozenset(done.packs), done.uploaded, alive_at, dict(done.sha256))


class Parts:
    """The source of a put that makes one artifact of stored parts: `store.put(Parts(parts), name)`.

    Args:
        parts: of one store; a path is in one of them only.
    """

    def __init__(self, parts: Sequence[StoredPart]) -> None:
        self.parts = tuple(parts)
        self.hashed: tuple[tuple[Source, bytes, bool], ...] = ()  # no file of this machine was read
        self._tried = False

    @property
    def manifests(self) -> list[Manifest]:
        """The chunks of all files."""
        return [one.manifest for one in self.parts]

    @property
    def packs(self) -> set[str]:
        """Ids of the packs that were written."""
        return set().union(*(one.packs for one in self.parts))

    @property
    def uploaded(self) -> int:
        """Bytes of these packs."""
        return sum(one.uploaded for one in self.parts)

    @property
    def sha256(self) -> dict[str, bytes]:
        """Path → SHA-256, of the files for which it was computed."""
        return {path: raw for one in self.parts for path, raw in one.sha256.items()}

    def folder(self, session: Session) -> tuple[Folder, list[bytes | None]]:
        """Return the files, which cannot be read again, and their digests.

        Raises:
            InvalidInputError: a part is of another store, or two parts have one path.
        """
        core = session.core_to_write()
        found: list[tuple[Source, bytes]] = []
        for one in self.parts:
            if one.store != core.config.store or one.manifest.algorithm != core.algorithm:
                raise InvalidInputError(
                    f"a part was stored in another store than {session.url}: open the store by the same URL in all processes"
                )
            rows = zip(one.manifest.paths, one.manifest.sizes, one.manifest.digests, strict=True)
            found += [(Source(path, size, b"", False, None, reader=_ELSEWHERE), digest) for path, size, digest in rows]  # noqa: FBT003
        found.sort(key=lambda pair: pair[0].path.encode())
        folder = Folder([source for source, _ in found])
        check_folder(folder)
        return folder, [digest for _, digest in found]

    def begin(self, state: State) -> int:
        """Return the head at which all that the parts refer to was alive.

        Raises:
            CondemnedBeforeCommitError: clean-up has taken a part of it: it must be stored again.
        """
        if not self._tried:
            self._tried = True
            return min([state.head, *(one.alive_at for one in self.parts)])
        if any(pack in state.condemned_packs for one in self.manifests for pack in one.packs):
            _ELSEWHERE.refuse()
        return state.head


class _Elsewhere:
    """Stands for content that another process has stored, and had in its memory."""

    def refuse(self) -> NoReturn:
        raise CondemnedBeforeCommitError(
            "clean-up took content that a process had stored before all of them were done, and only that process had it; nothing was "
            "committed: store it again, and let gc spare what is younger (its `grace`)"
        )

    def read(self, offset: int, size: int) -> NoReturn:
        del offset, size
        self.refuse()

    def fill(self, view: memoryview, offset: int) -> None:
        del view, offset
        self.refuse()

    def check(self) -> None:
        """Do nothing: it does not change."""


_ELSEWHERE = _Elsewhere()
