"""What the fold's tables gain between two entries, as a layer on what was published before; and the state that layers add up to."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.tables import LARGE
from artifactstore.catalog.spill.layer import GONE, Layer, Row, Span, row_between, write_layer
from artifactstore.catalog.spill.layered import LayeredTables, member_key
from artifactstore.catalog.spill.sqlite_file import LISTS, ORDERED, encoded
from artifactstore.catalog.spill.table import SpilledTable

__all__ = ["derive", "differing", "join_layers", "merge_layers", "open_layers", "patched", "small_change"]

_SAME: Final = object()


def join_layers(layers: Sequence[Layer], store: str, bottom: Any = None, at: tuple[int, str] = (0, "")) -> LayeredTables:
    """Put layers on one another.

    Args:
        layers: the oldest first.
        store: id of the store.
        bottom: the file of tables that the first is on.
        at: the last entry of that file, and its digest.

    Raises:
        ValueError: one is of another store or layout, or does not begin where the one before ends.
    """
    for layer in layers:
        span = layer.span
        if span.store != store or span.layout != State.LAYOUT:
            raise ValueError("a layer of another store or layout")
        if (span.since, span.before) != at:
            raise ValueError(f"a layer begins behind entry {span.since} and is on one that ends with entry {at[0]}")
        at = (span.seq, span.entry)
    return LayeredTables(layers, bottom, store)


def open_layers(tables: LayeredTables) -> State:
    """Return the state that layers add up to; of none, that of an empty journal.

    Raises:
        ValueError: small tables are not what they must be.
        KeyError: likewise.
    """
    small = _small(tables)
    state = State.load_texts({name: encoded(rows) for name, rows in small.items()}, tables)
    state.base_head = state.head
    if tables.layers and state.head != tables.layers[-1].span.seq:
        raise ValueError("the state is that of another entry")
    return state


def _small(tables: LayeredTables) -> dict[str, Any]:
    empty = State(tables.store).texts(filed=True)
    texts = empty if tables.bottom is None else {name: text for name, text in tables.bottom.texts().items() if name in empty}
    small = {name: json.loads(text) for name, text in texts.items()}
    for layer in tables.layers:
        for name, change in layer.small().items():
            small[name] = patched(small[name], change, to_end=name == "verdicts")
    return small


def derive(state: State, below: LayeredTables, span: Span) -> bytes:
    """Return the layer of what a state has gained since it was opened.

    Args:
        state: opened by `open_layers` from `below`; the entries of the span were folded since.
        below: the layers before.
        span: what the layer spans.

    Raises:
        ValueError: something is larger than readers accept.
    """
    tables: dict[str, Iterable[Row]] = {}
    order: list[str] = []
    for table in LARGE:
        rows = getattr(state, table)
        stored = rows.name
        if stored in ORDERED:
            order += rows.added_keys()
        if stored in LISTS:
            tables[LISTS[stored]] = _member_rows(rows, below, LISTS[stored])
            tables[stored] = _rows(rows, below, lambda one: [len(one), one[-1]])
        else:
            tables[stored] = _rows(rows, below)
    small = {name: json.loads(text) for name, text in state.texts(filed=True).items()}
    return write_layer(span, tables, counts=_counts(state), order=order, small=encoded(_changes(_small(below), small)))


def _counts(state: State) -> dict[str, int]:
    return {getattr(state, table).name: len(getattr(state, table)) for table in LARGE}


def _rows(table: SpilledTable, below: LayeredTables, kept: Any = None) -> Iterator[Row]:
    for key in sorted({*table.changed, *table.gone}):
        value = table.changed.get(key)
        new = None if value is None else encoded(value if kept is None else kept(value))
        row = row_between(below.text(table.name, key), new)
        if row is not None:
            yield key, row


def _member_rows(table: SpilledTable, below: LayeredTables, members: str) -> Iterator[Row]:
    for key in sorted({*table.changed, *table.gone}):
        if key in table.gone:
            text = below.text(table.name, key)
            yield from ((member_key(key, number), GONE) for number in range(json.loads(text or b"[1]")[0] - 1))
            continue
        rows = table.changed[key]
        changed = dict(enumerate(rows)) if isinstance(rows, list) else rows.changed
        for number in sorted(changed):
            if number < len(rows) - 1:
                name = member_key(key, number)
                row = row_between(below.text(members, name), encoded(changed[number]))
                if row is not None:
                    yield name, row


def merge_layers(layers: Sequence[Layer], below: LayeredTables) -> bytes:
    """Return the layer that does what several do, one on the other: the one that `derive` makes of all their entries.

    Args:
        layers: the oldest first.
        below: the layers before.

    Raises:
        ValueError: something is larger than readers accept, or damaged.
    """
    first, last = layers[0].span, layers[-1].span
    span = Span(first.store, first.layout, first.since, first.before, last.seq, last.entry)
    whole = LayeredTables((*below.layers, *layers), below.bottom, below.store)
    small = _changes(_small(below), _small(whole))
    order = [key for layer in layers for key in layer.order()]
    return write_layer(span, below.merged(layers), counts=layers[-1].counts, order=order, small=encoded(small))


def differing(state: State, other: State) -> str | None:
    """Return a row that a state has gained since it was opened and that another state of the same entry has not; None if there is none."""
    for table in LARGE:
        rows, others = getattr(state, table), getattr(other, table)
        if len(rows) != len(others):
            return f"{table}, which has {len(others)} rows, not {len(rows)}"
        for key, value in rows.changed.items():
            mine = others.get(key)
            if rows.name in LISTS and not isinstance(value, list):
                same = mine is not None and len(mine) == len(value) and all(mine[at] == one for at, one in value.changed.items())
            else:
                same = mine is not None and (list(mine) if isinstance(value, list) else mine) == value
            if not same:
                return f"{table} of {key}"
    small = other.texts(filed=True)
    for name, text in state.texts(filed=True).items():
        if text != small[name] and json.loads(text) != json.loads(small[name]):
            return name
    return None


# -- small tables


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: small_change(old[name], new[name]) for name in sorted(new)}
    return {name: change for name, change in found.items() if change is not _SAME}


def small_change(old: Any, new: Any) -> Any:
    """Return how one JSON value becomes another: `["=", value]`, `["+", length before, what is added]`, `["{", changes, what is gone]`."""
    if type(old) is type(new) is dict:
        changes = {key: ["=", value] if key not in old else small_change(old[key], value) for key, value in new.items()}
        changes = {key: change for key, change in changes.items() if change is not _SAME}
        gone = sorted(key for key in old if key not in new)
        return ["{", changes, gone] if changes or gone else _SAME
    if old == new and type(old) is type(new):
        return _SAME
    if type(old) is type(new) is list and len(old) < len(new) and new[: len(old)] == old:
        return ["+", len(old), new[len(old) :]]
    return ["=", new]


def patched(old: Any, change: Any, *, to_end: bool = False) -> Any:
    """Apply the output of `small_change`; with `to_end`, changed keys come last.

    Raises:
        ValueError: it is of another value.
    """
    kind = change[0]
    if kind == "=":
        return change[1]
    if kind == "+":
        if not isinstance(old, list) or len(old) != change[1]:
            raise ValueError("a small table differs")
        return [*old, *change[2]]
    if kind != "{" or not isinstance(old, dict):
        raise ValueError("a small table differs")
    found = dict(old)
    for key in change[2]:
        found.pop(key, None)
    for key, inner in change[1].items():
        value = patched(found.get(key), inner)
        if to_end:
            found.pop(key, None)
        found[key] = value
    return found
