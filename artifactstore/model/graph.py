"""The lineage graph as values: what the fold finds, and what drawings show."""

from dataclasses import dataclass, field

__all__ = ["Graph", "Node"]


@dataclass(frozen=True, slots=True)
class Node:
    """An artifact or a run in a graph.

    Attributes:
        type: artifact or run.
        id: an artifact's digest, a run's id.
        label: display name: `churn/model:v7`, or a run's name.
        kind: kind of an artifact (data, model, code, environment …); status of a run.
        depth: number of steps from the start of the graph.
        aliases: aliases that point to an artifact.
        tainted: whether an artifact is tainted.
        dirty: whether a run's code had uncommitted changes.
        idle: whether everything a run produced was also its input.
        about: what an artifact without a name is, in words: `code 3f2a91c08d main*`, `Python 3.12.1 · 48 packages`; else empty.
    """

    type: str
    id: str
    label: str
    kind: str
    depth: int = 0
    aliases: tuple[str, ...] = ()
    tainted: bool = False
    dirty: bool = False
    idle: bool = False
    about: str = ""

    @property
    def digest(self) -> str | None:
        """An artifact's digest; None for a run."""
        return self.id if self.type == "artifact" else None

    @property
    def name(self) -> str | None:
        """The name of a run or an artifact; None for an unnamed artifact."""
        if self.type == "run":
            return self.label
        return None if self.id.startswith(self.label) else self.label.rpartition(":v")[0]

    @property
    def version(self) -> int | None:
        """The number of an artifact's version; None for an unnamed artifact, and for a run."""
        return None if self.type == "run" or self.name is None else int(self.label.rpartition(":v")[2])

    @property
    def ref(self) -> str:
        """A reference for `store.get` and `store.lineage`: `churn/model:v7`, a digest, a run's id."""
        return self.label if self.type == "artifact" and self.name is not None else self.id


@dataclass(slots=True)
class Graph:
    """Nodes, and edges in the direction of production.

    Attributes:
        nodes: id → node, in the order found.
        edges: (from, to, role): an artifact that a run used, or a run that produced an artifact.
        read_as: (artifact, run) → the name and version under which the run read the artifact.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str, str | None]] = field(default_factory=list)
    read_as: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of nodes."""
        return len(self.nodes)
