"""Tables come back equal or are refused by name: dtype by container by index by gaps by rows, for pandas, polars and pyarrow."""

import datetime as dt
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import islice
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from artifactstore import ArtifactStoreError, InvalidInputError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.tables import Table
from tests.objects import matrix
from tests.objects.folder import MemoryFolder, as_files


def there_and_back(table: Any, **options: Any) -> Any:
    folder = WriteFolder()
    Table().write(table, folder, profile=False)
    return Table().read(MemoryFolder(as_files(folder)), **options)


def run(cases: Iterable[tuple[str, Any]], differs: Callable[[Any, Any], str | None]) -> Counter[str]:
    """Put and get each case; whatever comes back otherwise, or ends in another exception than a refusal, fails."""
    counted: Counter[str] = Counter()
    wrong = []
    for name, made in cases:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas warns of its own dtypes
                said = differs(made, there_and_back(made))
        except InvalidInputError:
            counted["refused"] += 1
            continue
        except ArtifactStoreError as error:
            said = f"put without a word, and then {type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - which it is is what is looked for
            said = f"{type(error).__name__}: {error}"
        counted["equal" if said is None else "wrong"] += 1
        if said is not None:
            wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong[:40])
    return counted


@pytest.mark.slow
def test_frames_and_series_of_pandas_come_back_equal_or_are_refused_by_name():
    """It takes long: there are thousands of cases, each of which is written and read."""
    # Every case has its turn with ARTIFACTSTORE_MATRIX=all: half a minute, with one and the other version of pandas.
    step = 1 if os.environ.get("ARTIFACTSTORE_MATRIX") == "all" else 4
    counted = run(islice(matrix.frames(), 0, None, step), matrix.differs)
    assert counted["equal"] > 550
    assert counted["refused"] > 60


def arrow_cases() -> Iterable[tuple[str, Any]]:
    for kind in matrix.arrow_types():
        for missing in (False, True):
            try:
                values = matrix.arrow_values(kind, missing=missing)
            except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
                continue  # Arrow itself can't make them
            yield f"{kind}{', a gap' * missing}", pa.table({"n": pa.array([1, 2, 3]), "c": values})
            if missing:
                yield f"{kind}, no rows", pa.table({"c": values.slice(0, 0)})
                yield f"{kind}, in two parts", pa.table({"c": pa.chunked_array([values, values.slice(1)])})
                table = pa.table({"c": values})
                yield f"{kind}, in a stream", pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


def arrow_differs(a: Any, b: Any) -> str | None:
    if isinstance(a, pa.RecordBatchReader):
        return None if a.schema == b.schema else f"{a.schema} became {b.schema}"
    for field, found in zip(a.schema, b.schema, strict=True):
        named = "null" in str(field.type) or str(field.type) == str(found.type)  # Arrow can't rename the items of lists of nulls
        if field.type != found.type or not named or field.name != found.name or field.nullable != found.nullable:
            return f"{field} became {found}"
    left, right = (
        repr(
            one.column("c").cast(pa.int64()).to_pylist()
            if pa.types.is_duration(one.schema.field("c").type)
            else one.column("c").to_pylist()
        )
        for one in (a, b)
    )
    return None if left == right else f"{left:.100} became {right:.100}"


@pytest.mark.slow
def test_tables_of_arrow_come_back_equal_or_are_refused_by_name():
    counted = run(arrow_cases(), arrow_differs)
    assert counted["equal"] > 900


