"""Parquet files that are put as the files that they are: what is known of their tables, read in bounded memory where they lie.

A file may be anything that its name does not promise: cut off, encrypted, no Parquet at all.
"""

import io
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from artifactstore.content.blocks import open_source
from artifactstore.content.reader import Seekable
from artifactstore.content.source import Source
from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.kinds import width
from artifactstore.objects.profile import Profiler

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["check_table", "is_table", "known_of"]

T = TypeVar("T")
_SUFFIXES: Final = (".parquet", ".pq")
_ROWS: Final = 65_536  # rows at a time at most
_BYTES: Final = 2**26  # bytes at a time, as the file lets expect
_BUFFER: Final = 2**20  # bytes of each column that are read on at a time: a row group may be the whole file
_FAR_BUFFER: Final = 2**22  # the same of a file elsewhere, where each read is a request
_FAR_WHOLE: Final = 2**26  # bytes of a file elsewhere, or of its row groups, that are read at once


def is_table(path: str) -> bool:
    """Tell whether a file is Parquet, by its name."""
    return path.lower().endswith(_SUFFIXES)


def check_table(source: Source) -> None:
    """See whether a file can be profiled, as far as its end tells: it has the columns, and is all that is read.

    Raises:
        InvalidInputError: it is no Parquet, encrypted, or has columns that can't be told apart.
        ConflictError: it changed since it was found.
        BackendError: it lies elsewhere, and can't be had.
    """
    _look(source, lambda file: _opened(file).close())


def known_of(source: Source, *, full: bool = False) -> dict[str, bytes]:
    """Read a file and return what is known of its table: a profile and row hashes, as of a table that is an object.

    Args:
        source: the file.
        full: let every row be in the profile's sample, which then takes the memory of the table.

    Raises:
        InvalidInputError: it is no Parquet, encrypted, damaged, or has columns that can't be told apart.
        ConflictError: it changed since it was found.
        BackendError: it lies elsewhere, and can't be had.
    """

    def look(file: io.RawIOBase) -> dict[str, bytes]:
        import pyarrow as pa  # noqa: PLC0415

        if source.far is None:
            opened = _opened(file, pre_buffer=False, buffer_size=_BUFFER)
        elif source.size <= _FAR_WHOLE:
            # Several requests at a time; and a server that knows no ranges would send all of it for each.
            opened = _opened(io.BytesIO(source.far.read(0, source.size)))
        else:
            opened = _opened(file, **_far_options(file))
        with opened as table:
            profiler = Profiler(table.schema_arrow, full=full)
            for number in range(table.num_row_groups):
                for batch in table.iter_batches(_rows_of(table, number), row_groups=[number]):
                    profiler.add(pa.Table.from_batches([batch]))
            if profiler.hashes.rows != table.metadata.num_rows:  # such as of a file that has no columns
                raise InvalidInputError(f"it says that it has {table.metadata.num_rows:,} rows, and has {profiler.hashes.rows:,}")
        return {"profile": canonical_json(profiler.finish()), "rows": profiler.hashes.encode()}

    return _look(source, look)


def _look(source: Source, look: Callable[[io.RawIOBase], T]) -> T:
    """Call `look` with an open file; that it changed is told first, whatever `look` has made of it."""
    import pyarrow as pa  # noqa: PLC0415

    with open_source(source) as (read_at, _):
        try:
            return look(_File(read_at, source.size))
        except ArtifactStoreError as error:
            if not isinstance(error, InvalidInputError):
                raise
            failed: Exception = error
        except (pa.ArrowException, OSError, TypeError, ValueError, LookupError, OverflowError) as error:
            failed = error
    raise InvalidInputError(f"{source.path} can't be profiled: {str(failed)[:300]}") from failed


def _opened(file: io.RawIOBase | io.BytesIO, **options: Any) -> "pq.ParquetFile":
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.ParquetFile(file, **options)
    names = table.schema_arrow.names
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InvalidInputError(f"several columns are called {', '.join(map(repr, twice[:5]))}")
    return table


def _far_options(file: io.RawIOBase) -> dict[str, Any]:
    """Return how a large file elsewhere is read: a row group at once, as long as each is small."""
    metadata = _opened(file).metadata
    largest = max((metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)), default=0)
    return {"metadata": metadata} | ({} if largest <= _FAR_WHOLE else {"pre_buffer": False, "buffer_size": _FAR_BUFFER})


def _rows_of(table: "pq.ParquetFile", number: int) -> int:
    """Return how many rows of a row group are read at a time: its columns tell how long they are, or the bytes that it has."""
    group = table.metadata.row_group(number)
    row: int = max(width(table.schema_arrow, 4), group.total_byte_size // max(1, group.num_rows), 1)
    return max(1, min(_ROWS, _BYTES // row))


class _File(Seekable):
    """A source as Arrow reads it."""

    def __init__(self, read_at: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(size)
        self._read_at = read_at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read_at(self._at, min(len(view), max(0, self._size - self._at)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
