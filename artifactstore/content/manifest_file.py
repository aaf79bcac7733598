"""Manifests as Parquet: one row a file, folder or link, sorted by the path's UTF-8 bytes.

DuckDB, Polars or pandas can read them without this library (docs/format.md, "Manifest").
"""

import base64
import json
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from artifactstore.content.codec import is_delta
from artifactstore.content.columns import bits, digests, numbers, texts
from artifactstore.content.manifest import INLINE, Extent, Manifest
from artifactstore.content.manifest_check import check_base, check_chunks, check_packs, check_side
from artifactstore.errors import CorruptionError, FormatError
from artifactstore.model.bounded import Bounded
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.listing import check_link, check_links, check_path, clash
from artifactstore.model.loading import LOADING

__all__ = ["decode", "encode"]

MANIFEST_FORMAT: Final = 1
ROW_GROUP: Final = 50_000
_THREADS: Final = 2**20  # bytes of a manifest
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
    with LOADING:
        import pyarrow as pa  # noqa: PLC0415 - Arrow costs 0.2 s at start-up
        import pyarrow.parquet as pq  # noqa: PLC0415

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
    table = pa.Table.from_arrays(_columns(manifest, schema, pa), schema=schema)
    sink = pa.BufferOutputStream()
    # Digests and stored bytes do not compress and do not repeat: neither dictionary nor zstd is tried on what can't gain.
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
        writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({"artifactstore": canonical_json(meta).decode()})
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _columns(manifest: Manifest, schema: Any, pa: Any) -> list[Any]:
    """Make the Arrow columns; folders and links are merged in among the files by path."""
    m, c = manifest, manifest.chunks
    rows: list[tuple[str, bytes, bytes | None]] = [(path, b"dir", None) for path in m.folders] + [
        (path, b"link", target.encode()) for path, target in m.links
    ]
    rows.sort()
    n, total = len(m.paths), len(c)
    single = [m.first[i] for i in range(n) if m.first[i + 1] - m.first[i] == 1]
    own: list[bytes | None] = list(c.digests)
    for i in single:
        own[i] = None  # it equals the file's
    element = schema.field("chunks").type.value_type
    data = texts(pa, [c.inline.get(i) for i in range(total)], pa.binary()) if c.inline else pa.nulls(total, pa.binary())
    values = pa.StructArray.from_arrays(
        [
            digests(pa, own),
            numbers(pa, c.sizes, pa.int64()),
            numbers(pa, array("i", c.packs), pa.int32()),
            numbers(pa, c.offsets, pa.int64()),
            numbers(pa, c.stored, pa.int64()),
            numbers(pa, c.codecs, pa.uint8()),
            data,
            _bases(manifest, element.field("base").type, pa),
        ],
        fields=[element.field(i) for i in range(element.num_fields)],
    )
    paths, sizes, file_digests, executable = m.paths, m.sizes, list[bytes | None](m.digests), list(m.executable)
    types, targets = [b"file"] * n, list[bytes | None]([None]) * n
    first = m.first
    if rows:
        order = sorted([(path, i) for i, path in enumerate(m.paths)] + [(row[0], n + j) for j, row in enumerate(rows)])
        paths, places = [path for path, _ in order], [i for _, i in order]
        types = [b"file" if i < n else rows[i - n][1] for i in places]
        sizes = array("q", [m.sizes[i] if i < n else 0 for i in places])
        file_digests = [m.digests[i] if i < n else None for i in places]
        executable = [m.executable[i] if i < n else 0 for i in places]
        targets = [None if i < n else rows[i - n][2] for i in places]
        first = array("q", [0])
        for i in places:
            first.append(m.first[i + 1] if i < n else first[-1])
    lists = pa.ListArray.from_arrays(numbers(pa, array("i", first), pa.int32()), values, type=schema.field("chunks").type)
    return [
        texts(pa, [path.encode() for path in paths], pa.string()),
        texts(pa, types, pa.string()),
        numbers(pa, sizes, pa.int64()),
        digests(pa, file_digests),
        bits(pa, executable),
        texts(pa, targets, pa.string()) if rows else pa.nulls(len(paths), pa.string()),
        lists,
    ]


