"""Seeds through worlds whose history decays, and rules of its repair that the simulator must miss when they are taken out."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import pytest

from artifactstore.journal.journal import Journal
from artifactstore.maintenance.repair import history as history_module
from artifactstore.maintenance.repair.history import _put_right, _Walk

from .histories import simulate
from .mutants import _patches
from .mutants_cleanup import edited

SEEDS = 160
BATCH = 40
MUTANT_SEEDS = 600
FINDERS = {"a process looks again at what it had read": 178}  # looked at first


def _walk(name: str, *edits: tuple[str, str]) -> tuple[Any, str, Any]:
    return _Walk, name, edited(getattr(_Walk, name), *edits)


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "what a source has joins the next entry here": _patches(
        _walk("_run", ("previous_of(after) == str(previous)", "previous_of(after)"))
    ),
    "the last entry needs a record of its digest": _patches(
        _walk("_is_end", ("return any(one.confirms(seq, digest) for one in sources)", "return True"))
    ),
    "the last entry is what an anchor names": _patches(
        _walk("_is_end", ("return self.anchors[seq] == str(digest)", "return True")),
        _walk("_run", ("if seq == self.end and", "if")),
    ),
    "facts have the digest that their entry names": _patches(
        _walk("_facts", ("str(Digest.of(raw, algorithm)) == digest and _is_facts(raw, key)", "True"))
    ),
    "what is healthy is left alone": _patches(
        (history_module, "_put_right", edited(_put_right, ("elif there != raw and there == walk.found.get(key):", "else:"))),
        _walk(
            "_fault", ("before = self._digests.get(seq - 1)", "before = None if seq == 0 else Digest(self.algorithm, bytes(32))")
        ),
        _walk("_run", ("previous_of(after) == str(previous)", "previous_of(after)")),
    ),
    "each entry follows the one before": _patches(_walk("_fault", ("previous_of(raw) != str(before)", "False"))),
    "a process looks again at what it had read": _patches(
        (Journal, "catch_up", edited(Journal.catch_up, ("confirm |= self._doubted", "pass")))
    ),
}
EQUIVALENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    # What is put there is right by the chain, whatever is there by then.
    "only what is as it was found is replaced": _patches(
        (history_module, "_put_right", edited(_put_right, (" and there == walk.found.get(key):", ":")))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_repair_of_a_history_puts_anything_but_what_was_there(first: int) -> None:
    for seed in range(first, first + BATCH):
        outcome = simulate(seed)
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}\n" + "\n".join(outcome.trace)


def test_a_seed_of_a_history_replays_the_same_trace() -> None:
    once, again = simulate(3), simulate(3)
    assert once.violation is None
    assert once.trace == again.trace


@pytest.mark.slow
def test_worlds_with_decaying_histories_are_not_idle() -> None:
    lines = "\n".join(line for seed in range(40) for line in simulate(seed).trace)
    for happening in ("decays: broken", "decays: changed", "decays: gone", "restored ['", "CRASH", "facts/"):
        assert lines.count(happening) > 4, happening
    assert "journal is broken" in lines


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_misses_each_rule_of_a_history_s_repair(name: str) -> None:
    with MUTANTS[name]():
        seeds = chain([FINDERS.get(name, 0)], range(MUTANT_SEEDS))
        assert any(simulate(seed).violation is not None for seed in seeds), name


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVALENT)
def test_what_the_chain_proves_anyway_changes_nothing(name: str) -> None:
    with EQUIVALENT[name]():
        assert all(simulate(seed).violation is None for seed in range(40))
