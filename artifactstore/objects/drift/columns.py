"""Columns as they are compared: which types go together, how their values become sortable numbers or hashes, and what differs."""

from typing import TYPE_CHECKING, Any, Final

from artifactstore.objects.drift.kolmogorov import p_value
from artifactstore.objects.drift.measures import bin_counts, js, ks, psi
from artifactstore.objects.drift.samples import Categories, Numbers
from artifactstore.objects.tables.arrow_types import as_json, is_number, is_text, plain, plain_type, rounded, seconds_of
from artifactstore.objects.tables.row_hashes import hash_rows
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sample", "carrier_of", "compare"]

_SECONDS: Final = 9 * 10**12  # ±285,000 years: more microseconds do not fit into 64 bits
_TOP: Final = 50  # most frequent categories of the reference that are a bin each
_SHOWN: Final = 5  # new categories that are named
_PARTS: Final = 65_536  # values at a time


def carrier_of(reference: "pa.DataType", current: "pa.DataType") -> str | None:
    """Return how two columns are compared: int, uint, float, moment, category, missing (no value can be); None: their types differ.

    A column of type null has only missing values, and goes with every other type.
    """
    import pyarrow as pa  # noqa: PLC0415

    kinds = plain_type(reference), plain_type(current)
    families = [_family(kind) for kind in kinds]
    if "null" in families:
        known = [kind for kind, family in zip((reference, current), families, strict=True) if family != "null"]
        return carrier_of(known[0], known[0]) if len(known) == 1 else "missing"
    if pa.types.is_dictionary(reference) or pa.types.is_dictionary(current):
        return "category" if set(families) <= {"category", "number", "truth"} else None
    if set(families) == {"number", "truth"}:
        families = ["number", "number"]
    if families[0] != families[1]:
        return None
    if families[0] == "number":
        if not all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) for kind in kinds):
            return "float"
        large = [pa.types.is_uint64(kind) for kind in kinds]
        return "int" if not any(large) else "uint" if all(map(pa.types.is_unsigned_integer, kinds)) else "float"
    return {"category": "category", "truth": "category", "nested": "missing"}.get(families[0], "moment")


def _family(kind: "pa.DataType") -> str:
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    if types.is_null(kind):
        return "null"
    if types.is_boolean(kind):
        return "truth"
    if is_number(kind) or types.is_decimal(kind):
        return "number"
    if is_text(kind):
        return "category"
    if types.is_timestamp(kind):
        return "instant" if kind.tz else "moment"  # without a zone it is another time in every other place
    if types.is_date(kind):
        return "moment"
    if types.is_time(kind):
        return "time"
    return "duration" if types.is_duration(kind) else "nested"


class Sample:
    """The values of a column on one side.

    Args:
        carrier: as `carrier_of` returns it.
        limit: distinct values that are kept.

    Attributes:
        rows: number of values, missing ones included.
        missing: number of missing ones: null and NaN.
        infinite: number of infinite ones.
        approximate: whether it comes from a profile, or more distinct values came than are kept.
    """

    def __init__(self, carrier: str, limit: int = 2**20) -> None:
        self.carrier = carrier
        self.rows = self.missing = self.infinite = 0
        self.numbers = Numbers(limit)
        self.categories = Categories(limit)
        self.known_distinct: int | None = None  # of a profile that lists only the most frequent values
        self.from_profile = False
        self._finished: tuple[Any, Any] | None = None

    @property
    def approximate(self) -> bool:
        """Whether a result is not exact."""
        return self.from_profile or self.numbers.error > 0 or self.categories.bits > 0

    @property
    def present(self) -> int:
        """Number of values that are not missing."""
        return self.rows - self.missing

    def add(self, column: Any) -> None:
        """Add values of a column, an array or a chunked array."""
        for start in range(0, len(column), _PARTS):
            part = column.slice(start, _PARTS)
            if self.carrier == "missing":  # nested values need no other form
                self.rows += len(part)
                self.missing += part.null_count
            else:
                self._add(plain(part))

    def _add(self, column: "pa.Array") -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        np = numpy()
        self.rows += len(column)
        if pa.types.is_null(column.type):
            self.missing += column.null_count
            return
        if self.carrier == "category":
            column = _as_text(column)
            self.missing += column.null_count
            self._count(column.drop_null())
            return
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        elif pa.types.is_decimal(column.type):
            column = pc.cast(column, pa.float64())
        self.missing += column.null_count
        column = column.drop_null()
        if self.carrier == "moment":
            seconds, rest = seconds_of(column)
            values = np.clip(seconds, -_SECONDS, _SECONDS) * 10**6 + rest // 1000
        else:
            values = np.asarray(column)
            values = values.astype({"int": np.int64, "uint": np.uint64, "float": np.float64}[self.carrier])
        if self.carrier == "float":
            gaps = np.isnan(values)
            if gaps.any():
                self.missing += int(gaps.sum())
                values = values[~gaps]
            self.infinite += int(np.isinf(values).sum())
        self.numbers.add(values)

    def _count(self, column: "pa.Array") -> None:
        import pyarrow as pa  # noqa: PLC0415

        np = numpy()
        if not len(column):
            return
        counted = column.value_counts()
        values, counts = counted.field("values"), np.asarray(counted.field("counts"))
        hashes = hash_rows(pa.table({"": values}))
        self.categories.add(hashes, counts, lambda at: str(as_json(values[at])))

    def finish(self) -> tuple[Any, Any]:
        """Return the distinct values or hashes, sorted, with how often each occurs."""
        if self._finished is None:
            self._finished = (self.categories if self.carrier == "category" else self.numbers).finish()
        return self._finished

    def summary(self) -> dict[str, Any]:
        """Return what is known of this side, as JSON values."""
        np = numpy()
        found: dict[str, Any] = {"rows": self.rows, "missing": self.missing}
        if self.infinite:
            found["infinite"] = self.infinite
        if self.carrier == "category":
            found["distinct"] = self.categories.distinct() if self.known_distinct is None else self.known_distinct
            return found
        values, counts = self.finish()
        if not len(values):
            return found
        found |= {"min": _shown(self.carrier, self.numbers.low), "max": _shown(self.carrier, self.numbers.high)}
        if self.carrier != "moment":
            finite = np.isfinite(values)
            total = int(counts[finite].sum())
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float((values[finite].astype(np.float64) * (counts[finite] / max(total, 1))).sum())
            found["mean"] = rounded(mean) if total else None
        return found


