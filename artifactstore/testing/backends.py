"""Test wrappers for a backend: one counts calls, one injects faults by a script."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.backend.buffers import is_buffer, pieces
from artifactstore.backend.errors import NotAppliedError
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError

__all__ = ["FAULTS", "CountingBackend", "FaultyBackend", "draw_script"]

_T = TypeVar("_T")


class CountingBackend(Wrapper):
    """Counts calls; safe from many threads (a list's append is atomic) and without a lock that a fork could keep.

    Attributes:
        inner: the backend inside.
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._events: list[tuple[str, str]] = []
        self._ranges: list[int] = []
        self._read: list[int] = []
        self._written: list[int] = []

    @property
    def calls(self) -> "list[tuple[str, str]]":
        """Return each call as (verb, key or prefix), in order, failed calls included."""
        return [*self._events]

    @property
    def counts(self) -> Counter[str]:
        """Return the number of calls per verb."""
        return Counter(verb for verb, _ in self.calls)

    @property
    def requests(self) -> int:
        """Return how many network requests this would be: each range is one; a listing counts once, whatever its pages."""
        return len(self._events) + sum(count - 1 for count in self._ranges)

    @property
    def bytes_read(self) -> int:
        """Return the bytes that `read` and `read_ranges` returned."""
        return sum(self._read)

    @property
    def bytes_written(self) -> int:
        """Return the bytes passed to `write` and `create`, also where they failed."""
        return sum(self._written)

    def reset(self) -> None:
        """Reset all counts."""
        self._events, self._ranges, self._read, self._written = [], [], [], []

    def read(self, key: str) -> bytes:
        """Read, counted."""
        self._events.append(("read", key))
        data = self.inner.read(key)
        self._read.append(len(data))
        return data

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Read ranges, counted as one call."""
        self._events.append(("read_ranges", key))
        self._ranges.append(len(ranges))
        found = self.inner.read_ranges(key, ranges)
        self._read.append(sum(map(len, found)))
        return found

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write, counted."""
        self._events.append(("write", key))
        if is_buffer(data):
            self._written.append(sum(piece.nbytes for piece in pieces(data)))
            self.inner.write(key, data)
        elif isinstance(data, list | tuple):
            self._written.append(sum(piece.nbytes for item in data for piece in pieces(item)))
            self.inner.write(key, data)
        else:
            self.inner.write(key, self._counted(data))

    def _counted(self, data: Any) -> Iterator[Any]:
        if isinstance(data, str) or not isinstance(data, Iterable):
            raise InvalidInputError(f"expected bytes or an iterable of buffers, not {type(data).__name__}")
        for item in data:
            self._written.append(memoryview(item).nbytes if is_buffer(item) else 0)
            yield item

    def create(self, key: str, data: bytes) -> None:
        """Create, counted."""
        self._events.append(("create", key))
        self._written.append(len(data))
        self.inner.create(key, data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List, counted when called."""
        self._events.append(("list", prefix))
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Delete, counted."""
        self._events.append(("delete", key))
        self.inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> "dict[str, ArtifactStoreError]":
        """Delete in bulk, counted as one call for each 1,000 keys."""
        self._events += [("delete_many", key) for key in keys[::1000]]
        return self.inner.delete_many(keys)

    def size(self, key: str) -> int:
        """Return a size, counted."""
        self._events.append(("size", key))
        return self.inner.size(key)


FAULTS: Final = ("ok", "fail", "lost-reply", "torn-write", "409", "denied", "full", "delay")
_MUTATING: Final = ("write", "create", "delete")


class FaultyBackend(Wrapper):
    """Injects faults by a script: one word for each call of `verbs`; after the last word all calls succeed.

    The words: `ok`; `fail`: nothing happened, transient; `lost-reply`: done, then a transient error as if not;
    `torn-write`: half of the data was consumed, nothing is visible, transient; `409`: refused because two writers met,
    certainly nothing happened, transient; `denied` and `full`: nothing happened, permanent; `delay`: waits, then ok.

    Args:
        inner: the backend inside.
        script: the words, separated by blanks; `draw_script(seed)` creates one.
        verbs: the verbs that take a word from the script; by default the mutating ones.
        sleep: called for `delay`.
        seconds: how long `delay` waits.
    """

    def __init__(
        self,
        inner: Backend,
        script: str = "",
        *,
        verbs: Sequence[str] = _MUTATING,
        sleep: Callable[[float], None] = time.sleep,
        seconds: float = 0.05,
    ) -> None:
        super().__init__(inner)
        words = script.split()
        if unknown := sorted({*words} - {*FAULTS}):
            raise InvalidInputError(f"unknown faults: {', '.join(unknown)}; expected {', '.join(FAULTS)}")
        self._rest = deque(words)
        self._verbs = frozenset(verbs)
        self._sleep = sleep
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"FaultyBackend({self.inner!r}, {' '.join(self._rest)!r})"

    def _word(self, verb: str) -> str:
        if verb not in self._verbs:
            return "ok"
        try:
            return self._rest.popleft()  # atomic: each of many threads gets a word of its own
        except IndexError:
            return "ok"

    def _play(self, verb: str, key: str, call: Callable[[], _T], half: Callable[[], object] = lambda: None) -> _T:
        return self._act(self._word(verb), verb, key, call, half)

    def _act(self, word: str, verb: str, key: str, call: Callable[[], _T], half: Callable[[], object]) -> _T:
        if word == "delay":
            self._sleep(self._seconds)
        elif word == "torn-write":
            half()
            raise BackendError(f"{verb} {key}: the connection broke halfway", transient=True)
        elif word == "fail":
            raise BackendError(f"{verb} {key}: no connection", transient=True)
        elif word == "409":
            raise NotAppliedError(f"{verb} {key}: 409, another writer is writing it")
        elif word == "denied":
            raise BackendError(f"{verb} {key}: access denied")
        elif word == "full":
            raise BackendError(f"{verb} {key}: no space left; free some space, then try again")
        result = call()
        if word == "lost-reply":
            raise BackendError(f"{verb} {key}: no reply arrived", transient=True)
        return result

    def read(self, key: str) -> bytes:
        """Read, unless the script fails it."""
        return self._play("read", key, lambda: self.inner.read(key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Read ranges, unless the script fails it."""
        return self._play("read_ranges", key, lambda: self.inner.read_ranges(key, ranges))

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write, unless the script fails it; a torn write takes an iterable's first buffer."""
        self._play("write", key, lambda: self.inner.write(key, data), lambda: None if is_buffer(data) else next(iter(data), None))

    def create(self, key: str, data: bytes) -> None:
        """Create, unless the script fails it."""
        self._play("create", key, lambda: self.inner.create(key, data))

    def list(self, prefix: str) -> Iterator[Stored]:
        """List, unless the script fails it; a torn listing ends after its first item."""
        word = self._word("list")
        if word == "torn-write":
            yield from islice(self.inner.list(prefix), 1)
        yield from self._act(word, "list", prefix, lambda: self.inner.list(prefix), lambda: None)

    def delete(self, key: str) -> None:
        """Delete, unless the script fails it."""
        self._play("delete", key, lambda: self.inner.delete(key))

    def size(self, key: str) -> int:
        """Return a size, unless the script fails it."""
        return self._play("size", key, lambda: self.inner.size(key))


def draw_script(seed: int, calls: int = 100, *, rate: float = 0.2, faults: Sequence[str] = FAULTS[1:]) -> str:
    """Generate a script for `FaultyBackend`: the same for the same arguments, for ever.

    Args:
        seed: random seed.
        calls: number of words.
        rate: the share of calls that are not ok.
        faults: the possible faults.
    """
    dice = random.Random(seed)  # noqa: S311 - must be replayable
    return " ".join(faults[int(dice.random() * len(faults))] if dice.random() < rate else "ok" for _ in range(calls))
