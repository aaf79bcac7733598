"""The graph of runs and artifacts as numbers: what a walk has met, and what is next to it.

Read from the tables where a walk first comes, and extended by what was folded since. Not a part of the state: nothing is judged
by it, and no cache has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["Adjacency", "Edge", "Step"]

_MOST: Final = 50_000  # nodes that are remembered between walks: 70 MB, as a table has rows

Edge = tuple[str, str, str | None]  # from, to, role


class Step(NamedTuple):
    """What is next to a node in one direction, in the order of the facts.

    Attributes:
        numbers: the neighbours.
        edges: the edges to them, in the direction of production.
        read_as: (artifact, run) and the name and version under which the run read the artifact.
        is_run: whether the node is a run.
        rows: number of rows of the table that were read: these lists only grow.
    """

    numbers: tuple[int, ...]
    edges: tuple[Edge, ...]
    read_as: tuple[tuple[tuple[str, str], str], ...]
    is_run: bool
    rows: int


class _Tables(Protocol):
    """The tables of the fold that have the graph."""

    @property
    def runs(self) -> Mapping[str, Any]: ...
    @property
    def edges(self) -> Mapping[str, Sequence[Mapping[str, Any]]]: ...
    @property
    def produced_by(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def used_by_runs(self) -> Mapping[str, Sequence[str]]: ...


class Adjacency:
    """Nodes and their neighbours, by number.

    Attributes:
        ids: the digest or run of each number.
        about: what a question has made of each node, or None; forgotten when a fact touches the node.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.ids: list[str] = []
        self.about: list[Any] = []
        self._numbers: dict[str, int] = {}
        self._steps: tuple[list[Step | None], list[Step | None]] = ([], [])  # downstream, upstream
        self._older: dict[tuple[bool, int], Step] = {}  # of nodes that were touched since
        self._of_name: dict[str, set[int]] = {}

    def see(self, fact: Mapping[str, Any]) -> None:
        """Forget what a fact changes, as far as it was met."""
        for one in (fact.get("run"), fact.get("digest")):
            if one is not None and (number := self._numbers.get(one)) is not None:
                self.about[number] = None
                for up, steps in ((False, self._steps[False]), (True, self._steps[True])):
                    if (step := steps[number]) is not None:
                        self._older[up, number] = step
                        steps[number] = None
        if fact["fact"] == "aliased":
            for number in self._of_name.get(fact["name"], ()):
                self.about[number] = None

    def label(self, number: int, names: Iterable[str]) -> None:
        """Note the names whose aliases a node shows."""
        for name in names:
            self._of_name.setdefault(name, set()).add(number)

    def walk(
        self, tables: _Tables, start: str, *, up: bool, most: int | None = None, end: str | None = None
    ) -> tuple[list[list[int]], list[Step]]:
        """Walk to all ancestors (`up`) or descendants of a node.

        Args:
            tables: the state whose graph this is.
            start: a digest, or a run's id.
            up: follow inputs instead of outputs.
            most: max number of steps; None: no limit.
            end: a node at whose distance the walk ends; None: nowhere.

        Returns:
            The nodes by their distance, and what was next to those from which the walk went on.
        """
        self.trim()
        steps, last = self._steps[up], None if end is None else self._number(end)
        level = [self._number(start)]
        seen, levels, met = {*level}, [level], []
        while level and len(levels) - 1 != most and last not in seen:
            further = []
            for number in level:
                step = steps[number] or self._read(tables, number, up=up)
                met.append(step)
                for other in step.numbers:
                    if other not in seen:
                        seen.add(other)
                        further.append(other)
            level = further
            if level:
                levels.append(level)
        return levels, met

    def trim(self) -> None:
        """Forget all if that is much."""
        if len(self.ids) > _MOST:
            self._forget()

    def _number(self, one: str) -> int:
        number = self._numbers.get(one)
        if number is None:
            number = self._numbers[one] = len(self.ids)
            self.ids.append(one)
            self.about.append(None)
            for steps in self._steps:
                steps.append(None)
        return number

    def _read(self, tables: _Tables, number: int, *, up: bool) -> Step:
        """Read what is next to a node: all of it, or what came since it was last read."""
        one, older = self.ids[number], self._older.pop((up, number), None)
        is_run = one in tables.runs or one in tables.edges
        if older is not None and older.is_run != is_run:
            older = None
        begin = 0 if older is None else older.rows
        wanted = "used" if up == is_run else "produced"
        found: dict[str, Mapping[str, Any]] = {}
        if is_run:
            rows: Sequence[Any] = tables.edges.get(one, ())
            for edge in rows[begin:]:
                if edge["fact"] == wanted:
                    found.setdefault(edge["digest"], edge)
        else:
            rows = (tables.produced_by if up else tables.used_by_runs).get(one, ())
            for run in rows[begin:]:
                edges = tables.edges.get(run, ())
                found[run] = next((edge for edge in edges if edge["digest"] == one and edge["fact"] == wanted), {})
        made = [((other, one) if up else (one, other), edge) for other, edge in found.items()]
        step = Step(
            tuple(map(self._number, found)),
            tuple((*ends, edge.get("role")) for ends, edge in made),
            tuple(
                (ends, f"{edge['name']}:v{edge['version']}")
                for ends, edge in made
                if edge.get("version") is not None and edge.get("name") is not None
            ),
            is_run,
            len(rows),
        )
        if older is not None:
            step = Step(older.numbers + step.numbers, older.edges + step.edges, older.read_as + step.read_as, is_run, len(rows))
        self._steps[up][number] = step
        return step
