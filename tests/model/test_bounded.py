"""Parquet of the store itself is counted before it is decoded: what is not known costs nothing, what is known is bounded."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore import CorruptionError
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.journal.segments import Segment, read_raw
from artifactstore.model.digest import hash_bytes
from artifactstore.model.parquet import bounded
from artifactstore.model.parquet.bounded import Bounded

LEAST = 2**24  # an eighth of what any file may take: so the tests have to make less
MANY = 40 * 2**20  # bytes that some kilobytes stand for here: more than may be taken


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded, "_LEAST", LEAST)
    monkeypatch.setattr(bounded, "_TIMES", 128)


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **{"row_group_size": 2**26, "write_statistics": False, **options})
    return sink.getvalue()


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Arrow takes no more than this of memory at a time."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    try:
        yield
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() <= size


def manifest(files: int = 3) -> Manifest:
    made = Manifest("blake3", packs=["0" * 32])
    for number in range(files):
        made.paths.append(f"{number:06}")
        made.sizes.append(1)
        made.digests.append(hash_bytes(b"%d" % number, "blake3"))
        made.executable.append(False)
        made.chunks.add(made.digests[-1], 1, 0, number, 1, 0)
        made.first.append(number + 1)
    return made


def encoded(change: Callable[[pa.Table], pa.Table], **options: Any) -> bytes:
    made = manifest()
    content, digest = made.identify()
    table = pq.read_table(io.BytesIO(encode(made, content, digest)))
    meta = pq.ParquetFile(io.BytesIO(encode(made, content, digest))).metadata.metadata
    return written(change(table).replace_schema_metadata(meta), **options)


def zeros(rows: int, size: int, kind: pa.DataType) -> pa.Array:
    """All in the first row."""
    return pa.array([bytes(size), *[b""] * (rows - 1)], pa.large_binary()).cast(kind, safe=False)


def in_chunks(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Give each chunk one field more, or another one."""
    lists = table.column("chunks").combine_chunks()
    struct = lists.values
    fields = {struct.type.field(i).name: struct.field(i) for i in range(struct.type.num_fields)} | {name: values}
    made = pa.StructArray.from_arrays([*fields.values()], names=[*fields])
    return table.set_column(table.column_names.index("chunks"), "chunks", pa.ListArray.from_arrays(lists.offsets, made))


UNKNOWN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a column": lambda table: table.append_column("later", zeros(3, MANY, pa.binary())),
    "a list": lambda table: table.append_column("later", pa.array([[0] * 2_000_000, [], []], pa.list_(pa.int8()))),
    "a field of the chunks": lambda table: in_chunks(table, "later", zeros(3, MANY, pa.binary())),
    "a record": lambda table: table.append_column("later", pa.StructArray.from_arrays([zeros(3, MANY, pa.binary())], ["path"])),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_a_manifest_has_beyond_what_is_known_is_never_decoded(what: str):
    raw = encoded(UNKNOWN[what])
    assert len(raw) < 40_000
    with at_most(2**20):
        assert decode(raw, "k", algorithm="blake3").paths == manifest().paths


def test_a_segment_is_read_for_its_raw_entries_alone():
    table = pa.table({"raw": [b"{}"], "json": zeros(1, MANY, pa.binary())})
    with at_most(2**20):
        assert read_raw(written(table), Segment(1, 1, "0" * 64, "k"), None) is None  # its chain does not hold; it was read


