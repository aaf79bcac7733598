"""How many rows of a table are read at a time: few where its texts are long, whether or not its end tells that they are."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore.model.parquet.footer import read_footer
from artifactstore.objects.tables import size_limits

ROWS = 1_000
LONG = 1_000_000  # bytes


def shared(rows: int = ROWS, size: int = LONG) -> pa.DictionaryArray:
    """Some rows that all have one long text."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * size])


def written(column: Any, **options: Any) -> io.BytesIO:
    """A file that does not tell that its texts are categories, as others than Arrow write it."""
    made = io.BytesIO()
    pq.write_table(pa.table({"a": column, "n": range(len(column))}), made, store_schema=False, **options)
    return made


def batches_of(file: io.BytesIO, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    return size_limits.batches_of(partial(pq.ParquetFile, file), read_footer(file), columns)


def lists_of(column: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(range(len(column) + 1), pa.int32()), column)


WRAPS = {
    "alone": lambda column: column,
    "in lists": lists_of,
    "in records": lambda column: pa.StructArray.from_arrays([column], ["k"]),
    "in lists of records": lambda column: lists_of(pa.StructArray.from_arrays([column], ["k"])),
    "in maps": lambda column: pa.MapArray.from_arrays(
        pa.array(range(len(column) + 1), pa.int32()), pa.array(["k"] * len(column)), column
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPS)
def test_one_long_text_of_many_rows_comes_few_rows_at_a_time(wrap: str):
    file = written(WRAPS[wrap](shared()), row_group_size=750)
    assert len(file.getvalue()) < 3 * LONG
    sizes = [(batch.num_rows, batch.nbytes) for batch in batches_of(file)]
    assert sum(rows for rows, _ in sizes) == ROWS
    assert max(size for _, size in sizes) < 300e6


def test_only_columns_that_are_wanted_are_read():
    file = written(shared())
    batches = batches_of(file, ["n"])
    assert {tuple(batch.schema.names) for batch in batches} == {("n",)}


def test_texts_that_begin_alike_count_as_long_as_all_of_them(monkeypatch: pytest.MonkeyPatch):
    """What a text shares with the one before is not written again in this encoding, so a few bytes may stand for it."""
    monkeypatch.setattr(size_limits, "_MAX_BATCH", 2**20)
    texts = [f"{'x' * 10_000}{number}" for number in range(500)]
    file = written(texts, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY", "n": "PLAIN"}, compression="none")
    assert len(file.getvalue()) < 30_000
    batches = list(batches_of(file))
    assert pa.Table.from_batches(batches).column("a").to_pylist() == texts
    assert max(batch.nbytes for batch in batches) < 2**20


def test_short_texts_come_as_many_as_ever():
    file = written(pa.array([str(number % 100) for number in range(70_000)]))
    assert [batch.num_rows for batch in batches_of(file)] == [65_536, 70_000 - 65_536]


@pytest.mark.slow
def test_tables_of_long_texts_are_compared_a_part_at_a_time(tmp_path, monkeypatch):
    """Tables that this library wrote tell how long their rows are."""
    seen, real = [], size_limits.batches_of

    def batches_of(*arguments: Any) -> Any:
        for batch in real(*arguments):
            seen.append(batch.nbytes)
            yield batch

    monkeypatch.setattr("artifactstore.objects.compare.tables.batches_of", batches_of)
    store = artifactstore.create(tmp_path / "store", cache=None)
    for version in (0, 1):
        store.put(pa.table({"n": range(150), "t": [f"{version or number}{'y' * 10**6}" for number in range(150)]}), "t")
    found = store.diff("t:v1", "t:v2", key="n").tables["data.parquet"]
    assert (found.added, found.removed, found.changed) == (0, 0, 149)
    assert sum(seen) > 2.9e8
    assert max(seen) < 2**27
