"""Writes exports to a file or folder: complete under its name, or absent."""

import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from artifactstore.content.read.checkout import checkout
from artifactstore.content.read.selection import select
from artifactstore.errors import AlreadyExistsError, BackendError
from artifactstore.runtime.atomic_files import durable, name_new, staged
from artifactstore.work.export.record import Item, Record
from artifactstore.work.export.ro_crate import folder_of
from artifactstore.work.session.session import Session

__all__ = ["write_crate", "write_file"]

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can represent


def write_file(target: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file.

    Raises:
        AlreadyExistsError: it exists, and `overwrite` is off.
        BackendError: it cannot be written.
    """
    if not overwrite:
        _check_free(target)
    with staged(target) as part:
        with durable(part) as file:
            file.write(data)
        if overwrite:
            part.replace(target)
        else:
            name_new(part, target)


def write_crate(session: Session, record: Record, target: Path, texts: Mapping[str, bytes], *, inside: bool) -> None:
    """Write a crate: into a zip file if the target ends with `.zip`, else into a folder.

    Args:
        session: the store.
        record: the record.
        target: the target.
        texts: name → bytes of what describes the crate.
        inside: whether to include the files of artifacts.

    Raises:
        AlreadyExistsError: the target is a file, or a folder that is not empty.
        CorruptionError: bytes do not match their digest; nothing was written.
        BackendError: the store cannot be read, or the target cannot be written.
    """
    zipped = target.suffix.lower() == ".zip"
    _check_free(target, may_be_empty=not zipped)
    with staged(target) as part:
        part.mkdir()
        for item in record.items.values() if inside else ():
            if item.there:
                _materialise(session, item, part / folder_of(item))
        for name, text in texts.items():
            (part / name).write_bytes(text)
        if zipped:
            with staged(target) as packed:
                _pack(part, packed)
                name_new(packed, target)
        else:
            if target.is_dir():
                target.rmdir()  # fails if a file was added meanwhile
            part.rename(target)


def _check_free(target: Path, *, may_be_empty: bool = False) -> None:
    if not os.path.lexists(target):
        return
    if not (may_be_empty and target.is_dir()):
        raise AlreadyExistsError(f"{target} exists already: choose another name, or remove it first")
    try:
        full = any(True for _ in target.iterdir())
    except OSError as error:
        raise BackendError(f"cannot read {target}: {error.strerror or error}") from error
    if full:
        raise AlreadyExistsError(f"{target} is not empty: choose a new or an empty folder")


def _materialise(session: Session, item: Item, folder: Path) -> None:
    """Write an artifact's files into a crate. Not by `get`: inside a run, an export is not an input."""
    folder.parent.mkdir(exist_ok=True)
    watch: Callable[[int], None] = session.watch("export", item.size or 0)
    session.with_manifest(
        item.digest,
        lambda manifest: checkout(
            session.core().cached_backend, manifest, select(manifest, lambda path: path), folder, progress=watch
        ),
    )


def _pack(folder: Path, packed: Path) -> None:
    """Write a zip file whose bytes depend only on the folder: sorted, dateless, and uncompressed, since compressors differ."""
    with zipfile.ZipFile(packed, "x", zipfile.ZIP_STORED) as out:
        for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                info = _info(name, stat.S_IFLNK | 0o777)
                out.writestr(info, os.readlink(path))  # noqa: PTH115 - as it is written
            elif path.is_dir():
                out.writestr(_info(f"{name}/", stat.S_IFDIR | 0o755), b"")
            else:
                executable = path.stat().st_mode & stat.S_IXUSR
                info = _info(name, stat.S_IFREG | (0o755 if executable else 0o644))
                large = path.stat().st_size >= 2**31
                with path.open("rb") as file, out.open(info, "w", force_zip64=large) as into:
                    shutil.copyfileobj(file, into, 2**20)


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3  # Unix, on every platform
    info.external_attr = mode << 16
    return info
