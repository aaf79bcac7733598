"""The backend contract, as a test class to inherit from.

```python
class TestMine(BackendContract):
    @pytest.fixture
    def backend(self):
        return MyBackend(...)  # empty
```
"""
# ruff: noqa: D102 - names of tests are sentences

import os
import pickle
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError, UnsupportedError

__all__ = ["BAD_KEYS", "BackendContract"]

BAD_KEYS = ("", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a b", "a\\b", "ä", "a\n", "a\0", "k" * 1025)
_SEGMENT = st.text("abcXYZ019._-", min_size=1, max_size=12).filter(lambda text: text not in {".", ".."})
_KEYS = st.lists(_SEGMENT, min_size=1, max_size=4).map("/".join)


class BackendContract:
    """Tests that every backend must pass; a subclass provides a fixture `backend` that returns an empty one.

    Attributes:
        threads: number of racing threads.
        races: number of keys to race for.
        many: keys of the long listing; more than one page of the service.
        secrets: texts that must not appear in any pickle, repr or error.
    """

    threads: ClassVar[int] = 16
    races: ClassVar[int] = 50
    many: ClassVar[int] = 1050
    secrets: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def backend(self) -> Backend:
        """Return an empty, writable backend."""
        raise NotImplementedError("the test class must define a fixture `backend`")

    def fill(self, backend: Backend, keys: Sequence[str]) -> None:
        """Write a small object under each key; a subclass may override it with a faster way."""
        with ThreadPoolExecutor(min(8, max(1, backend.concurrency))) as pool:
            list(pool.map(lambda key: backend.write(key, b"x"), keys))

    # -- writes read back

    def test_what_was_written_is_read_back(self, backend: Backend) -> None:
        @settings(max_examples=25, deadline=None, database=None)
        @given(key=_KEYS, data=st.binary(max_size=3000), cut=st.integers(0, 3000))
        def check(key: str, data: bytes, cut: int) -> None:
            folder = secrets.token_hex(8)
            key = f"{folder}/{key}"
            backend.write(key, data)
            assert backend.read(key) == data
            assert backend.size(key) == len(data)
            cut = min(cut, len(data))
            assert backend.read_ranges(key, [(0, cut), (cut, len(data) - cut)]) == [data[:cut], data[cut:]]
            assert [(item.key, item.size) for item in backend.list(f"{folder}/")] == [(key, len(data))]

        check()

    def test_write_replaces_what_was_there(self, backend: Backend) -> None:
        backend.write("a", b"long before")
        backend.write("a", b"after")
        assert backend.read("a") == b"after"
        assert backend.size("a") == 5

    def test_an_empty_object_is_an_object(self, backend: Backend) -> None:
        backend.write("a", b"")
        backend.write("b", iter(()))
        _create(backend, "c", b"")
        assert [backend.read(key) for key in "abc"] == [b"", b"", b""]
        assert [backend.size(key) for key in "abc"] == [0, 0, 0]
        assert backend.read_ranges("a", [(0, 0)]) == [b""]
        with pytest.raises(AlreadyExistsError):
            _create(backend, "c", b"")

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(b".." + data))[2:]])
    def test_all_kinds_of_bytes_can_be_written(self, backend: Backend, kind: Callable[[bytes], Any]) -> None:
        backend.write("a", kind(b"some bytes"))
        backend.write("b", [kind(b"some"), kind(b""), kind(b" bytes")])
        assert backend.read("a") == backend.read("b") == b"some bytes"

    def test_an_iterable_of_buffers_becomes_one_object(self, backend: Backend) -> None:
        pieces = [secrets.token_bytes(size) for size in (1, 70_000, 3, 2**20 + 1, 5, 300_000, *[1000] * 3000)]
        whole = b"".join(pieces)
        backend.write("a", iter(pieces))
        backend.write("b", pieces)
        backend.write("c", memoryview(whole))
        assert all(backend.read(key) == whole for key in "abc")

    def test_a_buffer_is_not_looked_at_after_the_next_was_asked_for(self, backend: Backend) -> None:
        def reused() -> Iterator[memoryview]:
            for size in (100, 400_000, 100):
                buffer = bytearray(size)
                for number in b"xyz":
                    buffer[:] = bytes([number]) * size
                    yield memoryview(buffer)

        backend.write("a", reused())
        assert backend.read("a") == b"".join(bytes([n]) * size for size in (100, 400_000, 100) for n in b"xyz")

    def test_data_is_not_kept_and_not_shared(self, backend: Backend) -> None:
        for times in (1, 400_000):
            data = bytearray(b"before" * times)
            backend.write("a", data)
            data[:] = b"after!" * times
            assert backend.read("a") == b"before" * times

    def test_more_than_one_piece_carries_is_written_in_parts(self, backend: Backend) -> None:
        piece = secrets.token_bytes(2**20)
        with pytest.raises(InvalidInputError):
            backend.create("a", bytes(MAX_WRITE + 1))
        with pytest.raises(NotFoundError):
            backend.read("a")
        backend.write("b", piece * 66)
        assert backend.size("b") == 66 * 2**20
        assert backend.read_ranges("b", [(65 * 2**20, 2**20), (63 * 2**20 + 5, 10)]) == [piece, piece[5:15]]
        backend.write("a", (piece for _ in range(66)))
        assert backend.size("a") == 66 * 2**20
        assert backend.read_ranges("a", [(65 * 2**20, 2**20), (63 * 2**20 + 5, 10)]) == [piece, piece[5:15]]

    @pytest.mark.parametrize("data", ["text", 5, None, ["text"], [None]])
    def test_what_is_no_bytes_is_refused(self, backend: Backend, data: Any) -> None:
        with pytest.raises(InvalidInputError):
            backend.write("a", data)
        with pytest.raises(NotFoundError):
            backend.read("a")

    def test_an_error_of_the_callers_iterable_comes_back_as_it_is_and_nothing_is_visible(self, backend: Backend) -> None:
        def broken() -> Iterator[bytes]:
            yield secrets.token_bytes(300_000)
            raise FileNotFoundError("the source is gone")

        with pytest.raises(FileNotFoundError, match="the source is gone"):
            backend.write("a", broken())
        assert not list(backend.list(""))

    # -- create

    def test_create_writes_all_bytes_and_refuses_a_second_time(self, backend: Backend) -> None:
        data = secrets.token_bytes(200_000)
        _create(backend, "a/b", data)
        assert backend.read("a/b") == data
        for again in (data, b"other"):
            with pytest.raises(AlreadyExistsError):
                backend.create("a/b", again)
        assert backend.read("a/b") == data

    def test_create_refuses_what_write_has_written(self, backend: Backend) -> None:
        backend.write("a", b"first")
        with pytest.raises(AlreadyExistsError):
            _create(backend, "a", b"second")
        assert backend.read("a") == b"first"

    def test_a_deleted_key_can_be_created_again(self, backend: Backend) -> None:
        _create(backend, "a", b"first")
        backend.delete("a")
        backend.create("a", b"second")
        assert backend.read("a") == b"second"

    def test_of_many_threads_exactly_one_creates(self, backend: Backend) -> None:
        if not backend.exclusive:
            _create(backend, "a", b"")
        start = Barrier(self.threads)

        def race(number: int) -> list[int]:
            won = []
            start.wait()
            for key in range(self.races):
                try:
                    backend.create(f"race/{key}", str(number).encode() * 100)
                except AlreadyExistsError:
                    continue
                won.append(key)
            return won

        with ThreadPoolExecutor(self.threads) as pool:
            results = list(pool.map(race, range(self.threads)))
        assert sorted(key for won in results for key in won) == list(range(self.races))
        for number, won in enumerate(results):
            for key in won:
                assert backend.read(f"race/{key}") == str(number).encode() * 100

    # -- reading

    def test_a_missing_key_is_not_found_by_every_verb_that_reads(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        for key in ("b", "a", "a/c", "a/b/c", "x/y/z"):
            with pytest.raises(NotFoundError):
                backend.read(key)
            with pytest.raises(NotFoundError):
                backend.read_ranges(key, [(0, 1)])
            with pytest.raises(NotFoundError):
                backend.read_into(key, [(0, memoryview(bytearray(1)))])
            with pytest.raises(NotFoundError):
                backend.size(key)

    def test_ranges_come_in_the_order_asked_for(self, backend: Backend) -> None:
        data = secrets.token_bytes(50_000)
        backend.write("a", data)
        ranges = [(49_999, 1), (0, 10), (5, 10), (100, 0), (0, 50_000), (50_000, 0), (20_000, 20_000), (0, 10)]
        assert backend.read_ranges("a", ranges) == [data[offset : offset + length] for offset, length in ranges]
        assert backend.read_ranges("a", []) == []
        rooms = [memoryview(bytearray(length)) for _, length in ranges]
        backend.read_into("a", [(offset, room) for (offset, _), room in zip(ranges, rooms, strict=True)])
        assert rooms == [data[offset : offset + length] for offset, length in ranges]

    @pytest.mark.parametrize("bad", [(9, 2), (0, 11), (10, 1), (500, 1)])
    def test_a_range_behind_the_end_is_a_permanent_failure(self, backend: Backend, bad: tuple[int, int]) -> None:
        backend.write("a", b"0123456789")
        with pytest.raises(BackendError) as caught:
            backend.read_ranges("a", [(0, 5), bad])
        assert not caught.value.transient
        with pytest.raises(BackendError) as caught:
            backend.read_into("a", [(0, memoryview(bytearray(5))), (bad[0], memoryview(bytearray(bad[1])))])
        assert not caught.value.transient

    @pytest.mark.parametrize("bad", [(-1, 2), (0, -1)])
    def test_a_negative_range_is_refused(self, backend: Backend, bad: tuple[int, int]) -> None:
        backend.write("a", b"0123456789")
        with pytest.raises(InvalidInputError):
            backend.read_ranges("a", [bad])

    # -- listing

    def test_a_listing_is_complete_over_all_pages(self, backend: Backend) -> None:
        keys = [f"many/{number:05}" for number in range(self.many)]
        self.fill(backend, keys)
        assert sorted(item.key for item in backend.list("many/")) == keys

    def test_a_prefix_ends_at_a_slash(self, backend: Backend) -> None:
        for key in ("a/b", "a/c/d", "ab/c", "b/a/b", "c"):
            backend.write(key, b"1")
        assert {item.key for item in backend.list("")} == {"a/b", "a/c/d", "ab/c", "b/a/b", "c"}
        assert {item.key for item in backend.list("a/")} == {"a/b", "a/c/d"}
        assert {item.key for item in backend.list("a/c/")} == {"a/c/d"}
        for prefix in ("x/", "c/", "a/b/", "x/y/z/"):
            assert not list(backend.list(prefix))

    @pytest.mark.parametrize("prefix", ["a", "/", "/a/", "../", "a//", "a b/"])
    def test_what_is_no_prefix_is_refused(self, backend: Backend, prefix: str) -> None:
        with pytest.raises(InvalidInputError):
            list(backend.list(prefix))

    def test_a_listing_shows_sizes_and_times_in_utc(self, backend: Backend) -> None:
        backend.write("a", b"12345")
        (item,) = backend.list("")
        assert (item.key, item.size) == ("a", 5)
        if item.modified is not None:
            assert item.modified.utcoffset() == timedelta(0)
            assert abs(datetime.now(UTC) - item.modified) < timedelta(minutes=10)

    def test_every_change_is_visible_at_once(self, backend: Backend) -> None:
        assert not list(backend.list(""))
        for turn in range(3):
            backend.write("a/one", b"1" * turn)
            _create(backend, "a/two", b"2")
            assert {(item.key, item.size) for item in backend.list("a/")} == {("a/one", turn), ("a/two", 1)}
            assert backend.size("a/one") == turn
            backend.delete("a/two")
            assert [item.key for item in backend.list("")] == ["a/one"]
            with pytest.raises(NotFoundError):
                backend.size("a/two")

    # -- deleting and keys

    def test_deleting_removes_one_and_a_missing_key_is_no_error(self, backend: Backend) -> None:
        backend.write("a/b", b"1")
        backend.write("a/c", b"2")
        for key in ("a/b", "a/b", "a", "x/y", "a/c/d"):
            backend.delete(key)
        with pytest.raises(NotFoundError):
            backend.read("a/b")
        assert [item.key for item in backend.list("")] == ["a/c"]

    def test_many_are_deleted_and_missing_ones_are_no_error(self, backend: Backend) -> None:
        keys = [f"a/{number:02d}" for number in range(12)]
        for key in (*keys, "b"):
            backend.write(key, b"1")
        assert backend.delete_many([]) == {}
        assert backend.delete_many(["b"]) == {}
        assert backend.delete_many([*keys[2:], "x/y", "a"]) == {}
        assert sorted(item.key for item in backend.list("")) == keys[:2]
        with pytest.raises(InvalidInputError):
            backend.delete_many([keys[0], "../b"])
        assert len([*backend.list("")]) == 2

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_what_is_no_key_is_refused_by_every_verb(self, backend: Backend, key: str) -> None:
        for verb in (
            backend.read,
            backend.size,
            backend.delete,
            lambda key: backend.read_ranges(key, [(0, 1)]),
            lambda key: backend.write(key, b""),
            lambda key: backend.create(key, b""),
        ):
            with pytest.raises(InvalidInputError):
                verb(key)
        assert not list(backend.list(""))

    # -- processes

    def test_it_says_where_it_is(self, backend: Backend) -> None:
        assert backend.url
        assert backend.concurrency >= 1
        for secret in self.secrets:
            assert secret not in backend.url
            assert secret not in repr(backend)

    def test_a_pickled_backend_works_and_carries_no_secret(self, backend: Backend) -> None:
        backend.write("a", b"1")
        raw = pickle.dumps(backend)
        other = pickle.loads(raw)  # noqa: S301 - created one line above
        assert other.url == backend.url
        assert other.read("a") == b"1"
        other.write("b", b"2")
        assert backend.read("b") == b"2"
        for secret in self.secrets:
            assert secret.encode() not in raw

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_goes_on_reading_and_writing(self, backend: Backend) -> None:
        backend.write("a", b"1")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                backend.write("b", b"2")
                code = 0 if (backend.read("a"), backend.read("b")) == (b"1", b"2") else 2
            finally:
                os._exit(code)
        assert _exit_code(child) == 0
        assert backend.read("a") == b"1"


def _create(backend: Backend, key: str, data: bytes) -> None:
    """Create; if the backend does not support it, check that it reports so, and skip the test."""
    if not backend.exclusive:
        with pytest.raises(UnsupportedError):
            backend.create(key, data)
        pytest.skip("this backend cannot guarantee exclusiveness, and reports it")
    backend.create(key, data)


def _exit_code(child: int) -> int:
    """Wait for a child, but not for ever: one that hangs is killed and counts as failed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1
