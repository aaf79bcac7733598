"""Row hashes: 64 bits for each row of a table, from its values alone (docs/reference/format.md, "Side content").

They show which rows two tables share without opening them. Collisions can be made on purpose: they are a measure, not an
identity.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import xxhash

from artifactstore.objects.tables.arrow_types import is_moment, is_text, seconds_of
from artifactstore.objects.tables.column_stacks import groups_of, stacks
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["RowHashes", "hash_rows", "mix", "seeds_of", "sum_hashes"]

_MAX_COMPLETE: Final = 2**16  # max rows of which all hashes are kept: some 400 kB per version of a table
_SHORT: Final = 32  # bytes of a text that are mixed word by word
_FIRST: Final = 0xFF51AFD7ED558CCD  # MurmurHash3's 64-bit finaliser (Austin Appleby, public domain)
_SECOND: Final = 0xC4CEB9FE1A85EC53
_START: Final = 0x9E3779B97F4A7C15  # of missing values and of texts: 2^64 divided by the golden ratio


def hash_rows(batch: "pa.RecordBatch | pa.Table", columns: "list[str] | None" = None) -> "Hashes":
    """Return a hash of each row, independent of the order of columns and of their encoding.

    Args:
        batch: some rows.
        columns: hash only these.
    """
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    if columns is not None:
        wanted = {*columns}
        table = table.select([name for name in table.column_names if name in wanted])
    total = np.zeros(table.num_rows, np.uint64)
    if table.num_rows:
        groups, seeds = groups_of(table.schema), seeds_of(table.column_names)
        for index, place, values in stacks(table, groups):
            total += sum_hashes(values, seeds[groups[index][1][place]])
    return mix(total)  # type: ignore[no-any-return]


def seeds_of(names: Sequence[str]) -> Any:
    """Return what makes the hashes of each column differ from those of the others."""
    return numpy().array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], "u8")


def sum_hashes(values: "pa.Array", seeds: Any) -> Any:
    """Return the sum of the hashes of the values of each row; `mix` makes a row's hash of the sum over all columns.

    Args:
        values: some columns of one plain type, one after the other.
        seeds: of these columns.
    """
    return _hash_values(values, seeds).sum(0)


def mix(words: Any) -> Any:
    """Mix 64-bit words in place, so that each bit affects every other."""
    np = numpy()
    shift = np.uint64(33)
    words ^= words >> shift
    words *= np.uint64(_FIRST)
    words ^= words >> shift
    words *= np.uint64(_SECOND)
    words ^= words >> shift
    return words


def _hash_values(column: Any, seeds: Any) -> Any:
    """Return a hash of each value of some columns of one type: a matrix with a row for each column.

    Args:
        column: the columns' values, one column after the other.
        seeds: one per column.
    """
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    kind, key = column.type, seeds[:, None]
    shape = len(seeds), len(column) // len(seeds)
    missing = column.is_null(nan_is_null=True) if pa.types.is_floating(kind) else column.is_null()
    if pa.types.is_null(kind):
        found = np.zeros(shape, np.uint64)
    elif is_text(kind):
        found = mix(_texts(column).reshape(shape) ^ key)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        wide = pa.uint64() if pa.types.is_uint64(kind) else pa.int64()
        found = mix(np.asarray(_filled(column.cast(wide), 0)).view(np.uint64).reshape(shape) ^ key)
    elif pa.types.is_floating(kind):
        found = mix(_floats(np.asarray(_filled(column.cast(pa.float64()), 0.0))).reshape(shape) ^ key)
    elif is_moment(kind):
        seconds, rest = seconds_of(column)
        found = mix(mix(seconds.view(np.uint64).reshape(shape) ^ key) ^ rest.view(np.uint64).reshape(shape))
    else:
        texts = (json.dumps(value, default=str, sort_keys=True).encode() for value in column.to_pylist())
        found = mix(np.array([xxhash.xxh3_64_intdigest(text) for text in texts], np.uint64).reshape(shape) ^ key)
    if missing.true_count:
        np.copyto(found, mix(key ^ np.uint64(_START)), where=np.asarray(missing).reshape(shape))
    return found


def _filled(column: Any, value: Any) -> Any:
    return column.fill_null(value) if column.null_count else column


def _floats(numbers: Any) -> Any:
    """Floats as their bits; integral ones as integers: a column with missing values may have become floats."""
    np = numpy()
    whole = (np.abs(numbers) < 2.0**63) & (np.floor(numbers) == numbers)
    return np.where(whole, np.where(whole, numbers, 0.0).astype(np.int64).view(np.uint64), numbers.view(np.uint64))


def _texts(column: Any) -> Any:
    """Texts and bytes: up to 32 bytes mixed word by word, longer ones by XXH3."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    text = column.type in (pa.string(), pa.large_string())
    column = column.cast(pa.large_string() if text else pa.large_binary())
    _, raw_offsets, data = column.buffers()
    offsets = np.frombuffer(raw_offsets, "<i8")[column.offset : column.offset + len(column) + 1]
    if not len(column):
        return np.zeros(0, np.uint64)
    low, high = int(offsets[0]), int(offsets[-1])
    raw = np.zeros(high - low + 8, np.uint8)
    if high > low:
        raw[: high - low] = np.frombuffer(data, np.uint8)[low:high]
    offsets = offsets - low
    sizes = np.diff(offsets)
    found = mix(sizes.astype(np.uint64) ^ np.uint64(_START))  # mixed: a first byte of 1 must not undo a length of 1
    # Eight bytes from any offset: a sliding window over the bytes.
    words = np.lib.stride_tricks.as_strided(raw[:8].view("<u8"), (len(raw) - 7,), (1,))
    masks = np.array([(1 << 8 * i) - 1 for i in range(9)], np.uint64)
    rows = np.flatnonzero((sizes <= _SHORT) & (sizes > 0))
    for at in range(0, _SHORT, 8):
        left = sizes[rows] - at
        if at:
            rows, left = rows[left > 0], left[left > 0]
        if not len(rows):
            break
        found[rows] = mix(found[rows] ^ (words[offsets[rows] + at] & masks[np.minimum(left, 8)]))
    for i in np.flatnonzero(sizes > _SHORT):
        found[i] = xxhash.xxh3_64_intdigest(raw[offsets[i] : offsets[i + 1]])
    return found