def _as_text(column: "pa.Array") -> "pa.Array":
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_fixed_size_binary(column.type):
        return column.cast(pa.binary())
    return column if is_text(column.type) else column.cast(pa.string())


def _shown(carrier: str, value: Any) -> Any:
    if carrier != "moment":
        return rounded(value) if isinstance(value, float) else value
    return str(numpy().datetime64(int(value), "us"))


def compare(reference: Sample, current: Sample) -> dict[str, Any]:
    """Return how a column differs, as JSON values; None for a measure that cannot be taken.

    Missing values are a bin of their own of `psi` and `js`; `ks` compares the others.
    """
    found: dict[str, Any] = {
        "psi": None, "js": None, "ks": None, "ks_p": None,
        "missing": _share(current.missing, current.rows),
        "missing_change": None, "new_categories": None, "new_share": None, "out_of_range": None,
        "reference": reference.summary(), "current": current.summary(),
    }  # fmt: skip
    if not reference.rows or not current.rows:
        return found
    found["missing_change"] = rounded(current.missing / current.rows - reference.missing / reference.rows)
    if reference.carrier == "missing":
        return found
    if reference.carrier == "category":
        bins = _categories(reference, current, found)
    else:
        bins = bin_counts(reference.finish(), current.finish()) if reference.present else _only(current.present)
        _order(reference, current, found)
    np = numpy()
    gaps = (_missing_counted(side) for side in (reference, current))
    both = [np.concatenate([counts, [gap]]) for counts, gap in zip(bins, gaps, strict=True)]
    found |= {"psi": rounded(psi(*both)), "js": rounded(js(*both))}
    return found


def _missing_counted(side: Sample) -> float:
    """Return the number of missing values in the scale of the counted ones: a profile counts a sample."""
    counted = side.categories.count if side.carrier == "category" else side.numbers.count
    return side.missing * counted / side.present if side.from_profile and side.present else float(side.missing)


def _only(present: int) -> tuple[list[int], list[int]]:
    return [0], [present]


def _share(part: int, whole: int) -> float | None:
    return rounded(part / whole) if whole else None


def _order(reference: Sample, current: Sample, found: dict[str, Any]) -> None:
    """Compare values with an order: Kolmogorov-Smirnov, and the range."""
    if not reference.present or not current.present:
        return
    old, new = reference.finish(), current.finish()
    distance = ks(old, new)
    found["ks"] = rounded(distance)
    found["ks_p"] = rounded(p_value(distance, reference.present, current.present))
    values, counts = new
    outside = (values < reference.numbers.low) | (values > reference.numbers.high)
    found["out_of_range"] = rounded(float(counts[outside].sum() / counts.sum()))


def _categories(reference: Sample, current: Sample, found: dict[str, Any]) -> tuple[Any, Any]:
    """Count the reference's 50 most frequent categories and all others on both sides; new ones apart if the reference has no others.

    Of names or identifiers most are new in every sample: that is what `new_share` is for.
    """
    np = numpy()
    hashes, times = reference.finish()
    others, other_times = current.finish()
    bits = max(reference.categories.bits, current.categories.bits)
    partial = reference.known_distinct is not None and reference.known_distinct > len(hashes)
    known = np.isin(others, hashes)
    fresh = ~known if not bits else ~known & ((others & np.uint64((1 << bits) - 1)) == 0)
    scale = 1 << bits
    if not partial:
        found["new_categories"] = int(fresh.sum()) * scale
        total = int(other_times.sum()) if not bits else current.categories.count
        found["new_share"] = rounded(min(1.0, float(other_times[fresh].sum()) * scale / total)) if total else 0.0
        named = sorted(current.categories.labels[key] for key in map(int, others[fresh]) if key in current.categories.labels)
        if named:
            found["new"] = named[:_SHOWN]
    top = np.sort(hashes[np.lexsort((hashes, -times))[:_TOP]])
    bins = []
    for one, counts, side in ((hashes, times, reference), (others, other_times, current)):
        found_at = np.searchsorted(one, top)
        inside = found_at < len(one)
        inside[inside] = one[found_at[inside]] == top[inside]
        each = np.zeros(len(top), np.float64)
        each[inside] = counts[found_at[inside]]
        rest = side.categories.count - each.sum()
        new = (
            0.0
            if partial or side is reference or len(hashes) > _TOP
            else float((found["new_share"] or 0.0) * side.categories.count)
        )
        bins.append(np.concatenate([each, [max(0.0, rest - new), new]]))
    return bins[0], bins[1]
