"""Paths that one tree cannot hold together: the same twice, one inside of a file, or alike but for their case."""

import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import compress, islice, pairwise
from operator import ge
from typing import Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import numpy

__all__ = ["case_clashes", "check_tree", "clash"]

_AT_ONCE: Final = 4096  # paths that are compared at a time

_FEW: Final = 20_000  # paths: up to here one object per path is fine


def clash(files: Collection[str], folders: Sequence[str], links: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return two paths that cannot be in one tree: the same path twice, or a path below a file or link.

    In sorted order, a path below a file follows it, with only paths in between that begin with the file's path: so
    only the prefixes of the last path are kept. Sorted files cost no memory.
    """
    return _clash(_merged(files, folders, links)) if folders or links else _clash_of_files(files)


def _clash_of_files(files: Collection[str]) -> tuple[str, str] | None:
    rows, above = iter(files), list[str]()  # above: the earlier paths that are prefixes of the last one, and itself
    while batch := [*islice(rows, _AT_ONCE)]:
        before = [*above[-1:], *batch]
        later = before[1:]
        if any(map(ge, before, later)):
            return _clash((path, True) for path in sorted(files))
        # All paths that begin with a path follow it: most are not even followed by one.
        above = [*above[:-1], *compress(before, map(str.startswith, later, before))]
        for path in above:
            at = bisect_left(batch, f"{path}/")
            if at < len(batch) and batch[at].startswith(f"{path}/"):
                return path, batch[at]
        above = [*(path for path in above if batch[-1].startswith(path)), batch[-1]]
    return None


def _merged(files: Collection[str], folders: Sequence[str], links: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """Yield (path, whether it cannot contain others) of all, sorted."""
    others = sorted([*((path, False) for path in folders), *((path, True) for path, _ in links)])
    return merge(((path, True) for path in _sorted(files)), others)


def _sorted(files: Collection[str]) -> Iterable[str]:
    return files if all(a <= b for a, b in pairwise(files)) else sorted(files)


def _clash(paths: Iterable[tuple[str, bool]]) -> tuple[str, str] | None:
    """Find a clash in sorted (path, whether it cannot contain others)."""
    above, before = list[str](), None
    for path, leaf in paths:
        if path == before:
            return path, path
        while above and not path.startswith(above[-1]):
            above.pop()
        for one in above:
            if path[len(one)] == "/":
                return one, path
        if leaf:
            above.append(path)
        before = path
    return None


def check_tree(files: Collection[str], folders: Sequence[str], links: Sequence[tuple[str, str]]) -> None:
    """Refuse paths that cannot be in one tree, or that could be written outside of the target.

    Raises:
        InvalidInputError: names both paths.
    """
    found = clash(files, folders, links)
    if found is not None:
        first, second = found
        raise InvalidInputError(
            f"the path {first!r} occurs twice" if first == second else f"{second!r} is inside {first!r}, which is not a folder"
        )


def case_clashes(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths that differ only by case, or by accent encoding: Windows or macOS cannot hold both.

    Args:
        paths: iterable more than once.
    """
    some = [*islice(paths, _FEW)]
    if len(some) < _FEW:
        yield from _alike_pairs(some)
        return
    rows = iter(paths)
    if any(not text.isascii() or text != text.lower() for text in iter(lambda: "\n".join(islice(rows, _AT_ONCE)), "")):
        # One number each, since a dict of millions would take gigabytes; paths with equal numbers are then compared.
        found = numpy().sort(numpy().fromiter((hash(_alike(path)) for path in paths), "q"))
        twice = {*found[1:][found[1:] == found[:-1]].tolist()}
        yield from _alike_pairs(path for path in paths if hash(_alike(path)) in twice) if twice else ()


def _alike_pairs(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for path in paths:
        first = seen.setdefault(_alike(path), path)
        if first != path:
            yield first, path


def _alike(path: str) -> str:
    return path.casefold() if path.isascii() else _folded(path)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
