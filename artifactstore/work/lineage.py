"""Lineage: what something was made from, what was made from it, and how to get its code back."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifactstore.catalog.lineage import Graph, Node, RunInfo, closure, code_of, node_of, path, run_info
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.state import State
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.work.capture.tree_id import tree_id
from artifactstore.work.drawing import Drawing, joined
from artifactstore.work.get import get
from artifactstore.work.place import local_path
from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.work.verdict import Reproduction

__all__ = ["Code", "Lineage", "View", "lineage", "resolve", "runs"]


class View:
    """A part of the graph; prints as a tree, and draws itself.

    Attributes:
        artifacts: the artifacts in it, nearest first, without where it begins.
        runs: the runs in it, nearest first.
        edges: (from, to, role), in the direction in which things were made.
    """

    def __init__(self, graph: Graph, start: str, *, up: bool) -> None:
        self._graph = graph
        self._start = start
        self._up = up
        others = [node for node in graph.nodes.values() if node.id != start]
        self.artifacts: Rows[Node] = Rows(Node, [node for node in others if node.type == "artifact"])
        self.runs: Rows[Node] = Rows(Node, [node for node in others if node.type == "run"])
        self.edges = list(graph.edges)

    def __len__(self) -> int:
        return len(self._graph.nodes) - 1

    def __iter__(self) -> Iterator[Node]:
        return (node for node in self._graph.nodes.values() if node.id != self._start)

    def __str__(self) -> str:
        beside: dict[str, list[tuple[str, str | None]]] = {}
        for before, after, role in self.edges:
            one, other = (after, before) if self._up else (before, after)
            beside.setdefault(one, []).append((other, role))
        lines: list[str] = []
        told: set[str] = set()

        def tell(one: str, depth: int, role: str | None) -> None:
            again = one in told
            told.add(one)
            node = self._graph.nodes[one]
            more = " …" if again and beside.get(one) else ""
            lines.append("  " * depth + _line(node) + (f"  ({role})" if role and role != node.kind else "") + more)
            if not again and depth < 60:
                for other, further in beside.get(one, ()):
                    tell(other, depth + 1, further)

        tell(self._start, 0, None)
        return "\n".join(lines)

    def mermaid(self) -> str:
        """Return it as a flowchart in Mermaid, for a README (GitHub draws at most 500 edges)."""
        return self.draw().mermaid()

    def svg(self) -> str:
        """Return it as a picture in SVG; see `draw`."""
        return self.draw().svg()

    def draw(self, to: Any = None) -> Drawing:
        """Return it as a drawing, which notebooks show, and write it into a file: `.svg`, `.html` or `.mmd`.

        Raises:
            InvalidInputError: another ending, or a folder that isn't there.
        """
        drawing = Drawing(self._graph, self._start, up=self._up)
        if to is not None:
            drawing.save(to)
        return drawing

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        nodes = [{key: getattr(node, key) for key in Node.__dataclass_fields__} for node in self._graph.nodes.values()]
        return {"nodes": nodes, "edges": [{"from": a, "to": b, "role": role} for a, b, role in self.edges]}


def _line(node: Node) -> str:
    if node.type == "run":
        marks = ", ".join(word for word, there in (("dirty code", node.dirty), (node.kind, node.kind != "finished")) if there)
        return f"run {node.label} {node.id[:12]}" + (f" [{marks}]" if marks else "")
    flags = "".join(f" <{alias}>" for alias in node.aliases)
    return f"{node.label} [{node.kind}]{flags}" + (" TAINTED" if node.tainted else "")


class Code:
    """The code of a run, as it was stored.

    Attributes:
        digest: of the artifact.
        commit: of the repository, or None.
        tree: git's id of the tree that was stored, changes and untracked files included; None without git.
        dirty: whether it had changes that no commit holds.
        about: all that was recorded of it.
    """

    def __init__(self, session: Session, digest: str, about: dict[str, Any]) -> None:
        self._session = session
        self.digest = digest
        self.about = about
        self.commit: str | None = about.get("commit")
        self.tree: str | None = about.get("tree")
        self.dirty = bool(about.get("dirty"))

    def checkout(self, to: Any, *, overwrite: bool = False) -> Path:
        """Bring the exact tree back into a folder, executable bits and links included, checked against git's id of it.

        Raises:
            AlreadyExistsError: other content lies there.
            CorruptionError: it is not the tree that was recorded.
        """
        target = local_path(to, "to")
        made: Path = get(self._session, self.digest, target, overwrite=overwrite)
        if self.tree is not None and not overwrite and self._comparable():
            found = tree_id(made)
            if found != self.tree:
                raise CorruptionError(f"{made} has the tree {found}, and {self.tree} was recorded", digest=self.digest)
        return made

    def _comparable(self) -> bool:
        """Tell whether git's id is of the bytes on disk: filters change line ends, and submodules are not stored."""
        return len(self.tree or "") == _SHA1 and not self.about.get("submodules") and not self.about.get("altered")

    def __repr__(self) -> str:
        state = "dirty" if self.dirty else "clean"
        return f"Code({self.digest[:15]}…, commit={(self.commit or 'none')[:12]}, {state})"


