"""The end of a Parquet file as it is read here, beside what Arrow reads; and ends at which Arrow ends the process."""

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore import CorruptionError, UnsupportedError
from artifactstore.model.parquet import footer as footer_module
from artifactstore.model.parquet.footer import _INT32, _INT64, _Compact, encodings_of_pages, read_footer
from artifactstore.objects.formats.tables import Table
from tests.objects.folder import MemoryFolder
from tests.work.test_profiled_files import encrypted

NAMES = {
    "PLAIN": 0,
    "PLAIN_DICTIONARY": 2,
    "RLE": 3,
    "BIT_PACKED": 4,
    "DELTA_BINARY_PACKED": 5,
    "DELTA_LENGTH_BYTE_ARRAY": 6,
    "DELTA_BYTE_ARRAY": 7,
    "RLE_DICTIONARY": 8,
    "BYTE_STREAM_SPLIT": 9,
}
TABLE = pa.table(
    {
        "number": range(300),
        "text": [None if number % 7 == 0 else str(number % 11) * 5 for number in range(300)],
        "deep": [[{"k": "v", "l": [number, None]}] * (number % 3) for number in range(300)],
        "long": pa.array([b"x" * number for number in range(300)], pa.large_binary()),
    }
)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "old": {"version": "1.0", "data_page_version": "1.0", "store_schema": False},
    "pages of the second version": {"data_page_version": "2.0", "data_page_size": 100},
    "with an index": {"write_page_index": True, "row_group_size": 70},
    "no dictionaries": {"use_dictionary": False, "compression": "zstd"},
    "odd encodings": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY", "number": "DELTA_BINARY_PACKED"}},
}


@pytest.fixture(autouse=True, params=["field by field", "by patterns"])
def way_of_reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Patterns are used once a process has read enough; both ways must read alike."""
    usual = footer_module._Usual()
    monkeypatch.setattr(footer_module, "_usual", usual)
    monkeypatch.setattr(footer_module, "_WORTH", 2**60 if request.param == "field by field" else -1)


def written(way: str) -> bytes:
    made = io.BytesIO()
    pq.write_table(TABLE, made, **WAYS[way])
    return made.getvalue()


@pytest.mark.parametrize("way", WAYS)
def test_it_says_what_arrow_says(way: str):
    raw = written(way)
    footer, metadata = read_footer(io.BytesIO(raw)), pq.read_metadata(io.BytesIO(raw))
    assert footer.rows == metadata.num_rows == 300
    assert len(footer.groups) == metadata.num_row_groups
    for number, group in enumerate(footer.groups):
        told = metadata.row_group(number)
        assert (group.rows, group.size, len(group.parts)) == (told.num_rows, told.total_byte_size, told.num_columns)
        for at, part in enumerate(group.parts):
            column = told.column(at)
            assert part.text == (column.physical_type == "BYTE_ARRAY")
            assert part.encodings == {NAMES[name] for name in column.encodings}
            assert (part.values, part.size, part.packed) == (
                column.num_values,
                column.total_uncompressed_size,
                column.total_compressed_size,
            )
            assert part.start == (column.dictionary_page_offset or column.data_page_offset)
            pages = list(encodings_of_pages(memoryview(raw), part))
            assert pages
            assert part.encodings.issuperset(pages)
            if "DELTA_BYTE_ARRAY" in column.encodings:
                assert set(pages) == {7}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_changed_in_it_ends_in_an_error_and_not_the_process(way: str):
    """`row_group(i).column(j)` of pyarrow aborts at some of these: at histograms of levels, where they contradict the schema."""
    raw, dice = written(way), random.Random(way)
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    seen = set()
    for _ in range(150):
        bad = bytearray(raw)
        for _ in range(dice.choice((1, 1, 2))):
            bad[dice.randrange(start, len(raw) - 8)] = dice.randrange(256)
        try:
            seen.add(Table().read(MemoryFolder({"data.parquet": bytes(bad)}), type="arrow").num_rows)
        except (CorruptionError, UnsupportedError) as error:
            seen.add(type(error))
    assert CorruptionError in seen


@pytest.mark.parametrize("plain", [True, False])
def test_columns_that_are_encrypted_are_refused(tmp_path: Path, *, plain: bool):
    encrypted(tmp_path / "t.parquet", plaintext_footer=plain)
    with pytest.raises(CorruptionError, match="encrypted"):
        Table().read(MemoryFolder({"data.parquet": (tmp_path / "t.parquet").read_bytes()}))


def test_pages_that_are_encoded_otherwise_than_the_end_says_are_damage():
    """One text of which many rows consist, in a column that says that it has each of them as it is."""
    raw = io.BytesIO()
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 1_000_000])
    pq.write_table(pa.table({"t": text}), raw, store_schema=False, write_statistics=False)
    said, lie = b"\x19\x35\x00\x06\x10", b"\x19\x35\x00\x06\x00"  # a list: PLAIN, RLE, and RLE_DICTIONARY or PLAIN again
    assert raw.getvalue().count(said) == 1
    bad = raw.getvalue().replace(said, lie)
    assert pq.read_metadata(io.BytesIO(bad)).row_group(0).column(0).encodings == ("PLAIN", "RLE", "PLAIN")
    with pytest.raises(CorruptionError, match="another encoding"):
        Table().read(MemoryFolder({"data.parquet": bad}))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (b"", "truncated"),
        (b"\x39", "truncated"),
        (b"\x19" * 100_000, "nested too deeply"),
        (b"\x1c" * 100_000, "nested too deeply"),
        (b"\x1b" + b"\x01\xbb" * 100_000, "nested too deeply"),
        (b"\x49\xfc\xff\xff\xff\xff\x0f", "longer than the footer"),
        (b"\x1b\xff\xff\xff\xff\x0f\x55", "longer than the footer"),
        (b"\x36" + b"\xff" * 20, "a number is too long"),
        (b"\x1f", "an unknown type"),
        (b"\x18\xff\xff\xff\x0f", "truncated"),
    ],
)
def test_what_is_no_end_is_one_clear_error(end: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        read_footer(io.BytesIO(b"PAR1" + end + len(end).to_bytes(4, "little") + b"PAR1"))


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1" + bytes(8)])
def test_what_does_not_end_as_parquet_is_told(raw: bytes):
    with pytest.raises(ValueError, match="does not end like a Parquet file"):
        read_footer(io.BytesIO(raw))


def test_numbers_fields_and_lists_are_read_as_cpp_reads_them():
    """Else an end could say one thing here and another to Arrow."""

    def varint(value: int) -> bytes:
        return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])

    wanted = {1: _INT32, 2: _INT64, 3: [_INT32]}
    for raw, found in {
        b"\x15" + varint(2 * 6 + 2**40): {1: 6},  # 32 bits are kept
        b"\x16" + varint(12): {},  # a field of another type than it should have
        b"\x15\x02\x05\x02\x04": {1: 2},  # the same field twice, the second time with its number written out
        b"\x26" + varint(2**65 + 14): {2: 7},
        b"\x39\x25\x01\x02": {3: [-1, 1]},
        b"\x39\x28\x01\x02": {3: [-1, 1]},  # a list that says that texts are in it
        b"\x15\x02\x20\x15\x04": {1: 1},  # 0 in the lower half is an end, whatever the upper says
    }.items():
        assert _Compact(raw + b"\x00").struct(wanted) == found, raw
