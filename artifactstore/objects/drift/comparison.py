"""The comparison of two tables: each column, the labels, and all in sum, as JSON values."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.objects.drift.columns import Sample, carrier_of, compare
from artifactstore.objects.drift.labels import Quality
from artifactstore.objects.drift.profiles import sample_of_profile
from artifactstore.objects.drift.tables import Input
from artifactstore.objects.tables.arrow_types import as_json, rounded

__all__ = ["LARGEST", "compare_tables"]

_MEMORY: Final = 2**29  # bytes of distinct values that both sides keep, 16 for each
_LEAST: Final = 2**14  # distinct values of a column that are kept, however many columns there are
_MOST: Final = 2**22
LARGEST: Final = ("psi", "ks", "js", "missing", "missing_change", "new_share", "out_of_range")  # measures that have a `.max`


def compare_tables(
    reference: Input, current: Input, *, columns: Sequence[str] | None = None, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Compare two tables.

    Args:
        reference: what is expected.
        current: what came.
        columns: only these; by default all columns of the reference except for labels.
        labels: column with the truth → column with the prediction.

    Raises:
        InvalidInputError: the reference has no such column.
        CorruptionError: a table cannot be read.
    """
    labels = dict(labels or {})
    chosen = _chosen(reference, columns, labels)
    carriers = {name: carrier_of(reference.types[name], current.types[name]) for name in chosen if name in current.types}
    both = {name: carrier for name, carrier in carriers.items() if carrier is not None}
    limit = min(_MOST, max(_LEAST, _MEMORY // 32 // max(len(both), 1)))
    rows, samples, quality = [], [], []
    for side in (reference, current):
        counted, found, good = _read(side, both, labels, limit)
        rows.append(counted)
        samples.append(found)
        quality.append(good)
    compared: dict[str, Any] = {}
    for name in chosen:
        types = [as_json(str(side.types[name])) if name in side.types else None for side in (reference, current)]
        status = "missing" if name not in current.types else "type changed" if name not in both else "compared"
        measured = compare(samples[0][name], samples[1][name]) if name in both else {}
        compared[name] = {"status": status, "types": types, **measured}
    new = [] if columns is not None else sorted({*current.types} - {*reference.types} - {*labels, *labels.values()})
    return {
        "rows": {"reference": rows[0], "current": rows[1]},
        "approximate": any(one.approximate for side in samples for one in side.values()),
        **_in_sum(compared, samples),
        "missing_columns": sum(one["status"] == "missing" for one in compared.values()),
        "changed_types": sum(one["status"] == "type changed" for one in compared.values()),
        "new_columns": len(new),
        "columns": {**compared, **{name: {"status": "new", "types": [None, str(current.types[name])]} for name in new}},
        **_qualities(quality, labels),
    }


def _chosen(reference: Input, columns: Sequence[str] | None, labels: Mapping[str, str]) -> list[str]:
    if columns is None:
        return [name for name in reference.types if name not in labels]
    if isinstance(columns, str):
        raise InvalidInputError(f"columns={columns!r}: expected a list of names")
    for name in columns:
        if name not in reference.types:
            near = get_close_matches(str(name), reference.types, n=3)
            known = near or list(reference.types)[:20]
            raise InvalidInputError(f"the reference has no column {name!r}; it has {', '.join(map(repr, known))}")
    return list(dict.fromkeys(columns))


def _read(
    side: Input, carriers: Mapping[str, str], labels: Mapping[str, str], limit: int
) -> tuple[int, dict[str, Sample], dict[str, Quality]]:
    """Return the rows of a side, a sample of each column, and the quality of predictions, in one pass."""
    import pyarrow as pa  # noqa: PLC0415

    if side.profile is not None:
        found = {name: sample_of_profile(side.profile, name, carrier) for name, carrier in carriers.items()}
        return int(side.profile["rows"]), found, {}
    assert side.batches is not None
    samples = {name: Sample(carrier, limit) for name, carrier in carriers.items()}
    pairs = {label: guess for label, guess in labels.items() if label in side.types and guess in side.types}
    quality = {label: Quality() for label in pairs}
    wanted = list(dict.fromkeys([*samples, *pairs, *pairs.values()]))
    rows = 0
    try:
        for batch in side.batches(wanted or list(side.types)[:1]):
            rows += batch.num_rows
            for name, sample in samples.items():
                sample.add(batch.column(name))
            for label, guess in pairs.items():
                quality[label].add(batch.column(label), batch.column(guess))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptionError(f"the table cannot be read: {str(error)[:300]}") from error
    return rows, samples, quality


def _in_sum(compared: Mapping[str, Mapping[str, Any]], samples: Sequence[Mapping[str, Sample]]) -> dict[str, Any]:
    """Return each measure over all columns; None where a column has one side that cannot be measured: nothing shows that it is well."""
    found: dict[str, Any] = {}
    measured = {name: one for name, one in compared.items() if one["status"] == "compared"}
    broken = [name for name, one in compared.items() if one["status"] == "type changed"]
    for measure in LARGEST:
        values = {name: one[measure] for name, one in measured.items() if one[measure] is not None}
        lost = broken + [name for name in measured if name not in values and _is_due(measure, *(side[name] for side in samples))]
        worst = max(values, key=lambda name: values[name], default=None)
        found[measure] = {
            "max": None if lost or worst is None else values[worst],
            "mean": None if lost or worst is None else rounded(sum(values.values()) / len(values)),
            "column": lost[0] if lost else worst,
        }
    likely = {name: one["ks_p"] for name, one in measured.items() if one["ks_p"] is not None}
    least = min(likely, key=lambda name: likely[name], default=None)
    found["ks_p"] = {"min": None if least is None or found["ks"]["max"] is None else likely[least], "column": least}
    fresh = [one["new_categories"] for one in measured.values() if one["new_categories"] is not None]
    unknown = any(one["new_categories"] is None and samples[0][name].carrier == "category" for name, one in measured.items())
    found["new_categories"] = None if unknown else sum(fresh)
    return found


def _is_due(measure: str, reference: Sample, current: Sample) -> bool:
    """Return whether a measure that is lacking could have been expected: one side has values, and the other has none."""
    if not reference.rows or not current.rows:
        return True
    if reference.carrier in {"missing", "category"} and measure in {"ks", "out_of_range"}:
        return False
    if measure == "new_share":
        return reference.carrier == "category"
    return reference.carrier != "missing" and bool(reference.present) != bool(current.present)


def _qualities(quality: Sequence[Mapping[str, Quality]], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the quality of predictions on both sides; of the only label also by the measure's own name."""
    if not labels:
        return {}
    found: dict[str, Any] = {}
    for label, guess in labels.items():
        old, new = (side[label].finish() if label in side else {} for side in quality)
        each: dict[str, Any] = {"prediction": guess, "rows": [side[label].rows if label in side else 0 for side in quality]}
        for name in sorted({*old, *new}):
            before, after = old.get(name), new.get(name)
            change = None if before is None or after is None else rounded(after - before)
            each[name] = {"reference": before, "current": after, "change": change}
        found[label] = each
    alone = next(iter(found.values())) if len(found) == 1 else {}
    return {"labels": found, **{name: value for name, value in alone.items() if isinstance(value, Mapping)}}
