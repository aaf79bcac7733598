"""Result lists: sequences of records that are also tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from artifactstore.display.displayed import Displayed
from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.fields import finite
from artifactstore.runtime.loading import arrow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from artifactstore.display.outline import Block

__all__ = ["Rows"]

T = TypeVar("T")
_SHOWN = 50  # max rows shown in a notebook
_PRINTED = 10  # max rows shown as text


class Rows(Displayed, Sequence[T], Generic[T]):
    """A read-only sequence of records; `.to_arrow()` and `.to_pandas()` convert it to tables.

    Records are created on access: a list of a million files costs no million objects.
    """

    def __init__(self, kind: type[T], make: Sequence[T] | Callable[[int], T], count: int | None = None) -> None:
        self._kind = kind
        self._columns: Callable[[str], list[Any]] | None = getattr(make, "values", None)  # of rows that are in columns
        if count is None:
            assert not callable(make)
            self._make: Callable[[int], T] = make.__getitem__
            self._numbers: Sequence[int] = range(len(make))
        else:
            assert callable(make)
            self._make, self._numbers = make, range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> "Rows[T]": ...
    def __getitem__(self, at: Any) -> "T | Rows[T]":
        if isinstance(at, slice):
            part = Rows(self._kind, self._make, 0)
            part._columns = self._columns
            part._numbers = self._numbers[at]
            return part
        if isinstance(at, str):
            raise InvalidInputError(f"[{at!r}]: rows are chosen by number; a column is .values({at!r}), or .to_pandas()[{at!r}]")
        return self._make(self._numbers[at])

    def __getattr__(self, name: str) -> Any:
        from artifactstore.habits.calls import table_hint  # noqa: PLC0415 - only for a message

        fields = () if name.startswith("_") else self._names()
        raise AttributeError(f"{type(self).__name__} has no {name!r}{table_hint(name, fields)}", name=name, obj=self)

    def values(self, column: str) -> list[Any]:
        """Return the values of a field of the records: `store.names().values("size")`.

        Raises:
            InvalidInputError: the records have no such field; the message has those that they have.
        """
        if column not in (names := self._names()):
            raise InvalidInputError(f"{self._kind.__name__} has no field {column!r}; it has {', '.join(names)}")
        if self._columns is None or self._numbers != range(len(self._numbers)):
            return [getattr(row, column) for row in self]
        return self._columns(column)[: len(self._numbers)]

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._numbers)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows | list | tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a sequence like a list

    def to_arrow(self) -> "pa.Table":
        """Return the rows as an Arrow table; mappings become JSON text."""
        pa = arrow()
        names = self._names()
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in self:
            for name in names:
                columns[name].append(_plain(getattr(row, name)))
        return pa.table({name: pa.array(values) for name, values in columns.items()})

    def to_pandas(self) -> "pd.DataFrame":
        """Return the rows as a pandas data frame (pandas must be installed)."""
        try:
            import pandas  # noqa: F401, ICN001, PLC0415 - only needed for a frame
        except ImportError as error:
            raise UnsupportedError("to_pandas needs pandas: pip install pandas; to_arrow works without it") from error
        return self.to_arrow().to_pandas()

    def _names(self) -> list[str]:
        return [one.name for one in fields(self._kind) if one.repr]  # type: ignore[arg-type]  # every record is a dataclass

    def _list(self, most: int) -> "list[Block]":
        from artifactstore.display.lists import list_outline  # noqa: PLC0415 - most processes show no list

        return list_outline(self._kind.__name__, self, self._names(), most=most)

    def _outline(self) -> "Sequence[Block]":
        return self._list(_SHOWN)

    def __str__(self) -> str:
        from artifactstore.display.lists import narrowed  # noqa: PLC0415 - as above
        from artifactstore.display.text_renderer import as_text  # noqa: PLC0415 - as above

        return as_text(narrowed(self._list(_PRINTED)))

    def __repr__(self) -> str:
        return str(self)


def _plain(value: Any) -> Any:
    """Convert a value to one that a column can store."""
    if isinstance(value, dict):
        return canonical_json(finite(value)).decode()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str) or hasattr(value, "isoformat"):
        return value
    return str(value)
