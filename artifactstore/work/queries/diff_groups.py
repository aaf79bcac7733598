"""Many differences in few lines: changed files whose names follow one pattern as one group, and the largest changes first."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactstore.display.folded_files import grouped, in_words, pattern_of, range_of
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.compare.values import ValueChange

if TYPE_CHECKING:
    from artifactstore.display.outline import Block, Change
    from artifactstore.objects.compare.tensors import TensorChange

__all__ = ["SIGNS", "Group", "groups_of", "largest_first", "tensor_blocks", "value_row"]

SIGNS: Final = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
_LEAST: Final = 5  # differences that become a group
_LARGEST: Final = 10  # largest changes that are listed
_SHOWN: Final = 100  # characters of a value


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one folder and one pattern that changed in the same way.

    Attributes:
        title: the first and the last one: `000004.npy … 000096.npy`.
        change: added, removed, changed or moved.
        what: what they are: arrays, tables, images, files.
        of: the number of such files in the folder, changed or not.
        paths: their paths.
    """

    title: str
    change: str
    what: str
    of: int
    paths: tuple[str, ...]

    @property
    def note(self) -> str:
        """Their number in words: `12 of 100 arrays changed`."""
        return f"{len(self.paths):,}{f' of {self.of:,}' if self.of > len(self.paths) else ''} {self.what} {self.change}"


def groups_of(changes: Iterable[tuple[str, str]], before: Iterable[str], after: Iterable[str]) -> list[Group]:
    """Return the groups of changed files, by their first path.

    Args:
        changes: path and change of each.
        before: the paths of all files before.
        after: the paths of all files now.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for path, change in changes:
        found.setdefault((path.rpartition("/")[0], change), []).append(path)
    groups = []
    for (folder, change), paths in found.items():
        if len(paths) < _LEAST:
            continue
        names = [path.rpartition("/")[2] for path in paths]
        above = f"{folder}/" if folder else ""
        for group in grouped(names):
            if len(group) < _LEAST:
                continue
            inside = [names[i] for i in group]
            patterns = {pattern_of(name) for name in inside}
            every = sum(
                path.startswith(above) and "/" not in path[len(above) :] and pattern_of(path[len(above) :]) in patterns
                for path in (before if change == "removed" else after)
            )
            groups.append(Group(above + range_of(inside), change, in_words(inside), every, tuple(paths[i] for i in group)))
    return sorted(groups, key=lambda group: group.paths[0])


def largest_first(rows: "Iterable[tuple[str, TensorChange]]") -> "list[tuple[str, TensorChange]]":
    """Sort tensors, each with the path of its file: those that came, went or have another shape, then by their relative change."""

    def size(row: "tuple[str, TensorChange]") -> float:
        one = row[1]
        return math.inf if one.change != "changed" else -1.0 if one.relative is None else one.relative

    return sorted(rows, key=size, reverse=True)


def tensor_blocks(tensors: "Mapping[str, Sequence[TensorChange]]", groups: Iterable[Group]) -> "Iterator[Block]":
    """Yield the differences inside tensors: of each group of files, and of each file, the largest ones."""
    from artifactstore.display.outline import Changes, Line, Section  # noqa: PLC0415 - most processes show no report

    together = [(group, [path for path in group.paths if path in tensors]) for group in groups]
    done = {path for _, paths in together for path in paths}
    parts: list[tuple[str, list[tuple[str, TensorChange]]]] = [
        (f"{group.title}: {group.note}", largest_first((path, one) for path in paths for one in tensors[path]))
        for group, paths in together
        if paths
    ]
    parts += [(f"{path}:", [("", one) for one in rows]) for path, rows in tensors.items() if path not in done]
    for title, rows in parts:
        shown = rows if len(rows) <= _LARGEST else largest_first(rows)[:_LARGEST]
        more = [Line(f"… and {len(rows) - len(shown):,} smaller changes", dim=True)] if len(rows) > len(shown) else []
        yield Section(title, [Changes([_tensor_row(path, one) for path, one in shown]), *more])


def _tensor_row(path: str, one: "TensorChange") -> "Change":
    from artifactstore.display.outline import Change  # noqa: PLC0415 - as above

    sign, name = SIGNS.get(one.change, "~"), " ".join(part for part in (path, one.name) if part) or "array"
    if one.change != "changed":
        return Change(sign, name, one.old, one.new)
    numbers = (("relative norm", one.relative), ("largest", one.largest), ("elements", one.share))
    known = ", ".join(f"{word} {value:.3g}" for word, value in numbers if value is not None)
    return Change(sign, name, new=known or "changed")


def value_row(one: ValueChange) -> "Change":
    """Return the row of a JSON value that differs."""
    from artifactstore.display.outline import Change  # noqa: PLC0415 - as above

    sign = SIGNS.get(one.change, "~")
    old, new = (canonical_json(value).decode()[:_SHOWN] for value in (one.old, one.new))
    return Change(sign, one.path or "/", None if sign == "+" else old, None if sign == "-" else new)
