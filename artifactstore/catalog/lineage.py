"""The graph of runs and artifacts, as a function of the fold; never opens stored content."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final

from artifactstore.catalog.ancestry import code_of, tainted_ancestor
from artifactstore.catalog.fold.adjacency import Step
from artifactstore.catalog.fold.state import State
from artifactstore.model.graph import Graph, Node
from artifactstore.runtime.records import dataclass

__all__ = [
    "Input",
    "code_of",
    "companions",
    "descendants",
    "history_of",
    "inputs_of",
    "is_companion",
    "node_of",
    "outputs_of",
    "reachable",
    "restrict",
    "shortest_path",
    "tainted_above",
]


_COMMIT: Final = 10  # characters shown of a commit
_SHORT: Final = 15  # characters shown of a digest
_NEWEST: Final = 8  # runs that are asked for their commit: what is used in another role, such as a history, may have thousands
_BESIDE: Final = frozenset(
    {"code", "environment", "cells", "history", "modules"}
)  # roles of artifacts that are recorded with a run automatically


def history_of(state: State, code: str, commit: str | None) -> str | None:
    """Return the digest of the stored history of a commit, from any run of this code, if it still exists; or None."""
    for run in state.used_by_runs.get(code, ()) if commit is not None else ():
        digest = companions(state, run).get("history")
        if digest is not None and state.alive(digest) and code_of(state, run)[1].get("commit") == commit:
            return digest
    return None


def is_companion(edge: Mapping[str, Any]) -> bool:
    """Return whether an input was recorded automatically, such as the code, not read by a name."""
    return edge["fact"] == "used" and edge.get("role") in _BESIDE and "name" not in edge


@dataclass(frozen=True, slots=True)
class Input:
    """An artifact that a run used, or produced.

    Attributes:
        ref: the reference that it was read or put by, as a version; the digest if it has no name.
        digest: its digest.
        role: its role in the run, or None.
        kind: its kind.
    """

    ref: str
    digest: str
    role: str | None
    kind: str


def inputs_of(state: State, run: str) -> list[Input]:
    """Return what a run used, in the order of its reads: first what was read by a name, then code and environment."""
    found = []
    for edge in sorted((one for one in state.edges.get(run, ()) if one["fact"] == "used"), key=is_companion):
        node = _artifact(state, edge["digest"], 0)
        named = edge.get("name") is not None and edge.get("version") is not None
        found.append(Input(f"{edge['name']}:v{edge['version']}" if named else node.ref, node.id, edge.get("role"), node.kind))
    return found


def outputs_of(state: State, run: str) -> list[Input]:
    """Return what a run produced, by the names that it gave."""
    found = []
    for edge in state.edges.get(run, ()):
        if edge["fact"] == "produced":
            node, name = _artifact(state, edge["digest"], 0), edge.get("name")
            number = state.version_of({"name": name, "digest": node.id}) if name is not None else None
            found.append(Input(node.ref if number is None else f"{name}:v{number}", node.id, edge.get("role"), node.kind))
    return found


def companions(state: State, run: str) -> dict[str, str]:
    """Return the artifacts recorded automatically with a run: role → digest."""
    return {edge["role"]: edge["digest"] for edge in state.edges.get(run, ()) if is_companion(edge)}


def node_of(state: State, one: str, depth: int = 0) -> Node:
    """Return the node of a digest or a run's id."""
    if one not in state.runs and one not in state.edges:
        return _artifact(state, one, depth)
    row = state.runs.get(one)
    if row is None:
        return Node("run", one, one, "unknown", depth)
    edges = state.edges.get(one, ())
    made = {edge["digest"] for edge in edges if edge["fact"] == "produced"}
    idle = bool(made) and made <= {edge["digest"] for edge in edges if edge["fact"] == "used"}
    dirty = bool(code_of(state, one)[1].get("dirty"))
    return Node("run", one, row["name"], row.get("status", "running"), depth, dirty=dirty, idle=idle)


def _artifact(state: State, digest: str, depth: int) -> Node:
    """Return the node of an artifact, labelled by its newest version."""
    versions = state.versions_by_digest.get(digest, ())
    tainted = digest in state.tainted
    if not versions:
        kind = state.unnamed.get(digest, {}).get("kind", "data")
        about = _commit_of(state, digest) if kind == "code" else ""
        return Node("artifact", digest, digest[:_SHORT], kind, depth, tainted=tainted, about=about)
    name, number, kind = versions[-1]
    aliases = []
    for one, at, _ in versions:
        if one in state.aliases:
            aliases += [f"{one}:{alias}" for alias, moves in state.aliases[one].items() if moves and moves[-1]["version"] == at]
    return Node("artifact", digest, f"{name}:v{number}", kind, depth, tuple(aliases), tainted=tainted)


