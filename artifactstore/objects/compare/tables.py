"""Table comparison: columns, rows and distribution shifts, from profiles and row hashes where those suffice."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from artifactstore.display.displayed import Displayed
from artifactstore.display.outline import Block, Change, Changes, Line
from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import parse_json
from artifactstore.model.parquet.footer import read_footer
from artifactstore.objects.base import Files
from artifactstore.objects.tables.profile import Profiler
from artifactstore.objects.tables.row_hashes import hash_rows
from artifactstore.objects.tables.size_limits import batches_of
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Overlap", "Shift", "StoredTable", "TableDiff", "compare_tables", "overlap"]

_MIN_SHARE: Final = 1e-4  # minimum share: a value absent from one sample would be infinitely unlikely


@dataclass(frozen=True, slots=True)
class Shift:
    """How the values of a column have shifted.

    Attributes:
        column: its name.
        psi: Population Stability Index over the tenths of the old values, or over the most frequent values; above 0.2 is
            commonly called large. None if unknown.
        js: Jensen-Shannon divergence of the same, in bits: 0 (alike) to 1.
        ks: upper bound of the Kolmogorov-Smirnov distance; None for values without an order.
        old_missing: share of missing values before.
        new_missing: share of missing values now.
        old_mean: mean before; None if there is none.
        new_mean: mean now.
    """

    column: str
    psi: float | None
    js: float | None
    ks: float | None
    old_missing: float
    new_missing: float
    old_mean: float | None = None
    new_mean: float | None = None


@dataclass(frozen=True, slots=True)
class TableDiff(Displayed):
    """The differences between two tables; displayed as text and HTML.

    Attributes:
        old_rows: rows before.
        new_rows: rows now.
        added: rows that exist only in the new table, or whose key does.
        removed: rows that exist only in the old table, or whose key does.
        changed: rows with the same key and other values; None without a key.
        error: maximum error of these counts (two standard errors); 0 where rows were counted exactly.
        new_columns: names that exist only in the new table.
        old_columns: names that exist only in the old table.
        retyped: (name, type before, type now).
        shifts: shifts of the common columns.
    """

    old_rows: int
    new_rows: int
    added: int
    removed: int
    changed: int | None
    error: int
    new_columns: tuple[str, ...]
    old_columns: tuple[str, ...]
    retyped: tuple[tuple[str, str, str], ...]
    shifts: tuple[Shift, ...]

    def _outline(self) -> list[Block]:
        about = f" (± {self.error:,})" if self.error else ""
        changed = "" if self.changed is None else f", {self.changed:,} changed"
        rows = [Change("+", f"column {name}") for name in self.new_columns]
        rows += [Change("-", f"column {name}") for name in self.old_columns]
        rows += [Change("~", f"column {name}", old, new) for name, old, new in self.retyped]
        rows += [
            Change("~", f"values of {shift.column}", new=_about(shift))
            for shift in self.shifts
            if any((shift.psi, shift.js, shift.old_missing != shift.new_missing))
        ]
        counts = f"{self.old_rows:,} -> {self.new_rows:,} rows: {self.added:,} added, {self.removed:,} removed{changed}{about}"
        return [Line(counts), Changes(rows)]


def _about(shift: Shift) -> str:
    parts = [f"{word} {value:.3f}" for word, value in (("psi", shift.psi), ("js", shift.js)) if value is not None]
    if shift.ks is not None:
        parts.append(f"ks <= {shift.ks:.2f}")
    if shift.old_mean is not None and shift.new_mean is not None:
        parts.append(f"mean {shift.old_mean:.6g} -> {shift.new_mean:.6g}")
    if shift.old_missing != shift.new_missing:
        parts.append(f"missing {shift.old_missing:.1%} -> {shift.new_missing:.1%}")
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The rows that two tables share: such as those of a test set that a model was trained on.

    Attributes:
        rows: number of distinct rows in both.
        share_a: share of the first table's rows that are in the second.
        share_b: share of the second table's rows that are in the first.
        error: maximum error of a share (two standard errors); 0 where all rows were compared.
        columns: the compared columns.
    """

    rows: int
    share_a: float
    share_b: float
    error: float
    columns: tuple[str, ...]


