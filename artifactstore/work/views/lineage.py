"""Lineage: the ancestors and descendants of an artifact or a run."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from artifactstore.catalog.lineage import code_of, companions, history_of, node_of, reachable, restrict, shortest_path
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.runs.info import RunInfo
from artifactstore.display.displayed import Displayed
from artifactstore.errors import InvalidInputError
from artifactstore.model.graph import Graph, Node
from artifactstore.runtime.answering import answering
from artifactstore.work.get.provenance import describe_environments
from artifactstore.work.queries.resolve import resolve
from artifactstore.work.reproduce.code import Code
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session
from artifactstore.work.views.runs import recorded

if TYPE_CHECKING:
    from artifactstore.display.outline import Block
    from artifactstore.work.queries.drawing import Drawing
    from artifactstore.work.reproduce.comparison import Reproduction

__all__ = ["Lineage", "LineageGraph", "lineage"]


@answering
class LineageGraph(Displayed):
    """A part of the lineage graph; prints as a tree, and can be drawn."""

    def __init__(
        self,
        graph: Graph,
        start: str,
        *,
        up: bool,
        chosen: Collection[str] | None = None,
        describe: Callable[[Graph], None] = lambda _: None,
    ) -> None:
        self._graph = graph
        self._describe = describe  # adds what is read only where it is shown
        self._start = start
        self._up = up
        self._chosen = chosen

    @cached_property
    def edges(self) -> list[tuple[str, str, str | None]]:
        """(from, to, role), in the direction of data flow."""
        return [*self._graph.edges]

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    @cached_property
    def artifacts(self) -> Rows[Node]:
        """The matching artifacts, nearest first, without the start."""
        chosen = self._chosen
        found = [node for node in self if node.type == "artifact" and (chosen is None or node.id in chosen)]
        return Rows(Node, found)

    @cached_property
    def runs(self) -> Rows[Node]:
        """Its runs, nearest first."""
        return Rows(Node, [node for node in self if node.type == "run"])

    def __len__(self) -> int:
        return self._graph.count - 1

    def __iter__(self) -> Iterator[Node]:
        return (node for node in self._graph.nodes.values() if node.id != self._start)

    def _outline(self) -> "list[Block]":
        return self._tree_outline()

    def _tree_outline(self, *, depth: int | None = None, all: bool = False, more: str = "") -> "list[Block]":  # noqa: A002 - the word of `lineage --all`
        """Return the outline of the tree.

        Args:
            depth: number of steps that are shown; by default 60.
            all: also code and environments, which runs name else.
            more: how to see what is deeper.
        """
        from artifactstore.work.queries.drawing import folded  # noqa: PLC0415 - 10 ms, which most commands do without
        from artifactstore.work.queries.lineage_tree import lineage_tree  # noqa: PLC0415 - as above

        self._describe(self._graph)
        graph = self._graph if all or self._chosen is not None else folded(self._graph, self._start)
        hint = {"more": more} if more else {}
        return lineage_tree(graph, self._start, up=self._up, depth=depth, **hint)

    def __repr__(self) -> str:
        return str(self)

    def mermaid(self) -> str:
        """Render as a flowchart in Mermaid, for a README (GitHub draws at most 500 edges)."""
        return self.draw().mermaid()

    def svg(self) -> str:
        """Render as SVG; see `draw`."""
        return self.draw().svg()

    def draw(self, to: Any = None, *, all: bool = False) -> "Drawing":  # noqa: A002 - the word of `lineage --all`
        """Return a drawing, which notebooks show; with `to`, also write a file: `.svg`, `.html` (pans and zooms) or `.mmd`.

        Args:
            to: the file.
            all: draw code and environments; else more than 30 nodes are drawn without them, and runs name them under the pointer.

        Raises:
            InvalidInputError: the suffix is not supported, or the folder does not exist.
        """
        from artifactstore.work.queries.drawing import Drawing  # noqa: PLC0415 - 10 ms, which most commands do without

        self._describe(self._graph)
        drawing = Drawing(self._graph, self._start, up=self._up, all=all)
        if to is not None:
            drawing.save(to)
        return drawing

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """Return the graph as a JSON value."""
        nodes = [{key: getattr(node, key) for key in Node.__dataclass_fields__} for node in self._graph.nodes.values()]
        edges = [{"from": a, "to": b, "role": role, "read_as": self._graph.read_as.get((a, b))} for a, b, role in self.edges]
        return {"nodes": nodes, "edges": edges}


def _chosen(graph: Graph, start: str, *, kind: str | None, name: str | None, role: str | None) -> Iterator[str]:
    """Yield the artifacts that meet all conditions."""
    roles = {(one, role) for before, after, role in graph.edges for one in (before, after)}
    for one, node in graph.nodes.items():
        if (
            node.type == "artifact"
            and one != start
            and kind in (None, node.kind)
            and (name is None or fnmatchcase(node.name or "", name))
            and (role is None or (one, role) in roles)
        ):
            yield one


@answering
class Lineage:
    """Lineage of one artifact or run, as returned by `store.lineage(ref)`.

    Attributes:
        id: the artifact's digest, or the run's id.
    """

    def __init__(self, session: Session, start: str, *, is_run: bool) -> None:
        self._session = session
        self.id = start
        self._is_run = is_run

    def _view(self, *, up: bool, kind: str | None, name: str | None, role: str | None) -> LineageGraph:
        for what, text in (("kind", kind), ("name", name), ("role", role)):
            if text is not None and not isinstance(text, str):
                raise InvalidInputError(f"{what} must be a str, got {text!r}")
        with self._session.query_state() as state:
            graph = reachable(state, self.id, up=up)
        if (kind, name, role) == (None, None, None):
            return LineageGraph(graph, self.id, up=up, describe=partial(describe_environments, self._session))
        chosen = set(_chosen(graph, self.id, kind=kind, name=name, role=role))
        graph = restrict(graph, up=up, chosen=chosen)
        return LineageGraph(graph, self.id, up=up, chosen=chosen, describe=partial(describe_environments, self._session))

    def upstream(self, *, kind: str | None = None, name: str | None = None, role: str | None = None) -> LineageGraph:
        """Return everything that it was made from.

        Args:
            kind: only artifacts of this kind, and the paths to them.
            name: only those with this name, or a pattern of it (`churn/*`).
            role: only artifacts that some run used or produced in this role.
        """
        return self._view(up=True, kind=kind, name=name, role=role)

    def downstream(self, *, kind: str | None = None, name: str | None = None, role: str | None = None) -> LineageGraph:
        """Return everything that was made from it; see `upstream`."""
        return self._view(up=False, kind=kind, name=name, role=role)

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    @property
    def runs(self) -> Rows[RunInfo]:
        """The runs that produced it, newest last; for a run, the run itself."""
        with self._session.query_state() as state:
            found = [self.id] if self._is_run else state.produced_by.get(self.id, [])
            return Rows(RunInfo, [recorded(self._session, state, run) for run in found if run in state.runs])

    @property
    def artifacts(self) -> Rows[Node]:
        """All artifacts produced by the runs that produced it, itself included; for a run, its outputs."""
        with self._session.query_state() as state:
            made = [self.id] if self._is_run else state.produced_by.get(self.id, [])
            found = dict.fromkeys(one["digest"] for run in made for one in state.edges.get(run, ()) if one["fact"] == "produced")
            return Rows(Node, [node_of(state, one, 1) for one in found])

    @property
    def inputs(self) -> Rows[Node]:
        """The artifacts used by the runs that produced it, code and environment included."""
        with self._session.query_state() as state:
            depth = 1 if self._is_run else 2
            graph = reachable(state, self.id, up=True, steps=depth)
            return Rows(Node, [node for node in graph.nodes.values() if node.type == "artifact" and node.depth == depth])

    @property
    def code(self) -> Code | None:
        """The code that it was made with, from the newest run that recorded code; None if no run did."""
        with self._session.query_state() as state:
            found = [self.id] if self._is_run else state.produced_by.get(self.id, [])
            for run in reversed(found):
                digest, about = code_of(state, run)
                if digest is not None:
                    modules, history = companions(state, run).get("modules"), history_of(state, digest, about.get("commit"))
                    return Code(self._session, digest, about, history=history, modules=modules)
        return None

    @one_state()
    def path(self, to: str) -> list[Node]:
        """Return a shortest path between it and another artifact, in either direction; empty if there is none."""
        other, _ = resolve(self._session, to)
        with self._session.query_state() as state:
            way = shortest_path(state, self.id, other) or shortest_path(state, other, self.id)
            return [node_of(state, one, depth) for depth, one in enumerate(way)]

    @one_state()
    def impact(self) -> Rows[Node]:
        """Return every named artifact that was made from it, with the aliases that point to it."""
        return Rows(Node, [node for node in self.downstream().artifacts if node.name is not None])

    def reproduce(
        self,
        folder: Any,
        *,
        env: bool = True,
        tolerance: float = 1e-6,
        command: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> "Reproduction":
        """Run the program that produced it again, on the recorded code, inputs and environment.

        The program works in a fork of the store as of the start of the run: its puts are written to `folder`, and the store
        itself is not changed. This executes stored code: do so only if you trust its author.

        Args:
            folder: an empty or new folder for code, environment, log and scratch store.
            env: build the recorded environment (a virtual environment with newly installed packages); False: use the current one.
            tolerance: allowed difference of metrics, relative to the larger.
            command: what to run instead of the recorded command.
            timeout: seconds after which the program is stopped.

        Returns:
            The verdict: `bit-equal`, `within tolerance`, `different` or `failed`, with the first artifact that diverges.

        Raises:
            NotFoundError: no run produced it, or no code was recorded.
            AlreadyExistsError: the folder is not empty.
            InvalidInputError: the command is unknown, or had a secret.
            BackendError: the recorded packages cannot be installed.
        """
        from artifactstore.work.reproduce.reproduce import reproduce  # noqa: PLC0415 - imports this module itself

        return reproduce(
            self._session,
            self.id,
            folder,
            is_run=self._is_run,
            env=env,
            tolerance=tolerance,
            command=command,
            timeout=timeout,
        )

    def draw(self, to: Any = None, *, all: bool = False) -> "Drawing":  # noqa: A002 - as above
        """Return one drawing of its ancestors and descendants; with `to`, also write a file; see `LineageGraph.draw`."""
        from artifactstore.work.queries.drawing import Drawing, joined  # noqa: PLC0415 - as above

        with self._session.query_state() as state:
            graph = joined(reachable(state, self.id, up=True), reachable(state, self.id, up=False))
        describe_environments(self._session, graph)
        drawing = Drawing(graph, self.id, up=None, all=all)
        if to is not None:
            drawing.save(to)
        return drawing

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    @one_state()
    def export(self, standard: str, to: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Export its lineage (for a run: that run alone) in a standard format, see docs/reference/exports.md.

        Args:
            standard: `openlineage` (run events), `prov` (W3C PROV-JSON), `slsa` (in-toto statements), `ro-crate`, `ml-bom`
                (CycloneDX 1.6), or `dossier` (a zip file that tells all of it to people who have no library).
            to: a file; for openlineage also a server's URL; for ro-crate a new folder, or a file named `….zip`; for dossier such a file.
            **options: for openlineage the `namespace` of its jobs, and `send=True` to $OPENLINEAGE_URL; for slsa the `builder`'s
                URI; for ro-crate `files` (`inside`, or by `reference`) and its `license`; for dossier `keys` (whose signatures count), `bundle=True` (with
                the whole store) and `license`; for the others `overwrite=True`.

        Returns:
            JSON values without `to`, else its path; for a server the number of events sent.

        Raises:
            InvalidInputError: no such standard or option; the message lists the known ones.
            AlreadyExistsError: the file exists, or the folder is not empty.
            BackendError: the store or the server is unreachable.
        """
        from artifactstore.work.export.exporting import export  # noqa: PLC0415 - loads the standards only if needed
        from artifactstore.work.registry.signatures.approvals import approvals  # noqa: PLC0415 - as above
        from artifactstore.work.sync.bundle import bundle  # noqa: PLC0415 - as above

        return export(
            self._session,
            self.id,
            is_run=self._is_run,
            standard=standard,
            to=to,
            options=options,
            write_bundle=bundle,
            approvals=approvals,
        )

    def __repr__(self) -> str:
        return f"Lineage({self.id[:20]})"


@one_state()
def lineage(session: Session, ref: str) -> Lineage:
    """Return the lineage of an artifact or a run; see `Store.lineage`."""
    start, is_run = resolve(session, ref)
    return Lineage(session, start, is_run=is_run)
