"""Vertical coordinates of a drawing whose layers are ordered: lines are short, and level wherever possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LANE", "Grid", "heights"]

_BETWEEN: Final = 18.0  # pixels between two boxes of a layer
LANE: Final = 9.0  # pixels on either side of a line that crosses a layer
_NEARLY: Final = 14.0  # pixels: max difference in height that is levelled
_SQUEEZE: Final = 3.0  # pixels by which neighbours may come closer than usual to make a line level
_STEEP: Final = 4.0  # pixels: steeper lines pull less
_WORK: Final = 400_000  # max steps of lines over all iterations: bounds the time for large graphs


@dataclass(slots=True)
class Grid:
    """Nodes and lanes (where lines cross layers) as one sequence of items.

    Attributes:
        layer: layer of each item.
        height: height of each item.
        real: number of items that are nodes; the others are lanes.
        left: item → items on the left that lines come from, with the weight of the line.
        right: item → items on the right that lines go to.
        ways: edge → items from its beginning (in the direction of layers) to its end.
        chains: lanes of each line.
        back: per edge, whether it goes against the direction of the layers.
    """

    layer: list[int]
    height: list[float]
    real: int
    left: list[list[tuple[int, int]]] = field(default_factory=list)
    right: list[list[tuple[int, int]]] = field(default_factory=list)
    ways: list[list[int]] = field(default_factory=list)
    chains: list[list[int]] = field(default_factory=list)
    back: Sequence[bool] = ()


def heights(grid: Grid, rows: list[list[int]]) -> list[float]:
    """Return the y of each item's centre: the better (shorter lines) of two attempts, then levelled where it nearly is."""
    made = [_attempt(grid, rows, steady=steady) for steady in (True, False)]
    long = [
        sum(weight * abs(y[other] - y[one]) for one, others in enumerate(grid.right) for other, weight in others) for y in made
    ]
    middle = made[long[1] < long[0]]
    _straighten(grid, rows, middle)
    return middle


def _attempt(grid: Grid, rows: list[list[int]], *, steady: bool) -> list[float]:
    """Settle layer by layer. A steady attempt keeps long parallel lines from drifting, the other finds new shapes sooner."""
    middle = [0.0] * len(grid.layer)
    offsets: list[list[float]] = []
    for row in rows:
        at, here = 0.0, []
        for above, one in zip([None, *row], row, strict=False):
            at += 0.0 if above is None else _apart(grid, above, one)
            here.append(at)
            middle[one] = at
        offsets.append(here)
    both = [[*a, *b] for a, b in zip(grid.left, grid.right, strict=True)]
    turns = max(6, min(60, _WORK // (4 * sum(map(len, both)) + 1)))
    for turn in range(turns):
        # First the whole drawing follows either side alternately, then each layer both of its sides.
        beside = (grid.left, grid.right)[turn % 2] if turn < 4 else both
        before = list(middle) if steady else middle
        for number in range(len(rows))[:: -1 if turn % 2 else 1]:
            _settle(rows[number], offsets[number], beside, middle, before)
    return middle


def _apart(grid: Grid, above: int, below: int) -> float:
    """Return the min distance between the centres of two neighbours in a layer."""
    lanes = (above >= grid.real) + (below >= grid.real)
    return (grid.height[above] + grid.height[below]) / 2 + (_BETWEEN, LANE, 0.0)[lanes]


def _settle(
    row: list[int], offsets: list[float], beside: list[list[tuple[int, int]]], middle: list[float], before: list[float]
) -> None:
    """Move a layer's items towards their neighbours, as near as order and distance allow.

    Minus its offset, each item has a target position, and positions must not decrease: isotonic regression, by pooling adjacent
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, items
    for one, offset in zip(row, offsets, strict=True):
        # A line that is steep anyway pulls little, so that others become level: linear in the distance, not quadratic.
        pulls = [(middle[other], heavy / (1 + abs(before[other] - before[one]) / _STEEP)) for other, heavy in beside[one]]
        weight = sum(heavy for _, heavy in pulls)
        if weight:
            mean = sum(y * heavy for y, heavy in pulls) / weight - offset
        else:
            weight, mean = 0.01, middle[one] - offset
        items = 1
        while pools and pools[-1][0] >= mean:
            above, heavy, more = pools.pop()
            mean = (above * heavy + mean * weight) / (heavy + weight)
            weight += heavy
            items += more
        pools.append((mean, weight, items))
    at = 0
    for mean, _, items in pools:
        for number in range(at, at + items):
            middle[row[number]] = mean + offsets[number]
        at += items


def _straighten(grid: Grid, rows: list[list[int]], middle: list[float]) -> None:
    """Level nearly level lines where there is room: first between boxes, then long lines; twice, since each makes room."""
    where = {one: number for row in rows for number, one in enumerate(row)}

    def free_range(one: int) -> tuple[float, float]:
        row, number = rows[grid.layer[one]], where[one]
        low = middle[row[number - 1]] + _apart(grid, row[number - 1], one) if number else float("-inf")
        high = middle[row[number + 1]] - _apart(grid, one, row[number + 1]) if number + 1 < len(row) else float("inf")
        return low, high

    for _ in range(2):
        for one in (one for row in rows for one in row if one < grid.real):
            beside = [middle[other] for other, _ in grid.left[one] or grid.right[one]]
            near = min(beside, key=lambda y: abs(y - middle[one]), default=middle[one])
            low, high = free_range(one)
            if abs(near - middle[one]) <= _NEARLY and low - _SQUEEZE <= near <= high + _SQUEEZE:
                middle[one] = near
        for chain in grid.chains:
            _level(chain, [free_range(one) for one in chain], middle[grid.left[chain[0]][0][0]], middle)


def _level(chain: list[int], rooms: list[tuple[float, float]], wanted: float, middle: list[float]) -> None:
    """Level the lanes of a long line, in as few stretches as their rooms allow."""
    at, low, high = 0, float("-inf"), float("inf")
    for number in range(len(chain) + 1):
        lower, higher = rooms[number] if number < len(chain) else (float("inf"), float("-inf"))
        narrowed = max(low, lower - _SQUEEZE), min(high, higher + _SQUEEZE)
        if narrowed[0] > narrowed[1]:
            wanted = min(max(wanted, low), high)
            for other in chain[at:number]:
                middle[other] = wanted
            at, narrowed = number, (lower - _SQUEEZE, higher + _SQUEEZE)
        low, high = narrowed
