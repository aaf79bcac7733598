"""The order of keys, beside content in which they are sorted: Python's dicts have one, and equal content has one digest.

What is noted says nothing of the content: it may be missing, of another put of equal content, or wrong, and then changes the
order of keys and nothing else.
"""

from collections.abc import Mapping
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["note_order", "with_order"]

_NOTE: Final = "order"


def note_order(folder: WriteFolder, value: Any) -> None:
    """Note in which order the keys of a JSON value are, where they are not sorted.

    Dicts with the same keys mostly have them in the same order, so it is noted once for each set of keys (`keys`), and for the
    dicts that have another one by their place (`at`: path, keys).
    """
    rules: dict[frozenset[str], list[str]] = {}
    others: list[list[Any]] = []
    todo: list[tuple[Any, Any]] = [(value, None)]  # with (place of what holds it, key or number)
    while todo:
        one, place = todo.pop()
        if isinstance(one, Mapping):
            keys = list(one)
            if rules.setdefault(frozenset(keys), keys) != keys:
                others.append([_path(place), keys])
            todo += [(member, (place, key)) for key, member in one.items() if isinstance(member, Mapping | list)]
        elif isinstance(one, list):
            todo += [(member, (place, number)) for number, member in enumerate(one) if isinstance(member, Mapping | list)]
    unsorted = sorted(keys for keys in rules.values() if sorted(keys) != keys)
    if unsorted or others:
        folder.note(_NOTE, canonical_json({"at": sorted(others, key=repr), "keys": unsorted}))


def _path(place: Any) -> list[Any]:
    path: list[Any] = []
    while place is not None:
        place, key = place
        path.insert(0, key)
    return path


def with_order(folder: ReadFolder, value: Any) -> Any:
    """Return a JSON value with its keys in the order that was noted, if one was."""
    raw = folder.noted(_NOTE)
    if raw is None:
        return value
    try:
        said = parse_json(raw, _NOTE)
        at: dict[int, list[str]] = {}
        rules = {frozenset(keys): keys for keys in said["keys"]}
        for path, keys in said["at"]:
            held = value
            for step in path:
                held = held[step]
            if isinstance(held, dict) and set(keys) == set(held):
                at[id(held)] = keys
        return _ordered(value, rules, at)
    except (InvalidInputError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        return value  # it is known of the content, and no part of it


def _ordered(value: Any, rules: Mapping[frozenset[str], list[str]], at: Mapping[int, list[str]]) -> Any:
    if isinstance(value, dict):
        keys = at.get(id(value)) or rules.get(frozenset(value)) or value
        if len(keys) != len(value):
            keys = value
        return {key: _ordered(value[key], rules, at) for key in keys}
    if isinstance(value, list):
        return [_ordered(one, rules, at) for one in value]
    return value
