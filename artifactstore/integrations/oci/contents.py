"""An artifact as layers need it: its files with their SHA-256 digests, and what its listing says beyond them."""

from collections.abc import Iterator
from typing import Any, Final

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.errors import InvalidInputError
from artifactstore.integrations.oci.registry.connections import BLOCK
from artifactstore.runtime.records import dataclass
from artifactstore.store import Store
from artifactstore.work.get.get import opened
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.registry.signatures.sha256 import sha256_of

__all__ = ["Contents", "StoredFile"]

_READ: Final = BLOCK


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an artifact.

    Attributes:
        path: in the artifact.
        size: in bytes.
        executable: whether it has an executable bit.
        row: in the manifest.
    """

    path: str
    size: int
    executable: bool
    row: int


class Contents:
    """An artifact of a store, pinned to its digest.

    Args:
        store: the store.
        ref: a reference to a whole artifact.

    Attributes:
        artifact: its record.
        files: sorted by path.
        links: (path, target).
        folders: the empty ones.
        listing: the lines of the listing after the plain ones, as text.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: the reference names a path in one.
    """

    def __init__(self, store: Store, ref: str) -> None:
        self._session = store._session  # noqa: SLF001 - content is read without becoming an input of a run
        self.artifact: Any = store.artifact(ref)
        if self._session.batch() is not None and self.artifact.version is None:
            raise InvalidInputError("inside a batch nothing can be exported or pushed yet: leave the block first")
        check_taint(self._session, ref, self._session.resolve(ref))
        self.links: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.files: list[StoredFile] = []
        self.listing = ""
        self._session.with_manifest(self.artifact.digest, self._look)
        self._sha256: list[str] = []

    def _look(self, manifest: Manifest) -> None:
        rows = zip(manifest.paths, manifest.sizes, manifest.executable, strict=True)
        self.files = [StoredFile(path, size, bool(bit), row) for row, (path, size, bit) in enumerate(rows)]
        self.links, self.folders = [*manifest.links], [*manifest.folders]
        self.listing = b"".join(manifest.extra.lines()).decode()

    @property
    def sha256(self) -> list[str]:
        """The hex digits of each file's SHA-256; the content is read only if the store does not know them."""
        if not self._sha256 and self.files:
            self._sha256 = [one for _, one in sha256_of(self._session, self.artifact.digest)[0]]
        return self._sha256

    def blocks(self, file: StoredFile) -> Iterator[bytes]:
        """Yield the bytes of a file, each chunk verified.

        Raises:
            CorruptionError: they do not match their digest.
            BackendError: the store cannot be reached.
        """
        with opened(self._session, self.artifact.digest, file.row) as reader:
            while block := reader.read(_READ):
                yield block
