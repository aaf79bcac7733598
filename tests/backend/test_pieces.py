"""What the local cache keeps of objects is checked when it is used, by itself: nothing above may have to notice."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactstore.backend.wrappers.range_cache import FOLDER, RangeCache

KEY = "packs/ab/abc.pack"
DATA = os.urandom(3 * 2**20)


def change(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x20
    path.write_bytes(data)


@pytest.fixture
def pieces(tmp_path: Path) -> RangeCache:
    return RangeCache(tmp_path, "store")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "stores/store" / FOLDER / KEY


def test_what_is_kept_comes_back(pieces: RangeCache):
    pieces.put_object(KEY, DATA)
    assert pieces.whole(KEY) == DATA
    pieces.evict(KEY)
    assert pieces.whole(KEY) is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: change(path, 0),
        lambda path: change(path, 8),
        lambda path: change(path, -1),
        lambda path: os.truncate(path, 5),
    ],
)
def test_a_changed_object_is_as_good_as_none(pieces: RangeCache, kept: Path, harm: Callable[[Path], None]):
    pieces.put_object(KEY, DATA)
    harm(kept)
    assert pieces.whole(KEY) is None
    assert not kept.exists()


def test_parts_come_back_however_they_are_asked_for(pieces: RangeCache):
    pieces.put_parts(KEY, [(100, DATA[100:2_000_000]), (2_500_000, DATA[2_500_000:])])
    for offset, length in [(100, 1_999_900), (101, 5), (1_000_000, 900_000), (2_500_001, 100), (1_999_999, 1)]:
        assert pieces.parts(KEY, [(offset, length)]) == [DATA[offset : offset + length]]
    for offset, length in [(99, 5), (1_999_999, 2), (2_499_999, 2), (2_000_000, 1), (len(DATA) - 1, 2)]:
        assert pieces.parts(KEY, [(offset, length)]) == [None]


@pytest.mark.parametrize("offset", [100, 1_200_000, 2_999_999])
def test_a_changed_part_is_as_good_as_none_and_others_stay_right(pieces: RangeCache, kept: Path, offset: int):
    pieces.put_parts(KEY, [(0, DATA)])
    change(kept.with_name(f"{kept.name}.bytes"), offset)
    whole = pieces.parts(KEY, [(offset, 1), (offset ^ 2**21, 1)])
    assert whole[0] is None
    assert whole[1] in {None, DATA[offset ^ 2**21 :][:1]}
    assert pieces.parts(KEY, [(offset, 1)]) == [None]


@pytest.mark.parametrize("at", range(20))
def test_a_changed_record_of_a_part_never_gives_other_bytes(pieces: RangeCache, kept: Path, at: int):
    pieces.put_parts(KEY, [(1000, DATA[1000:2000])])
    change(kept.with_name(f"{kept.name}.pieces"), at)
    for offset in (0, 32, 1000, 1032):
        (found,) = pieces.parts(KEY, [(offset, 500)])
        assert found in {None, DATA[offset : offset + 500]}


@pytest.mark.parametrize("length", [1, 19, 21, 39])
def test_a_record_that_was_cut_off_ends_what_is_kept(pieces: RangeCache, kept: Path, length: int):
    pieces.put_parts(KEY, [(0, DATA[:1000]), (1000, DATA[1000:2000])])
    os.truncate(kept.with_name(f"{kept.name}.pieces"), length)
    assert pieces.parts(KEY, [(0, 10), (1000, 10)]) == [None, None]
