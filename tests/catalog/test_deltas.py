"""Deltas of the fold: layers on one another add up to the fold of all entries, however they were cut and merged."""

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.catalog.fold.deltas import derive, join_layers, merge_layers, open_layers
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.tables import LARGE
from artifactstore.catalog.spill.layer import Layer, Span
from artifactstore.catalog.spill.layered import LayeredTables
from artifactstore.model.encoding import canonical_json
from tests.catalog.test_fold_properties import JOURNALS, TXNS, _told


def _digest(seq: int) -> str:
    return f"digest of {seq}" if seq else ""


def _cut(entries: list[Any], ends: list[int], below: LayeredTables | None = None) -> list[Layer]:
    """Layers of the entries up to each end."""
    layers = [] if below is None else [*below.layers]
    for end in ends:
        tables = join_layers(layers, "")
        state = open_layers(tables)
        state.SETTLE = 2**62
        begin = state.head
        for entry in copy.deepcopy(entries[begin:end]):
            state.apply(entry)
        layers.append(Layer(derive(state, tables, Span("", State.LAYOUT, begin, _digest(begin), end, _digest(end)))))
    return layers


def _plain(entries: list[Any]) -> State:
    made = State()
    made.spill_if_large = lambda: None  # type: ignore[method-assign]
    for entry in copy.deepcopy(entries):
        made.apply(entry)
    return made


def _same(state: State, plain: State) -> None:
    assert canonical_json(state.dump()) == canonical_json(plain.dump())
    assert [*state.runs] == [*plain.runs]
    assert [*state.verdicts] == [*plain.verdicts]
    for table in LARGE:
        rows, others = getattr(state, table), getattr(plain, table)
        assert len(rows) == len(others)
        assert {key: rows[key] for key in rows} == {**others}
        assert [key in rows for key in (*others, "nothing")] == [True] * len(others) + [False]


@given(JOURNALS, st.integers(0, 2**32), TXNS)
@settings(max_examples=30, deadline=None)
def test_layers_add_up_to_the_fold(journal: Any, seed: int, next_one: Any) -> None:
    story, dice = _told(journal), random.Random(seed)
    entries = story.entries
    if not entries:
        return
    ends = sorted({len(entries), *(dice.randint(1, len(entries)) for _ in range(4))})
    layers = _cut(entries, ends)
    plain = _plain(entries)
    _same(open_layers(join_layers(layers, "")), plain)
    # Merged, they are what one derives at once.
    low = dice.randrange(len(layers))
    high = dice.randint(low + 1, len(layers))
    below = join_layers(layers[:low], "")
    merged = merge_layers(layers[low:high], below)
    assert merged == _cut(entries, [ends[high - 1]], below)[-1].data
    _same(open_layers(join_layers([*layers[:low], Layer(merged), *layers[high:]], "")), plain)
    # And on a fold that came from them, folding goes on.
    middle = open_layers(join_layers(layers[:1], ""))
    for entry in copy.deepcopy(entries[ends[0] :]):
        middle.apply(entry)
    assert canonical_json(middle.dump()) == canonical_json(plain.dump())
    txn: Any = story.txn(*next_one)
    told = [void and void.code for void in middle.predict([copy.deepcopy(txn)], "")]
    assert told == [void and void.code for void in plain.predict([txn], "")]
    copied = middle.base
    assert copied is not None
    with copied.copy()._file as file:
        assert file.execute("select count(*) from names").fetchone()[0] == copied.count("names")
