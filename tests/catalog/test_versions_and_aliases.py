import pytest

from artifactstore.catalog.versions import resolve
from artifactstore.errors import NotFoundError
from artifactstore.model.reference import Reference

from .telling import Story, aliased, digest, held, removed, stored, versioned


@pytest.fixture
def story() -> Story:
    story = Story()
    assert story.tell(stored("a"), stored("b"), stored("c")) is None
    return story


def test_going_back_is_a_new_version(story: Story) -> None:
    for word in ("a", "b", "a"):
        assert story.tell(versioned(word)) is None
    assert story.versions() == [digest("a"), digest("b"), digest("a")]


@pytest.mark.parametrize("length", [8, 64])
def test_a_name_with_a_digest_means_its_newest_version_with_it(story: Story, length: int) -> None:
    def found(word: str) -> int | None:
        return resolve(story.state, Reference.parse(f"x@{digest(word)[: len('blake3:') + length]}")).version

    for word in ("a", "b", "a", "c", "b"):
        story.tell(versioned(word))
    assert [found(word) for word in "abc"] == [3, 5, 4]
    story.tell(aliased(digest=digest("a")))
    assert story.state.aliases["x"]["best"][-1]["version"] == 3
    story.tell(removed(name="x", digest=digest("a")))
    assert ["removed" in row for row in story.state.names["x"]] == [False, False, True, False, False]
    with pytest.raises(NotFoundError, match="x:v3 was removed"):
        found("a")


def test_an_equal_put_makes_no_version(story: Story) -> None:
    story.tell(versioned("a", metadata={"first": 1}))
    assert story.tell(versioned("a", metadata={"second": 2})) is None
    assert len(story.versions()) == 1
    assert story.state.names["x"][0]["metadata"] == {"first": 1}


def test_an_equal_put_after_its_removal_makes_a_version(story: Story) -> None:
    story.tell(versioned("a"))
    story.tell(removed("a"))
    story.tell(versioned("a"))
    assert ["removed" in row for row in story.state.names["x"]] == [True, False]


def test_a_version_says_who_made_it_when_and_why(story: Story) -> None:
    story.tell(versioned("a", file=True, reason="of the fact"), reason="of the transaction")
    (row,) = story.state.names["x"]
    assert (row["seq"], row["actor"], row["reason"], row["file"]) == (2, "ann", "of the fact", True)


def test_a_name_needs_bytes(story: Story) -> None:
    assert story.tell(versioned("z")) == "holder"
    assert story.tell(stored("z"), versioned("z")) is None
    assert story.tell(versioned("y"), stored("y")) == "holder"


def test_an_unnamed_put_makes_no_version_and_lives_until_removed(story: Story) -> None:
    story.tell(versioned("a", None))
    assert list(story.state.unnamed) == [digest("a")]
    assert story.state.names == {}
    story.tell(removed("a"))
    assert story.state.unnamed == {}


def test_a_description_replaces_metadata(story: Story) -> None:
    story.tell(versioned("a", metadata={"old": 1}), versioned("b", None))
    story.tell({"fact": "described", "name": "x", "version": 1, "metadata": {"new": 2}})
    story.tell({"fact": "described", "name": None, "digest": digest("b"), "metadata": {"unnamed": 3}})
    assert story.tell({"fact": "described", "name": "x", "version": 9, "metadata": {}}) is None
    assert story.state.names["x"][0]["metadata"] == {"new": 2}
    assert story.state.unnamed[digest("b")]["metadata"] == {"unnamed": 3}


def test_the_newest_version_with_a_digest_is_meant_by_it(story: Story) -> None:
    for word in ("a", "b", "a"):
        story.tell(versioned(word))
    assert story.state.version_of({"name": "x", "digest": digest("a")}) == 3
    assert story.state.version_of({"name": "x", "version": 2, "digest": digest("a")}) == 2
    assert story.state.version_of({"name": "x", "version": 4}) is None
    assert story.state.version_of({"name": "x", "version": 0}) is None
    assert story.state.version_of({"name": "nobody", "version": 1}) is None
    assert story.state.version_of({"name": "x"}) is None


@pytest.mark.parametrize(
    ("before", "facts", "expected", "word"),
    [
        ([], ["a"], 0, None),
        ([], ["a"], 1, "expect"),
        (["a"], ["b"], 1, None),
        (["a"], ["b"], 0, "expect"),
        (["a", "b"], ["c"], 1, "expect"),
        (["a", "b"], ["c"], 3, "expect"),
        (["a"], ["a", "b"], 1, None),  # the first makes no version
        (["a"], ["b", "a"], 2, None),
        (["a"], ["b", "a"], 1, "expect"),
        (["a", None], ["a", "b"], 2, None),  # removed: the first makes one again
        (["a", None], ["a", "b"], 1, "expect"),
    ],
)
def test_a_version_may_expect_how_many_there_are(
    story: Story, before: list[str | None], facts: list[str], expected: int, word: str | None
) -> None:
    for one in before:
        story.tell(versioned(one) if one is not None else removed("a"))
    *first, last = facts
    entry = [*map(versioned, first), versioned(last, expect=expected)]
    count = len(story.versions())
    assert story.append(story.txn(*entry), format=3) == [word]
    assert (len(story.versions()) > count) is (word is None)


