"""pandas dtypes: comparison, recording, and restoring."""

from typing import TYPE_CHECKING, Any

from artifactstore.objects.tables.object_columns import zone_key

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["as_dtype", "dtype_name", "restore_categories", "same_dtype"]


def same_dtype(a: Any, b: Any) -> bool:
    """Return whether two pandas dtypes are equal: categories by dtype and order, time zones by meaning."""
    kind = type(a).__name__
    if kind != type(b).__name__:
        return False
    if kind == "CategoricalDtype":
        return a.ordered == b.ordered and same_dtype(a.categories.dtype, b.categories.dtype)
    if kind == "DatetimeTZDtype":
        return bool(a.unit == b.unit) and zone_key(a.tz) == zone_key(b.tz)
    return bool(a == b) and getattr(a, "storage", None) == getattr(b, "storage", None)


def dtype_name(dtype: Any) -> str:
    """Return a name from which `frame_of` restores a dtype."""
    kind = type(dtype).__name__
    if kind == "CategoricalDtype":
        return f"category[{dtype_name(dtype.categories.dtype)}]"
    if kind == "ArrowDtype":
        return "arrow"
    if kind == "StringDtype":
        return f"{'str' if isinstance(dtype.na_value, float) else 'string'}[{dtype.storage}]"
    if kind == "DatetimeTZDtype" and type(dtype.tz).__module__.startswith("dateutil"):
        return f"zone[dateutil/{str(getattr(dtype.tz, '_filename', '')).rpartition('zoneinfo/')[2]}]"
    return str(dtype)


def restore_categories(series: Any, kind: "pa.DictionaryType", noted: str | None) -> Any:
    """Return a categorical column with its dtype and its time zone, which Arrow drops on the way to pandas."""
    import pandas as pd  # noqa: PLC0415

    categories = series.cat.categories
    zone = getattr(kind.value_type, "tz", None)
    if zone is not None and getattr(categories, "tz", None) is None:
        categories = categories.tz_localize("UTC").tz_convert(zone)
    if noted is not None and noted.startswith("category["):
        inner = noted[len("category[") : -1]
        if inner == "arrow":
            import pyarrow as pa  # noqa: PLC0415

            categories = pd.Index(pd.arrays.ArrowExtensionArray(pa.array(categories, kind.value_type)))
        else:
            categories = pd.Index(as_dtype(pd.Series(categories), inner))
    if categories is series.cat.categories:
        return series
    return series.cat.rename_categories(categories)


def as_dtype(series: Any, noted: str) -> Any:
    """Convert a column to its recorded dtype."""
    import pandas as pd  # noqa: PLC0415

    name, _, inner = noted.partition("[")
    if name == "zone":
        return series.dt.tz_convert(inner[:-1])
    if name in {"str", "string"}:
        return series.astype(pd.StringDtype(inner[:-1], **({"na_value": float("nan")} if name == "str" else {})))
    return series.astype(noted)
