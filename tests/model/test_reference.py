from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import Reference, check_alias, check_kind, check_name

HEX = "0123456789abcdef"
SEGMENT = st.text("abXY019._-", min_size=1, max_size=6).filter(lambda s: s not in {".", ".."})
NAME = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join).filter(lambda n: n not in {"blake3", "sha256"})
ALIAS = SEGMENT.filter(lambda a: a != "latest" and not (a[0] == "v" and a[1:].isdigit()))
DIGEST = st.tuples(st.sampled_from(["blake3", "sha256"]), st.text(HEX, min_size=6, max_size=64))
PATH = st.none() | st.text(min_size=1, max_size=10)
REFERENCES = st.one_of(
    st.builds(lambda d, p: Reference(None, digest=d, path=p), DIGEST, PATH),
    st.builds(lambda n, v, p: Reference(n, version=v, path=p), NAME, st.integers(1, 999_999_999), PATH),
    st.builds(lambda n, a, p: Reference(n, alias=a, path=p), NAME, ALIAS, PATH),
    st.builds(lambda n, d, p: Reference(n, digest=d, path=p), NAME, DIGEST, PATH),
    st.builds(lambda n, p: Reference(n, path=p), NAME, PATH),
)


@given(REFERENCES)
def test_a_reference_round_trips_through_its_text(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=30) | st.text("ab/:@v1.-", max_size=12))
def test_whatever_is_parsed_writes_itself(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidInputError:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("churn/model", Reference("churn/model")),
        ("churn/model:latest", Reference("churn/model")),
        ("churn/model:v3", Reference("churn/model", version=3)),
        ("churn/model:v3/weights/a.bin", Reference("churn/model", version=3, path="weights/a.bin")),
        ("churn/model:production", Reference("churn/model", alias="production")),
        ("churn/model:latest/a:b@c\n", Reference("churn/model", path="a:b@c\n")),
        ("m@blake3:0123ab", Reference("m", digest=("blake3", "0123ab"))),
        ("sha256:0123abcd/x", Reference(None, digest=("sha256", "0123abcd"), path="x")),
        ("v3", Reference("v3")),
    ],
)
def test_the_forms(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":v1", "m:", "m:v0", "m:v007", "m:v1234567890", "m:v1/", "m@blake3:0123a", "m@md5:0123ab", "blake3:0123a", "blake3", "sha256:latest", "a//b",
        "/a", "a/", "../a", "a/..:v1", "a b", "ä", "m:ä", "m:a:b", "m\n", "x" * 201, "x" * 201 + ":v1",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Reference.parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_name, check_alias, check_kind, Reference.parse])
@pytest.mark.parametrize("value", [None, 5, b"a", ["a"]])
def test_what_is_no_text_is_refused(check: Any, value: Any) -> None:
    with pytest.raises(InvalidInputError, match="must be a str"):
        check(value)


def test_words_that_have_a_meaning_are_no_aliases() -> None:
    for word in ("latest", "v1", "v0", "v007", "v12345678901", "a/b", "", "a" * 201):
        with pytest.raises(InvalidInputError):
            check_alias(word)
    assert [check_alias(word) for word in ("v", "v1.2", "best", "Latest")] == ["v", "v1.2", "best", "Latest"]


def test_a_kind_is_one_word() -> None:
    assert check_kind("data-set.2") == "data-set.2"
    for word in ("", "two words", "a/b", "k" * 101):
        with pytest.raises(InvalidInputError):
            check_kind(word)