class Lineage:
    """What `store.lineage(ref)` returns: questions about one artifact or run.

    Attributes:
        id: the artifact's digest, or the run's id.
    """

    def __init__(self, session: Session, start: str, *, is_run: bool) -> None:
        self._session = session
        self.id = start
        self._is_run = is_run

    def _view(self, *, up: bool) -> View:
        with self._session.asking() as state:
            return View(closure(state, self.id, up=up), self.id, up=up)

    def upstream(self) -> View:
        """Everything that it was made from."""
        return self._view(up=True)

    def downstream(self) -> View:
        """Everything that was made from it."""
        return self._view(up=False)

    @property
    def runs(self) -> Rows[RunInfo]:
        """The runs that produced it, the newest last; of a run itself."""
        with self._session.asking() as state:
            found = [self.id] if self._is_run else state.produced_by.get(self.id, [])
            return Rows(RunInfo, [run_info(state, run) for run in found if run in state.runs])

    @property
    def inputs(self) -> Rows[Node]:
        """What the runs that produced it used, code and environment included."""
        with self._session.asking() as state:
            depth = 1 if self._is_run else 2
            graph = closure(state, self.id, up=True, steps=depth)
            return Rows(Node, [node for node in graph.nodes.values() if node.type == "artifact" and node.depth == depth])

    @property
    def code(self) -> Code | None:
        """The code that it was made with, of the newest run that recorded some; None where none did."""
        with self._session.asking() as state:
            found = [self.id] if self._is_run else state.produced_by.get(self.id, [])
            for run in reversed(found):
                digest, about = code_of(state, run)
                if digest is not None:
                    return Code(self._session, digest, about)
        return None

    def path(self, to: str) -> list[Node]:
        """Return a shortest way from it to something that was made of it, or the other way round; empty where there is none."""
        other, _ = resolve(self._session, to)
        with self._session.asking() as state:
            way = path(state, self.id, other) or path(state, other, self.id)
            return [node_of(state, one, depth) for depth, one in enumerate(way)]

    def impact(self) -> Rows[Node]:
        """Every artifact that was made from it and that has a name, with the aliases that point there."""
        return Rows(Node, [node for node in self.downstream().artifacts if not node.id.startswith(node.label)])

    def reproduce(
        self,
        folder: Any,
        *,
        env: bool = True,
        tolerance: float = 1e-6,
        command: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> "Reproduction":
        """Make it again: run the program of the run that produced it, on the recorded code, inputs and environment.

        The program works in a fork of the store, as that was when the run began: what it puts lies in `folder`, and the
        store itself is not changed. This executes code that the store holds: do so only where you trust who wrote it.

        Args:
            folder: an empty or a new one; code, environment, log and scratch store come to lie there.
            env: build the recorded environment (a virtual one, its packages installed anew); False: the present one.
            tolerance: by how much metrics may differ, relative to the larger.
            command: what to run instead of the recorded command.
            timeout: seconds after which the program is stopped.

        Returns:
            The verdict: `bit-equal`, `within tolerance`, `different` or `failed`, with the first artifact that diverges.

        Raises:
            NotFoundError: no run produced it, or no code was recorded.
            AlreadyExistsError: the folder is not empty.
            InvalidInputError: the command is not known, or had a secret.
            BackendError: the recorded packages can't be installed.
        """
        from artifactstore.work.reproduce import reproduce  # noqa: PLC0415 - needs this room itself

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

    def draw(self, to: Any = None) -> Drawing:
        """Return what it was made from and what was made from it as one drawing, and write it into a file; see `View.draw`."""
        with self._session.asking() as state:
            graph = joined(closure(state, self.id, up=True), closure(state, self.id, up=False))
        drawing = Drawing(graph, self.id, up=None)
        if to is not None:
            drawing.save(to)
        return drawing

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    def export(self, standard: str, to: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """Tell what it was made from (of a run: that run alone) in the words of a standard, see docs/exports.md.

        Args:
            standard: `openlineage` (run events), `prov` (W3C PROV-JSON), `slsa` (in-toto statements) or `ro-crate`.
            to: a file; for openlineage also a server's URL; for a crate a new folder, or a file called `….zip`.
            **options: of openlineage `namespace` of its jobs, and `send=True` to $OPENLINEAGE_URL; of slsa the `builder`'s
                URI; of ro-crate `files` (`inside`, or by `reference`) and its `license`; of all but crates `overwrite=True`.

        Returns:
            JSON values without `to`, else its path; of a server how many events were sent.

        Raises:
            InvalidInputError: no such standard or option; those known are named.
            AlreadyExistsError: the file is there, or a folder that is not empty.
            BackendError: the store or the server can't be reached.
        """
        from artifactstore.work.export.exporting import export  # noqa: PLC0415 - the standards, only for who exports

        return export(self._session, self.id, is_run=self._is_run, standard=standard, to=to, options=options)

    def __repr__(self) -> str:
        return f"Lineage({self.id[:20]})"


_SHA1 = 40  # hexadecimal digits


def resolve(session: Session, ref: str) -> tuple[str, bool]:
    """Return what a reference means: (digest or run, whether it is a run).

    Raises:
        NotFoundError: nothing of that name.
        InvalidInputError: no reference, or the beginning of several runs' ids.
    """
    if not isinstance(ref, str):
        raise InvalidInputError(f"a reference is a str, not a {type(ref).__name__}")
    with session.asking() as state:
        found = _run_of(state, ref)
    if found is not None:
        return found, True
    return session.resolve(ref).digest, False


def _run_of(state: State, ref: str) -> str | None:
    if ref in state.runs:
        return ref
    if len(ref) >= 6 and ":" not in ref and "/" not in ref:
        near = [run for run in state.runs if run.startswith(ref)]
        if len(near) == 1:
            return near[0]
        if len(near) > 1:
            raise InvalidInputError(f"{len(near)} runs begin with {ref!r}: say more of it")
    return None


def lineage(session: Session, ref: str) -> Lineage:
    """Return the lineage of an artifact or a run; see `Store.lineage`."""
    start, is_run = resolve(session, ref)
    return Lineage(session, start, is_run=is_run)


def runs(session: Session, *, name: Any = None, status: Any = None) -> Rows[RunInfo]:
    """Return runs, oldest first; see `Store.runs`."""
    if status is not None and status not in {"running", "finished", "failed"}:
        raise InvalidInputError(f"status={status!r}: running, finished or failed")
    if name is not None and not isinstance(name, str):
        raise InvalidInputError(f"name={name!r}: a str is needed")
    with session.asking() as state:
        found = [run_info(state, run) for run, row in state.runs.items() if name is None or fnmatchcase(row["name"], name)]
    if name is not None and not found and "*" not in name:
        raise NotFoundError(f"no run is called {name!r}")
    return Rows(RunInfo, [one for one in found if status in (None, one.status)])