def _side_rows(manifest: Manifest) -> dict[str, list[list[Any]]]:
    """Return what the metadata say of side content."""
    packs = {pack: i for i, pack in enumerate(manifest.packs)}

    def row(one: Extent) -> list[Any]:
        data = None if one.data is None else base64.b64encode(one.data).decode()
        number = INLINE if one.pack is None else packs[one.pack]
        return [one.digest.hex(), one.size, number, one.offset, one.stored, one.codec, data]

    return {name: [row(one) for one in extents] for name, extents in manifest.side.items()}


def _side_of(said: dict[str, list[list[Any]]], packs: list[str]) -> dict[str, list[Extent]]:
    """Read what `_side_rows` wrote."""

    def extent(row: list[Any]) -> Extent:
        digest, size, number, offset, stored, codec, data = row
        if not INLINE <= number < len(packs):
            raise ValueError("side content is in a pack that is not in the list")
        pack = None if number == INLINE else packs[number]
        one = Extent(bytes.fromhex(digest), size, pack, offset, stored, codec, None if data is None else base64.b64decode(data))
        check_side(one)
        return one

    return {name: [extent(row) for row in rows] for name, rows in said.items()}


def _bases(manifest: Manifest, kind: Any, pa: Any) -> Any:
    """Make the column that tells where the bases of deltas lie."""
    found, total = manifest.chunks.bases, len(manifest.chunks)
    if not found:
        return pa.nulls(total, kind)
    packs = {pack: i for i, pack in enumerate(manifest.packs)}
    rows = [found.get(i) for i in range(total)]

    def column(name: str, code: str, of: Callable[[Extent], int]) -> Any:
        values = array(code, [0 if one is None else of(one) for one in rows])
        return numbers(pa, values, kind.field(name).type)

    columns = [
        digests(pa, [None if one is None else one.digest for one in rows]),
        column("pack", "i", lambda one: packs[str(one.pack)]),
        column("offset", "q", lambda one: one.offset),
        column("stored", "i", lambda one: one.stored),
        column("codec", "B", lambda one: one.codec),
        column("size", "i", lambda one: one.size),
    ]
    missing = bits(pa, [one is None for one in rows])
    return pa.StructArray.from_arrays(columns, fields=[kind.field(i) for i in range(kind.num_fields)], mask=missing)


def decode(raw: bytes, key: str, *, algorithm: str) -> Manifest:
    """Read a manifest; its caller has checked that `raw` matches the digest in the journal, and compares `digest` with what it asked for.

    Raises:
        FormatError: written by a newer version.
        CorruptionError: no manifest, or one that does not add up, or with a path that must not be written. Files whose paths clash
            are no error here: each of its files can be read, and `place` refuses to write them together.
    """
    with LOADING:
        import pyarrow as pa  # noqa: PLC0415

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
        manifest = Manifest(algorithm, packs=list(meta["packs"]), modes=bool(meta["modes"]), format=meta["object"])
        manifest.deltas = {path: (int(versions), int(stored)) for path, (versions, stored) in meta.get("deltas", {}).items()}
        manifest.side = _side_of(meta.get("side", {}), manifest.packs)
        # Arrow's threads are for large ones: started for a small one, they may outlive a short program and abort its end.
        _fill(
            manifest, lambda names: parquet.read(names.__contains__, use_threads=len(raw) > _THREADS), pa, bases="deltas" in meta
        )
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, CorruptionError | FormatError):
            raise
        raise bad(str(error) or repr(error)) from error
    manifest.digest = str(manifest.identify()[1])
    if manifest.digest != meta["digest"]:
        raise bad(f"its files do not add up to {meta['digest']}")
    return manifest


