"""Many files in few lines: folders with their sums, and files whose names differ only by a number as one line."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from artifactstore.display.outline import Inline, Span
from artifactstore.display.values import counted, format_size

__all__ = ["folded_tree", "grouped", "in_words", "pattern_of", "range_of"]

_DIGITS: Final = re.compile(r"[0-9]+")
_PARTS: Final = re.compile(r"([0-9]+)")
_FOLDED: Final = 5  # files of one pattern that become one line
_CROWD: Final = 50  # files of one suffix that become one line if their names follow many patterns
_PATTERNS: Final = 8
_WORDS: Final = {
    "npy": "arrays", "npz": "archives of arrays", "parquet": "tables", "csv": "tables", "safetensors": "tensor files",
    "jpg": "images", "jpeg": "images", "png": "images", "webp": "images", "tif": "images", "tiff": "images", "json": "JSON files",
}  # fmt: skip


@dataclass(slots=True)
class _Folder:
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    count: int = 0
    size: int = 0


def grouped(names: Sequence[str]) -> list[list[int]]:
    """Group the names of a folder that follow one pattern, such as `000004.npy`; return the positions of each group.

    Groups come in the order of their first names; names that are not alike are groups of one.
    """
    by_suffix: dict[str, dict[str, list[int]]] = {}
    for i, name in enumerate(names):
        by_suffix.setdefault(_suffix(name), {}).setdefault(pattern_of(name), []).append(i)
    found: list[list[int]] = []
    for patterns in by_suffix.values():
        together = [i for group in patterns.values() for i in group]
        if len(together) > _CROWD and len(patterns) > _PATTERNS:
            found.append(sorted(together))
            continue
        for pattern, group in patterns.items():
            alike = len(group) >= _FOLDED and "0" in pattern
            found += [group] if alike else [[i] for i in group]
    return sorted(found)


def pattern_of(name: str) -> str:
    """Return the pattern of a file's name: the name with `0` for each number."""
    return _DIGITS.sub("0", name)


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return suffix.lower() if stem and dot and len(suffix) <= 12 else ""


def in_words(names: Sequence[str]) -> str:
    """Return the plural of what files with such names are: `arrays`, `images`, `files`."""
    return _WORDS.get(_suffix(names[0]), "files") if names else "files"


def range_of(names: Sequence[str]) -> str:
    """Return a group of names in short: `000000.npy … 000099.npy`, by number where they differ by one."""
    key = _by_number if len(set(map(len, names))) > 1 else None  # names of one length are in the order of their numbers
    return f"{min(names, key=key)} … {max(names, key=key)}"


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (-1, part) for part in _PARTS.split(name)]


def folded_tree(files: Iterable[tuple[str, int]]) -> Iterator[Inline]:
    """Yield the lines of a tree of files: of each folder first its files, then its folders.

    Args:
        files: (path, size) of each.
    """
    root = _Folder()
    for path, size in files:
        *above, name = path.split("/")
        folder = root
        for one in above:
            folder.count, folder.size = folder.count + 1, folder.size + size
            folder = folder.folders.setdefault(one, _Folder())
        folder.count, folder.size = folder.count + 1, folder.size + size
        folder.names.append(name)
        folder.sizes.append(size)
    todo = [(0, "", root)]
    while todo:
        depth, title, folder = todo.pop()
        if title:
            yield [
                "  " * (depth - 1),
                f"{title}/  ",
                Span(f"{counted(folder.count, 'files')}, {format_size(folder.size)}", "dim"),
            ]
        for group in grouped(folder.names):
            names, size = [folder.names[i] for i in group], sum(folder.sizes[i] for i in group)
            if len(names) == 1:
                yield ["  " * depth, names[0], "  ", Span(format_size(size), "dim")]
            else:
                yield ["  " * depth, range_of(names), "  ", Span(f"{len(names):,} {in_words(names)}, {format_size(size)}", "dim")]
        todo += [(depth + 1, name, one) for name, one in sorted(folder.folders.items(), reverse=True)]