def rows(column: str, count: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A table of that many rows, of which one column has one value."""

    def change(table: pa.Table) -> pa.Table:
        taken = table.slice(0, 1).take(pa.array([0] * count, pa.int32()))
        kind = table.schema.field(column).type
        return taken.set_column(taken.column_names.index(column), column, pa.repeat(pa.scalar(value, kind), count))

    return change


KNOWN: dict[str, tuple[Callable[[pa.Table], pa.Table], dict[str, Any]]] = {
    "stored bytes": (lambda table: in_chunks(table, "data", zeros(3, MANY, pa.binary())), {}),
    "a path": (lambda table: table.set_column(0, "path", pa.array(["x" * MANY, "y", "z"])), {}),
    "a path in a dictionary": (rows("path", 600, "x" * 2**17), {}),
    "paths that share a beginning": (rows("path", 600, "x" * 2**17), {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}),
    "targets of links": (rows("target", 600, "x" * 2**17), {}),
    "stored bytes in a dictionary": (
        lambda table: in_chunks(table.take(pa.array([0] * 600)), "data", pa.repeat(pa.scalar(bytes(2**17)), 600)),
        {},
    ),
    "rows": (rows("type", 500_000, "dir"), {"use_dictionary": True}),
    "chunks of one file": (
        lambda table: table.slice(0, 1).set_column(
            6, "chunks", pa.ListArray.from_arrays([0, 600_000], table.column("chunks").combine_chunks().values.take(pa.array([0] * 600_000)))
        ),
        {},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", KNOWN)
def test_what_is_known_takes_no_more_than_a_bound(what: str):
    change, options = KNOWN[what]
    if "column_encoding" in options:  # of texts alone
        options = {**options, "column_encoding": {"path": options["column_encoding"]}}
    raw = encoded(change, **options)
    assert len(raw) < 200_000
    with at_most(3 * LEAST), pytest.raises(CorruptionError):
        decode(raw, "k", algorithm="blake3")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"use_dictionary": True}, {"use_dictionary": False}])
def test_a_segment_of_one_long_entry_again_and_again_is_passed_over(options: dict[str, Any]):
    raw = written(pa.table({"raw": pa.repeat(pa.scalar(bytes(2**20)), 60)}), **options)
    with at_most(3 * LEAST):
        assert read_raw(raw, Segment(1, 60, "0" * 64, "k"), None) is None


@pytest.mark.parametrize("count", [2**31, 2**40])
def test_an_end_that_claims_more_rows_than_there_are_takes_no_memory(count: int):
    """The number of rows decides what Arrow takes before it has read one."""
    raw = bytearray(written(pa.table({"path": ["a"]}), use_dictionary=False))
    said = b"\x16\x02"  # one, as a number of 64 bits: of rows and of values
    wide, value = bytearray(), count * 2
    while value > 127:
        wide.append(value & 127 | 128)
        value >>= 7
    wide.append(value)
    length = int.from_bytes(raw[-8:-4], "little")
    end = bytes(raw[-8 - length : -8]).replace(said, b"\x16" + bytes(wide))
    bad = bytes(raw[: -8 - length]) + end + len(end).to_bytes(4, "little") + b"PAR1"
    with at_most(2**20), pytest.raises((ValueError, OSError, pa.ArrowException)):
        Bounded(bad).read("path".__eq__)


def test_many_equal_files_are_read_as_before():
    """They shrink some two hundred times: no bound on how much is honest."""
    made, empty = Manifest("blake3"), hash_bytes(b"", "blake3")
    for number in range(60_000):
        made.paths.append(f"some/folder/{number:09}.bin")
        made.sizes.append(0)
        made.digests.append(empty)
        made.executable.append(False)
        made.first.append(0)
    content, digest = made.identify()
    raw = encode(made, content, digest)
    assert len(raw) < 60_000
    assert decode(raw, "k", algorithm="blake3").paths == made.paths


def test_texts_that_share_bytes_are_read_in_parts_and_come_back_equal():
    texts = [f"{'x' * (number % 300)}{number}" for number in range(20_000)]
    raw = written(
        pa.table({"path": texts, "n": range(20_000)}), use_dictionary=False, column_encoding={"path": "DELTA_BYTE_ARRAY"}
    )
    table = Bounded(raw).read({"path", "n"}.__contains__)
    assert table.column("path").to_pylist() == texts
    assert table.column("n").to_pylist() == list(range(20_000))
