"""What would not fit into memory is refused before it is tried."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore import UnsupportedError
from artifactstore.objects import room
from artifactstore.objects.formats.tables import Table
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder


def test_a_few_bytes_that_stand_for_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch):
    sink = pa.BufferOutputStream()
    many = 20_000_000
    part = pa.table([pa.array(np.zeros(many, "i8")), pa.array(np.zeros(many, "i4"))], names=["a", "b"])
    with pq.ParquetWriter(sink, part.schema, compression="zstd") as writer:
        writer.write_table(part, row_group_size=many)
    raw = sink.getvalue().to_pybytes()
    assert len(raw) < 300_000
    monkeypatch.setattr(room, "_free", lambda: 100 * 2**20)
    with pytest.raises(UnsupportedError, match=r"the table takes 0\.2 GB in memory, and .* open_table"):
        Table().read(MemoryFolder({"data.parquet": raw}))
    with pytest.raises(UnsupportedError, match=r"0\.2 GB"):
        Table().read(MemoryFolder({"data.parquet": raw}), columns=["a"])
    assert Table().read(MemoryFolder({"data.parquet": raw}), columns="b").num_rows == many


def test_objects_larger_than_memory_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    store.put(np.zeros(20_000_000), "a")
    store.put({"a": np.zeros(10), "b": np.zeros(20_000_000)}, "several")
    monkeypatch.setattr(room, "_free", lambda: 100 * 2**20)
    for ref in ("a", "several"):
        with pytest.raises(
            UnsupportedError, match=r"npy takes 0\.2 GB in memory, and 0\.1 GB are free here: get its files with to="
        ):
            store.get(ref)
    assert store.get("several", keys=["a"])["a"].shape == (10,)
    store.get("a", tmp_path / "to")
    assert store.get("a", mmap=True).shape == (20_000_000,)


def test_what_is_free_is_known_here():
    assert 10**8 < (room._free() or 0) < 10**13
