"""Segments of an inference log: a Parquet file whose own metadata names the digest of the segment before it.

Each process writes a *stream* of segments, numbered from 0. The record of a segment is in the file that its digest covers, so
neither rows nor counts of losses can be changed, left out or reordered without breaking the chain.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError, FormatError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FILE", "FORMAT", "Segment", "encode", "metadata_of", "read_record", "read_table"]

FILE: Final = "segment.parquet"
FORMAT: Final = 1
_KEY: Final = b"artifactstore.serving"  # in the schema's metadata
_FIELDS: Final = frozenset(
    {"stream", "number", "previous", "model", "start", "end", "rows", "lost", "refused", "not_sampled", "closed"}
)
_GROUP: Final = 65_536  # rows of a row group


@dataclass(frozen=True, slots=True)
class Segment:
    """An encoded segment.

    Attributes:
        record: its record.
        data: the Parquet file.
        digest: of the file, as the next segment names it.
    """

    record: Mapping[str, Any]
    data: bytes
    digest: str


def metadata_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the version of a segment says of it: enough to choose it by time, without opening it."""
    keys = ("stream", "number", "start", "end", "rows", "closed")
    counts = {key: sum(record[key].values()) for key in ("lost", "refused")}
    return {"serving": {**{key: record[key] for key in keys}, "model": record["model"]["digest"], **counts}}


def encode(table: "pa.Table", record: Mapping[str, Any], algorithm: str) -> Segment:
    """Return a table as a segment."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    target = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({_KEY: canonical_json(dict(record))}), target, compression="zstd", row_group_size=_GROUP
    )
    data = target.getvalue()
    return Segment(record, data, str(Digest.of(data, algorithm)))


def read_record(file: Any, what: str) -> dict[str, Any]:
    """Return the record of a segment, from a file or a `ParquetFile`.

    Raises:
        CorruptionError: it is not a segment.
        FormatError: it was written by a newer version.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        metadata = pq.read_schema(file).metadata or {}
        found = json.loads(metadata[_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise CorruptionError(f"{what} is not a segment of an inference log: {str(error)[:200]}") from error
    if not isinstance(found, dict) or not {*found} >= _FIELDS:
        raise CorruptionError(f"{what} is not a segment of an inference log: its record lacks fields")
    if found.get("format") != FORMAT:
        raise FormatError(
            f"{what} has format {found.get('format')!r} of inference logs, and this version reads {FORMAT}: update it"
        )
    return found


def read_table(file: Any, what: str) -> "pa.Table":
    """Return the rows of a segment.

    Raises:
        CorruptionError: it cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.read_table(file, use_threads=False).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptionError(f"{what} cannot be read: {str(error)[:200]}") from error