class RowHashes:
    """Collects the row hashes of a table: all of up to 2^16 rows; of longer tables those that are 0 modulo a power of two.

    Attributes:
        rows: number of rows added.
        bits: only hashes whose lowest `bits` bits are 0 are kept.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.bits = 0
        self._parts: list[Any] = []

    def add(self, hashes: "Hashes") -> None:
        """Add the hashes of some rows."""
        self.rows += len(hashes)
        self._parts.append(self._kept(hashes))
        while self.rows > _MAX_COMPLETE << self.bits:
            self.bits += 1
            self._parts = [self._kept(part) for part in self._parts]

    def _kept(self, hashes: "Hashes") -> "Hashes":
        np = numpy()
        return hashes[hashes & np.uint64((1 << self.bits) - 1) == 0] if self.bits else hashes

    def encode(self) -> bytes:
        """Encode as Parquet: one column `hash`, and the counts in the metadata."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        counts = json.dumps({"format": 1, "rows": self.rows, "bits": self.bits})
        schema = pa.schema([pa.field("hash", pa.uint64(), nullable=False)])
        sink = pa.BufferOutputStream()
        # Sorted numbers: their deltas take 44 bits where a million are kept.
        options = {"use_dictionary": False, "column_encoding": {"hash": "DELTA_BINARY_PACKED"}, "compression": "none"}
        with pq.ParquetWriter(sink, schema, write_statistics=False, store_schema=False, **options) as writer:
            writer.write_table(pa.table([pa.array(self.finish())], schema=schema))
            writer.add_key_value_metadata({"artifactstore": counts})
        return bytes(sink.getvalue())

    def finish(self) -> "Hashes":
        """Return the kept hashes, sorted, with duplicates."""
        np = numpy()
        return np.sort(np.concatenate(self._parts)) if self._parts else np.zeros(0, np.uint64)  # type: ignore[no-any-return]
