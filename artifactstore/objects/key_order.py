"""Key order as side content: content is stored with sorted keys, so equal content has one digest; Python's dicts have an order.

The recorded order does not belong to the content: it may be missing, come from another put of equal content, or be wrong; it
then changes the order of keys and nothing else.
"""

from collections.abc import Mapping
from operator import le
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["note_order", "with_order"]

_NOTE: Final = "order"
_LEAVES: Final = frozenset({str, int, float, bool, type(None)})


def note_order(folder: WriteFolder, value: Any) -> None:
    """Record the key order of a JSON value where keys are not sorted.

    Dicts with the same keys mostly have them in the same order, so it is recorded once per set of keys (`keys`), and for
    exceptions by path (`at`: path, keys).
    """
    rules: dict[frozenset[str], tuple[str, ...]] = {}
    usual: set[tuple[str, ...]] = set()
    others: list[list[Any]] = []
    todo: list[tuple[Any, Any]] = [(value, None)]  # with (position of its container, key or index)
    while todo:
        one, position = todo.pop()
        if isinstance(one, Mapping):
            keys = tuple(one)
            if keys not in usual:
                if rules.setdefault(frozenset(keys), keys) == keys:
                    usual.add(keys)
                else:
                    others.append([_path(position), list(keys)])
            todo += [(member, (position, key)) for key, member in one.items() if type(member) not in _LEAVES]
        elif isinstance(one, list):
            todo += [(member, (position, number)) for number, member in enumerate(one) if type(member) not in _LEAVES]
    unsorted = sorted(list(keys) for keys in rules.values() if not all(map(le, keys, keys[1:])))
    if unsorted or others:
        folder.note(_NOTE, canonical_json({"at": sorted(others, key=repr), "keys": unsorted}))


def _path(position: Any) -> list[Any]:
    path: list[Any] = []
    while position is not None:
        position, key = position
        path.insert(0, key)
    return path


def with_order(folder: ReadFolder, value: Any) -> Any:
    """Return a JSON value with its keys in the recorded order, if there is one."""
    raw = folder.noted(_NOTE)
    if raw is None:
        return value
    try:
        note = parse_json(raw, _NOTE)
        order = _Order(note["keys"])
        for path, keys in note["at"]:
            held = value
            for step in path:
                held = held[step]
            if isinstance(held, dict) and set(keys) == set(held):
                order.at[id(held)] = keys
        return order.of(value)
    except (InvalidInputError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        return value  # side content is advisory


class _Order:
    """Restores key order in a freshly parsed value.

    Args:
        rules: key orders, each for the dicts with exactly these keys.

    Attributes:
        at: key orders of single dicts, by their ids.
    """

    def __init__(self, rules: list[list[str]]) -> None:
        self.at: dict[int, list[str]] = {}
        self._rules: dict[int, list[list[str]]] = {}  # by the number of keys
        self._by_keys: dict[int, dict[frozenset[str], list[str]]] = {}  # likewise, where there is more than one
        for keys in rules:
            self._rules.setdefault(len(keys), []).append(keys)

    def of(self, value: Any) -> Any:
        """Return a value with its keys in order; lists are modified in place."""
        if type(value) is list:
            for number, one in enumerate(value):
                if type(one) is dict or type(one) is list:
                    value[number] = self.of(one)
            return value
        if type(value) is not dict:
            return value
        keys = self.at.get(id(value)) or self._rule(value)
        try:
            made = value if keys is None else dict(zip(keys, map(value.__getitem__, keys), strict=True))
        except KeyError:  # the rule is for other keys of the same number
            made = value
        if len(made) != len(value):  # the rule has a key twice
            made = value
        for key, one in made.items():
            if type(one) is dict or type(one) is list:
                made[key] = self.of(one)
        return made

    def _rule(self, value: dict[str, Any]) -> list[str] | None:
        """Return the order for a dict's keys, or a candidate for the same number of keys."""
        size = len(value)
        rules = self._rules.get(size)
        if rules is None:
            return None
        if len(rules) == 1:
            return rules[0]
        if size not in self._by_keys:
            self._by_keys[size] = {frozenset(keys): keys for keys in rules}
        return self._by_keys[size].get(frozenset(value))
