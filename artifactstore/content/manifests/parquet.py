"""Manifests as Parquet: one row per file, folder or link, sorted by the path's UTF-8 bytes.

DuckDB, Polars or pandas can read them without this library (docs/reference/format.md, "Manifests").
"""

import base64
import io
import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, Final

from artifactstore.content.codecs.codec import is_delta
from artifactstore.content.manifests.arrow_columns import (
    bits,
    digests,
    numbers,
    strings,
    texts,
)
from artifactstore.content.manifests.checks import check_chunks, check_packs, check_side
from artifactstore.content.manifests.compact_lists import SIZE
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest
from artifactstore.content.manifests.row_groups import add_chunks, add_rows
from artifactstore.errors import CorruptionError, FormatError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.listing import check_links
from artifactstore.model.parquet.bounded import Bounded
from artifactstore.model.path_clashes import clash
from artifactstore.runtime.loading import arrow

__all__ = ["decode", "encode"]

MANIFEST_FORMAT: Final = 1
ROW_GROUP: Final = 50_000
_THREADS: Final = 2**20  # min bytes of a manifest that is decoded by several threads
_CHUNK: Final = "chunks.list.element"
_LEAVES: Final = frozenset(
    {"path", "type", "size", "digest", "executable", "target"}
    | {f"{_CHUNK}.{name}" for name in ("digest", "size", "pack", "offset", "stored", "codec", "data")}
)
_BASES: Final = frozenset(f"{_CHUNK}.base.{name}" for name in ("digest", "pack", "offset", "stored", "codec", "size"))


