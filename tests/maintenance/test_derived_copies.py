"""Copies have the segments and snapshots of their source, as far as these are right: they open as fast."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.journal.segments import choose, list_segments

from .test_deltas import _chain, _flipped, _same, _state, _truth, copied, made, often

__all__ = ["copied", "made", "often"]  # fixtures


def _derived(path: Path) -> set[str]:
    return {str(one.relative_to(path)) for one in path.glob("segments/**/*") if one.is_file()}


def test_a_copy_is_opened_with_the_snapshots_and_segments_of_its_source(copied: Path, tmp_path: Path) -> None:
    target, source = tmp_path / "target", artifactstore.open(copied, mode="r", cache=None)
    report = source.maintenance.sync(target)
    assert [one.key for one in _chain(target)] == [one.key for one in _chain(copied)]
    assert list_segments(connect(str(target))) == choose(list_segments(connect(str(copied))), 0)
    assert _derived(target) < _derived(copied)  # those that became one are left behind
    state = _state(target)
    assert state.base_head == _chain(copied)[-1].seq
    assert _same(state, _truth(copied))
    assert report.objects == len([*target.glob("packs/*/*"), *target.glob("manifests/*/*"), *target.glob("facts/*/*")])
    assert [one for one in artifactstore.open(target, mode="r", cache=None).verify().findings if one.severity == "damage"] == []
    before = _derived(target)
    again = source.maintenance.sync(target)
    assert (again.bytes, _derived(target)) == (0, before)


def test_a_copy_that_lacks_them_gets_them_with_the_next_sync(copied: Path, tmp_path: Path) -> None:
    target, source = tmp_path / "target", artifactstore.open(copied, mode="r", cache=None)
    source.maintenance.sync(target)
    for key in _derived(target):
        (target / key).unlink()
    assert source.maintenance.sync(target, dry_run=True).entries == 0
    assert not _derived(target)
    source.maintenance.sync(target)
    assert [one.key for one in _chain(target)] == [one.key for one in _chain(copied)]


def _damaged_segment(path: Path) -> None:
    for one in list_segments(connect(str(path))):
        (path / one.key).write_bytes(b"damaged")


def _damaged_delta(path: Path) -> None:
    _flipped(path, _chain(path)[-1], [])


def _no_pointer(path: Path) -> None:
    for one in path.glob("segments/delta-*"):
        one.unlink()


@pytest.mark.parametrize("change", [_damaged_segment, _damaged_delta, _no_pointer])
def test_what_is_damaged_is_not_carried_and_stops_no_copy(copied: Path, tmp_path: Path, change: Callable[[Path], Any]) -> None:
    true = _truth(copied)
    last = _chain(copied)[-1]
    change(copied)
    target = tmp_path / "target"
    artifactstore.open(copied, mode="r", cache=None).maintenance.sync(target)
    if change is _damaged_segment:
        assert not list_segments(connect(str(target)))
    elif change is _damaged_delta:
        assert not (target / last.key).exists()
        assert not (target / last.content).exists()
    else:
        assert not [*target.glob("segments/deltas/*")]
    assert _same(_state(target), true)


def test_what_no_copied_entry_vouches_for_is_not_carried(copied: Path, tmp_path: Path) -> None:
    forged = _chain(copied)[-1]
    (copied / forged.key).rename(copied / forged.key.replace(forged.digest.partition(":")[2], "0" * 64))
    (copied / forged.content).rename(copied / "segments/deltas" / f"{'0' * 64}.layer")
    target = tmp_path / "target"
    artifactstore.open(copied, mode="r", cache=None).maintenance.sync(target)
    assert not [key for key in _derived(target) if "0" * 64 in key]
    assert _same(_state(target), _truth(copied))
