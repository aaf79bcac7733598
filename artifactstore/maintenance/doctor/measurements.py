"""A backend's throughput, latency and clock offset: measured within a budget of bytes and time."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from artifactstore.backend.base import Backend

__all__ = ["Budget", "Clock", "Speed", "compare_clocks", "latencies", "read_speed", "write_speed"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of the measurements.

    Attributes:
        piece: bytes per request.
        connections: number of concurrent connections.
        small: number of small requests that are timed.
        seconds: no measurement starts after this time.
    """

    piece: int
    connections: int
    small: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Bytes a second over one connection, and over several together (None where not measured)."""

    one: float
    many: float | None
    connections: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The store's clock relative to ours: seconds that it is ahead, give or take `within`."""

    ahead: float
    within: float


def latencies(call: Callable[[int], object], budget: Budget) -> list[float]:
    """Return the seconds that each of some consecutive calls took."""
    start, found = time.monotonic(), []
    for number in range(budget.small):
        before = time.perf_counter()
        call(number)
        found.append(time.perf_counter() - before)
        if time.monotonic() - start > budget.seconds:
            break
    return found


def write_speed(backend: Backend, key_of: Callable[[int], str], budget: Budget) -> Speed:
    """Upload incompressible bytes: one piece alone, then one per connection."""
    data = os.urandom(budget.piece)
    return _measured(lambda number: backend.write(key_of(number), data), budget)


def read_speed(backend: Backend, key_of: Callable[[int], str], budget: Budget, written: int) -> Speed:
    """Download the `written` objects of `write_speed`."""
    return _measured(lambda number: backend.read(key_of(number % written)), budget)


def _measured(move: Callable[[int], object], budget: Budget) -> Speed:
    start = time.perf_counter()
    move(0)
    alone = time.perf_counter() - start
    one = budget.piece / alone
    # All connections together may be no faster than a single one.
    if budget.connections < 2 or alone * budget.connections > budget.seconds:
        return Speed(one, None, 1, budget.piece)
    with ThreadPoolExecutor(budget.connections) as pool:
        start = time.perf_counter()
        list(pool.map(move, range(1, budget.connections + 1)))
        together = time.perf_counter() - start
    moved = budget.piece * budget.connections
    return Speed(one, moved / together, budget.connections, budget.piece + moved)


def compare_clocks(before: float, after: float, modified: float) -> Clock:
    """Compare the time of an object just written with ours; backends with a resolution of seconds truncate it."""
    coarse = 1.0 if modified == int(modified) else 0.0
    return Clock(modified + coarse / 2 - (before + after) / 2, (after - before) / 2 + coarse / 2)
