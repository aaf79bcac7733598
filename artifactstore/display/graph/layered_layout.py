"""Layered graph layout: layers from left to right, few crossings, straight lines. Works on numbers, not artifacts.

The four steps are those of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (IEEE Trans. SMC 11, 1981): break cycles, choose layers, order each layer by barycenters, choose coordinates.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from artifactstore.display.graph.coordinates import LANE, Grid, heights

__all__ = ["Box", "Layout", "Route", "arrange", "topological_order"]

_GAP: Final = 56.0  # min pixels between two layers; more where lines are steep
_WIDEST: Final = 170.0  # max pixels between two layers
_BESIDE: Final = 11.0  # pixels below the centre of a box, where lines against the direction end
_WORK: Final = 400_000  # max steps of lines over all sweeps: bounds the time for large graphs


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its top left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """The course of an edge's line: level stretches, joined by curves.

    Attributes:
        lanes: (begin x, end x, y), one per layer. A line that branches off another line of the same
            source starts at the branch, so that their common part is drawn once.
        back: whether it goes against the direction of the layers: it closes a cycle.
        whole: whether it starts at its box.
    """

    lanes: list[tuple[float, float, float]]
    back: bool
    whole: bool


@dataclass(slots=True)
class Layout:
    """The positions of everything.

    Attributes:
        boxes: one per node.
        layers: one per node.
        routes: one per edge.
        width: total width.
        height: total height.
    """

    boxes: list[Box]
    layers: list[int]
    routes: list[Route]
    width: float = 0.0
    height: float = 0.0


def arrange(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    *,
    texts: Sequence[float] = (),
    first: int | None = None,
    last: int | None = None,
    lanes: int | None = None,
) -> Layout:
    """Return the positions of boxes and lines; deterministic.

    Args:
        sizes: (width, height) of each node's box.
        edges: (from, to), indices of nodes; no edge connects a node to itself.
        texts: width of the label on each edge, before its end; 0 for none.
        first: the node that all others come from, if any: where a cycle is broken, no edge leads to it.
        last: the node that all others lead to, if any.
        lanes: give up beyond that many lanes: the layout then has no boxes.
    """
    back = _against(len(sizes), edges, first, last)
    ways = [(b, a) if turned else (a, b) for (a, b), turned in zip(edges, back, strict=True)]
    layer = _layers(len(sizes), ways)
    grid = _with_lanes(sizes, ways, back, layer, lanes)
    if grid is None:
        return Layout([], layer, [])
    rows = _order(grid)
    middle = heights(grid, rows)
    return _placed(sizes, grid, rows, middle, texts or [0.0] * len(edges))


def topological_order(
    count: int, edges: Sequence[tuple[int, int]], first: int | None = None, last: int | None = None
) -> list[int]:
    """Return nodes in topological order, ignoring edges that close a cycle: depth first, from sources."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    sources = [True] * count
    for a, b in edges:
        neighbours[a].append(b)
        sources[b] = False
    seen = [one == last for one in range(count)]
    ended = [] if last is None else [last]
    # The last to finish comes first: iterate backwards, so that siblings keep their order.
    for root in sorted(range(count - 1, -1, -1), key=lambda one: (one != first, not sources[one])):
        if seen[root]:
            continue
        seen[root] = True
        stack = [(root, reversed(neighbours[root]))]
        while stack:
            one, others = stack[-1]
            other = next((other for other in others if not seen[other]), None)
            if other is None:
                ended.append(one)
                stack.pop()
            else:
                seen[other] = True
                stack.append((other, reversed(neighbours[other])))
    return ended[::-1]


def _against(count: int, edges: Sequence[tuple[int, int]], first: int | None, last: int | None) -> list[bool]:
    """Return per edge whether it closes a cycle."""
    position = [0] * count
    for number, one in enumerate(topological_order(count, edges, first, last)):
        position[one] = number
    return [position[a] > position[b] for a, b in edges]


def _layers(count: int, ways: Sequence[tuple[int, int]]) -> list[int]:
    """Return the layer of each node: the longest path to it, then moved as near to its neighbours as possible."""
    left: list[list[int]] = [[] for _ in range(count)]
    right: list[list[int]] = [[] for _ in range(count)]
    for a, b in ways:
        right[a].append(b)
        left[b].append(a)
    order = topological_order(count, ways)
    layer = [0] * count
    for one in order:
        layer[one] = max((layer[other] + 1 for other in left[one]), default=0)
    for _ in range(4):
        before = list(layer)
        for one in reversed(order):
            if len(right[one]) > len(left[one]):
                layer[one] = min(layer[other] for other in right[one]) - 1
        for one in order:
            if len(left[one]) > len(right[one]):
                layer[one] = max(layer[other] for other in left[one]) + 1
        if layer == before:
            break
    first = min(layer, default=0)
    return [one - first for one in layer]


