import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.errors import CorruptionError, FormatError
from artifactstore.journal.chain import (
    INBOX_FOLDER,
    InboxName,
    encode_entry,
    entry_key,
    folder_of,
    inbox_folder,
    inbox_key,
    inbox_name,
    join,
    key_number,
    previous_of,
)
from artifactstore.model.digest import Digest

from .making import CONFIG, TIME, txn

FIRST = Digest.of(CONFIG.raw)
NUMBERS = st.integers(0, 10**12 - 1)


@given(NUMBERS, NUMBERS)
def test_lexical_order_of_keys_is_the_order_of_numbers(a: int, b: int) -> None:
    assert (entry_key(a) < entry_key(b)) == (a < b)
    assert key_number(entry_key(a)) == a
    assert entry_key(a).startswith(folder_of(a))


@pytest.mark.parametrize(
    "key",
    [
        "journal/000000000/1.json",
        "journal/000000001/000000000001.json",
        "journal/inbox/000000000/000000000001.json",
        "journal/000000000/000000000001.json.tmp",
        "journal/000000000/.tmp-000000000001.json",
        "journal/000000000/" + "\u0660" * 11 + "\u0661.json",
        "segments/x",
    ],
)
def test_what_is_no_entry_has_no_number(key: str) -> None:
    assert key_number(key) is None


def test_an_entry_that_was_encoded_joins_its_predecessor() -> None:
    raw = encode_entry(1, FIRST, writer="0" * 32, time=TIME, txns=[txn(1)])
    assert join(raw, 1, FIRST)["seq"] == 1
    assert previous_of(raw) == str(FIRST)


def test_what_an_entry_says_of_its_predecessor_is_found_in_any_layout() -> None:
    assert previous_of(b'{"seq": 1, "previous" : "blake3:00"}') == "blake3:00"
    assert previous_of(b'{"previous": 5}') is None
    assert previous_of(b"[]") is None
    assert previous_of(b"\xff") is None


def test_another_predecessor_breaks_the_chain() -> None:
    raw = encode_entry(2, FIRST, writer="0" * 32, time=TIME, txns=[txn(2)])
    with pytest.raises(CorruptionError, match=r"broken between journal/000000000/000000000001\.json and") as caught:
        join(raw, 2, Digest.of(b"other"))
    assert caught.value.digest == str(FIRST)


def test_an_entry_under_another_number_is_damage() -> None:
    raw = encode_entry(2, FIRST, writer="0" * 32, time=TIME, txns=[])
    with pytest.raises(CorruptionError, match="contains entry 2"):
        join(raw, 3, FIRST)


def test_a_newer_format_is_refused_before_anything_else_is_looked_at() -> None:
    raw = encode_entry(1, FIRST, writer="0" * 32, time=TIME, txns=[])
    with pytest.raises(FormatError, match="upgrade"):
        join(raw.replace(b'"format":1', b'"format":4'), 1, FIRST)
    with pytest.raises(FormatError, match="upgrade"):
        join(b'{"format": 7, "shape": "unheard of"}', 1, FIRST)


@given(st.data())
def test_a_truncated_entry_names_its_key(data: st.DataObject) -> None:
    raw = encode_entry(1, FIRST, writer="0" * 32, time=TIME, txns=[txn(1)])
    with pytest.raises(CorruptionError, match=r"journal/000000000/000000000001\.json") as caught:
        join(raw[: data.draw(st.integers(0, len(raw) - 1))], 1, FIRST)
    assert caught.value.location == entry_key(1)


def test_keys_of_the_inbox_round_trip_and_nothing_else_is_one() -> None:
    for birth, base, yields in itertools.product((0, 15, 16, 4096, 10**9), (0, 7, 10**11), (False, True)):
        key = inbox_key("a" * 32, birth, base, yields=yields)
        assert inbox_name(key) == InboxName(birth // INBOX_FOLDER, "a" * 32, base, yields)
        assert key.startswith(inbox_folder(birth))
        assert key_number(key) is None
    good = inbox_key("a" * 32, 5, 6)
    for bad in (
        "",
        good.upper(),
        good + "x",
        good[:-5],
        good.replace("/0/", "/00/"),
        good.replace("-6", "-06"),
        good.replace("a-", "-"),
    ):
        assert inbox_name(bad) is None, bad
