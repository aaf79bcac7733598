"""JSON comparison: the positions that differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["ValueChange", "compare_values"]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A position where two JSON values differ.

    Attributes:
        path: a JSON Pointer (RFC 6901): `/layers/0/size`; empty for the whole value.
        change: added, removed or changed.
        old: the value before; None if there was none (or if it was null).
        new: the value now.
    """

    path: str
    change: str
    old: Any
    new: Any


def compare_values(old: Any, new: Any) -> Iterator[ValueChange]:
    """Yield the positions that differ, in order of the keys; list members are compared by index."""
    todo: list[tuple[str, Any, Any]] = [("", old, new)]
    while todo:
        path, a, b = todo.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            before, after = a, b
        elif isinstance(a, list) and isinstance(b, list):
            before, after = dict(enumerate(a)), dict(enumerate(b))
        else:
            if type(a) is not type(b) or a != b:
                yield ValueChange(path, "changed", a, b)
            continue
        inner: list[tuple[str, Any, Any]] = []
        for key in sorted({*before, *after}):
            pointer = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key not in after:
                yield ValueChange(pointer, "removed", before[key], None)
            elif key not in before:
                yield ValueChange(pointer, "added", None, after[key])
            else:
                inner.append((pointer, before[key], after[key]))
        todo += reversed(inner)