def polars_cases() -> Iterable[tuple[str, Any]]:
    leaves: dict[str, tuple[Any, list[Any]]] = {
        **{str(kind): (kind, [1, 0, 127]) for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64)},
        "large": (pl.Int64, [matrix.BIG, -matrix.BIG, 0]), "Boolean": (pl.Boolean, [True, False, True]), "String": (pl.String, ["a", "", "ü\0"]), "Binary": (pl.Binary, [b"a", b"", b"\0"]), "Null": (pl.Null, [None] * 3),
        "Date": (pl.Date, [matrix.MOMENT.date()] * 3), "Time": (pl.Time, [matrix.MOMENT.time()] * 3), "Decimal": (pl.Decimal(12, 3), [Decimal("1.5"), Decimal("-0.001"), Decimal(0)]),
        **{f"Datetime {unit} {zone}": (pl.Datetime(unit, zone), [matrix.MOMENT] * 3) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "Europe/Berlin")},
        **{f"Duration {unit}": (pl.Duration(unit), [dt.timedelta(1), dt.timedelta(-1), dt.timedelta(0)]) for unit in ("ms", "us", "ns")},
        "Categorical": (pl.Categorical, ["b", "a", "b"]), "Enum": (pl.Enum(["b", "never", "a"]), ["b", "a", "b"]),
    }  # fmt: skip
    for name, (kind, values) in leaves.items():
        for missing in (False, True):
            given = [*values[:2], None if missing else values[2]]
            column = (
                pl.Series("c", given).cast(kind) if kind == pl.Int128 or "Datetime" in name else pl.Series("c", given, dtype=kind)
            )
            lists = (
                pl.DataFrame({"c": column}).select(pl.concat_list("c"))["c"]
                if kind != pl.Null
                else pl.Series("c", [[None], [], [None]])
            )
            held = {
                "plain": column, "list": lists, "struct": pl.DataFrame({"x": column, "y": [1, 2, 3]}).to_struct("c"), "no rows": column.clear(),
                "array": lists.cast(pl.Array(kind, 1)) if kind != pl.Null else column, "array of none": lists.list.head(0).cast(pl.Array(kind, 0)) if kind != pl.Null else column,
                "list of lists": pl.Series("c", [lists.to_list(), [], None], dtype=pl.List(lists.dtype)) if "Enum" not in name else column,
            }  # fmt: skip
            for how, one in held.items():
                yield f"{name}, {how}{', a gap' * missing}", pl.DataFrame([one])
                yield f"series: {name}, {how}{', a gap' * missing}", one
    for names in (["", "a"], ["a", ""], ["column_0", ""], ["a", "a.b"], ["value", "b"]):
        yield f"columns {names}", pl.DataFrame({names[0]: [1], names[1]: [2]})
    for text in ("", "value", "ü"):
        yield f"series called {text!r}", pl.Series(text, [1, 2])


def polars_differs(a: Any, b: Any) -> str | None:
    if type(a) is not type(b):
        return f"{type(a)} became {type(b)}"
    schema = (a.schema, b.schema) if isinstance(a, pl.DataFrame) else ((a.name, a.dtype), (b.name, b.dtype))
    if schema[0] != schema[1] or repr(schema[0]) != repr(schema[1]):
        return f"{schema[0]} became {schema[1]}"
    left, right = ((one.rows() if isinstance(one, pl.DataFrame) else one.to_list()) for one in (a, b))
    return None if repr(left) == repr(right) else f"{left!r:.100} became {right!r:.100}"


@pytest.mark.slow
def test_frames_and_series_of_polars_come_back_equal_or_are_refused_by_name():
    counted = run(polars_cases(), polars_differs)
    assert counted["equal"] > 300


def extension_cases() -> Iterable[tuple[str, Any]]:
    storages: dict[Any, list[Any]] = {
        pa.uuid(): [b"x" * 16, b"\0" * 16], pa.json_(): ["{}", "[1]"], pa.bool8(): [1, 0], pa.opaque(pa.int8(), "a", "b"): [1, -1],
        pa.fixed_shape_tensor(pa.int32(), [2]): [[1, 2], [3, 4]],
        **{pa.fixed_shape_tensor(pa.float32(), [1, 2], permutation=order): [[1, 2], [0.5, -0.0]] for order in ([0, 1], [1, 0])},
    }  # fmt: skip
    for kind, values in storages.items():
        for missing in (False, True):
            column = pa.ExtensionArray.from_storage(kind, pa.array([*values, None if missing else values[0]], kind.storage_type))
            held = {
                "plain": column,
                "list": pa.ListArray.from_arrays([0, 2, 2, 3], column),
                "fixed list": pa.FixedSizeListArray.from_arrays(column, 3),
                "struct": pa.StructArray.from_arrays([column], ["x"]),
            }
            for how, one in held.items():
                for rows in (3, 0):
                    yield f"{kind}, {how}, {rows} rows{', a gap' * missing}", pa.table({"c": one[:rows]})


def test_extension_types_come_back_as_such_also_within_lists_and_without_rows():
    def differs(a: pa.Table, b: pa.Table) -> str | None:
        return None if a.equals(b) and a.schema.equals(b.schema) else f"{a} became {b}"

    counted = run(extension_cases(), differs)
    assert counted["equal"] >= 110


class Silent(pa.ExtensionType):  # type: ignore[misc]
    """An extension type whose values show nothing of what they are."""

    class Value(pa.ExtensionScalar):  # type: ignore[misc]
        def as_py(self, **_options: Any) -> Any:
            raise NotImplementedError("no value of Python")

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.silent")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: Any, _text: bytes) -> "Silent":
        return cls()

    def __arrow_ext_scalar_class__(self) -> type:
        return self.Value


def test_extension_types_are_compared_by_what_they_are_stored_as():
    pa.register_extension_type(Silent())
    try:
        put = pa.table({"c": pa.ExtensionArray.from_storage(Silent(), pa.array([1, None, 3]))})
        back = there_and_back(put)
        assert back.schema == put.schema
        assert back.column("c").combine_chunks().storage == put.column("c").combine_chunks().storage
    finally:
        pa.unregister_extension_type("tests.silent")
