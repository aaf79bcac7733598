"""Calls become rows: each call's inputs, outputs and labels are columns of one table, whatever form they had."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactstore.runtime.loading import numpy
from artifactstore.work.monitoring.serving.snapshot import RefusedValueError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["META", "Call", "Rows", "batch_size", "joined"]

META: Final = ("_time", "_id", "_seq", "_latency")
_COLUMNS: Final = 2000  # of a table; what else a row has is JSON in one more column
_WIDEST: Final = 2000  # values of an array that are a column each; longer ones are one value
_CELLS: Final = 2**23  # rows times columns that a table has: keys that are never the same would fill the memory with gaps
_PART: Final = 4096  # rows that are converted at once
_LARGE: Final = 256  # rows of a batch from which it stays in columns
_MORE: Final = "_more"  # the column of what has no column of its own
_ROLES: Final = ("input", "output", "label")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `log`, as it was taken.

    Attributes:
        number: of its first row in the stream; or of each row.
        time: microseconds since 1970, UTC.
        id: a text, a list of texts, or None.
        parts: inputs, outputs and labels, copied.
        latency: seconds, or None.
        size: bytes.
        rows: number of rows.
        is_batch: whether it was a batch, also one of a single row.
    """

    number: int | list[int]
    time: int
    id: Any
    parts: tuple[Any, Any, Any]
    latency: float | None
    size: int
    rows: int
    is_batch: bool = False


def batch_size(parts: Sequence[Any]) -> int | None:
    """Return the number of rows of a batch; None for a single row.

    The first part decides: a table, an array of two dimensions, or a list of dicts or lists is a batch. A dict of equally long
    lists is one, unless the other parts have another length (then a list is a value, such as an embedding); so is a list of texts
    where the other parts are as long.

    Raises:
        RefusedValueError: the parts of a batch have different numbers of rows.
    """
    given = [part for part in parts if part is not None]
    if not given:
        return 1
    size, others = _rows_of(given[0]), [_length(part) for part in given[1:]]
    if size is not None:
        if any(other != size for other in others):
            raise RefusedValueError("inputs, outputs and labels have different numbers of rows")
        return size
    size = _length(given[0])
    if size is None or any(other != size for other in others):
        return None
    if isinstance(given[0], dict) or (others and isinstance(given[0], list) and all(isinstance(one, str) for one in given[0])):
        return size
    return None


def _rows_of(value: Any) -> int | None:
    """Return the rows of what can only be a batch."""
    if hasattr(value, "shape"):
        return int(value.shape[0]) if len(value.shape) == 2 else None
    if hasattr(value, "num_rows"):
        return int(value.num_rows)
    return len(value) if isinstance(value, list) and value and all(isinstance(one, dict | list) for one in value) else None


def _length(value: Any) -> int | None:
    """Return how many rows a value would have as a part of a batch."""
    rows = _rows_of(value)
    if rows is not None or isinstance(value, str | bytes):
        return rows
    if isinstance(value, dict):
        sizes = {len(one) if isinstance(one, list) or getattr(one, "ndim", 0) == 1 else -1 for one in value.values()}
        return sizes.pop() if len(sizes) == 1 and -1 not in sizes else None
    return len(value) if isinstance(value, list) or getattr(value, "ndim", 0) == 1 else None


