"""What is compared: tables in memory or in a store, as a schema and batches of rows; or the profile of one."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.objects.drift.profiles import is_profile, types_of_profile
from artifactstore.objects.tables.pandas_frames import reject_duplicates, table_of
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Input", "input_of"]

_INDEX: Final = re.compile(r"__index_level_\d+__")  # pandas' name of an index without one: no column of the user's
_ROWS: Final = 131_072  # rows of a batch that is read from a store


@dataclass(frozen=True, slots=True)
class Input:
    """One side of a comparison.

    Attributes:
        types: column → type.
        batches: called with names of columns, yields rows; None for a profile.
        profile: the profile, if there is nothing else.
    """

    types: "Mapping[str, pa.DataType]"
    batches: "Callable[[Sequence[str]], Iterator[pa.RecordBatch]] | None"
    profile: Mapping[str, Any] | None = None


def input_of(given: Any, what: str) -> Input:
    """Return a table of pandas, polars or pyarrow, a dataset, a dict of columns, or a profile as one side.

    Args:
        given: the table.
        what: its role, for messages.

    Raises:
        InvalidInputError: it is none of these.
    """
    import pyarrow as pa  # noqa: PLC0415

    if is_profile(given):
        return Input(types_of_profile(given), None, given)
    try:
        table = _arrow(given)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError) as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise InvalidInputError(f"the {what} cannot be read as a table: {str(error)[:300]}") from error
    if table is None:
        raise InvalidInputError(
            f"the {what} must be a reference, a table of pandas, polars or pyarrow, or a profile, got {type(given).__name__}"
        )
    reject_duplicates(table.schema.names)
    types = {field.name: field.type for field in table.schema if not _INDEX.fullmatch(field.name)}

    def batches(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        if isinstance(table, pa.Table):
            yield from table.select(list(columns)).to_batches(max_chunksize=_ROWS)
        elif isinstance(table, pa.RecordBatchReader):
            for batch in table:
                yield batch.select(list(columns))
        else:  # a dataset; without threads, which may abort a process that ends (apache/arrow#34314)
            yield from table.scanner(
                columns=list(columns), batch_size=_ROWS, batch_readahead=1, fragment_readahead=1, use_threads=False
            ).to_batches()

    return Input(types, batches)


def _arrow(given: Any) -> Any:
    """Return a table of Arrow, a reader or a dataset; None for something else."""
    import pyarrow as pa  # noqa: PLC0415

    names = {(one.__module__.partition(".")[0], one.__name__) for one in type(given).__mro__}
    if ("pandas", "DataFrame") in names:
        return table_of(given)
    if ("pandas", "Series") in names:
        return table_of(given.to_frame("value" if given.name is None else given.name))
    if ("polars", "DataFrame") in names:
        return given.to_arrow()
    if ("polars", "Series") in names:
        return given.to_frame().to_arrow()
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.Table | pa.RecordBatchReader) or ("pyarrow", "Dataset") in names:
        return given
    if isinstance(given, Mapping) and given and all(isinstance(name, str) for name in given):
        return pa.table(dict(given))
    return None
