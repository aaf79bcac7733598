import pytest

from artifactstore.model.facts import WINDOW

from .telling import Story, aliased, condemned, digest, edge, held, named, relocated, removed, stored, versioned


@pytest.fixture
def story() -> Story:
    story = Story()
    assert story.tell(stored("a", hooks="00" * 8), versioned("a")) is None
    return story


# -- holders


def test_the_last_manifest_is_the_current_one(story: Story) -> None:
    story.tell(stored("a", "second", ["q"]))
    assert story.state.current_manifest(digest("a")) == named("second")
    story.tell(condemned("second"))
    assert story.state.current_manifest(digest("a")) == named("m-a")


def test_what_lost_its_last_manifest_is_dead_and_comes_back(story: Story) -> None:
    story.tell(removed("a"))
    story.tell(condemned("m-a", packs=("p-a",)))
    assert not story.state.alive(digest("a"))
    assert story.state.current_manifest(digest("a")) is None
    assert story.state.hooks == {}
    for fact in (versioned("a"), held("a"), edge("produced", "r", "a")):
        assert story.tell(fact) == "holder"
    for fact in (edge("used", "r", "a"), {"fact": "tainted", "digest": digest("a")}, removed("a")):
        assert story.tell(fact) is None
    assert story.tell(stored("a", "new", ["new"]), versioned("a")) is None
    assert story.state.alive(digest("a"))


def test_an_alias_of_what_lost_its_bytes_is_void(story: Story) -> None:
    story.tell(condemned("m-a"))
    assert story.tell(aliased(version=1)) == "holder"


@pytest.mark.parametrize(
    "fact",
    [stored("b", "gone"), stored("b", "fresh", ["lost"]), relocated("a", "m-a", "gone"), relocated("a", "m-a", "new", ("lost",))],
)
def test_nothing_refers_to_what_was_condemned(story: Story, fact: dict) -> None:  # type: ignore[type-arg]
    story.tell(condemned("gone", packs=("lost",)))
    assert story.tell(fact) == "condemned"


def test_a_relocation_moves_the_current_manifest_only(story: Story) -> None:
    assert story.tell(relocated("a", "m-a", "new")) is None
    assert story.state.current_manifest(digest("a")) == named("new")
    assert story.tell(relocated("a", "m-a", "newer")) == "current"
    assert story.tell(relocated("b", "m-a", "newer")) == "current"
    story.tell(condemned("m-a"))
    assert story.state.holders[digest("a")] == [named("new")]


def test_a_manifest_holds_one_digest(story: Story) -> None:
    assert story.tell(stored("b", "m-a")) == "reused"
    assert story.tell(relocated("a", "m-a", "m-a")) is None
    assert story.tell(stored("b", "twice"), stored("c", "twice")) == "reused"
    assert story.tell(stored("b", "once"), stored("b", "once")) is None
    assert story.tell(relocated("b", "once", "m-a")) == "reused"


# -- clean-up


def test_a_clean_up_is_alone_and_judged_on_the_state_before(story: Story) -> None:
    fact = condemned("x")
    assert story.append(story.txn(fact), story.txn(versioned("a"))) == ["alone", None]
    assert story.tell(fact, birth=0, base=1) == "alone"
    assert story.tell(fact) is None
    assert story.state.header["condemned"] == story.state.head
    for refers in (stored("b"), versioned("a"), relocated("a", "m-a", "n"), held("a")):
        assert story.tell(condemned("m-a"), refers) == "alone"


def test_what_was_checked_before_a_clean_up_is_void(story: Story) -> None:
    early = story.txn(versioned("a", "y"))
    story.tell(condemned("x"))
    assert story.append(early) == ["base"]
    again = {**early, "base": story.state.head}
    assert story.append(again) == [None]


def test_a_store_that_moved_takes_nothing_more(story: Story) -> None:
    assert story.append(story.txn({"fact": "moved_to", "url": "s3://new"}), story.txn()) == ["alone", None]
    assert story.tell({"fact": "moved_to", "url": "s3://new"}) is None
    assert story.tell(versioned("a", "y")) == "moved"
    assert story.state.header["moved_to"] == "s3://new"


@pytest.mark.parametrize(
    ("birth", "base", "why"),
    [
        (3, 3, None),
        (2, 3, None),
        (2, 2, None),
        (3, 2, "base"),
        (3, 4, "base"),
        (2, 4, "base"),
        (4, 4, "window"),
        (4, 3, "window"),
    ],
)
def test_a_base_lies_between_the_birth_and_the_entry(story: Story, birth: int, base: int, why: str | None) -> None:
    story.append()
    story.append()
    assert story.state.head == 3
    assert story.tell(versioned("a", "y"), birth=birth, base=base) == why


# -- once, in its window


def test_a_transaction_takes_effect_once(story: Story) -> None:
    txn = story.txn(versioned("a", "y"))
    assert story.append(txn, txn) == [None, "twice"]
    assert story.append(txn) == ["twice"]
    assert story.state.verdict(txn["txn"]) == (2, None)


def test_what_was_void_may_take_effect_later(story: Story) -> None:
    txn = story.txn(versioned("z"))
    assert story.append(txn) == ["holder"]
    assert story.state.verdict(txn["txn"]) == (2, f"holder: no manifest holds {digest('z')}")
    story.tell(stored("z"))
    assert story.append(txn) == [None]
    assert story.state.verdict(txn["txn"]) == (4, None)


def test_the_window_is_between_birth_and_the_last_entry_of_it(story: Story) -> None:
    assert story.tell(birth=9, base=9) == "window"
    assert story.tell(birth=0, base=9) == "base"
    early = [story.txn(birth=1, base=1) for _ in range(3)]
    assert story.append(early[0]) == [None]
    while story.state.head < WINDOW:
        story.append()
    assert story.append(early[1]) == [None]
    assert story.append(early[2]) == ["window"]


def test_verdicts_are_kept_for_the_window_and_no_longer(story: Story) -> None:
    txn = story.txn(birth=1, base=1)
    story.append(txn)
    while story.state.head < WINDOW + 1:
        story.append()
        assert story.state.verdict(txn["txn"]) is not None
    while story.state.head < 2 * WINDOW:
        story.append()
    assert story.state.verdicts == {}


def test_a_lower_format_after_a_higher_one_voids_an_entry(story: Story) -> None:
    assert story.append(story.txn(), format=2) == [None]
    assert story.append(story.txn(), format=1) == ["format"]
    assert story.state.header["format"] == 2


def test_time_does_not_run_backwards_by_a_little(story: Story) -> None:
    story.append(time="2026-01-01T00:01:00.000000Z")
    story.tell(versioned("a", "y"))
    assert story.state.names["y"][0]["time"] == "2026-01-01T00:01:00.000000Z"
