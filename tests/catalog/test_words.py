"""Digests and ids of a layer: each once, whatever the rows are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.catalog.spill.words import Words, find_words

HEX = st.text("0123456789abcdef", min_size=1, max_size=140)
TEXTS = st.lists(st.one_of(HEX, st.sampled_from(["a" * 32, "b" * 64, "c" * 40, "0" * 96]), st.text(max_size=5)), max_size=8)
MOST = 2**20


@given(TEXTS, TEXTS)
def test_any_json_comes_back_as_it_was(some: list[str], others: list[str]) -> None:
    texts = [json.dumps(one).encode() for one in (some, some + others)]
    words = Words.of({word for one in texts for word in find_words(one)})
    again = Words(words.digests, words.ids)
    for one in texts:
        packed = words.encoded(one)
        assert again.decoded(packed, MOST) == one
        assert not find_words(packed.split(b"\x01")[0])


def test_a_word_takes_five_bytes_and_numbers_follow_the_order_of_words() -> None:
    names = [b"%064x" % n for n in range(300)] + [b"%032x" % n for n in range(300)]
    words = Words.of(reversed(names))
    assert [words.encoded(name) for name in names] == [b"\x01" + n.to_bytes(4, "big") for n in range(600)]
    assert (len(words.digests), len(words.ids)) == (300 * 32, 300 * 16)


@pytest.mark.parametrize("text", [b"\x01", b"\x01\x00\x00\x00", b"\x01\x00\x00\x00\x02", b"\x01\xff\xff\xff\xff"])
def test_numbers_of_no_word_are_refused(text: bytes) -> None:
    words = Words.of([b"0" * 64, b"1" * 32])
    assert words.decoded(b"\x01\x00\x00\x00\x01\x01\x00\x00\x00\x00", MOST) == b"1" * 32 + b"0" * 64
    with pytest.raises(ValueError, match="no word"):
        words.decoded(text, MOST)


def test_what_would_be_too_long_is_refused_before_it_is_made() -> None:
    words = Words.of([b"0" * 64])
    with pytest.raises(ValueError, match="more than"):
        words.decoded(b"\x01\x00\x00\x00\x00" * 2**18, MOST)


def test_cut_words_and_control_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        Words(b"1", b"")
    with pytest.raises(ValueError, match="cut off"):
        Words(b"", b"1" * 8)
    with pytest.raises(ValueError, match="control"):
        Words.of([]).encoded(b"\x01")
