"""Compact sequences are what lists of the same values are."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.content.manifests import compact_lists, listing_lines
from artifactstore.content.manifests.compact_lists import Digests, Texts, shifted
from artifactstore.content.manifests.listing_lines import plain_lines
from artifactstore.model.listing import plain_line

DIGESTS = st.lists(st.binary(min_size=32, max_size=32), max_size=12)
TEXTS = st.lists(st.text(max_size=12), max_size=12)


@given(DIGESTS, st.integers(-20, 20), st.integers(-20, 20))
def test_digests_are_a_list_of_bytes(values: list[bytes], low: int, high: int):
    made = Digests(values)
    assert made == values
    assert [*made] == values
    assert len(made) == len(values)
    assert made[low:high] == values[low:high]
    assert all(one in made for one in values)
    assert made == Digests(values)
    assert made != Digests([*values, bytes(32)])
    for at in range(-len(values), len(values)):
        assert made[at] == values[at]
    for at in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            made[at]
    for at in range(len(values)):
        made[at] = values[at][::-1]
    assert made == [one[::-1] for one in values]


def test_a_digest_is_found_only_where_one_begins():
    made = Digests([bytes(range(32)), bytes(range(100, 132)), bytes(range(32))])
    assert bytes(range(16, 32)) + bytes(range(100, 116)) not in made
    assert bytes(range(100, 132)) in made
    assert bytes(31) not in made


@pytest.mark.parametrize("wrong", [b"", b"short", bytes(31), bytes(33), bytes(64)])
def test_a_digest_of_another_length_is_refused(wrong: bytes):
    made = Digests([bytes(32)])
    for call in (lambda: made.append(wrong), lambda: made.__setitem__(0, wrong), lambda: Digests([wrong])):
        with pytest.raises(ValueError, match="must have 32 bytes"):
            call()
    assert made == [bytes(32)]


@given(TEXTS, st.integers(-20, 20), st.integers(-20, 20))
def test_texts_are_a_list_of_str(values: list[str], low: int, high: int):
    made = Texts(values)
    assert made == values
    assert [*made] == values
    assert len(made) == len(values)
    assert made[low:high] == values[low:high]
    assert made == Texts(values)
    assert made != Texts([*values, "more"])
    for at in range(-len(values), len(values)):
        assert made[at] == values[at]
    for at in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            made[at]


@pytest.mark.parametrize("count", [4095, 4096, 4097, 9000])
@pytest.mark.parametrize("odd", ["", "ä", "\ud800"])
def test_many_are_gone_through_in_their_order(count: int, odd: str):
    values = [f"{number}{odd if number == 4096 else ''}" for number in range(count)]
    assert [*Texts(values)] == values
    digests = [number.to_bytes(32) for number in range(count)]
    assert [*Digests(digests)] == digests


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 65_537])
@pytest.mark.parametrize("odd", ["", "ä", "b\\c", "b\nc"])
@pytest.mark.parametrize("many", [0, 2**60], ids=["by Arrow", "in Python"])
def test_the_lines_of_many_are_those_of_each(count: int, odd: str, many: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing_lines, "_ARROW_MIN", many)
    paths = [f"{number:06}{odd if number in {3, 65_536} else ''}" for number in range(count)]
    digests = [number.to_bytes(32) for number in range(count)]
    expected = "".join(plain_line(raw.hex(), path) for path, raw in zip(paths, digests, strict=True))
    assert b"".join(plain_lines(Texts(paths), Digests(digests))) == expected.encode()


def test_lines_need_as_many_digests_as_paths():
    with pytest.raises(ValueError, match="the counts must be equal"):
        next(plain_lines(Texts(["a", "b"]), Digests([bytes(32)])))


@given(TEXTS, TEXTS)
def test_texts_take_those_of_a_column(first: list[str], more: list[str]):
    made = Texts(first)
    raw = [one.encode() for one in more]
    ends = array("i", [5])
    for one in raw:
        ends.append(ends[-1] + len(one))
    made.extend_raw(b"12345" + b"".join(raw) + b"67", ends)
    assert made == first + more


@pytest.mark.parametrize("count", [0, 3, 9000])
@pytest.mark.parametrize("code", ["i", "q"])
@pytest.mark.parametrize("by", [-5, 2**40])
@pytest.mark.parametrize("loaded", [True, False])
def test_numbers_are_shifted(count: int, code: str, by: int, monkeypatch: pytest.MonkeyPatch, *, loaded: bool):
    monkeypatch.setattr(compact_lists, "numpy_pays", lambda many: loaded and many > 0)
    assert [*shifted(array(code, range(count)), by)] == [one + by for one in range(count)]