@cache
def _schema(pa: Any, *, bases: bool = True) -> Any:
    digest = pa.binary(32)
    base = pa.struct(
        [
            ("digest", digest),
            ("pack", pa.int32()),
            ("offset", pa.int64()),
            ("stored", pa.int32()),
            ("codec", pa.uint8()),
            ("size", pa.int32()),
        ]
    )
    chunk = [
        pa.field("digest", digest),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("pack", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("stored", pa.int64(), nullable=False),
        pa.field("codec", pa.uint8(), nullable=False),
        pa.field("data", pa.binary()),
    ]
    if bases:
        chunk.append(pa.field("base", base))
    fields = [
        pa.field("path", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("digest", digest),
        pa.field("executable", pa.bool_(), nullable=False),
        pa.field("target", pa.string()),
        pa.field("chunks", pa.list_(pa.field("element", pa.struct(chunk), nullable=False)), nullable=False),
    ]
    return pa.schema(fields)


def encode(manifest: Manifest, content: Digest, digest: Digest) -> bytes:
    """Write a manifest as Parquet (zstd 1; offsets as deltas)."""
    pa, pq = arrow(), arrow("parquet")
    meta = {
        "format": MANIFEST_FORMAT,
        "digest": str(digest),
        "content": str(content),
        "packs": manifest.packs,
        "files": len(manifest.paths),
        "size": manifest.size,
        "modes": manifest.modes,
        "object": manifest.format,
    }
    if manifest.deltas:
        meta["deltas"] = manifest.deltas
    if manifest.side:
        meta["side"] = _side_rows(manifest)
    schema = _schema(pa)
    sink = io.BytesIO()  # Arrow's own stream takes twice as much while it grows, and is copied at the end
    # Digests and stored bytes neither compress nor repeat: dictionary and zstd are off where they cannot gain.
    numbers = {f"chunks.list.element.{name}": "DELTA_BINARY_PACKED" for name in ("size", "pack", "offset", "stored")}
    plain = {"digest": "PLAIN", "path": "DELTA_BYTE_ARRAY", "size": "DELTA_BINARY_PACKED"}
    with pq.ParquetWriter(
        sink,
        schema,
        use_dictionary=["type"],
        column_encoding={**numbers, **plain},
        compression="zstd",
        compression_level=1,
        write_statistics=["path"],
        store_schema=False,
    ) as writer:
        # One row group at a time: all columns of millions of files at once would take as much memory as the manifest itself.
        for columns in _row_groups(manifest, schema, pa):
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({"artifactstore": canonical_json(meta).decode()})
    return sink.getvalue()


def _row_groups(manifest: Manifest, schema: Any, pa: Any) -> Iterator[list[Any]]:
    """Yield the Arrow columns of each row group; folders and links are merged in between the files by path."""
    m = manifest
    others: list[tuple[str, bytes, bytes | None]] = [(path, b"dir", None) for path in m.folders]
    others += [(path, b"link", target.encode()) for path, target in m.links]
    others.sort()
    before = [bisect_left(m.paths, path) for path, _, _ in others]  # the number of files before each
    rows = len(m.paths) + len(others)
    low = done = 0  # positions in the files, and in the others
    for start in range(0, max(rows, 1), ROW_GROUP):
        size, high, first = min(ROW_GROUP, rows - start), low, done
        while high - low + done - first < size:
            if done < len(others) and before[done] <= high:
                done += 1
            else:
                high = min(low + size - (done - first), before[done] if done < len(others) else len(m.paths))
        at = [before[i] - low + i - first for i in range(first, done)]  # their rows in this group
        yield _columns(manifest, (low, high), dict(zip(at, others[first:done], strict=True)), schema, pa)
        low = high


def _columns(
    manifest: Manifest, part: tuple[int, int], others: dict[int, tuple[str, bytes, bytes | None]], schema: Any, pa: Any
) -> list[Any]:
    """Build the Arrow columns of some files, with folders and links at their rows in between."""
    m, c, (low, high) = manifest, manifest.chunks, part
    first = m.first[low : high + 1]
    begin, end = first[0], first[-1]
    own = bytearray(b"\1") * (end - begin)
    for one, following in pairwise(first):
        if following - one == 1:
            own[one - begin] = 0  # equal to the file's digest
    element = schema.field("chunks").type.value_type
    inline = c.inline and [c.inline.get(i) for i in range(begin, end)]
    values = pa.StructArray.from_arrays(
        [
            digests(pa, c.digests.data[begin * SIZE : end * SIZE], own),
            numbers(pa, c.sizes[begin:end], pa.int64()),
            numbers(pa, c.packs[begin:end], pa.int32()),
            numbers(pa, c.offsets[begin:end], pa.int64()),
            numbers(pa, c.stored[begin:end], pa.int64()),
            numbers(pa, c.codecs[begin:end], pa.uint8()),
            texts(pa, inline, pa.binary()) if inline else pa.nulls(end - begin, pa.binary()),
            _bases(manifest, begin, end, element.field("base").type, pa),
        ],
        fields=[element.field(i) for i in range(element.num_fields)],
    )
    count = high - low
    raw, sizes, bits_of = m.digests.data[low * SIZE : high * SIZE], m.sizes[low:high], m.executable[low:high]
    ends = array("i", (one - begin for one in first))
    if not others:
        starts, at = m.paths.ends[low : high + 1], m.paths.ends[low]
        paths = strings(pa, m.paths.data[at : starts[-1]], array("i", (one - at for one in starts)))
        types, targets, present = texts(pa, [b"file"] * count, pa.string()), pa.nulls(count, pa.string()), None
    else:
        rows, numbers_of = range(count + len(others)), iter(range(low, high))
        files = [None if row in others else next(numbers_of) for row in rows]
        paths = texts(
            pa,
            [others[row][0].encode() if i is None else m.paths[i].encode() for row, i in zip(rows, files, strict=True)],
            pa.string(),
        )
        types = texts(pa, [others[row][1] if i is None else b"file" for row, i in zip(rows, files, strict=True)], pa.string())
        targets = texts(pa, [others[row][2] if i is None else None for row, i in zip(rows, files, strict=True)], pa.string())
        present = bytearray(i is not None for i in files)
        raw = bytearray().join(bytes(SIZE) if i is None else m.digests[i] for i in files)
        sizes = array("q", (0 if i is None else m.sizes[i] for i in files))
        bits_of = bytearray(i is not None and m.executable[i] for i in files)
        ends = array("i", [0, *accumulate(0 if i is None else m.first[i + 1] - m.first[i] for i in files)])
    return [
        paths,
        types,
        numbers(pa, sizes, pa.int64()),
        digests(pa, raw, present),
        bits(pa, bits_of),
        targets,
        pa.ListArray.from_arrays(numbers(pa, ends, pa.int32()), values, type=schema.field("chunks").type),
    ]


def _side_rows(manifest: Manifest) -> dict[str, list[list[Any]]]:
    """Return the records of side content for the metadata."""
    packs = {pack: i for i, pack in enumerate(manifest.packs)}

    def row(one: Extent) -> list[Any]:
        data = None if one.data is None else base64.b64encode(one.data).decode()
        number = INLINE if one.pack is None else packs[one.pack]
        return [one.digest.hex(), one.size, number, one.offset, one.stored, one.codec, data]

    return {name: [row(one) for one in extents] for name, extents in manifest.side.items()}


def _parse_side_rows(side: dict[str, list[list[Any]]], packs: list[str]) -> dict[str, list[Extent]]:
    """Parse the output of `_side_rows`."""

    def extent(row: list[Any]) -> Extent:
        digest, size, number, offset, stored, codec, data = row
        if not INLINE <= number < len(packs):
            raise ValueError("side content is in a pack that is not listed")
        pack = None if number == INLINE else packs[number]
        one = Extent(bytes.fromhex(digest), size, pack, offset, stored, codec, None if data is None else base64.b64decode(data))
        check_side(one)
        return one

    return {name: [extent(row) for row in rows] for name, rows in side.items()}


def _bases(manifest: Manifest, begin: int, end: int, kind: Any, pa: Any) -> Any:
    """Build the column of the bases of deltas, for some chunks."""
    found = manifest.chunks.bases
    if not found:
        return pa.nulls(end - begin, kind)
    packs = {pack: i for i, pack in enumerate(manifest.packs)}
    rows = [found.get(i) for i in range(begin, end)]

    def column(name: str, code: str, of: Callable[[Extent], int]) -> Any:
        values = array(code, [0 if one is None else of(one) for one in rows])
        return numbers(pa, values, kind.field(name).type)

    columns = [
        digests(pa, b"".join(bytes(SIZE) if one is None else one.digest for one in rows), bytes(one is not None for one in rows)),
        column("pack", "i", lambda one: packs[str(one.pack)]),
        column("offset", "q", lambda one: one.offset),
        column("stored", "i", lambda one: one.stored),
        column("codec", "B", lambda one: one.codec),
        column("size", "i", lambda one: one.size),
    ]
    missing = bits(pa, [one is None for one in rows])
    return pa.StructArray.from_arrays(columns, fields=[kind.field(i) for i in range(kind.num_fields)], mask=missing)


def decode(raw: bytes, key: str, *, algorithm: str) -> Manifest:
    """Parse a manifest; the caller has checked `raw` against the digest in the journal, and compares `digest` with the one requested.

    Raises:
        FormatError: written by a newer version.
        CorruptionError: not a manifest, or inconsistent, or with an unsafe path. Files whose paths clash
            are not an error here: each file can be read, and `checkout` rejects writing them together.
    """
    pa = arrow()

    def bad(what: str) -> CorruptionError:
        return CorruptionError(f"{key} is damaged: {what}; restore it from a copy of the store", location=key)

    try:
        parquet = Bounded(raw)
        meta = json.loads(parquet.metadata[b"artifactstore"])
        if int(meta["format"]) > MANIFEST_FORMAT:
            raise FormatError(
                f"{key} has manifest format {meta['format']}, this version reads up to {MANIFEST_FORMAT}: upgrade artifactstore"
            )
        check_packs(meta["packs"])
        manifest = _fill(parquet, meta, algorithm, pa, threads=len(raw) > _THREADS)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, CorruptionError | FormatError):
            raise
        raise bad(str(error) or repr(error)) from error
    manifest.digest = str(manifest.identify()[1])
    if manifest.digest != meta["digest"]:
        raise bad(f"its files do not match {meta['digest']}")
    return manifest


def _fill(parquet: Bounded, meta: dict[str, Any], algorithm: str, pa: Any, *, threads: bool, bases: bool = False) -> Manifest:
    bases = bases or "deltas" in meta
    manifest = Manifest(algorithm, packs=list(meta["packs"]), modes=bool(meta["modes"]), format=meta["object"])
    manifest.deltas = {path: (int(versions), int(stored)) for path, (versions, stored) in meta.get("deltas", {}).items()}
    manifest.side = _parse_side_rows(meta.get("side", {}), manifest.packs)
    schema = _schema(pa, bases=bases)
    leaves = _LEAVES | _BASES if bases else _LEAVES  # columns of newer versions are never decoded
    # Arrow's threads only for large ones: started for a small one, they may outlive a short program and abort its exit.
    before = ""
    for part in parquet.groups(leaves.__contains__, use_threads=threads):
        table = part.select(schema.names)
        found, expected = table.schema.types, schema.types
        # Read in part, the items of a list have another name and may be null: no cast needed for that alone.
        if found[:-1] != expected[:-1] or found[-1].value_type != expected[-1].value_type:
            table = table.cast(schema)
        columns = {name: _one(table.column(name)) for name in table.column_names}
        own = add_chunks(manifest, columns["chunks"], bases=bases)
        if not bases and any(is_delta(codec) for codec in {*manifest.chunks.codecs[-len(own) :]} if own):
            return _fill(parquet, meta, algorithm, pa, threads=threads, bases=True)
        before = add_rows(manifest, columns, own, before)
    check_chunks(manifest)
    check_links(manifest.links)
    manifest.clash = clash(manifest.paths, manifest.folders, manifest.links)
    if manifest.clash is not None and manifest.links:
        raise ValueError(
            f"{manifest.clash[1]!r} is a duplicate, or is inside something that is not a folder, and links may lead out of the target"
        )
    return manifest


def _one(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
