"""Manifests: the files of an artifact, and the extents of their chunks. The manifest is the index.

In memory it is columnar; `manifests.parquet` writes and reads it.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Final, NamedTuple

from artifactstore.content.manifests.compact_lists import SIZE, Digests, Texts
from artifactstore.content.manifests.listing_lines import plain_lines
from artifactstore.model.digest import Digest
from artifactstore.model.listing import Extra, follow, identify_lines, through_links

__all__ = ["INLINE", "Chunks", "Extent", "Manifest", "is_large", "manifest_key"]

_A_FILE, _A_BYTE = 33, 1400  # bytes of a manifest per file, and bytes of content per byte of a manifest
_LARGE_MANIFEST: Final = 16 * 2**20  # bytes of a manifest
INLINE: Final = -1  # the pack number of an inline chunk, whose stored bytes are in the manifest


def manifest_key(manifest: str) -> str:
    """Return the key of a manifest."""
    return f"manifests/{manifest[:2]}/{manifest}.parquet"


def is_large(files: int, size: int) -> bool:
    """Return whether a manifest of that many files and bytes is worth reading in parts, which takes one more request."""
    return _A_FILE * files + size // _A_BYTE > _LARGE_MANIFEST


class Extent(NamedTuple):  # cheap to create: there may be millions
    """The position of a chunk's stored bytes.

    Attributes:
        digest: the chunk's raw digest.
        size: the chunk's length in bytes.
        pack: the pack's id, or None if the bytes are inline.
        offset: offset in the pack.
        stored: length in the pack.
        codec: its encoding.
        data: the stored bytes of an inline chunk.
        base: extent of a delta's base; the base is in a pack, and not itself a delta.
    """

    digest: bytes
    size: int
    pack: str | None
    offset: int
    stored: int
    codec: int
    data: bytes | None = None
    base: "Extent | None" = None


class Chunks:
    """The chunk records of a manifest, in columns: 1 M files must fit in memory."""

    def __init__(self) -> None:
        self.digests = Digests()
        self.sizes = array("q")
        self.packs = array("i")
        self.offsets = array("q")
        self.stored = array("q")
        self.codecs = array("B")
        self.inline: dict[int, bytes] = {}
        self.bases: dict[int, Extent] = {}  # bases of deltas; their packs are in the manifest's list, too

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, digest: bytes, size: int, pack: int, offset: int, stored: int, codec: int) -> None:  # noqa: PLR0917 - the hot loop
        """Append a record; `pack` is an index into the manifest's list of packs, or `INLINE`, whose bytes then go to `inline`."""
        self.digests.append(digest)
        self.sizes.append(size)
        self.packs.append(pack)
        self.offsets.append(offset)
        self.stored.append(stored)
        self.codecs.append(codec)


_AS_EXTENT: Final = partial(tuple.__new__, Extent)


