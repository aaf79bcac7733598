"""What each wrapper adds to the contract."""

import contextlib
import pickle
import secrets
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from artifactstore.backend.base import Backend
from artifactstore.backend.errors import NotAppliedError, ThrottledError, UnreachableError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.retry_policy import retry_seconds
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError
from artifactstore.testing.backends import FAULTS, CountingBackend, FaultyBackend, draw_script
from artifactstore.testing.latency import LatencyBackend

READS = ("read", "read_ranges", "list", "size")
ALL = (*READS, "write", "create", "delete")


@pytest.fixture
def inner():
    return MemoryBackend(f"memory://{uuid.uuid4().hex}")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self):
        return self.now


def retrying(inner, script, seconds=300.0, verbs=ALL):
    clock = Clock()
    faulty = CountingBackend(FaultyBackend(inner, script, verbs=verbs))
    return RetryingBackend(faulty, seconds=seconds, sleep=clock.sleep, clock=clock), faulty, clock


# -- counting


def test_calls_and_bytes_are_counted(inner):
    backend = CountingBackend(inner)
    backend.write("a", b"12345")
    backend.write("b", iter([b"12", b"3"]))
    backend.create("c", b"1")
    backend.read("a")
    backend.read_ranges("a", [(0, 2), (1, 1)])
    backend.size("a")
    list(backend.list("x/"))
    backend.delete("c")
    with pytest.raises(NotFoundError):
        backend.read("c")
    assert backend.counts == {"write": 2, "create": 1, "read": 2, "read_ranges": 1, "size": 1, "list": 1, "delete": 1}
    assert backend.calls[-3:] == [("list", "x/"), ("delete", "c"), ("read", "c")]
    assert (backend.bytes_written, backend.bytes_read) == (9, 8)
    backend.reset()
    assert (backend.calls, backend.counts, backend.bytes_written, backend.bytes_read) == ([], {}, 0, 0)


def test_counting_loses_nothing_among_threads(inner):
    backend = CountingBackend(inner)
    backend.write("a", b"1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: backend.read("a"), range(4000)))
    assert backend.counts["read"] == backend.bytes_read == 4000


# -- retrying


def test_transient_failures_are_tried_again_with_growing_pauses(inner):
    inner.write("a", b"1")
    backend, faulty, clock = retrying(inner, "fail " * 10)
    with pytest.warns(UserWarning, match="memory://.* does not answer .*: retrying for up to 300 s") as told:
        assert backend.read("a") == b"1"
    assert len(told) == 1
    assert faulty.counts["read"] == 11
    for number, pause in enumerate(clock.pauses):
        longest = min(10.0, 0.1 * 2**number)
        assert longest / 2 <= pause <= longest


def test_permanent_failures_are_not_tried_again(inner):
    for word in ("denied", "full"):
        backend, faulty, clock = retrying(inner, word)
        with pytest.raises(BackendError):
            backend.write("a", b"1")
        assert (len(faulty.calls), clock.pauses) == (1, [])


def test_a_missing_key_is_an_answer_and_not_a_failure(inner):
    backend, faulty, _ = retrying(inner, "")
    with pytest.raises(NotFoundError):
        backend.read("a")
    assert len(faulty.calls) == 1


def test_it_gives_up_when_the_time_is_up(inner):
    backend, _, clock = retrying(inner, "fail " * 1000, seconds=30)
    with pytest.warns(UserWarning, match="does not answer"), pytest.raises(BackendError) as caught:
        backend.read("a")
    assert caught.value.transient
    assert 15 < clock.now <= 30


def test_no_time_means_one_try(inner, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    backend, faulty, _ = retrying(inner, "fail", seconds=None)
    with pytest.raises(BackendError):
        backend.read("a")
    assert len(faulty.calls) == 1


def test_the_time_is_read_from_the_environment_when_it_is_needed(inner, monkeypatch):
    assert retry_seconds() == 300
    backend, faulty, clock = retrying(inner, "fail " * 1000, seconds=None)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "4.5")
    with pytest.raises(BackendError):
        backend.read("a")
    assert 1.5 < clock.now <= 4.5, clock.pauses
    assert len(faulty.calls) > 3
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "soon")
    with pytest.raises(InvalidInputError, match="soon"):
        retry_seconds()


@pytest.mark.parametrize("word", ["fail", "lost-reply", "torn-write"])
def test_a_create_is_sent_once_if_it_may_have_landed(inner, word):
    backend, faulty, clock = retrying(inner, word)
    with pytest.raises(BackendError) as caught:
        backend.create("a", b"1")
    assert caught.value.transient
    assert (len(faulty.calls), clock.pauses) == (1, [])
    assert [item.key for item in inner.list("")] == (["a"] if word == "lost-reply" else [])


def test_a_create_that_certainly_did_not_land_is_sent_again(inner):
    backend, faulty, _ = retrying(inner, "409 409 409 ok 409")
    backend.create("a", b"1")
    assert (inner.read("a"), len(faulty.calls)) == (b"1", 4)
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"1")


def test_a_lost_reply_to_a_write_or_a_delete_is_made_good(inner):
    backend, _, _ = retrying(inner, "lost-reply torn-write ok lost-reply")
    backend.write("a", iter([b"12", b"345"]))
    assert inner.read("a") == b"12345"
    backend.delete("a")
    assert not list(inner.list(""))


def test_a_listing_that_broke_is_completed_without_repeats(inner):
    for number in range(5):
        inner.write(f"a/{number}", b"1")
    backend, _, _ = retrying(inner, "torn-write fail torn-write ok")
    assert [item.key for item in backend.list("")] == [f"a/{number}" for number in range(5)]


