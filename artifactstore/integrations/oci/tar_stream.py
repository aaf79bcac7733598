"""The layer of an image: a tar of an artifact below `models/`, the same bytes each time, made while it is sent."""

import tarfile
from collections.abc import Iterator
from typing import Final

from artifactstore.integrations.oci.contents import Contents, StoredFile

__all__ = ["ROOT", "tar_blocks", "tar_size"]

ROOT: Final = "models"
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = 2 * _BLOCK  # of zeros, and none to fill a record: the size is then a function of the entries alone


def tar_size(contents: Contents) -> int:
    """Return the size of the tar."""
    return sum(len(header) + (_padded(file.size) if file is not None else 0) for header, file in _entries(contents)) + _END


def tar_blocks(contents: Contents) -> Iterator[bytes]:
    """Yield the tar.

    Raises:
        CorruptionError: the artifact's bytes do not match their digest.
        BackendError: the store cannot be reached.
    """
    for header, file in _entries(contents):
        yield header
        if file is not None:
            yield from contents.blocks(file)
            if rest := _padded(file.size) - file.size:
                yield bytes(rest)
    yield bytes(_END)


def _entries(contents: Contents) -> Iterator[tuple[bytes, StoredFile | None]]:
    """Yield the header of each entry, sorted by path: folders before what is in them."""
    rows: list[tuple[str, StoredFile | None, str | None]] = [(file.path, file, None) for file in contents.files]
    rows += [(path, None, target) for path, target in contents.links]
    folders = {*contents.folders}
    for path in [one for one, _, _ in rows] + contents.folders:
        parts = path.split("/")
        folders.update("/".join(parts[:k]) for k in range(1, len(parts)))
    yield _header(_info(ROOT, tarfile.DIRTYPE, 0o755)), None
    for path, file, target in sorted([*rows, *((one, None, None) for one in folders)], key=lambda row: row[0].split("/")):
        if file is not None:
            info = _info(f"{ROOT}/{path}", tarfile.REGTYPE, 0o755 if file.executable else 0o644)
            info.size = file.size
        elif target is not None:
            info = _info(f"{ROOT}/{path}", tarfile.SYMTYPE, 0o777)
            info.linkname = target
        else:
            info = _info(f"{ROOT}/{path}", tarfile.DIRTYPE, 0o755)
        yield _header(info), file


def _info(name: str, sort: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = sort, mode
    return info  # owner 0, time 0, no names of users


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