@dataclass(slots=True)
class Manifest:
    """The files of an artifact and their extents.

    Attributes:
        algorithm: algorithm of all its digests.
        packs: ids of the packs that its chunks refer to.
        paths: paths of the regular files, sorted by their UTF-8 bytes.
        sizes: sizes of the files, in bytes.
        digests: raw digests of the files.
        executable: 1 for each file with an executable bit.
        first: index of each file's first chunk, and the total count at the end.
        chunks: the chunk records, in file order.
        folders: paths of empty folders.
        links: (path, target) of symbolic links.
        modes: whether executable bits are part of the identity.
        format: name of the stored object's format, or None.
        side: name → chunks of side content; their packs are in the list, too.
        deltas: path → (versions, stored bytes) since the last full version, for each file stored as deltas.
        digest: digest of the artifact, as text, once computed from this content; "" before.
        all_proven: whether the chunk digests of all files are proven: this machine has cut them from the files themselves.
        proven: rows of further files whose chunk digests were proven by the digest of the file.
        clash: two of its paths that no file system can store together, or None; earlier versions could write such manifests.
    """

    algorithm: str
    packs: list[str] = field(default_factory=list)
    paths: Texts = field(default_factory=Texts)
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    digests: Digests = field(default_factory=Digests)
    executable: bytearray = field(default_factory=bytearray)
    first: "array[int]" = field(default_factory=lambda: array("q", [0]))
    chunks: Chunks = field(default_factory=Chunks)
    folders: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    modes: bool = False
    format: str | None = None
    side: dict[str, list[Extent]] = field(default_factory=dict)
    deltas: dict[str, tuple[int, int]] = field(default_factory=dict)
    digest: str = ""
    all_proven: bool = False
    proven: set[int] = field(default_factory=set)
    clash: tuple[str, str] | None = None

    @property
    def extra(self) -> Extra:
        """The lines of the listing after the plain ones."""
        executables = [path for path, bit in zip(self.paths, self.executable, strict=True) if bit] if self.modes else ()
        return Extra(self.folders, self.links, executables, self.format)

    def identify(self) -> tuple[Digest, Digest]:
        """Compute (content digest, digest) from the files."""
        return identify_lines(plain_lines(self.paths, self.digests), self.extra, self.algorithm)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes)

    def index(self, path: str) -> int | None:
        """Return the row of a file, or None."""
        return self.paths.find(path)

    def find(self, path: str) -> int | None:
        """Return the row of a file, also if the path leads to it through links; or None."""
        row = self.index(path)
        if row is None and self.links and (real := follow(dict(self.links), path)) is not None:
            return self.index(real)
        return row

    def visible(self) -> Sequence[str]:
        """Return the paths of all files, sorted, including those that reach a file through links."""
        return sorted([*self.paths, *through_links(self.links, self.paths)]) if self.links else self.paths

    def is_proven(self, row: int) -> bool:
        """Return whether the chunk digests of a file are proven to be those of its content (decision 0045).

        The digest of a file with a single chunk is the digest of that chunk.
        """
        return self.all_proven or self.first[row + 1] - self.first[row] < 2 or row in self.proven

    def same_chunks(self, other: "Manifest", row: int) -> bool:
        """Return whether another manifest of the same artifact has the same chunk digests for a file."""
        (low, high), (begin, end) = self.first[row : row + 2], other.first[row : row + 2]
        ours, theirs = self.chunks, other.chunks
        return (
            high - low == end - begin
            and ours.sizes[low:high] == theirs.sizes[begin:end]
            and ours.digests.data[low * SIZE : high * SIZE] == theirs.digests.data[begin * SIZE : end * SIZE]
        )

    def extents(self, row: int) -> Iterator[Extent]:
        """Yield a file's extents in order."""
        yield from self.extent_range(self.first[row], self.first[row + 1])

    def extent_range(self, low: int, high: int) -> list[Extent]:
        """Return the extents of the chunks `low` … `high - 1`: column by column, which takes a fifth of the time."""
        c = self.chunks
        packs = c.packs[low:high]
        if c.inline or c.bases or INLINE in packs:
            return [self.extent(i) for i in range(low, high)]
        ids = map(self.packs.__getitem__, packs)
        columns = (c.digests[low:high], c.sizes[low:high], ids, c.offsets[low:high], c.stored[low:high], c.codecs[low:high])
        return [*map(_AS_EXTENT, zip(*columns, repeat(None), repeat(None), strict=False))]

    def extent(self, i: int) -> Extent:
        """Return the extent of a chunk."""
        c = self.chunks
        pack = c.packs[i]
        return Extent(
            c.digests[i],
            c.sizes[i],
            None if pack == INLINE else self.packs[pack],
            c.offsets[i],
            c.stored[i],
            c.codecs[i],
            c.inline.get(i),
            c.bases.get(i) if c.bases else None,
        )

    def other_extents(self) -> Iterator[Extent]:
        """Yield the extents in packs that belong to no file: bases of deltas, and side content."""
        for extents in (self.chunks.bases.values(), *self.side.values()):
            yield from (extent for extent in extents if extent.pack is not None)

    def close_files(self, rows: Iterable[tuple[str, int, bytes, bool, int]]) -> None:
        """Append files: for each its path, size, digest, whether it is executable, and the number of chunks up to its end."""
        paths, sizes, digests, executable, ends = zip(*rows, strict=True)
        self.paths.extend(paths)
        self.sizes.extend(sizes)
        self.digests.extend(digests)
        self.executable.extend(executable)
        self.first.extend(ends)

    def close_file(self, path: str, size: int, digest: bytes, *, executable: bool) -> None:
        """Append a file whose chunks are those added since the last file."""
        self.close_files([(path, size, digest, executable, len(self.chunks))])