def _fill(  # noqa: PLR0915 - one pass over the columns, for speed
    manifest: Manifest, read: Callable[[frozenset[str]], Any], pa: Any, *, bases: bool
) -> None:
    schema = _schema(pa, bases=bases)
    table = read(_LEAVES | _BASES if bases else _LEAVES).select(schema.names)  # columns of later versions are never decoded
    found, expected = table.schema.types, schema.types
    # Read in part, a list's items have another name and may be null: that alone is worth no cast.
    if found[:-1] != expected[:-1] or found[-1].value_type != expected[-1].value_type:
        table = table.cast(schema)
    columns = {name: _one(table.column(name)) for name in table.column_names}
    lists = columns["chunks"]
    if lists.null_count:
        raise ValueError("a file has no list of chunks")
    ends = _memory(lists.offsets, "i")
    # Not `flatten`: that loads pyarrow.compute, 0.04 s.
    values = lists.values.slice(ends[0], ends[-1] - ends[0]) if len(ends) else lists.values
    if values.null_count:
        raise ValueError("a chunk is missing")
    names = {values.type.field(i).name: i for i in range(values.type.num_fields)}
    fields = {name: values.field(i) for name, i in names.items()}
    codecs = _memory(fields["codec"], "B")
    if not bases and any(is_delta(codec) for codec in {*codecs}):
        _fill(manifest, read, pa, bases=True)
        return
    c = manifest.chunks
    c.digests = fields["digest"].to_pylist()
    for name, target in (("size", c.sizes), ("offset", c.offsets), ("stored", c.stored)):
        target.extend(_memory(fields[name], "q"))
    c.packs.extend(_memory(fields["pack"], "i"))
    c.codecs.extend(codecs)
    if fields["data"].null_count < len(c):
        c.inline = {i: data for i, data in enumerate(fields["data"].to_pylist()) if data is not None}
    if bases and fields["base"].null_count < len(c):
        c.bases = _based(manifest, fields["base"].to_pylist())
    check_chunks(manifest)
    offsets = _memory(lists.offsets, "i")
    start = offsets[0] if len(offsets) else 0
    paths, types, targets = columns["path"].to_pylist(), columns["type"].to_pylist(), columns["target"].to_pylist()
    digests, sizes, bits = columns["digest"].to_pylist(), _memory(columns["size"], "q"), columns["executable"].to_pylist()
    before = ""
    for i, (path, kind) in enumerate(zip(paths, types, strict=True)):
        check_path(path)
        if path < before:
            raise ValueError(f"the path {path!r} is out of order")
        before = path
        if kind == "dir":
            manifest.folders.append(path)
        elif kind == "link":
            check_link(path, targets[i])
            manifest.links.append((path, targets[i]))
        elif kind == "file":
            low, high = offsets[i] - start, offsets[i + 1] - start
            if high - low == 1 and c.digests[low] is None:
                c.digests[low] = digests[i]
            if high - low == 1 and c.digests[low] != digests[i]:
                raise ValueError(f"the only chunk of {path!r} has another digest than the file")
            if digests[i] is None or sum(c.sizes[low:high]) != sizes[i]:
                raise ValueError(f"the chunks of {path!r} do not add up to its size")
            manifest.paths.append(path)
            manifest.sizes.append(sizes[i])
            manifest.digests.append(digests[i])
            manifest.executable.append(bool(bits[i]))
            manifest.first.append(high)
        else:
            raise ValueError(f"{path!r} is of the unknown type {kind!r}")
    if any(digest is None for digest in c.digests):
        raise ValueError("a chunk has no digest")
    check_links(manifest.links)
    manifest.clash = clash(manifest.paths, manifest.folders, manifest.links)
    if manifest.clash is not None and manifest.links:
        raise ValueError(
            f"{manifest.clash[1]!r} is there twice or inside of what is no folder, and links may lead out of the target"
        )


def _based(manifest: Manifest, rows: list[dict[str, Any] | None]) -> dict[int, Extent]:
    """Read the bases of deltas."""
    packs = manifest.packs
    found: dict[int, Extent] = {}
    for i, row in enumerate(rows):
        if row is None:
            continue
        one = Extent(pack=packs[row["pack"]], **{name: row[name] for name in ("digest", "size", "offset", "stored", "codec")})
        check_base(manifest, i, one, row["pack"])
        found[i] = one
    return found


def _one(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _memory(values: Any, code: str) -> Sequence[int]:
    """Read an Arrow array of numbers without nulls as numbers."""
    width = array(code).itemsize
    if values.null_count:
        raise ValueError("a number is missing")
    if not len(values):
        return []
    memory = memoryview(values.buffers()[1]).cast("B")[values.offset * width : (values.offset + len(values)) * width]
    numbers: Any = memory  # the format's letter is a value here, which the stubs of `cast` do not foresee
    found: Sequence[int] = numbers.cast(code)
    return found
