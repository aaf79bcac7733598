"""Layers: which files each is, by its media type and annotations, and how a tar becomes some."""

import gzip
import json
import re
import shutil
import stat
import tarfile
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, Final

import zstandard

from artifactstore.errors import FormatError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.documents import Document, Entry
from artifactstore.integrations.oci.tar_stream import ROOT
from artifactstore.integrations.oci.tree import Tree
from artifactstore.runtime.records import dataclass

__all__ = ["Layer", "plan", "unpack"]

_MODEL_LAYER: Final = re.compile(r"application/vnd\.(?:cncf|cnai)\.model\.[a-z.]+?\.v1(?:\.(raw|tar(?:\+gzip|\+zstd)?))?")
_TAR: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1|kitops\.modelkit\.[a-z]+\.v1)\.tar(?:[+.](gzip|zstd))?"
)
_DOCKER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_IMAGES: Final = frozenset({types.IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json"})
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_EXTENSIONS: Final = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_LARGEST_EXTENSION: Final = 2**20  # bytes
_BLOCK: Final = 2**20
_WINDOW: Final = 2**27  # bytes: what zstd itself takes unless asked for more


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, and what it becomes.

    Attributes:
        entry: its descriptor.
        path: of the one file that it is; None for a tar.
        compression: of a tar: "", `gzip` or `zstd`.
        below: the folder in the tar whose content is taken; "" for all.
        executable: whether the file has an executable bit.
    """

    entry: Entry
    path: str | None
    compression: str = ""
    below: str = ""
    executable: bool = False


def plan(manifest: Document, what: str) -> list[Layer]:
    """Return what the layers of a manifest become, in their order.

    Raises:
        FormatError: one cannot be read.
    """
    is_image = manifest.config_type in _IMAGES
    return [_layer(entry, what, is_image=is_image) for entry in manifest.entries if entry.media_type != types.EMPTY]


def _layer(entry: Entry, what: str, *, is_image: bool) -> Layer:
    notes = entry.annotations
    title = notes.get(types.FILE_PATH) or notes.get("org.cnai.model.filepath") or notes.get(types.TITLE)
    model = _MODEL_LAYER.fullmatch(entry.media_type)
    packed = (model[1] or "raw") if model else None
    if packed not in {None, "raw"}:
        return Layer(entry, None, str(packed).removeprefix("tar").removeprefix("+"))
    match = _TAR.fullmatch(entry.media_type)
    is_tar = match is not None or entry.media_type == _DOCKER_TAR
    compression = "gzip" if entry.media_type == _DOCKER_TAR else (match[1] or "" if match else "")
    folder = entry.media_type == f"{types.IMAGE_LAYER}+gzip" and title and not title.lower().endswith((".gz", ".tgz"))
    if folder or notes.get(types.UNPACK, "").lower() == "true":  # which oras packed; oras-py leaves the annotation out
        return Layer(entry, None, compression or "gzip")
    if title and not (is_tar and "kitops" in entry.media_type):
        return Layer(entry, title, executable=_is_executable(notes))
    if is_tar:
        return Layer(entry, None, compression, ROOT if is_image else "")
    raise FormatError(f"{what} has a layer of the type {entry.media_type:.100} without a title: which file it is cannot be known")


def _is_executable(notes: Any) -> bool:
    try:
        mode = json.loads(notes.get(types.FILE_METADATA, "{}"))["mode"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return isinstance(mode, int) and bool(mode & 0o111)


def unpack(layer: Layer, blob: Path, tree: Tree, what: str) -> bool:
    """Unpack a tar that was checked into a tree; return whether it has anything there.

    Raises:
        FormatError: it is not such a tar, or it has what an artifact cannot have.
    """
    try:
        with (
            blob.open("rb") as raw,
            _plain(raw, layer.compression) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK, tarinfo=_Header) as tar,
        ):
            found = [_take(tar, member, tree, layer, what) for member in tar]
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError, OverflowError, ValueError) as error:
        raise FormatError(f"the layer {layer.entry.digest} of {what} is not a tar that can be read: {error}") from error
    return any(found)


class _Header(tarfile.TarInfo):
    """A header of a tar; what extends it is read into memory as a whole, and must be small."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in _EXTENSIONS and self.size > _LARGEST_EXTENSION:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]  # typeshed leaves it out


def _plain(raw: IO[bytes], compression: str) -> Any:
    """Return a stream of what a compressed file holds."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if compression == "zstd":
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(raw, read_across_frames=True, closefd=False)
    return nullcontext(raw)


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, layer: Layer, what: str) -> bool:
    """Take an entry of a tar; return False if it is not below the folder that is taken."""
    image = bool(layer.below)
    path = _inner(member.name, layer.below, what)
    if path is None:
        return False
    above, _, name = path.rpartition("/")
    if image and name.startswith(_WHITEOUT):
        tree.remove(above if name == _OPAQUE else f"{above}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
        return True
    if member.isdir():
        if path:
            tree.add_folder(path)
    elif not path:
        raise FormatError(f"{what} has a file where the folder {layer.below or '.'} is expected")
    elif member.issym():
        tree.add_link(path, member.linkname, replace=image)
    elif member.islnk():
        of = _inner(member.linkname, layer.below, what)
        tree.add_copy(path, of if of is not None else member.linkname, replace=image)
    elif member.isreg():
        tree.room(member.size)
        source = tar.extractfile(member)
        assert source is not None  # of a regular file it never is
        with source:
            if not image and path in tree.files:
                tree.check_same(path, source)  # layers of one tree overlap: a ModelKit's README may be below its model, too
                return True
            with tree.writing(path, executable=bool(member.mode & stat.S_IXUSR), replace=image) as file:
                shutil.copyfileobj(source, file, _BLOCK)
    else:
        raise FormatError(f"{what} has {member.name!r}, which is neither a file, a folder nor a link: it cannot be stored")
    return True


def _inner(name: str, below: str, what: str) -> str | None:
    """Return the path of a tar's entry; None: it is not below the folder that is taken.

    Raises:
        FormatError: it is absolute, or leads out.
    """
    plain = name.removeprefix("./") if not below else name.removeprefix("./").lstrip("/")
    parts = [one for one in plain.split("/") if one not in {"", "."}]
    if ".." in parts or (plain.startswith("/") and not below):
        raise FormatError(f"{what} has {name!r}, which leads out of its folder: nothing was stored")
    if not below:
        return "/".join(parts)
    if parts[:1] != [below]:
        return None
    return "/".join(parts[1:])