class Rows:
    """Collects calls, and makes a table of them.

    Args:
        names: names of the inputs that come as an array or a list.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = names
        self._tables: list[Any] = []
        self._columns: dict[str, list[Any]] = {}
        self._meta: dict[str, list[Any]] = {name: [] for name in META}
        self.roles: dict[str, str] = {}
        self.count = 0

    def add(self, call: Call) -> None:
        """Add a call."""
        found: dict[str, Any] = {}
        for role, part in zip(_ROLES, call.parts, strict=True):
            if part is not None:
                more: dict[str, Any] = {}
                for name, values in self._columns_of(part, role, is_batch=call.is_batch).items():
                    free = name if name not in found and name not in META else f"{role}.{name}"
                    if free in self.roles or len(self.roles) < _COLUMNS:
                        found[free] = values
                        self.roles.setdefault(free, role)
                    else:
                        more[name] = values
                if more:
                    found[f"{role}.{_MORE}"] = [
                        _json({name: values[at] for name, values in more.items()}) for at in range(call.rows)
                    ]
                    self.roles.setdefault(f"{role}.{_MORE}", role)
        meta = self._about(call)
        self.count += call.rows
        if call.rows >= _LARGE:
            self._seal()
            self._tables.append(_table({**meta, **found}))
            return
        before = len(self._meta["_seq"])
        for name, values in meta.items():
            self._meta[name].extend(values)
        for name, values in found.items():
            known = self._columns.setdefault(name, [])
            if len(known) < before:
                known.extend([None] * (before - len(known)))
            known.extend(values.tolist() if hasattr(values, "tolist") else values)
        if before + call.rows >= _PART:
            self._seal()  # Arrow lets no other thread run while it converts a list

    @property
    def is_full(self) -> bool:
        """Whether another table should begin."""
        return self.count * len(self.roles) > _CELLS

    def _about(self, call: Call) -> dict[str, list[Any]]:
        ids = call.id if isinstance(call.id, list) else [call.id] * call.rows
        return {
            "_time": [call.time] * call.rows,
            "_id": ids,
            "_seq": call.number if isinstance(call.number, list) else [*range(call.number, call.number + call.rows)],
            "_latency": [call.latency] * call.rows,
        }

    def _columns_of(self, part: Any, role: str, *, is_batch: bool) -> dict[str, Any]:
        """Return column → values, as many as the call has rows."""
        if hasattr(part, "to_arrow") and not hasattr(part, "num_rows"):
            part = part.to_arrow() if hasattr(part, "columns") else part.to_list()
        if hasattr(part, "num_rows"):
            return {str(name): part.column(at).to_pylist() for at, name in enumerate(part.schema.names)}
        if hasattr(part, "iloc"):
            if hasattr(part, "columns"):
                return {_text(name): part.iloc[:, at].to_numpy() for at, name in enumerate(part.columns)}
            part = part.to_numpy()
        if not is_batch:
            return self._single(part, role)
        if isinstance(part, dict):
            return part
        if isinstance(part, list) and part and all(isinstance(one, dict) for one in part):
            names = dict.fromkeys(name for one in part for name in one)
            return {name: [one.get(name) for one in part] for name in names}
        shape = getattr(part, "shape", None)
        if shape is not None and len(shape) == 2:
            if shape[1] > _WIDEST:
                return {role: [*part]}
            return {name: part[:, at] for at, name in enumerate(self._array_names(role, shape[1]))}
        if isinstance(part, list) and part and all(isinstance(one, list) for one in part):
            widths = {len(one) for one in part}
            if len(widths) == 1:
                return {name: [one[at] for one in part] for at, name in enumerate(self._array_names(role, widths.pop()))}
        return {role: part}

    def _single(self, part: Any, role: str) -> dict[str, Any]:
        if isinstance(part, dict):
            return {name: [value] for name, value in part.items()}
        if role == "input" and (isinstance(part, list) or getattr(part, "ndim", 0) == 1) and len(part) <= _WIDEST:
            return {name: [part[at]] for at, name in enumerate(self._array_names(role, len(part)))}
        return {role: [part]}

    def _array_names(self, role: str, width: int) -> Sequence[str]:
        if role == "input" and self._names is not None and len(self._names) == width:
            return self._names
        return [role] if width == 1 and role != "input" else [f"{role}.{at}" for at in range(width)]

    def _seal(self) -> None:
        rows = len(self._meta["_seq"])
        if not rows:
            return
        for values in self._columns.values():
            values.extend([None] * (rows - len(values)))
        self._tables.append(_table({**self._meta, **self._columns}))
        self._columns, self._meta = {}, {name: [] for name in META}

    def finish(self) -> "pa.Table":
        """Return the table."""
        self._seal()
        return joined(self._tables) if self._tables else _table({name: [] for name in META})


def joined(tables: Sequence["pa.Table"]) -> "pa.Table":
    """Return tables as one: a column that has several types becomes the one that holds them all, else text."""
    import pyarrow as pa  # noqa: PLC0415

    if len(tables) == 1:
        return tables[0]
    kinds: dict[str, set[Any]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    targets = {name: _common(found) for name, found in kinds.items()}
    schema = pa.schema([pa.field(name, kind) for name, kind in targets.items()])
    made = []
    for table in tables:
        columns = [
            _cast(table.column(name), kind) if name in table.column_names else pa.nulls(table.num_rows, kind)
            for name, kind in targets.items()
        ]
        made.append(pa.table(columns, schema=schema))
    return pa.concat_tables(made)


def _common(kinds: set[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    found = [kind for kind in kinds if not pa.types.is_null(kind)]
    if not found:
        return pa.null()
    if len(found) == 1:
        return found[0]
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in found):
        whole = all(pa.types.is_integer(kind) for kind in found)
        return pa.int64() if whole and pa.uint64() not in found else pa.float64()
    return pa.string()


def _cast(column: Any, kind: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if column.type == kind:
        return column
    try:
        return column.cast(kind, safe=False)
    except (pa.ArrowException, ValueError):
        return pa.array([_json(one) for one in column.to_pylist()], kind)


def _table(columns: Mapping[str, Any]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415

    types = {"_time": pa.timestamp("us", "UTC"), "_id": pa.string(), "_seq": pa.int64(), "_latency": pa.float64()}
    made = {name: _array(values, types.get(name)) for name, values in columns.items()}
    return pa.table(made)


def _array(values: Any, kind: Any) -> "pa.Array":
    """Return values as an array; those that go together in no type become texts."""
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(values, list) and any(isinstance(one, dict) for one in values):
        return pa.array([_json(one) for one in values], pa.string())  # one type, whatever keys come later
    try:
        return pa.array(values, kind, from_pandas=None if kind is None else True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([_json(one) for one in values], pa.string())


def _json(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes):
        return value.hex()
    np = numpy()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return json.dumps(value, default=str) if isinstance(value, dict | list | float | bool) else str(value)


def _text(name: Any) -> str:
    return name if isinstance(name, str) else ".".join(map(str, name)) if isinstance(name, tuple) else str(name)
