"""One clock that is far ahead does not set everybody's times for ever."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.base import Clock
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.fold.state import State
from artifactstore.errors import RefusedError
from artifactstore.journal import append
from artifactstore.model.encoding import new_id

DAY = dt.timedelta(days=1)


def clock(monkeypatch: pytest.MonkeyPatch, own: Callable[[], dt.datetime]) -> None:
    class Told(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            del tz
            return own()

    monkeypatch.setattr(append, "datetime", Told)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def folder(path: Path) -> Any:
    return artifactstore.open(path / "s", cache=None)


@pytest.mark.parametrize("ahead", [dt.timedelta(minutes=20), DAY, 365 * 70 * DAY])
@pytest.mark.parametrize("first", [True, False])
def test_a_writer_whose_clock_is_ahead_of_the_storages_is_refused_with_both_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: dt.timedelta, *, first: bool
):
    store = folder(tmp_path)
    store.put(b"1", "a")
    store = folder(tmp_path) if first else store
    clock(monkeypatch, lambda: now() + ahead)
    for write in (lambda: store.put(b"2", "a"), lambda: store.alias("a:v1", "good")):
        with pytest.raises(RefusedError, match="this machine's clock shows") as error:
            write()
        assert str((now() + ahead).year) in str(error.value)
        assert str(now().year) in str(error.value)
    clock(monkeypatch, now)
    assert store.put(b"2", "a").version == 2
    assert not list((tmp_path / "s").glob(".tmp-*"))


@pytest.mark.parametrize("ahead", [dt.timedelta(minutes=5), -dt.timedelta(minutes=5), -365 * DAY, -365 * 50 * DAY])
def test_a_clock_that_is_a_little_ahead_or_behind_works_and_moves_no_time_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: dt.timedelta
):
    store = folder(tmp_path)
    store.put(b"1", "a")
    clock(monkeypatch, lambda: now() + ahead)
    store.put(b"2", "a")
    times = [one.time for one in store.versions("a")]
    assert times == sorted(times)
    assert store._session.core().journal.fold.header.get("resets") is None


def test_a_disk_and_a_machine_whose_clocks_begin_long_ago_do_not_doubt_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = folder(tmp_path)
    store.put(b"1", "a")
    long_ago = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
    monkeypatch.setattr(LocalBackend, "storage_time", lambda _self, *, fresh=False: long_ago)
    clock(monkeypatch, lambda: long_ago)
    store.put(b"2", "a")
    assert [one.time.year for one in store.versions("a")] == [now().year, now().year]


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store of four entries, the second by a machine in 2099, written where no clock contradicted it."""
    store = folder(tmp_path)
    store.put(b"1", "a")
    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "storage_time", lambda _self, *, fresh=False: None)
        clock(patch, lambda: dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        store.put(b"2", "a")
    store = folder(tmp_path)
    store.put(b"3", "a")
    store.put(b"4", "b")
    return store


def test_a_writer_with_a_right_clock_goes_on_and_the_times_that_are_wrong_are_marked(sick: Any):
    assert [(one.time.year, one.uncertain) for one in sick.versions("a")] == [
        (now().year, False),
        (2099, True),
        (now().year, False),
    ]
    assert [(one.time.year, one.uncertain) for one in sick.versions("b")] == [(now().year, False)]


def test_questions_about_times_are_answered_with_a_warning(sick: Any):
    tomorrow = now() + DAY
    with pytest.warns(UserWarning, match=r"at\(.*are uncertain"):
        view = sick.at(tomorrow)
    assert [one.name for one in view.names()] == ["a", "b"]
    with pytest.warns(UserWarning, match="are uncertain"):
        assert sick.at(now() - DAY).names() == []
    assert [one.version for one in sick.at(2).versions("a")] == [1, 2]  # a number is no time: no warning
    with pytest.warns(UserWarning, match=r"log\(since=, until=\).*are uncertain"):
        assert {event.seq for event in sick.log(until=tomorrow)} == {1, 3, 4}
    with pytest.warns(UserWarning, match=r"find\(since=\).*are uncertain"):
        assert sick.find(since=now() - DAY)
    assert len(sick.log()) == 8


def test_verify_names_the_entry_and_its_actor_before_and_after_it_is_contradicted(sick: Any, tmp_path: Path):
    report = sick.verify(level="full")
    assert report.ok
    (note,) = [one for one in report.findings if "clock" in one.what]
    assert note.location.endswith("000000000002.json")
    assert sick.versions("a")[1].actor in note.what
    assert "2099-01-01" in note.what
    assert "entry 3 contradicts it" in note.what
    for number in (3, 4):
        (tmp_path / f"s/journal/000000000/{number:012}.json").unlink()
    (note,) = [one for one in folder(tmp_path).verify().findings if "clock" in one.what]
    assert "entry 2 by" in note.what
    assert "in the future" in note.what


def entries(*times: str) -> list[dict[str, Any]]:
    return [{"format": 1, "seq": n, "time": f"{time}.000000Z", "txns": []} for n, time in enumerate(times, 1)]


@pytest.mark.parametrize(
    ("times", "last", "resets"),
    [
        (["2026-01-01T00:00:00", "2026-01-02T00:00:00"], "2026-01-02T00:00:00", []),
        (["2026-01-02T00:00:00", "2026-01-01T23:00:00"], "2026-01-02T00:00:00", []),  # within a day: as ever
        (["2026-01-02T00:00:00", "2026-01-01T00:00:00"], "2026-01-02T00:00:00", []),
        (["2026-01-02T00:00:01", "2026-01-01T00:00:00"], "2026-01-01T00:00:00", [2]),
        (["2099-01-01T00:00:00", "2026-01-01T00:00:00", "2026-01-01T00:00:01"], "2026-01-01T00:00:01", [2]),
        (["2099-01-01T00:00:00", "2026-01-01T00:00:00", "2098-01-01T00:00:00", "2026-01-03T00:00:00"], "2026-01-03T00:00:00", [2, 4]),
        (["2099-01-01T00:00:00", "2026-01-03T00:00:00", "2026-01-01T00:00:00"], "2026-01-01T00:00:00", [3]),
    ],
)  # fmt: skip
def test_the_time_goes_on_from_an_entry_that_is_more_than_a_day_earlier(times: list[str], last: str, resets: list[int]):
    state: Any = State()
    for entry in entries(*times):
        state.apply(entry)
    assert state.header["time"] == f"{last}.000000Z"
    assert [one[0] for one in state.header.get("resets", ())] == resets
    kept = State.load_texts(state.texts())
    assert kept.header == state.header


def test_the_list_of_resets_does_not_grow_without_end():
    state: Any = State()
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for n in range(1, 401):
        time = (dt.datetime(2099, 1, 1, tzinfo=dt.UTC) if n % 2 else day + n * DAY).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        state.apply({"format": 1, "seq": n, "time": time, "txns": []})
    assert len(state.header["resets"]) == 64


def test_a_clock_reads_what_replies_say():
    told = Clock()
    assert told.now() is None
    for said in ("Sun, 29 Nov 2026 22:00:00 GMT", dt.datetime(2026, 11, 29, 22, tzinfo=dt.UTC)):
        told.note(said)
        assert dt.timedelta(0) <= told.now() - dt.datetime(2026, 11, 29, 22, tzinfo=dt.UTC) < DAY  # type: ignore[operator]
    for said in ("nonsense", "Sun, 29 Nov 2026 22:00:00", dt.datetime(2026, 1, 1)):  # noqa: DTZ001
        told.note(said)
        assert told.now() is None
    assert MemoryBackend("memory://clock").storage_time(fresh=True) is None


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3", "azure", "gcs"])
def test_replies_of_every_cloud_tell_its_clock_and_a_writer_that_is_ahead_of_it_is_refused(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, place: str
):
    url = request.getfixturevalue(f"{place}_url")
    store = artifactstore.open(url, cache=None)
    store.put(b"1", "a")
    told = store._session.backend.storage_time()
    assert told is not None
    assert abs(now() - told) < dt.timedelta(minutes=2)
    for fresh in (False, True):
        writer = artifactstore.open(url, cache=None) if fresh else store
        clock(monkeypatch, lambda: now() + dt.timedelta(minutes=20))
        with pytest.raises(RefusedError, match="this machine's clock shows"):
            writer.put(b"2", "a")
        clock(monkeypatch, now)
    assert store.put(b"2", "a").version == 2


@pytest.mark.parametrize("place", ["memory", "sftp"])
def test_a_place_that_tells_no_time_refuses_no_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, place: str):
    url = request.getfixturevalue("sftp_url") if place == "sftp" else f"memory://{new_id()}"
    store = artifactstore.open(url, cache=None)
    store.put(b"1", "a")
    assert store._session.backend.storage_time(fresh=True) is None
    clock(monkeypatch, lambda: now() + 400 * DAY)
    assert store.put(b"2", "a").version == 2