def _commit_of(state: State, digest: str) -> str:
    """Return what the code of a run is, in words: its commit and branch, with `*` for uncommitted changes."""
    for run in reversed(state.used_by_runs.get(digest, ())[-_NEWEST:]):
        found, code = code_of(state, run)
        if found == digest and code.get("commit"):
            return f"code {code['commit'][:_COMMIT]} {code.get('branch', '')}".rstrip() + ("*" if code.get("dirty") else "")
    return ""


def reachable(state: State, start: str, *, up: bool, steps: int | None = None) -> Graph:
    """Return all ancestors (`up`) or descendants of a node, nearest first.

    Args:
        state: the fold.
        start: a digest, or a run's id.
        up: follow inputs instead of outputs.
        steps: max number of steps; None: no limit.
    """
    adjacency = state.adjacency
    levels, met = adjacency.walk(state, start, up=up, most=steps)
    about = adjacency.about
    nodes = [about[number] for level in levels for number in level]
    if not all(nodes):
        nodes = [_remembered(state, number, depth) for depth, level in enumerate(levels) for number in level]
    adjacency.trim()
    return _Walked(nodes, levels, met)


class _Walked(Graph):
    """What a walk has met, as it was then; its nodes and edges are made when they are asked for.

    Args:
        nodes: the nodes, nearest first, each at any distance.
        levels: their numbers by their distance.
        met: what was next to them.
    """

    __slots__ = ("_levels", "_met", "_nodes")

    def __init__(self, nodes: Sequence[Node], levels: Sequence[Sequence[int]], met: Sequence[Step]) -> None:
        self._nodes = nodes  # and no field of a graph, until `__getattr__`
        self._levels = levels
        self._met = met

    @property
    def count(self) -> int:
        """The number of nodes."""
        return len(self._nodes)

    def __getattr__(self, name: str) -> Any:
        if name not in Graph.__dataclass_fields__:
            raise AttributeError(name)
        found = iter(self._nodes)
        made: dict[str, Any] = {"nodes": {}, "edges": [], "read_as": {}}
        for depth, level in enumerate(self._levels):
            for node in islice(found, len(level)):
                made["nodes"][node.id] = node if node.depth == depth else replace(node, depth=depth)
        for step in self._met:
            made["edges"] += step.edges
            if step.read_as:
                made["read_as"].update(step.read_as)
        for one, value in made.items():
            try:
                object.__getattribute__(self, one)  # what was set by hand stays
            except AttributeError:
                setattr(self, one, value)
        return made[name]


def descendants(state: State, start: str) -> set[str]:
    """Return the ids of all that was made from a node."""
    adjacency = state.adjacency
    levels, _ = adjacency.walk(state, start, up=False)
    found = {adjacency.ids[number] for level in levels[1:] for number in level}
    adjacency.trim()
    return found


def _remembered(state: State, number: int, depth: int) -> Node:
    """Return the node of a number, and remember it until a fact concerns it."""
    adjacency = state.adjacency
    known: Node | None = adjacency.about[number]
    if known is None:
        one = adjacency.ids[number]
        known = adjacency.about[number] = node_of(state, one, depth)
        adjacency.label(number, (name for name, _, _ in state.versions_by_digest.get(one, ())))
    return known


def restrict(graph: Graph, *, up: bool, chosen: Collection[str]) -> Graph:
    """Return the chosen nodes of a closure, with the paths to them from its start."""
    nearer: dict[str, list[str]] = {}
    for before, after, _ in graph.edges:
        one, other = (before, after) if up else (after, before)
        nearer.setdefault(one, []).append(other)
    start = next(iter(graph.nodes))
    kept, todo = {start, *chosen}, [*chosen]
    while todo:
        for one in nearer.get(todo.pop(), ()):
            if one not in kept:
                kept.add(one)
                todo.append(one)
    nodes = {one: node for one, node in graph.nodes.items() if one in kept}
    return Graph(nodes, [edge for edge in graph.edges if edge[0] in kept and edge[1] in kept], graph.read_as)


def shortest_path(state: State, start: str, end: str) -> list[str]:
    """Return the nodes on a shortest path from an ancestor to a descendant, both included; empty if there is none."""
    adjacency = state.adjacency
    levels, met = adjacency.walk(state, start, up=False, end=end)
    ids = adjacency.ids
    before = {levels[0][0]: -1}
    for number, step in zip(chain.from_iterable(levels), met, strict=False):
        for other in step.numbers:
            before.setdefault(other, number)
    found = next((number for number in before if ids[number] == end), -1)
    way = []
    while found >= 0:
        way.append(ids[found])
        found = before[found]
    return way[::-1]


def tainted_above(state: State, digest: str) -> tuple[Node, list[Any]] | None:
    """Return the nearest ancestor with a taint that spreads, and its marks; None if there is none."""
    found = tainted_ancestor(state, digest)
    return None if found is None else (node_of(state, found), state.tainted[found])
