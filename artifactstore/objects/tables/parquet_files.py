"""Parquet files put as plain files: computes the profiles of their tables in bounded memory, without copying them.

A file's content may not match its name: truncated, encrypted, not Parquet at all.
"""

import io
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from artifactstore.content.read.open_file import Seekable
from artifactstore.content.write.read_ahead import open_source
from artifactstore.content.write.source import Source
from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.parquet.footer import read_footer
from artifactstore.objects.tables.profile import Profiler
from artifactstore.objects.tables.size_limits import batches_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["check_profilable", "is_table", "profile_file"]

T = TypeVar("T")
_SUFFIXES: Final = (".parquet", ".pq")
_BUFFER: Final = 2**20  # read buffer per column: a row group may be the whole file
_REMOTE_BUFFER: Final = 2**22  # the same for a remote file, where each read is a request
_REMOTE_WHOLE: Final = 2**26  # max bytes of a remote file, or of its row groups, read at once


def is_table(path: str) -> bool:
    """Return whether a file is Parquet, by its name."""
    return path.lower().endswith(_SUFFIXES)


def check_profilable(source: Source) -> None:
    """Check that a file can be profiled, as far as its footer shows; only the footer is read.

    Raises:
        InvalidInputError: it is not Parquet, is encrypted, or has duplicate column names.
        ConflictError: it changed since it was scanned.
        BackendError: it is remote and cannot be read.
    """

    def look(file: io.RawIOBase) -> None:
        read_footer(file)
        _opened(file).close()

    _look(source, look)


def profile_file(source: Source, *, full: bool = False) -> dict[str, bytes]:
    """Read a file and return its table's side content: a profile and row hashes, as for a table put as an object.

    Args:
        source: the file.
        full: include every row in the profile's sample, which then needs the memory of the whole table.

    Raises:
        InvalidInputError: it is not Parquet, is encrypted, damaged, or has duplicate column names.
        ConflictError: it changed since it was scanned.
        BackendError: it is remote and cannot be read.
    """

    def look(file: io.RawIOBase) -> dict[str, bytes]:
        import pyarrow as pa  # noqa: PLC0415

        inner: io.RawIOBase | io.BytesIO = file
        if source.reader is not None and source.size <= _REMOTE_WHOLE:
            # Several concurrent requests; and a server without range support would send the whole file for each.
            inner = io.BytesIO(source.reader.read(0, source.size))
        footer = read_footer(inner)
        options: dict[str, Any] = {}  # a whole row group at once, if each is small
        if source.reader is None:
            options = {"pre_buffer": False, "buffer_size": _BUFFER}
        elif inner is file and max((group.size for group in footer.groups), default=0) > _REMOTE_WHOLE:
            options = {"pre_buffer": False, "buffer_size": _REMOTE_BUFFER}
        with _opened(inner) as table:
            metadata, profiler = table.metadata, Profiler(table.schema_arrow, full=full)
        for batch in batches_of(partial(_opened, inner, metadata=metadata, **options), footer):
            profiler.add(pa.Table.from_batches([batch]))
        if profiler.hashes.rows != footer.rows:  # such as a file without columns
            raise InvalidInputError(f"its footer declares {footer.rows:,} rows, but it has {profiler.hashes.rows:,}")
        return {"profile": canonical_json(profiler.finish()), "rows": profiler.hashes.encode()}

    return _look(source, look)


def _look(source: Source, look: Callable[[io.RawIOBase], T]) -> T:
    """Call `look` with an open file; report a change of the file first, whatever `look` returned or raised."""
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
    raise InvalidInputError(f"{source.path} cannot be profiled: {str(failed)[:300]}") from failed


def _opened(file: io.RawIOBase | io.BytesIO, **options: Any) -> "pq.ParquetFile":
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.ParquetFile(file, **options)
    names = table.schema_arrow.names
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InvalidInputError(f"duplicate column names {', '.join(map(repr, twice[:5]))}")
    return table


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
