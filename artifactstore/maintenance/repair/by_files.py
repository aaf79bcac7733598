"""Content of which no manifest is left, recognised by its digest among the user's own files and stored anew."""

from collections.abc import Mapping
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.compact_lists import Digests, Texts
from artifactstore.content.manifests.listing_lines import plain_lines
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.source import Folder
from artifactstore.maintenance.repair.chunks import Files
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Config
from artifactstore.model.listing import Extra, identify_lines

__all__ = ["restore_from_files"]


def restore_from_files(
    backend: Backend, config: Config, files: Files, digest: str, stored: Mapping[str, Any], *, dry_run: bool
) -> tuple[Manifest | None, str] | None:
    """Return a manifest whose packs are durable and the path that has the content; None if no folder and no file has it.

    Args:
        backend: the store's.
        config: its configuration.
        files: the user's.
        digest: of the artifact.
        stored: what its `stored` fact says: size, number of files, format.
        dry_run: write nothing; the manifest is None.
    """
    for path, folder in files.sources():
        if len(folder.files) != stored.get("files") or folder.size != stored.get("size"):
            continue
        extra = _matching(folder, files, config.digest, digest, stored.get("format"))
        if extra is None:
            continue
        if dry_run:
            return None, path
        with ingest(backend, folder, algorithm=config.digest, chunkers=config.chunkers, known=KnownChunks()) as done:
            made = done.manifest
        made.modes, made.format = bool(extra.executables), extra.format
        if str(made.identify()[1]) == digest:
            return made, path
    return None


def _matching(folder: Folder, files: Files, algorithm: str, digest: str, form: Any) -> Extra | None:
    """Return the extra lines with which these files are the artifact, or None."""
    known: list[bytes] = []
    for one in folder.files:
        found = files.digest(str(one.disk))
        if found is None:
            return None
        known.append(found)
    paths = folder.paths if isinstance(folder.paths, Texts) else Texts(folder.paths)
    executables = [one.path for one in folder.files if one.executable]
    for bits in [(), executables] if executables else [()]:
        extra = Extra(folder.folders, folder.links, list(bits), form)
        if identify_lines(plain_lines(paths, Digests(known)), extra, algorithm)[1] == Digest.parse(digest):
            return extra
    return None
