"""A put of a stream: what arrives over a network is stored while it arrives."""

from typing import Any, Final

from artifactstore.content.packs.known_chunks import FalseChunksError, check_reused
from artifactstore.content.write.source import Folder, Source, from_bytes
from artifactstore.content.write.streamed import Gone, Streamed, fill, store_stream
from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_path
from artifactstore.work.put.known_content import distrust, known_chunks
from artifactstore.work.session.session import Session

__all__ = ["StreamSource", "is_stream", "take_in"]

_WHOLE: Final = 8 * 2**20  # bytes of a stream that are held in memory: most are no longer


class StreamSource:
    """A stream that was taken in.

    Attributes:
        folder: its one file.
        digests: the file's digest, if it is stored already.
        stored: what was stored of it, or None.
        alive_at: the head at which that was known to be alive.
    """

    def __init__(self, source: Source, stored: Streamed | None, alive_at: int) -> None:
        self.folder = Folder([source])
        self.stored = stored
        self.digests: list[bytes | None] | None = None if stored is None else [stored.manifest.digests[0]]
        self.alive_at = alive_at


def is_stream(source: Any) -> bool:
    """Return whether a source is an open binary file, or another stream."""
    return callable(getattr(source, "read", None)) and not isinstance(source, type)


def take_in(session: Session, stream: Any, path: str, likely: list[str], *, sha256: bool) -> StreamSource:
    """Read a stream to its end; a long one is stored meanwhile.

    Args:
        session: the store.
        stream: with `read(size)`, which returns bytes, none at the end.
        path: of the file that it becomes.
        likely: digests of artifacts that may share chunks with it, the likeliest first.
        sha256: also compute its SHA-256.

    Raises:
        InvalidInputError: the path cannot be stored, or the stream is one of text.
        BackendError: the store failed.
        Exception: whatever the stream raises; nothing is committed.
    """
    check_path(path)

    def read(size: int) -> bytes:
        data = stream.read(size)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidInputError(f"a stream must give bytes, got {type(data).__name__}: open the file with mode 'rb'")
        return bytes(data)

    core = session.core_to_write()
    with session.state() as state:
        alive_at = state.head
    block = memoryview(bytearray(_WHOLE))
    size = fill(read, block)
    if size < _WHOLE:
        return StreamSource(from_bytes(path, bytes(block[:size])), None, alive_at)
    known = known_chunks(session, likely, 2 * _WHOLE)
    done = store_stream(
        session.backend,
        path,
        block,
        read,
        algorithm=core.algorithm,
        chunkers=core.config.chunkers,
        known=known,
        sha256=sha256,
        footers=core.footers,
    )
    try:
        check_reused(done.manifest, done.packs, known, core.footers)
    except FalseChunksError as error:
        distrust(session, set(), error)  # a warning names them: the stream cannot be stored again without them
        Gone().read(0, 0)
    return StreamSource(Source(path, done.manifest.size, b"", executable=False, base=None, reader=Gone()), done, alive_at)
