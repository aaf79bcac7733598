"""Exports that SageMaker deploys: a tree of files in a bucket, or one `model.tar.gz`, the same bytes each time."""

import struct
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import fsspec

from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError
from artifactstore.runtime.atomic_files import durable, name_new, refuse_existing, staged
from artifactstore.store import Store

__all__ = ["export", "export_tar"]

_READ: Final = 8 * 2**20
_AT_ONCE: Final = 8
_STORED: Final = 65_535  # bytes of a block of deflate that is not compressed (RFC 1951, 3.2.4)
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # of gzip, without a time and a name (RFC 1952)


def export(store: Store, ref: str, to: str) -> dict[str, Any]:
    """Write an artifact's files below a prefix of a bucket, as SageMaker mounts them.

    Args:
        store: the store.
        ref: the artifact.
        to: `s3://bucket/prefix/`; nothing may be there, but files of an earlier export of the same artifact.

    Returns:
        `{"ModelDataSource": {"S3DataSource": {…}}}`, a part of requests such as `create_model`.

    Raises:
        AlreadyExistsError: something else is there.
        InvalidInputError: `to` is no prefix in a bucket, or the artifact has links, which a bucket has not.
        BackendError: the bucket cannot be reached; run it again.
    """
    scheme, sign, rest = to.partition("://")
    bucket, _, prefix = rest.strip("/").partition("/")
    if scheme != "s3" or not sign or not bucket or not prefix:
        raise InvalidInputError(f"{to!r}: expected s3://bucket/prefix/, where SageMaker reads the files from")
    artifact = store.artifact(ref)
    files = {one.path: one for one in artifact.files}
    if odd := [path for path, one in files.items() if one.type == "link"]:
        raise InvalidInputError(f"{artifact.ref} has links, such as {odd[0]}, and a bucket has none: use --as sagemaker-tar")
    base = f"{bucket}/{prefix}"
    wanted = {f"{base}/{path}": one for path, one in files.items() if one.type == "file"}
    try:
        system = fsspec.filesystem("s3")
        system.invalidate_cache()
        there = {name: info["size"] for name, info in system.find(base, detail=True).items()}
        if more := sorted(name for name in there if name not in wanted):
            raise AlreadyExistsError(f"{to} has other files, such as s3://{more[0]}: choose an empty prefix")
        _send(store, artifact, system, wanted)
    except OSError as error:
        if isinstance(error, BackendError | AlreadyExistsError):
            raise
        raise BackendError(f"cannot write to {to}: {error}") from error
    source = {"S3Uri": f"s3://{base}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": source}}


def _send(store: Store, artifact: Any, system: Any, wanted: dict[str, Any]) -> None:
    def send(target: str) -> None:
        with store.open_file(_inside(artifact, wanted[target].path)) as reader, system.open(target, "wb") as writer:
            while block := reader.read(_READ):
                writer.write(block)

    with ThreadPoolExecutor(_AT_ONCE, "artifactstore-sagemaker") as pool:
        list(pool.map(send, wanted))


def _inside(artifact: Any, path: str) -> str:
    return f"{artifact.digest}/{path}"


def export_tar(store: Store, ref: str, to: str) -> str:
    """Write an artifact as `model.tar.gz`: sorted, without times and owners, not compressed, the same bytes each time.

    Args:
        store: the store.
        ref: the artifact.
        to: a new file, or a URL.

    Raises:
        AlreadyExistsError: the file exists.
        BackendError: it cannot be written; nothing half-written is there.
    """
    artifact = store.artifact(ref)
    try:
        if "://" in to:
            with fsspec.open(to, "wb") as file:
                _write(file, _gzip(_tar(store, artifact)))
        else:
            target = Path(to).absolute()
            refuse_existing(target)
            with staged(target) as part:
                with durable(part) as file:
                    _write(file, _gzip(_tar(store, artifact)))
                name_new(part, target)
    except OSError as error:
        if isinstance(error, BackendError | AlreadyExistsError):
            raise
        raise BackendError(f"cannot write {to}: {error}") from error
    return to


def _write(file: Any, blocks: Iterator[bytes]) -> None:
    for block in blocks:
        file.write(block)


def _tar(store: Store, artifact: Any) -> Iterator[bytes]:
    """Yield a tar, sorted by path."""
    for one in sorted(artifact.files, key=lambda one: one.path.split("/")):
        info = tarfile.TarInfo(one.path)
        if one.type == "file":
            info.size, info.mode = one.size, 0o755 if one.executable else 0o644
        elif one.type == "link":
            info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, one.target
        else:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
        if one.type == "file":
            with store.open_file(_inside(artifact, one.path)) as reader:
                while block := reader.read(_READ):
                    yield block
            yield bytes(-one.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _gzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield gzip's form of blocks without compressing them: what zlib makes differs from version to version, and weights hardly shrink."""
    checksum = size = 0
    rest = b""
    yield _HEADER
    for block in blocks:
        checksum, size, data = zlib.crc32(block, checksum), size + len(block), rest + block
        whole = len(data) - len(data) % _STORED
        for at in range(0, whole, _STORED):
            yield _stored(data[at : at + _STORED], last=False)
        rest = data[whole:]
    yield _stored(rest, last=True) + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _stored(data: bytes, *, last: bool) -> bytes:
    return struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF) + data
