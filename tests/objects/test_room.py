"""What would not fit into memory is refused before it is tried."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore import CorruptionError, UnsupportedError
from artifactstore.objects import memory_limit
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.arrays import Array
from artifactstore.objects.formats.tables import Table
from artifactstore.objects.registry import read_object
from artifactstore.objects.tables import size_limits
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files


def test_a_few_bytes_that_stand_for_many_rows_are_refused(free_memory: Callable[[int], None]):
    sink = pa.BufferOutputStream()
    many = 20_000_000
    part = pa.table([pa.array(np.zeros(many, "i8")), pa.array(np.zeros(many, "i4"))], names=["a", "b"])
    with pq.ParquetWriter(sink, part.schema, compression="zstd") as writer:
        writer.write_table(part, row_group_size=many)
    raw = sink.getvalue().to_pybytes()
    assert len(raw) < 300_000
    free_memory(100 * 2**20)
    with pytest.raises(UnsupportedError, match=r"the table takes 0\.2 GB in memory, but only .* open_table"):
        Table().read(MemoryFolder({"data.parquet": raw}))
    with pytest.raises(UnsupportedError, match=r"0\.2 GB"):
        Table().read(MemoryFolder({"data.parquet": raw}), columns=["a"])
    assert Table().read(MemoryFolder({"data.parquet": raw}), columns="b").num_rows == many


def as_parquet(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


@pytest.mark.slow
def test_texts_and_lists_that_take_few_bytes_are_refused_as_what_they_become(free_memory: Callable[[int], None]):
    again = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["x" * 1_000_000]))
    hostile = {
        "a text again and again": as_parquet(pa.table({"a": again.cast(pa.large_string()), "b": range(500)})),
        "a long text": as_parquet(pa.table({"a": ["x" * 200_000_000], "b": [1]}), use_dictionary=False, compression="zstd"),
        "gaps in a list": as_parquet(pa.table({"a": pa.array([[None] * 20_000_000], pa.list_(pa.int64())), "b": [1]})),
    }
    free_memory(100 * 2**20)
    for name, raw in hostile.items():
        assert len(raw) < 100_000, name
        with pytest.raises(UnsupportedError, match="the table takes"):
            Table().read(MemoryFolder({"data.parquet": raw}))
        assert Table().read(MemoryFolder({"data.parquet": raw}), columns="b").num_rows > 0
    kept = as_parquet(pa.table({"a": again}))
    assert Table().read(MemoryFolder({"data.parquet": kept})).num_rows == 500  # categories stay one text


@pytest.mark.parametrize("where", [0, 1, 3, None])  # of the file, of the column, of the part; and 2 is a histogram
def test_an_end_that_lies_about_its_rows_is_damage(where: int | None):
    raw = as_parquet(pa.table({"a": range(20_011)}), use_dictionary=False, write_statistics=False)
    size = int.from_bytes(raw[-8:-4], "little")
    said, lie = b"\xd6\xb8\x02", b"\xd6\xb8\x82\x82\x02"  # Thrift's 20,011, and half a billion
    parts = raw[-8 - size : -8].split(said)
    end = parts[0]
    for number, part in enumerate(parts[1:]):
        end += (lie if where in (None, number) else said) + part
    assert len(parts) == 5
    with pytest.raises(CorruptionError, match="rows"):
        Table().read(MemoryFolder({"data.parquet": raw[: -8 - size] + end + len(end).to_bytes(4, "little") + b"PAR1"}))


@pytest.mark.slow
def test_objects_larger_than_memory_are_refused(store: Store, free_memory: Callable[[int], None], tmp_path: Path):
    store.put(np.zeros(20_000_000), "a")
    store.put({"a": np.zeros(10), "b": np.zeros(20_000_000)}, "several")
    free_memory(100 * 2**20)
    for ref in ("a", "several"):
        with pytest.raises(
            UnsupportedError, match=r"npy takes 0\.2 GB in memory, but only 0\.1 GB are free: get its files with to="
        ):
            store.get(ref)
    assert store.get("several", keys=["a"])["a"].shape == (10,)
    store.get("a", tmp_path / "to")
    assert store.get("a", mmap=True).shape == (20_000_000,)


def test_what_is_free_is_known_here():
    assert 10**8 < (memory_limit._free_memory() or 0) < 10**13


def test_elements_without_bytes_take_no_memory_whatever_their_number():
    for kind in ("|S0", "<U0", "|V0"):
        head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (12800000000,), }}\n".encode()
        found = Array().read(MemoryFolder({"data.npy": b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head}))
        assert (found.shape, found.nbytes) == ((12_800_000_000,), 0)


def test_a_table_of_few_bytes_that_would_take_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(size_limits, "_UNCHECKED", 1000)
    monkeypatch.setattr(size_limits, "_MAX_RATIO", 100)
    folder = WriteFolder()
    Table().write(pa.table({"a": np.zeros(100_000)}), folder, profile=False)
    with pytest.raises(UnsupportedError, match="read it in parts with open_table"):
        Table().read(MemoryFolder(as_files(folder)))


def test_an_object_for_which_there_is_no_memory_is_refused_by_the_right_error(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Array, "read", full)
    with pytest.raises(UnsupportedError, match="more memory than is available"):
        read_object("array", MemoryFolder({}))


def test_the_limit_of_a_container_and_of_the_process_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, said in {
        "memory.max": "5000",
        "memory.current": "3000",
        "memory.stat": "anon 1\nactive_file 500\ninactive_file 100\n",
    }.items():
        (tmp_path / name).write_text(said)
    monkeypatch.setattr(memory_limit, "_GROUP", str(tmp_path))
    assert memory_limit._free_memory() == 2600
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory_limit._free_memory() or 0) > 10**8
