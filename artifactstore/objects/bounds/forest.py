"""Bounds checks for decision trees as arrays of children: what a prediction follows must be a tree, and stay inside it."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAX_DEPTH", "UnknownModelError", "check_trees", "outside"]

MAX_DEPTH: Final = 4096  # levels: compiled code descends some trees recursively, at some hundred bytes of stack per level


class UnknownModelError(ValueError):
    """Raised for a part unknown to this version, which it therefore cannot check: not necessarily wrong."""


def check_trees(
    left: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    right: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    roots: "np.ndarray[tuple[int], np.dtype[np.int64]]",
) -> tuple[int, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Check that the nodes below each root form a tree.

    Args:
        left: the left child of each node of all trees, counted over all of them; -1 for a leaf.
        right: the right child, likewise.
        roots: the first node of each tree, ascending; a tree's nodes end where the next one's begin.

    Returns:
        The number of levels below the roots, and a mask of the nodes reachable from a root.

    Raises:
        ValueError: a child outside its tree, reached twice, or deeper than `MAX_DEPTH`; a node with one child.
    """
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    count = len(left)
    ends = np.append(roots[1:], count)
    reached = np.zeros(count, bool)
    reached[roots] = True
    last = np.empty(count, np.int64)  # of each node, its last position on a level
    nodes, limits, depth = roots, ends, 0
    starts = roots
    while True:
        one, other = left[nodes], right[nodes]
        inner = (one != -1) | (other != -1)
        one, other, starts, limits = one[inner], other[inner], starts[inner], limits[inner]
        if not len(one):
            return depth, reached
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"a tree has more than {MAX_DEPTH:,} levels")
        nodes = np.concatenate((one, other))
        starts, limits = np.concatenate((starts, starts)), np.concatenate((limits, limits))
        if bool(((nodes < starts) | (nodes >= limits)).any()):
            raise ValueError("a child of a node is outside of its tree")
        order = np.arange(len(nodes))
        last[nodes] = order
        if bool(reached[nodes].any()) or bool((last[nodes] != order).any()):  # reached before, or twice on this level
            raise ValueError("a node has two parents")
        reached[nodes] = True


def outside(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]", count: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return a mask of the indices outside `range(count)`."""
    return (numbers < 0) | (numbers >= count)