def test_an_expectation_of_a_version_needs_its_format_and_a_number(story: Story) -> None:
    assert story.append(story.txn(versioned("a", expect=0)), format=2) == ["format"]
    for value in ("0", None, True, 0.0):
        assert story.append(story.txn(versioned("a", name=f"n-{value!r:.4}", expect=value)), format=3) == [None]
    assert story.append(story.txn(versioned("a", None, expect=7)), format=3) == [None]


# -- aliases


def test_an_alias_keeps_its_history(story: Story) -> None:
    story.tell(versioned("a"))
    story.tell(versioned("b"))
    story.tell(aliased(version=1, expect=None))
    story.tell(aliased(version=2, expect=1), reason="better")
    story.tell(aliased())
    moves = story.state.aliases["x"]["best"]
    assert [move["version"] for move in moves] == [1, 2, None]
    assert moves[1]["reason"] == "better"


def test_an_expectation_that_fails_moves_nothing(story: Story) -> None:
    story.tell(versioned("a"), versioned("b"))
    assert story.tell(aliased(version=1, expect=2)) == "expect"
    assert story.tell(aliased(version=1, expect=None)) is None
    assert story.tell(aliased(version=2, expect=None)) == "expect"
    assert story.tell(aliased(version=2)) is None
    assert story.tell(aliased(expect=1)) == "expect"
    assert story.tell(aliased(expect=2)) is None
    assert story.tell(aliased(version=1, expect=None)) is None


def test_an_alias_may_name_what_its_own_transaction_makes(story: Story) -> None:
    assert story.tell(stored("z"), versioned("z"), aliased(digest=digest("z"))) is None
    assert story.state.aliases["x"]["best"][-1]["version"] == 1
    assert story.tell(versioned("z"), aliased("other", digest=digest("z"), version=None)) is None
    assert story.state.aliases["x"]["other"][-1]["version"] == 1


@pytest.mark.parametrize("more", [{"version": 2}, {"digest": digest("b")}, {"version": 1, "name": "nobody"}])
def test_an_alias_of_nothing_is_void(story: Story, more: dict) -> None:  # type: ignore[type-arg]
    story.tell(versioned("a"))
    assert story.tell(aliased(**more)) == "missing"


def test_an_alias_of_what_was_removed_is_void(story: Story) -> None:
    story.tell(versioned("a"))
    story.tell(removed(name="x", version=1))
    assert story.tell(aliased(version=1)) == "missing"


def test_two_with_one_expectation_have_one_winner_in_an_entry(story: Story) -> None:
    story.tell(versioned("a"), versioned("b"))
    first, second = story.txn(aliased(version=1, expect=None)), story.txn(aliased(version=2, expect=None))
    predicted = story.state.predict([first, second], "")  # type: ignore[list-item]
    assert [None if void is None else void.code for void in predicted] == [None, "expect"]
    assert story.append(first, second) == [None, "expect"]


# -- removal


def test_removing_a_digest_removes_every_version_of_it(story: Story) -> None:
    story.tell(versioned("a"), versioned("a", "y"), versioned("b"))
    story.tell(removed("a"))
    assert ["removed" in row for name in ("x", "y") for row in story.state.names[name]] == [True, False, True]


def test_the_first_removal_is_the_one_that_is_remembered(story: Story) -> None:
    story.tell(versioned("a"))
    story.tell(removed(name="x", version=1), reason="first")
    story.tell(removed(name="x", version=1), reason="second")
    story.tell(removed("a"), reason="third")
    assert story.state.names["x"][0]["removed"]["reason"] == "first"


def test_a_version_that_is_not_there_is_not_removed(story: Story) -> None:
    assert story.tell(removed(name="x", version=1)) == "missing"
    assert story.tell(versioned("a"), removed(name="x", digest=digest("a"))) is None
    assert "removed" in story.state.names["x"][0]


def test_what_is_held_is_not_removed_until_it_is_released(story: Story) -> None:
    story.tell(versioned("a"), held("a", "one"), held("a", "two"))
    assert story.tell(removed("a")) == "held"
    assert story.tell(removed(name="x", version=1)) == "held"
    story.tell({"fact": "released", "hold": next(iter(story.state.holds))})
    assert story.tell(removed("a")) == "held"
    story.tell({"fact": "released", "hold": next(iter(story.state.holds))})
    assert story.tell(removed("a")) is None
    assert story.tell({"fact": "released", "hold": "0" * 32}) == "missing"
