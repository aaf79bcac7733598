"""Files of a pull that the store has already: they are copied from there, and hashed as those that arrive are."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from artifactstore.errors import ArtifactStoreError, InvalidInputError, NotFoundError
from artifactstore.store import Store
from artifactstore.work.get.get import opened

__all__ = ["LocalFiles"]

_BLOCK: Final = 2**20
_HEX: Final = 64


class LocalFiles:
    """Files of artifacts whose SHA-256 digests are recorded.

    Args:
        store: the store.
        refs: artifacts that are likely to have some; those that do not exist have none.
    """

    def __init__(self, store: Store, *refs: str) -> None:
        self._session = store._session  # noqa: SLF001 - content is read without becoming an input of a run
        self._rows: dict[str, tuple[str, int]] = {}  # SHA-256 → artifact, row of its manifest
        for ref in refs:
            try:
                artifact = store.artifact(ref)
                lines = artifact.sha256
            except (NotFoundError, InvalidInputError):
                continue  # also where the claim of a stranger's manifest is no reference at all
            for row, hexes in enumerate(_digests(lines or "")):
                self._rows.setdefault(f"sha256:{hexes}", (artifact.digest, row))

    def copy(self, digest: str, target: Path) -> bool:
        """Write a file that is here; return False if it is not, or not with these bytes: then it has to be fetched."""
        found = self._rows.get(digest)
        if found is None:
            return False
        hasher = hashlib.sha256()
        try:
            with opened(self._session, *found) as reader, target.open("wb") as file:
                while block := reader.read(_BLOCK):
                    hasher.update(block)
                    file.write(block)
        except ArtifactStoreError:  # damaged or unreachable here: the registry has it
            return False
        return f"sha256:{hasher.hexdigest()}" == digest  # what a manifest states may be false


def _digests(lines: str) -> Iterator[str]:
    """Yield the digests of the lines of `sha256sum`, which are in the order of the manifest; an escaped name begins with a backslash."""
    for line in filter(None, lines.split("\n")):  # names may have other line ends
        yield line.removeprefix("\\")[:_HEX]
