"""Samples from the profile of a table: quantiles and most frequent values stand for rows that are not read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from artifactstore.errors import InvalidInputError
from artifactstore.objects.drift.columns import Sample
from artifactstore.objects.tables.row_hashes import hash_rows
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_profile", "sample_of_profile", "types_of_profile"]


def is_profile(value: Any) -> bool:
    """Return whether a value is a profile, as `Artifact.profile` returns it."""
    return isinstance(value, Mapping) and {"rows", "columns", "schema", "every"} <= {*value}


def types_of_profile(profile: Mapping[str, Any]) -> "dict[str, pa.DataType]":
    """Return the types of a profile's columns, as far as they matter for a comparison."""
    import pyarrow as pa  # noqa: PLC0415

    known = {
        "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "string": pa.string(), "date": pa.date32(),
        "datetime": pa.timestamp("us"), "time": pa.time64("us"), "duration": pa.duration("us"),
    }  # fmt: skip
    found = {}
    for field in profile["schema"]["fields"]:
        kind = known.get(field["type"], pa.list_(pa.null()))
        arrow = str(field["arrow"])
        if field["type"] == "datetime" and "tz=" in arrow:
            kind = pa.timestamp("us", "UTC")
        found[str(field["name"])] = pa.null() if arrow == "null" else pa.uint64() if arrow == "uint64" else kind
    return found


def sample_of_profile(profile: Mapping[str, Any], name: str, carrier: str) -> Sample:
    """Return what a profile shows of a column.

    Raises:
        InvalidInputError: the profile is malformed.
    """
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    made = Sample(carrier)
    made.from_profile = True
    try:
        column = profile["columns"][name]
        made.rows, made.missing = int(profile["rows"]), int(column["nulls"])
        made.infinite = int(column.get("infinite", 0))
        if carrier == "category":
            top = column.get("top", [])
            texts = [_text(value) for value, _ in top]
            hashes = hash_rows(pa.table({"": pa.array(texts, pa.string())}))
            counts = np.array([count for _, count in top], np.int64)
            if len(top):
                made.categories.add(hashes, counts, lambda at: texts[at])
            made.known_distinct = int(column.get("distinct", 0))
            rest = max(0, round(made.present / max(int(profile["every"]), 1)) - int(counts.sum()))
            made.categories.count += rest
            made.from_profile = made.known_distinct > len(top) or int(profile["every"]) > 1
        elif carrier != "missing" and "quantiles" in column:
            scale = 10**6 if carrier == "moment" else 1
            dtype = {"int": np.int64, "moment": np.int64, "uint": np.uint64}.get(carrier, np.float64)
            made.numbers.add(np.array([value * scale for value in column["quantiles"] if value is not None]).astype(dtype))
            for which in ("min", "max"):
                if isinstance(column.get(which), int | float) and carrier != "moment":
                    setattr(made.numbers, {"min": "low", "max": "high"}[which], column[which])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"the profile of column {name!r} is malformed: {error}") from error
    return made


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "true" if value is True else "false" if value is False else str(value)
