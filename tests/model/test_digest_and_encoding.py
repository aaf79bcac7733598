import json
import math
import os
import signal
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import ALGORITHMS, Digest, hash_bytes, new_hasher
from artifactstore.model.encoding import canonical_json, check_json, format_time, new_id, parse_json, parse_time

DIGESTS = st.builds(Digest, st.sampled_from(ALGORITHMS), st.binary(min_size=32, max_size=32))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

# -- digests


@given(DIGESTS)
def test_a_digest_round_trips_through_its_text(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert str(Digest.parse(str(digest))) == str(digest)
    assert str(digest).startswith(digest.short)
    assert digest.hex == digest.raw.hex()


def test_known_digests() -> None:
    assert str(Digest.of(b"")) == "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(Digest.of(b"abc")) == "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert str(Digest.of(b"abc", "sha256")) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.lists(st.binary(max_size=100), max_size=5), st.sampled_from(ALGORITHMS))
def test_pieces_hash_like_the_whole(pieces: list[bytes], algorithm: str) -> None:
    hasher = new_hasher(algorithm)
    for piece in pieces:
        hasher.update(memoryview(piece))
    assert hasher.digest() == hash_bytes(b"".join(pieces), algorithm) == Digest.of(bytearray(b"".join(pieces)), algorithm).raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blake3:",
        "md5:" + "0" * 64,
        "blake3:" + "0" * 63,
        "blake3:" + "0" * 65,
        "blake3:" + "A" * 64,
        "0" * 64,
        "blake3:" + "0" * 64 + "\n",
        "blake3:" + "\u0660" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a digest"):
        Digest.parse(text)


def test_a_digest_has_a_known_algorithm_and_its_size() -> None:
    for algorithm, raw in [("md5", b"0" * 32), ("blake3", b"0" * 31)]:
        with pytest.raises(InvalidInputError):
            Digest(algorithm, raw)
    for call in (new_hasher, lambda a: hash_bytes(b"", a)):
        with pytest.raises(InvalidInputError, match="md5"):
            call("md5")


# -- canonical JSON


@pytest.mark.slow
@given(JSON)
def test_canonical_json_round_trips_and_is_one_form(value: Any) -> None:
    raw = canonical_json(value)
    assert parse_json(raw, "it") == value
    assert canonical_json(json.loads(raw)) == raw
    check_json(value)


@given(st.dictionaries(TEXT, st.integers(), max_size=6))
def test_the_order_of_keys_makes_no_difference(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_the_one_form() -> None:
    assert (
        canonical_json({"b": [1, 1.0, True, None], "ä": "€\n/", "a": {}}) == '{"a":{},"b":[1,1.0,true,null],"ä":"€\\n/"}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": -math.inf}, "\ud800", object(), {1, 2}, b"bytes", {(1, 2): 3}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        canonical_json(value)


def test_a_value_too_deep_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError):
        canonical_json(value)
    with pytest.raises(InvalidInputError):
        parse_json(b"[" * 100_000, "it")
    while value:
        value = value.pop()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, math.nan]}, r"value\['a'\]\[1\]"),
        ({1: 2}, "key 1"),
        ({"a": (1,)}, "tuple"),
        ([{"b": b""}], r"value\[0\]\['b'\]"),
    ],
)
def test_check_json_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(InvalidInputError, match=place):
        check_json(value)


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b"[Infinity]", b'{"a": 1, "a": 2}', b'{"b": {"a": 1, "a": 1}}', b"\xff"])
def test_what_is_not_json_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidInputError, match="the thing is not JSON"):
        parse_json(raw, "the thing")


# -- times and ids


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - given its zone beside it
def test_a_time_round_trips_and_sorts_as_text(moment: datetime) -> None:
    text = format_time(moment)
    assert parse_time(text) == moment
    assert len(text) == 27
    if moment.year < 9999:
        assert format_time(moment + timedelta(microseconds=1)) > text


def test_a_time_is_utc() -> None:
    assert format_time(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "2026-01-01", "2026-01-01T00:00:00Z", "2026-13-01T00:00:00.000000Z"])
def test_another_form_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a time"):
        parse_time(text)


def test_ids_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_hashes_what_its_parent_hashed_with_all_cores():
    """BLAKE3's threads do not come along: a child that waits for them never ends."""
    data = bytes(8 * 2**20)
    digests = []
    for _ in range(2):
        hasher = new_hasher("blake3", parallel=True)
        hasher.update(data)
        digests.append(hasher.digest())
        if len(digests) == 1 and (child := os.fork()) == 0:
            signal.alarm(20)
            inner = new_hasher("blake3", parallel=True)
            inner.update(data)
            os._exit(int(inner.digest() != digests[0]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert digests[0] == digests[1] == hash_bytes(data, "blake3")