# -- faults


def test_a_script_is_played_word_by_word_and_its_rest_is_shown(inner):
    backend = FaultyBackend(inner, "ok lost-reply 409 denied full torn-write fail")
    backend.write("a", b"1")
    assert inner.read("a") == b"1"
    with pytest.raises(BackendError):
        backend.write("b", b"1")
    assert inner.read("b") == b"1"
    assert repr(backend).endswith("'409 denied full torn-write fail')")
    for transient in (True, False, False, True, True):
        with pytest.raises(BackendError) as caught:
            backend.create("c", b"1")
        assert caught.value.transient is transient
    with pytest.raises(NotFoundError):
        inner.read("c")
    backend.create("c", b"1")


def test_reads_take_no_word_unless_told(inner):
    inner.write("a", b"1")
    backend = FaultyBackend(inner, "fail fail")
    assert backend.read("a") == b"1"
    backend = FaultyBackend(inner, "fail", verbs=("read",))
    backend.write("a", b"2")
    with pytest.raises(BackendError):
        backend.read("a")
    assert backend.read("a") == b"2"


def test_a_409_is_the_one_after_which_nothing_can_have_landed(inner):
    with pytest.raises(NotAppliedError):
        FaultyBackend(inner, "409").create("a", b"1")


def test_a_torn_write_takes_some_and_shows_nothing(inner):
    taken = []

    def pieces():
        for piece in (b"1", b"2", b"3"):
            taken.append(piece)
            yield piece

    with pytest.raises(BackendError):
        FaultyBackend(inner, "torn-write").write("a", pieces())
    assert taken == [b"1"]
    assert not list(inner.list(""))


def test_a_delay_waits_and_is_ok(inner):
    waited: list[float] = []
    backend = FaultyBackend(inner, "delay", sleep=waited.append, seconds=3)
    backend.write("a", b"1")
    assert waited == [3]


def test_a_word_that_is_no_fault_is_refused(inner):
    with pytest.raises(InvalidInputError, match="lost-replay"):
        FaultyBackend(inner, "ok lost-replay")


def test_a_drawn_script_is_the_same_for_ever():
    assert draw_script(7, 12, rate=0.5) == draw_script(7, 12, rate=0.5)
    assert draw_script(7, 200) != draw_script(8, 200)
    words = draw_script(1, 2000, rate=0.3).split()
    assert len(words) == 2000
    assert set(words) == set(FAULTS)
    assert 450 < sum(word != "ok" for word in words) < 750


# -- slow, and all of them


def test_slow_takes_a_trip_a_request_and_the_time_of_the_bytes(inner):
    clock = Clock()
    backend = LatencyBackend(inner, latency=1, bandwidth=10, sleep=clock.sleep)
    backend.write("a", b"0123456789")
    backend.write("b", iter([b"01234", b"56789"]))
    backend.read("a")
    backend.read_ranges("a", [(0, 1)] * 9)
    list(backend.list(""))
    assert clock.pauses == [2, 2, 2, *[1.1] * 9, 1]  # each range has a connection of its own


def test_slow_lets_no_more_requests_run_than_it_has_connections(inner):
    inner.write("a", bytes(100))
    running, most, lock = 0, 0, threading.Lock()

    def sleep(_seconds):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    LatencyBackend(inner, connections=3, sleep=sleep).read_ranges("a", [(n, 1) for n in range(20)])
    assert most == 3


def test_wrappers_show_what_is_inside_and_can_be_pickled(inner):
    inner.write("a", b"1")
    for kind in (Wrapper, CountingBackend, RetryingBackend, LatencyBackend, lambda one: FaultyBackend(one, "ok fail")):
        backend = kind(inner)
        assert (backend.url, backend.exclusive) == (inner.url, True)
        assert inner.url in repr(backend)
        assert pickle.loads(pickle.dumps(backend)).size("a") == 1


class Mute(Wrapper):
    """Nothing answers, but in the calls that are named."""

    def __init__(self, inner: Backend, url: str, answers: dict[int, Exception | bytes]) -> None:
        super().__init__(inner)
        self.url, self.answers, self.calls = url, answers, 0

    def read(self, key: str) -> bytes:
        self.calls += 1
        found = self.answers.get(self.calls, UnreachableError("no connection"))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.filterwarnings("ignore:.*does not answer")
@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        (None, 6),
        (b"yes", 300),
        (NotFoundError("no"), 300),
        (BackendError("denied"), 300),
        (BackendError("busy", transient=True), 300),
        (ThrottledError("slower"), 300),
    ],
)
def test_how_long_silence_is_waited_for_hangs_on_whether_there_was_an_answer(inner, first, seconds):
    url = f"s3://{secrets.token_hex(8)}/x"
    clock = Clock()
    place = Mute(inner, url, {} if first is None else {1: first})
    backend = RetryingBackend(place, seconds=300, sleep=clock.sleep, clock=clock)
    if first is not None:
        with contextlib.suppress(NotFoundError, BackendError):
            backend.read("a")
    # Another session of this process on the same bucket knows it, too.
    again = RetryingBackend(Mute(inner, f"{url}/deeper", {}), seconds=300, sleep=clock.sleep, clock=clock)
    start = clock()
    with pytest.raises(UnreachableError, match="no reply has ever" if first is None else "the limit is"):
        again.read("a")
    assert seconds / 2 < clock() - start <= seconds
