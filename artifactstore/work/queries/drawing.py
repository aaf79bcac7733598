"""Drawings of lineage for notebooks and files."""

from pathlib import Path
from typing import Any, Final

from artifactstore.display.graph.mermaid import flowchart
from artifactstore.display.graph.svg import LIMIT, draw
from artifactstore.display.graph.text_metrics import clean
from artifactstore.display.html_renderer import Markup, document, element
from artifactstore.errors import InvalidInputError
from artifactstore.model.graph import Graph
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.work.settings.paths import local_path

__all__ = ["Drawing", "joined"]

_IN_NOTEBOOK: Final = 300  # nodes: a notebook file contains a copy of its output


class Drawing:
    """A picture of a graph: shown by notebooks, `str()` is its SVG, `save` writes a file.

    Args:
        graph: the graph.
        start: the id of the node of the query.
        up: True if the graph is upstream of it, False if downstream; None: both.
    """

    def __init__(self, graph: Graph, start: str, *, up: bool | None) -> None:
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

    def svg(self, *, limit: int = LIMIT) -> str:
        """Render as SVG, with at most `limit` nodes: the nearest; the number of omitted nodes is shown."""
        return draw(self._graph, self._start, self.title, up=self._up, limit=limit)

    def mermaid(self) -> str:
        """Render as a flowchart in Mermaid, with the same colours."""
        return flowchart(self._graph, self._start)

    def html(self, *, limit: int = LIMIT) -> str:
        """Render as a standalone HTML page."""
        style = "body{margin:0}"
        return document(self.title, Markup(self.svg(limit=limit)), style=style)

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
        return element("div", Markup(self.svg(limit=_IN_NOTEBOOK)), style="overflow:auto;max-height:80vh")


def joined(one: Graph, other: Graph) -> Graph:
    """Join two graphs with the same start node, nearest nodes first."""
    nodes = dict(one.nodes)
    for key, node in other.nodes.items():
        if key not in nodes or node.depth < nodes[key].depth:
            nodes[key] = node
    ordered = sorted(nodes.values(), key=lambda node: node.depth)
    edges = {(a, b): role for a, b, role in (*other.edges, *one.edges)}
    return Graph({node.id: node for node in ordered}, [(a, b, role) for (a, b), role in edges.items()])