class StoredTable:
    """A Parquet file of an artifact, with its side content.

    Args:
        folder: folder that contains it.
        name: name of the file.
        side: returns side content by name, or None.
    """

    def __init__(self, folder: Files, name: str, side: Callable[[str], bytes | None]) -> None:
        self._folder = folder
        self._name = name
        self._side = side

    @cached_property
    def _known(self) -> "tuple[dict[str, Any], Any, int]":
        """Profile, row hashes and their bits: the stored ones, or else computed from all rows now."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        profile, rows = self._side("profile"), self._side("rows")
        if profile is not None and rows is not None:
            try:
                file = pq.ParquetFile(pa.BufferReader(rows))
                header = json.loads(file.metadata.metadata[b"artifactstore"])
                return parse_json(profile, "the profile"), file.read().column("hash").to_numpy(), int(header["bits"])
            except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, InvalidInputError) as error:
                raise CorruptionError(f"the side content of {self._name} cannot be read: {error}", location=self._name) from error
        profiler = Profiler(self.schema)
        for batch in self.batches():
            profiler.add(pa.Table.from_batches([batch]))
        return profiler.finish(), profiler.hashes.finish(), profiler.hashes.bits

    @property
    def profile(self) -> dict[str, Any]:
        """The table's profile."""
        return self._known[0]

    @property
    def hashes(self) -> "tuple[Any, int]":
        """The table's row hashes, sorted, and how many of their lowest bits are 0."""
        return self._known[1:]

    @cached_property
    def schema(self) -> "pa.Schema":
        """The table's schema."""
        with self._opened() as file:
            return file.schema_arrow

    @property
    def columns(self) -> dict[str, str]:
        """Name → Arrow's type."""
        return {field["name"]: field["arrow"] for field in self.profile["schema"]["fields"]}

    def _opened(self, **options: Any) -> Any:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            return pq.ParquetFile(self._folder.open(self._name), **options)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptionError(
                f"{self._name} is not a readable Parquet file: {str(error)[:200]}", location=self._name
            ) from error

    def batches(self, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """Yield all rows in batches."""
        import pyarrow as pa  # noqa: PLC0415

        try:
            footer = read_footer(self._folder.open(self._name))
            yield from batches_of(self._opened, footer, columns)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptionError(f"{self._name} cannot be read: {str(error)[:200]}", location=self._name) from error

    def hash_all(self, columns: Sequence[str]) -> Any:
        """Return the hash of every row over these columns alone, in order."""
        np = numpy()
        found = [hash_rows(batch) for batch in self.batches(columns)]
        return np.concatenate(found) if found else np.zeros(0, np.uint64)


def compare_tables(old: StoredTable, new: StoredTable, *, key: Sequence[str] = (), exact: bool = False) -> TableDiff:
    """Compare two tables.

    Args:
        old: the old table.
        new: the new table.
        key: columns that identify a row; both tables are then read in full.
        exact: read both tables in full, even if their row hashes are a sample.

    Raises:
        InvalidInputError: a column does not exist, or rows share a key.
        CorruptionError: a table cannot be read.
    """
    before, after = old.columns, new.columns
    both = [name for name in before if name in after]
    if missing := [name for name in key if name not in both]:
        raise InvalidInputError(
            f"key={list(key)!r}: both tables need the column {missing[0]!r}; both have {', '.join(both[:20])}"
        )
    rows = old.profile["rows"], new.profile["rows"]
    changed: int | None = None
    error = 0
    if key:
        added, removed, changed = _by_key(old, new, key, both)
    elif exact or len(both) < max(len(before), len(after)):
        added, removed = _by_hash(old.hash_all(both), new.hash_all(both))
    else:
        a, b, bits = _sampled(old, new)
        added, removed = (count << bits for count in _by_hash(a, b))
        error = _bound(max(added, removed) >> bits, bits)
    return TableDiff(
        *rows,
        added,
        removed,
        changed,
        error,
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple((name, before[name], after[name]) for name in both if before[name] != after[name]),
        tuple(_shift(name, old.profile, new.profile) for name in both),
    )


def _sampled(old: StoredTable, new: StoredTable) -> tuple[Any, Any, int]:
    """Return the row hashes that both tables have at a common sampling rate, and how many of their lowest bits are 0."""
    np = numpy()
    (a, a_bits), (b, b_bits) = old.hashes, new.hashes
    bits = max(a_bits, b_bits)
    mask = np.uint64((1 << bits) - 1)
    return a[a & mask == 0], b[b & mask == 0], bits


def _bound(seen: int, bits: int) -> int:
    """Return two standard errors of a count sampled at one in 2^bits; for a count of 0, its 95 % upper bound."""
    if not bits:
        return 0
    return math.ceil(2 * math.sqrt(seen * (1 - 2.0**-bits)) * 2**bits) if seen else 3 << bits


def _by_hash(a: Any, b: Any) -> tuple[int, int]:
    """Return how many hashes of b have no counterpart in a, and the reverse; duplicates count each time."""
    np = numpy()
    values_a, counts_a = np.unique(a, return_counts=True)
    values_b, counts_b = np.unique(b, return_counts=True)
    _, at_a, at_b = np.intersect1d(values_a, values_b, assume_unique=True, return_indices=True)
    shared = int(np.minimum(counts_a[at_a], counts_b[at_b]).sum())
    return len(b) - shared, len(a) - shared


def _by_key(old: StoredTable, new: StoredTable, key: Sequence[str], columns: Sequence[str]) -> tuple[int, int, int]:
    np = numpy()
    found = []
    for which, table in (("first", old), ("second", new)):
        keys, rows = [], []
        for batch in table.batches(columns):
            keys.append(hash_rows(batch, list(key)))
            rows.append(hash_rows(batch))
        one = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        if twice := len(one) - len(np.unique(one)):
            raise InvalidInputError(
                f"key={list(key)!r} does not identify rows in the {which} table ({twice:,} share a key with another): "
                "add columns, or omit key="
            )
        found.append((one, np.concatenate(rows) if rows else one))
    (keys_a, rows_a), (keys_b, rows_b) = found
    both, at_a, at_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return len(keys_b) - len(both), len(keys_a) - len(both), int((rows_a[at_a] != rows_b[at_b]).sum())


def overlap(a: StoredTable, b: StoredTable, *, exact: bool = False) -> Overlap:
    """Count the rows that two tables share, by the columns that both have.

    Args:
        a: the first table.
        b: the second table.
        exact: read both tables in full, even if their row hashes are a sample.

    Raises:
        InvalidInputError: they have no common column.
        CorruptionError: a table cannot be read.
    """
    np = numpy()
    columns = [name for name in a.columns if name in b.columns]
    if not columns:
        raise InvalidInputError("the two tables have no common column: their rows cannot be compared")
    bits = 0
    if exact or len(columns) < max(len(a.columns), len(b.columns)):
        first, second = a.hash_all(columns), b.hash_all(columns)
    else:
        first, second, bits = _sampled(a, b)
    shared = np.intersect1d(first, second)
    shares = [float(np.isin(one, shared).mean()) if len(one) else 0.0 for one in (first, second)]
    error = 0.0
    if bits:
        for share, one in zip(shares, (first, second), strict=True):
            count = max(len(one), 1)
            error = max(error, 2 * math.sqrt(share * (1 - share) / count) if 0 < share < 1 else min(1.0, 3 / count))
    return Overlap(len(shared) << bits, shares[0], shares[1], error, tuple(columns))


# -- shifts


def _shift(name: str, old: dict[str, Any], new: dict[str, Any]) -> Shift:
    a, b = old["columns"][name], new["columns"][name]
    missing = [one["nulls"] / max(table["rows"], 1) for one, table in ((a, old), (b, new))]
    ks: float | None = None
    shares: tuple[list[float], list[float]] | None = None
    if "quantiles" in a and "quantiles" in b:
        shares, ks = _by_quantiles(a["quantiles"], b["quantiles"])
    elif "top" in a and "top" in b:
        shares = _by_values(
            a["top"], b["top"], *(max(1.0, (t["rows"] - c["nulls"]) / t["every"]) for t, c in ((old, a), (new, b)))
        )
    psi = js = None
    if shares is not None:
        psi, js = _psi(*shares), _js(*shares)
    return Shift(name, psi, js, ks, missing[0], missing[1], a.get("mean"), b.get("mean"))


def _by_quantiles(a: list[float], b: list[float]) -> tuple[tuple[list[float], list[float]], float]:
    """Return the shares of two columns in the deciles of the first, and an upper bound of their distance."""
    np = numpy()
    old, new = np.array(a, float), np.array(b, float)
    points = np.union1d(old, new)
    steps = [np.searchsorted(one, points, side="right") / len(one) for one in (old, new)]
    distance = float(np.abs(steps[0] - steps[1]).max())
    tenth = max(1, (len(old) - 1) // 10)
    edges = np.unique(old[tenth:-1:tenth])
    shares = []
    for one in (old, new):
        counts = np.bincount(np.searchsorted(edges, one, side="left"), minlength=len(edges) + 1)
        shares.append((counts / len(one)).tolist())
    return (shares[0], shares[1]), min(1.0, distance + sum(1 / max(1, len(one) - 1) for one in (old, new)))


def _by_values(a: list[list[Any]], b: list[list[Any]], total_a: float, total_b: float) -> tuple[list[float], list[float]]:
    """Return the shares of the most frequent values of either column, and of all other values."""
    old, new = {str(value): count / total_a for value, count in a}, {str(value): count / total_b for value, count in b}
    values = sorted({*old, *new})
    shares = [[one.get(value, 0.0) for value in values] for one in (old, new)]
    return tuple([*one, max(0.0, 1.0 - sum(one))] for one in shares)  # type: ignore[return-value]


def _psi(old: list[float], new: list[float]) -> float:
    return sum(
        (max(b, _MIN_SHARE) - max(a, _MIN_SHARE)) * math.log(max(b, _MIN_SHARE) / max(a, _MIN_SHARE))
        for a, b in zip(old, new, strict=True)
    )


def _js(old: list[float], new: list[float]) -> float:
    def part(share: float, middle: float) -> float:
        return share * math.log2(share / middle) if share > 0 else 0.0

    return max(0.0, sum(part(a, (a + b) / 2) + part(b, (a + b) / 2) for a, b in zip(old, new, strict=True)) / 2)
