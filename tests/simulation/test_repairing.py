"""Seeds through worlds with decay, and rules of repair that the simulator must miss when they are taken out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from artifactstore.catalog.fold import state as state_module
from artifactstore.catalog.fold.state import State
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal.ticket import Committed, Ticket
from artifactstore.maintenance.repair import chunks as chunks_module
from artifactstore.maintenance.repair.content import ContentRepair

from . import repairing
from .repairing import simulate
from .uploading import letter_of

SEEDS = 200
BATCH = 25
MUTANT_SEEDS = 600
REAL_MARK = ContentRepair._mark
REAL_RELOCATE = ContentRepair._relocate
REAL_LACKING = ContentRepair._lacking


def _as_if_nothing_was_lost(self: Ticket, seq: int, _fold: Any) -> None:
    self.committed = Committed(self.txn, seq)


def _without_marks(self: ContentRepair, lost: Any, holders: Any) -> None:
    with patch.object(self, "_append", lambda _facts: None):
        REAL_MARK(self, lost, holders)


def _with_no_packs(self: ContentRepair, *args: Any) -> None:
    REAL_RELOCATE(self, *args)
    for fact in self._facts:
        fact["packs"] = []


def _unchecked(backend: Any, extents: Any, *, algorithm: str | None = None) -> list[bytes]:
    return [letter_of(backend.read(pack_key(one.pack))) for one in extents]


class _AnyDigest:
    """A digest that every chunk has."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def _patches(*targets: tuple[Any, str, Any]) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def all_of_them() -> Any:
        with ExitStack() as stack:
            for owner, name, value in targets:
                stack.enter_context(patch.object(owner, name, value))
            yield

    return all_of_them


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "what is lost is marked": _patches((ContentRepair, "_mark", _without_marks)),
    "a put heeds the marks": _patches((State, "intact", lambda self, digest: bool(self.holders.get(digest)))),
    "an appender looks for marks since its references were checked": _patches(
        (state_module, "relies_on_lost", lambda _state, _txn: None)
    ),
    "what was posted and lost meanwhile is stored again": _patches((Ticket, "land", _as_if_nothing_was_lost)),
    "each chunk is checked before it is written anew": _patches(
        (repairing, "fetch", _unchecked), (chunks_module, "hash_bytes", lambda _data, _algorithm: _AnyDigest())
    ),
    "a relocation lists the packs of its manifest": _patches((ContentRepair, "_relocate", _with_no_packs)),
    "a damaged pack is found": _patches((ContentRepair, "_lacking", lambda _self, _digest, _manifest: iter(()))),
    "what was relocated is in the journal": _patches((ContentRepair, "_commit", lambda _self: None)),
}
EQUIVALENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    # The next repair marks what a writer shared between the search and the mark.
    "a repair looks for what was stored meanwhile": _patches((ContentRepair, "_relied_on", lambda *_: False)),
}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_decay_makes_a_put_unchanged_for_what_is_lost(first: int) -> None:
    for seed in range(first, first + BATCH):
        outcome = simulate(seed)
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}\n" + "\n".join(outcome.trace)


def test_a_seed_of_decay_replays_the_same_trace() -> None:
    once, again = simulate(5), simulate(5)
    assert once.violation is None
    assert once.trace == again.trace


@pytest.mark.slow
def test_worlds_with_decay_are_not_idle() -> None:
    lines = "\n".join(line for seed in range(60) for line in simulate(seed).trace)
    for happening in (" decays", "relocated", "'damaged'", "CRASH", "condemned"):
        assert lines.count(happening) > 10, happening


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_misses_each_rule_of_repair(name: str) -> None:
    with MUTANTS[name]():
        assert any(simulate(seed).violation is not None for seed in range(MUTANT_SEEDS)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVALENT)
def test_what_a_later_repair_finds_anyway_changes_nothing(name: str) -> None:
    with EQUIVALENT[name]():
        assert all(simulate(seed).violation is None for seed in range(40))
