"""Syncs over S3 whose process is killed (SIGKILL), at counted changes and at random moments: the next run ends well."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import artifactstore
from artifactstore.errors import NotFoundError
from artifactstore.store import Store
from tests.warm import Warm

from .facts import live, state_of
from .killed import sync_killed
from .places import assert_whole_copy, entries, fill, is_writable, objects


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = fill(str(tmp_path / "source"), puts=10)
    dice = random.Random(3)
    for i in range(6):
        store.put(dice.randbytes(300_000), f"large/{i % 2}")
    return store


def opened(url: str) -> Store:
    return artifactstore.open(url, cache=None)


def _kill_at_random(command: list[str], dice: random.Random, check: Callable[[], None], kills: int = 3) -> None:
    """Run a command to be killed at random moments, looking at what is left each time; then let it come to its end."""
    for _ in range(kills):
        process = Warm(*command)
        time.sleep(dice.uniform(0.1, 1.5))  # some come to their end
        process.kill()
        assert process.wait() in {0, -signal.SIGKILL}, process.errors
        check()
    done = Warm(*command)
    assert done.wait(300) == 0, done.errors


def _whole(url: str) -> None:
    """What names say is there, and verifies."""
    store = artifactstore.open(url, "r", cache=None)
    try:
        state = state_of(store)
    except NotFoundError:
        return
    if not store.verify().unfinished:
        assert all(state.alive(digest) for digest in live(state))
    assert store.verify(level="full").ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_copy_to_s3_killed_at_random_moments(source: Store, s3_url: str, seed: int):
    command = ["-m", "artifactstore", "sync", source.url, f"{s3_url}/copy"]
    _kill_at_random(command, random.Random(seed), lambda: _whole(f"{s3_url}/copy"))
    assert_whole_copy(source.url, f"{s3_url}/copy")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_move_to_s3_killed_at_random_moments(source: Store, s3_url: str, seed: int):
    def check() -> None:
        assert [is_writable(source.url), is_writable(f"{s3_url}/moved")].count(True) <= 1

    command = ["-m", "artifactstore", "sync", source.url, f"{s3_url}/moved", "--move"]
    _kill_at_random(command, random.Random(10 + seed), check)
    assert (is_writable(source.url), is_writable(f"{s3_url}/moved")) == (False, True)
    _whole(f"{s3_url}/moved")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_an_import_into_s3_killed_at_random_moments(source: Store, s3_url: str, seed: int):
    target = artifactstore.create(f"{s3_url}/target", cache=None)
    target.put(b"own", "own")
    command = ["-m", "artifactstore", "sync", source.url, target.url]
    _kill_at_random(command, random.Random(20 + seed), lambda: _whole(target.url))
    _same_names(source, opened(target.url))


@pytest.mark.slow
def test_an_import_into_s3_killed_at_counted_changes(source: Store, s3_url: str):
    whole = artifactstore.create(f"{s3_url}/whole", cache=None)
    source.maintenance.sync(whole.url)
    changes = len(objects(whole.url))  # `store.json` too: that it can't be made twice is tried out
    for at in sorted(random.sample(range(1, changes + 1), 5)):
        target = artifactstore.create(f"{s3_url}/{at}", cache=None)
        assert sync_killed(source.url, target.url, at, after=bool(at % 2))
        _whole(target.url)
        source.maintenance.sync(target.url)
        _same_names(source, opened(target.url))
        before = entries(target.url)
        assert source.maintenance.sync(target.url).entries == 0
        assert entries(target.url) == before


@pytest.mark.slow
def test_an_import_from_s3_into_a_folder(source: Store, s3_url: str, tmp_path: Path):
    source.maintenance.sync(f"{s3_url}/copy", release=True)
    target = artifactstore.create(tmp_path / "target", cache=None)
    opened(f"{s3_url}/copy").maintenance.sync(target.url, names=["large/*", "aba"])
    _same_names(source, opened(target.url), "large/0", "large/1", "aba")
    assert opened(f"{s3_url}/copy").maintenance.sync(target.url).versions == len(source.find()) - 9
    _same_names(source, opened(target.url))


def _same_names(a: Store, b: Store, *names: str) -> None:
    for name in names or [one.name for one in a.names()]:
        assert [(one.digest, one.time, one.actor) for one in a.versions(name)] == [
            (one.digest, one.time, one.actor) for one in b.versions(name)
        ]
    assert b.verify(level="full").findings == []
