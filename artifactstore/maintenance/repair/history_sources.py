"""Where the bytes of a history may come from: copies of the store, and its own segments. What a source has is never believed here."""

from collections.abc import Iterator
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.errors import BackendError, NotFoundError
from artifactstore.journal.chain import entry_key, previous_of
from artifactstore.journal.replica import target_key
from artifactstore.journal.segments import Segment, list_segments, read_raw
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY

__all__ = ["KEYS", "CopyHistory", "HistorySource", "KnownConfig", "SegmentHistory", "read_if_possible"]


class HistorySource:
    """Where the bytes of a history may come from.

    Attributes:
        name: for messages.
    """

    name: str = ""

    def entry(self, seq: int) -> bytes | None:
        """Return the bytes of an entry, 0 for `store.json`; None if there are none."""
        raise NotImplementedError

    def confirms(self, seq: int, digest: Digest) -> bool:
        """Return whether this source has a record that the entry had this digest: a successor, or the head that a copy was made up to."""
        after = self.entry(seq + 1)
        return after is not None and previous_of(after) == str(digest)

    def object(self, key: str) -> bytes | None:
        """Return the bytes of another object, or None."""
        raise NotImplementedError


class _Keys(HistorySource):
    """Of what follows from a key."""

    name = "its key"


KEYS: Final = _Keys()


class KnownConfig(HistorySource):
    """`store.json` as this process has read it.

    Args:
        raw: its bytes.
    """

    name = "this process, which had read it"

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def entry(self, seq: int) -> bytes | None:
        """Return `store.json`."""
        return self._raw if seq == 0 else None

    def object(self, key: str) -> bytes | None:  # noqa: ARG002 - it has nothing else
        """Return None."""
        return None


class CopyHistory(HistorySource):
    """The history as a copy of the store has it.

    Args:
        backend: the copy's.
    """

    def __init__(self, backend: Backend) -> None:
        self.name = backend.url
        self._backend = backend

    def entry(self, seq: int) -> bytes | None:
        """Return an entry of the copy."""
        return self.object(entry_key(seq) if seq else CONFIG_KEY)

    def confirms(self, seq: int, digest: Digest) -> bool:
        """Return whether the copy has a successor of the entry, or was made up to it."""
        return super().confirms(seq, digest) or self.object(target_key(seq, digest)) is not None

    def object(self, key: str) -> bytes | None:
        """Return an object of the copy; None if it is missing or cannot be read."""
        return read_if_possible(self._backend, key)


class SegmentHistory(HistorySource):
    """The history as the store's own segments have it.

    Args:
        backend: the store's.
    """

    name = "a segment of this store"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._segments: list[Segment] | None = None
        self._open: tuple[Segment, list[bytes]] | None = None

    def entry(self, seq: int) -> bytes | None:
        """Return an entry from a segment that covers it."""
        if self._open is None or not self._open[0].first <= seq <= self._open[0].last:
            self._open = next(self._covering(seq), self._open)
        if self._open is None or not self._open[0].first <= seq <= self._open[0].last:
            return None
        return self._open[1][seq - self._open[0].first]

    def object(self, key: str) -> bytes | None:  # noqa: ARG002 - a segment has entries alone
        """Return None."""
        return None

    def _covering(self, seq: int) -> Iterator[tuple[Segment, list[bytes]]]:
        if self._segments is None:
            try:
                self._segments = list_segments(self._backend)
            except BackendError:
                self._segments = []
        for segment in sorted(self._segments, key=lambda one: one.last - one.first):
            if segment.first <= seq <= segment.last and (data := read_if_possible(self._backend, segment.key)) is not None:
                raws = read_raw(data, segment, None)
                if raws is not None:
                    yield segment, raws


def read_if_possible(backend: Backend, key: str) -> bytes | None:
    """Return an object's bytes; None if it is missing or cannot be read.

    Raises:
        BackendError: the backend cannot be reached.
    """
    try:
        return backend.read(key)
    except NotFoundError:
        return None
    except BackendError as error:
        if error.transient:
            raise
        return None
