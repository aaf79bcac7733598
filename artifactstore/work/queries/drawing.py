"""Drawings of lineage for notebooks and files."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from artifactstore.display.graph.mermaid import flowchart
from artifactstore.display.graph.page import page
from artifactstore.display.graph.svg import LIMIT, Svg, draw
from artifactstore.display.graph.text_metrics import clean
from artifactstore.display.html_renderer import Markup, element
from artifactstore.errors import InvalidInputError
from artifactstore.model.graph import Graph
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.work.settings.paths import local_path

__all__ = ["Drawing", "joined"]

_LARGE: Final = 30  # nodes: in a larger drawing, lines of code and environments cover everything else
_FOLDED: Final = frozenset(
    {"code", "environment", "cells", "history", "modules"}
)  # roles of what is recorded with a run by itself
_ROOM: Final = 24  # pixels around the node of the query that are in view, too
_IN_NOTEBOOK: Final = 300  # nodes: a notebook file contains a copy of its output


class Drawing:
    """A picture of a graph: shown by notebooks, `str()` is its SVG, `save` writes a file.

    Args:
        graph: the graph.
        start: the id of the node of the query.
        up: True if the graph is upstream of it, False if downstream; None: both.
        all: draw code and environments, however large the drawing is.
    """

    def __init__(self, graph: Graph, start: str, *, up: bool | None, all: bool = False) -> None:  # noqa: A002 - as in `draw`
        self._all = all
        self._graph = graph
        self._start = start
        self._up = up

    @property
    def title(self) -> str:
        """The heading of the drawing."""
        label = clean(self._graph.nodes[self._start].label)
        if self._up is None:
            return f"Lineage of {label}"
        return f"What {label} was made from" if self._up else f"What was made from {label}"

    def svg(self, *, limit: int = LIMIT) -> Svg:
        """Render as SVG, with at most `limit` nodes: the nearest; the number of omitted nodes is shown.

        Of more than 30 nodes, code and environments are folded into the tips of their runs, unless `all`.
        """
        graph = self._graph if self._all or len(self._graph.nodes) <= _LARGE else folded(self._graph, self._start)
        left_out = len(self._graph.nodes) - len(graph.nodes)
        return draw(graph, self._start, self.title, up=self._up, limit=limit, folded=left_out)

    def mermaid(self) -> str:
        """Render as a flowchart in Mermaid, with the same colours."""
        return flowchart(self._graph, self._start)

    def html(self, *, limit: int = LIMIT) -> str:
        """Render as a standalone HTML page that pans and zooms, with the node of the query in view."""
        return page(self.title, self.svg(limit=limit))

    def save(self, to: Any) -> Path:
        """Write a file atomically: `.svg`, `.html` or `.mmd`.

        Raises:
            InvalidInputError: the suffix is not supported, or the folder does not exist.
        """
        path = local_path(to, "to")
        make = {".svg": self.svg, ".html": self.html, ".mmd": self.mermaid}.get(path.suffix.lower())
        if make is None:
            raise InvalidInputError(f"expected a path ending with .svg, .html or .mmd, got {path.suffix or path.name!r}")
        if not path.parent.is_dir():
            raise InvalidInputError(f"the folder {path.parent} does not exist: make it first, or choose another path")
        replace_whole(path, make().encode())
        return path

    def __str__(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"Drawing({self.title!r}, {len(self._graph.nodes):,} nodes)"

    def _repr_html_(self) -> str:
        # Inline, for tooltips and the notebook's own theme; wide drawings scroll instead of being squeezed. It has no
        # `_repr_svg_`: Jupyter, VS Code and Colab prefer HTML, and a notebook would store both.
        # It begins with the node of the query in view: where a browser knows `scroll-initial-target`, and in others where that is
        # the last one on the right, as their text would begin there.
        svg = self.svg(limit=_IN_NOTEBOOK)
        x, y, wide, high = svg.start
        at = f"left:{x - wide / 2 - _ROOM:.0f}px;top:{y - high / 2 - 4 * _ROOM:.0f}px;width:{wide + 2 * _ROOM:.0f}px;height:{high + 8 * _ROOM:.0f}px"
        target = element("div", style=f"position:absolute;pointer-events:none;{at};scroll-initial-target:nearest")
        inner = element("div", Markup(svg), target, style="position:relative;direction:ltr;width:max-content;margin:0 auto 0 0")
        side = ";direction:rtl" if self._up else ""
        return element("div", inner, style=f"overflow:auto;max-height:80vh{side}")


def folded(graph: Graph, start: str) -> Graph:
    """Return a graph without the unnamed code and environments of runs; the runs say in words what they were."""
    roles: dict[str, set[str | None]] = {}
    words: dict[str, list[str]] = {}
    for before, after, role in graph.edges:
        roles.setdefault(before, set()).add(role)
        roles.setdefault(after, set()).add(None)  # what was produced is more than a companion
    gone = {
        node.id
        for node in graph.nodes.values()
        if node.type == "artifact" and node.name is None and node.id != start and roles.get(node.id, {None}) <= _FOLDED
    }
    for before, after, role in graph.edges:
        if before in gone:
            words.setdefault(after, []).append(graph.nodes[before].about or f"{role} {before.partition(':')[2][:8]}")
    nodes = {
        key: replace(node, about=" · ".join(dict.fromkeys(words.get(key, ())))) if key in words else node
        for key, node in graph.nodes.items()
        if key not in gone
    }
    return Graph(nodes, [edge for edge in graph.edges if edge[0] not in gone], graph.read_as)


def joined(one: Graph, other: Graph) -> Graph:
    """Join two graphs with the same start node, nearest nodes first."""
    nodes = dict(one.nodes)
    for key, node in other.nodes.items():
        if key not in nodes or node.depth < nodes[key].depth:
            nodes[key] = node
    ordered = sorted(nodes.values(), key=lambda node: node.depth)
    edges = {(a, b): role for a, b, role in (*other.edges, *one.edges)}
    return Graph({node.id: node for node in ordered}, [(a, b, role) for (a, b), role in edges.items()])