def _with_lanes(
    sizes: Sequence[tuple[float, float]],
    ways: Sequence[tuple[int, int]],
    back: Sequence[bool],
    layer: list[int],
    most: int | None,
) -> Grid | None:
    """Return nodes and lanes; lines from one source share lanes, like cables in a duct. None if there are too many."""
    count = len(sizes)
    grid = Grid(list(layer), [height for _, height in sizes], count, back=back)
    ducts: dict[tuple[int, int], list[int]] = defaultdict(list)
    pairs: dict[tuple[int, int], int] = {}
    for number, (a, b) in enumerate(ways):
        duct = ducts[(a, number + 1 if back[number] else 0)]
        while len(duct) < layer[b] - layer[a] - 1:
            duct.append(len(grid.layer))
            grid.layer.append(layer[a] + len(duct))
            grid.height.append(2 * LANE)
            if most is not None and len(grid.layer) - count > most:
                return None
        way = [a, *duct[: layer[b] - layer[a] - 1], b]
        grid.ways.append(way)
        for one, other in pairwise(way):
            # Long lines are straightened before short ones.
            pairs[one, other] = 8 if one >= count and other >= count else 1
    grid.chains = [duct for duct in ducts.values() if duct]
    grid.left = [[] for _ in grid.layer]
    grid.right = [[] for _ in grid.layer]
    for (one, other), weight in pairs.items():
        grid.right[one].append((other, weight))
        grid.left[other].append((one, weight))
    return grid


def _order(grid: Grid) -> list[list[int]]:
    """Return the items of each layer from top to bottom: barycentre sweeps in both directions; the order with fewest crossings."""
    rows: list[list[int]] = [[] for _ in range(max(grid.layer, default=-1) + 1)]
    lines = [(a, b) for a, others in enumerate(grid.right) for b, _ in others]
    for one in topological_order(len(grid.layer), lines):
        rows[grid.layer[one]].append(one)
    position = [0] * len(grid.layer)
    for row in rows:
        for number, one in enumerate(row):
            position[one] = number
    best, fewest, idle = [list(row) for row in rows], _crossings(grid, rows, position), 0
    for turn in range(max(4, min(24, _WORK // (8 * len(lines) + 1)))):
        neighbours, sequence = (grid.right, rows[::-1]) if turn % 2 else (grid.left, rows)
        for row in sequence:
            _sort(row, neighbours, position)
        found = _crossings(grid, rows, position)
        idle += 1
        if found < fewest:
            best, fewest, idle = [list(row) for row in rows], found, 0
        if fewest == 0 or idle == 6:
            break
    return best


def _sort(row: list[int], neighbours: list[list[tuple[int, int]]], position: list[int]) -> None:
    """Order a layer by the mean position of each item's neighbours; items without neighbours stay."""
    keys = {one: sum(position[other] for other, _ in neighbours[one]) / len(neighbours[one]) for one in row if neighbours[one]}
    moved = iter(sorted(keys, key=lambda one: (keys[one], position[one])))
    row[:] = [next(moved) if one in keys else one for one in row]
    for number, one in enumerate(row):
        position[one] = number


def _crossings(grid: Grid, rows: list[list[int]], position: list[int]) -> int:
    """Count crossings with a sum tree (W. Barth, M. Jünger, P. Mutzel, "Simple and Efficient Bilayer Cross Counting", 2002)."""
    total = 0
    for row in rows:
        ends = [there for one in row for there in sorted(position[other] for other, _ in grid.right[one])]
        size = 1
        while size <= max(ends, default=0):
            size *= 2
        tree = [0] * (2 * size)
        for end in ends:
            at = end + size
            tree[at] += 1
            while at > 1:
                if at % 2 == 0:
                    total += tree[at + 1]
                at //= 2
                tree[at] += 1
    return total


def _placed(
    sizes: Sequence[tuple[float, float]],
    grid: Grid,
    rows: list[list[int]],
    middle: list[float],
    texts: Sequence[float],
) -> Layout:
    """Return boxes and routes: each layer is as wide as its widest box, gaps are wider where lines are steep."""
    top = min((middle[one] - grid.height[one] / 2 for row in rows for one in row), default=0.0)
    written = [0.0] * len(rows)  # the widest label in the gap after each layer
    for way, turned, wide in zip(grid.ways, grid.back, texts, strict=True):
        gap = grid.layer[way[0] if turned else way[-2]]
        written[gap] = max(written[gap], wide)
    starts, ends, at = [], [], 0.0
    for number, row in enumerate(rows):
        starts.append(at)
        ends.append(at + max((sizes[one][0] for one in row if one < grid.real), default=0.0))
        steep = max((abs(middle[other] - middle[one]) for one in row for other, _ in grid.right[one]), default=0.0)
        at = ends[-1] + min(_WIDEST, max(_GAP + 0.22 * steep, written[number] + 30 if written[number] else 0))
    boxes = [
        Box(starts[grid.layer[one]], middle[one] - height / 2 - top, ends[grid.layer[one]] - starts[grid.layer[one]], height)
        for one, (_, height) in enumerate(sizes)
    ]
    routes: list[Route | None] = [None] * len(grid.back)
    drawn: set[int] = set()
    for number in sorted(range(len(grid.back)), key=lambda number: (len(grid.ways[number]), number)):
        way, aside = grid.ways[number], _BESIDE if grid.back[number] else 0.0
        lanes = []
        for one in way:
            begin, end = starts[grid.layer[one]], ends[grid.layer[one]]
            begin, end = (end, end) if one == way[0] else (begin, begin) if one == way[-1] else (begin, end)
            lanes.append((begin, end, middle[one] - top + (aside if one < grid.real else 0.0)))
        # A stretch already drawn by an earlier line of the duct is not drawn again.
        shared = max((at for at, one in enumerate(way[:-1]) if one in drawn), default=0)
        drawn.update(way[1:-1])
        routes[number] = Route(lanes[shared:], grid.back[number], shared == 0)
    made = [route for route in routes if route is not None]
    height = max((middle[one] + grid.height[one] / 2 - top for row in rows for one in row), default=0.0)
    return Layout(boxes, grid.layer[: grid.real], made, max(ends, default=0.0), height)
