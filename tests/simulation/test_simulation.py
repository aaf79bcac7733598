"""Seeds through the simulator, and mutants that it must find."""

from dataclasses import fields, replace
from itertools import chain
from typing import Any

import pytest

from .mutants import EQUIVALENT, MUTANTS, Mutant
from .mutants_between import BETWEEN
from .mutants_cleanup import CLEANUP, EQUIVALENT_CLEANUP
from .scenario import Outcome, simulate
from .tasks import Habits

SEEDS = 240  # among them the finders of all but four of the rules below; each rule is looked for with up to 3,000 of its own
BATCH = 20
MUTANT_SEEDS = 3000
ALL = {**MUTANTS, **BETWEEN, **CLEANUP}
ALL_EQUIVALENT = {**EQUIVALENT, **EQUIVALENT_CLEANUP}
# What a mutant may take out of the tasks: with all of it in place, the same world must hold.
RULES: dict[str, Any] = {field.name: True for field in fields(Habits) if field.default is True}
# Seeds that find what is taken out: they are looked at first, then, where they do not any more, all in turn.
FINDERS = {
    "holder": 126,
    "twice": 48,
    "window": 3,
    "alone": 56,
    "alone by the fold": 6,
    "new id after a doubt": 11,
    "exists then write": 3,
    "predict in order": 200,
    "accept": 22,
    "watch": 172,
    "delete from memory": 2,
    "holds": 282,
    "shared packs": 1,
    "judged anew": 25,
    "stored since": 6,
    "relocated since": 6,
    "named since": 96,
    "packs of what was named since": 38,
    "left by others": 8,
    "orphans": 1,
    "covered segments": 5,
    "read on": 578,
    "closed right behind": 27,
    "released when reached": 269,
    "entries are created": 28,
    "received holders are judged": 398,
    "received once": 3,
    "behind its history": 3,
    "own words stand": 3,
    "one history": 6,
    "condemned packs": 81,
    "condemned manifests": 63,
    "base of a clean-up": 6,
    "look for own": 3,
    "trust exists": 2,
    "unknown": 5,
    "vouched for": 3,
    "entries last": 1,
    "all packs": 3,
    "durable first": 25,
    "relocated with its packs": 1,
    "repacking deletes nothing": 1,
    "past windows": 4,
    "closed upwards": 1,
    "posted is unknown": 5,
    "void copies": 102,
    "posted keeps its id": 13,
    "adopted is folded": 5,
    "adoptable": 31,
    "clean-up adopts nothing": 85,
    "all of the fold": 1,
    "moved since it was posted": 6,
    "gated since it was posted": 31,
}


def _explain(seed: int, outcome: Outcome) -> str:
    return f"seed {seed}: {outcome.violation}\n" + "\n".join(outcome.trace)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_interleaving_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + BATCH):
        outcome = simulate(seed)
        assert outcome.violation is None, _explain(seed, outcome)


@pytest.mark.parametrize("seed", [0, 7, 19])
def test_a_seed_replays_the_same_trace(seed: int) -> None:
    once, again = simulate(seed), simulate(seed)
    assert once.trace == again.trace
    assert once.world.objects == again.world.objects
    assert once.told == again.told


@pytest.mark.slow
def test_the_worlds_are_not_idle() -> None:
    outcomes = [simulate(seed) for seed in range(40)]
    told = [answer for outcome in outcomes for answer in outcome.told.values()]
    lines = "\n".join(line for outcome in outcomes for line in outcome.trace)
    assert sum(isinstance(answer, int) for answer in told) > 200
    assert told.count("failed") > 5
    assert told.count("unknown") > 5
    for happening in (
        "CRASH",
        "late create",
        "finds it taken",
        "409",
        "will arrive again",
        "reply lost",
        "delete packs/",
        "segments/",
    ):
        assert happening in lines, happening


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "happenings"), [("copy", ("moved_to", "-end.json", "only a copy", "crash")), ("import", ("received",))]
)
def test_what_happens_between_places_is_not_idle(mode: str, happenings: tuple[str, ...]) -> None:
    lines = "\n".join(line for seed in range(60) for line in simulate(seed, Habits(mode=mode)).trace).lower()
    for happening in happenings:
        assert lines.count(happening) > 10, happening


@pytest.mark.slow
def test_writers_take_each_other_along() -> None:
    lines = "\n".join(
        line
        for moving in (False, True)
        for seed in range(30)
        for line in simulate(seed, Habits(crowded=True, moving=moving)).trace
    )
    assert lines.count("    adopts ") > 5
    assert lines.count("write journal/inbox/") > 100


@pytest.mark.slow
def test_what_clients_with_faults_append_is_not_idle() -> None:
    lines = "\n".join(line for seed in range(40) for line in simulate(seed, Habits(strange=True, by_library=True)).trace)
    for void in ("alone", "base", "condemned", "holder", "reused", "twice", "window"):
        assert f"] {void}: " in lines, void
    assert lines.count("wait for t") > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_simulator_misses_each_rule_that_is_taken_out(name: str) -> None:
    seed = _finder(ALL[name], FINDERS.get(name, 0))
    assert seed is not None, f"{ALL[name].rule}: {MUTANT_SEEDS} seeds found nothing without it"
    habits = replace(ALL[name].habits, **RULES)
    outcome = simulate(seed, habits, with_reference=False)
    assert outcome.violation is None, _explain(seed, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_EQUIVALENT)
def test_what_is_guarded_elsewhere_changes_nothing(name: str) -> None:
    with ALL_EQUIVALENT[name].patched():
        assert all(simulate(seed, ALL_EQUIVALENT[name].habits, with_reference=False).violation is None for seed in range(30))


def _finder(mutant: Mutant, first: int) -> int | None:
    with mutant.patched():
        for seed in chain([first], range(MUTANT_SEEDS)):
            if simulate(seed, mutant.habits, with_reference=False).violation is not None:
                return seed
    return None
