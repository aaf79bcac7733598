"""Lineage as SVG: self-contained, without scripts or fonts. Text in it is never markup.

It has no ids, so any number of drawings can share a page; their style sheet is the same in all of them.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from artifactstore.display.graph.boxes import SMALL, Figure, draw_box, measure_box, px, ring, status_symbol, text_element
from artifactstore.display.graph.layered_layout import Layout, Route, arrange
from artifactstore.display.graph.palette import KINDS, STATUSES, status_class, style_sheet
from artifactstore.display.graph.text_metrics import clean, escaped, shortened, width
from artifactstore.model.graph import Graph, Node

__all__ = ["LIMIT", "Svg", "draw"]

LIMIT: Final = 2000  # max nodes
_LINES: Final = 20_000  # max edges plus lanes: a denser graph is truncated earlier
_MARGIN: Final = 24.0
_HEAD, _ROLE = 15.0, 10.0  # sizes of text


class Svg(str):  # noqa: SLOT000 - a subclass of str with a field needs a dict
    """A drawing.

    Attributes:
        start: x and y of the middle of the box where it begins, and its width and height.
    """

    start: tuple[float, float, float, float] = (0, 0, 0, 0)


@dataclass(slots=True)
class _LabelSpace:
    """The areas already taken by text."""

    cells: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, layer: int, x: float, y: float, wide: float) -> bool:
        """Take the area around (x, y) if it is free."""
        row = round(y / 6)
        near = [one for number in range(row - 3, row + 4) for one in self.cells.get((layer, number), ())]
        if any(abs(y - other) < 13 and abs(x - there) < wide for there, other in near):
            return False
        self.cells[layer, row].append((x, y))
        return True


def draw(graph: Graph, start: str, title: str, *, up: bool | None = None, limit: int = LIMIT, folded: int = 0) -> Svg:
    """Return a graph as SVG, drawn from left to right in the direction of production.

    Args:
        graph: the graph to draw.
        start: the id of the starting node; it is emphasised.
        title: the title above the drawing.
        up: whether all nodes lead to the start (True) or come from it (False); None: neither.
        limit: max nodes drawn, the nearest ones; the drawing states how many are omitted.
        folded: number of artifacts that only the tips of their runs name; the drawing states it.
    """
    count = max(1, limit)
    while True:
        nodes, edges, hidden = _nearest(graph, start, count)
        if len(edges) <= _LINES or count == 1:
            figures = [measure_box(node, hidden[node.id]) for node in nodes]
            roles = [_role(graph, a, b, role) for a, b, role in edges]
            number = {node.id: i for i, node in enumerate(nodes)}
            layout = arrange(
                [(one.width, one.height) for one in figures],
                [(number[a], number[b]) for a, b, _ in edges],
                texts=[width(role, _ROLE) for role in roles],
                first=number.get(start) if up is False else None,
                last=number.get(start) if up else None,
                lanes=_LINES,
            )
            if layout.boxes or not nodes:
                break
        count = min(count, len(nodes)) * 2 // 3
    return _render(_Picture(graph, start, title, figures, edges, roles, layout, folded))


@dataclass(frozen=True, slots=True)
class _Picture:
    graph: Graph
    start: str
    title: str
    figures: list[Figure]
    edges: list[tuple[str, str, str | None]]
    roles: list[str]
    layout: Layout
    folded: int


def _nearest(graph: Graph, start: str, limit: int) -> tuple[list[Node], list[tuple[str, str, str | None]], Counter[str]]:
    """Return the nearest nodes, the edges between them, and per node the count of edges to omitted nodes."""
    nodes = sorted(graph.nodes.values(), key=lambda node: (node.id != start, node.depth))[:limit]
    kept = {node.id for node in nodes}
    edges, hidden = [], Counter[str]()
    for edge in graph.edges:
        a, b, _ = edge
        if a in kept and b in kept and a != b:
            edges.append(edge)
        elif a != b:
            hidden.update(one for one in (a, b) if one in kept)
    return nodes, edges, hidden


def _role(graph: Graph, a: str, b: str, role: str | None) -> str:
    """Return the label of an edge: empty if the artifact's colour implies it."""
    if not role or role in {graph.nodes[a].kind, graph.nodes[b].kind}:
        return ""
    return shortened(role, 110, _ROLE)


def _render(picture: _Picture) -> Svg:
    layout = picture.layout
    head, top, needed = _heading(picture)
    wide, high = max(layout.width, needed) + 2 * _MARGIN, layout.height + top + 2 * _MARGIN
    name, size = escaped(picture.title), f'width="{px(wide)}" height="{px(high)}"'
    view = f'viewBox="0 0 {px(wide)} {px(high)}" style="max-width:none"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="asl" role="img" aria-label="{name}" {size} {view}>',
        f"<title>{name}</title><desc>{escaped(_described(picture))}</desc><style>{style_sheet()}</style>",
        f'<rect class="bg" {size} rx="6"/>',
        head,
        f'<g transform="translate({px(_MARGIN)} {px(top + _MARGIN)})">',
    ]
    parts += [ring(one, box) for one, box in zip(picture.figures, layout.boxes, strict=True) if one.node.id == picture.start]
    parts += _edges(picture)
    parts += [
        draw_box(one, box, start=one.node.id == picture.start) for one, box in zip(picture.figures, layout.boxes, strict=True)
    ]
    parts.append("</g></svg>\n")
    made = Svg("".join(parts))
    box = next((box for one, box in zip(picture.figures, layout.boxes, strict=True) if one.node.id == picture.start), None)
    if box is not None:
        left, above = box.x + _MARGIN, box.y + top + _MARGIN
        made.start = (left + box.width / 2, above + box.height / 2, box.width, box.height)
    return made


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _facts(picture: _Picture) -> str:
    types = Counter(node.type for node in picture.graph.nodes.values())
    more = len(picture.graph.nodes) - len(picture.figures)
    counts = f"{_counted(types['artifact'], 'artifact')}, {_counted(types['run'], 'run')}"
    if picture.folded:
        counts += f"; code and environments ({picture.folded:,}) are under the pointer of their runs"
    return f"The nearest {len(picture.figures):,} are drawn … and {more:,} more ({counts} in all)" if more else counts


def _described(picture: _Picture) -> str:
    nodes = [one.node for one in picture.figures]
    marks = (
        ("tainted", sum(node.tainted for node in nodes)),
        ("with dirty code", sum(node.dirty for node in nodes)),
        ("failed", sum(node.type == "run" and node.kind == "failed" for node in nodes)),
    )
    begins = next((f" It begins at {node.label}." for node in nodes if node.id == picture.start), "")
    return f"{_facts(picture)}.{begins}" + "".join(f" {count:,} {word}." for word, count in marks if count)


def _heading(picture: _Picture) -> tuple[str, float, float]:
    """Return title, facts and legend, with their height and width."""
    available = max(440.0, picture.layout.width)
    title, facts = shortened(picture.title, available, _HEAD, bold=True), _facts(picture)
    wide = max(width(title, _HEAD, bold=True), width(facts, SMALL))
    parts = [text_element("h", _MARGIN, _MARGIN + 12, title, wide), text_element("s", _MARGIN, _MARGIN + 31, facts, wide)]
    x, y = 0.0, _MARGIN + 44
    for look, text in _legend(picture):
        shown = shortened(text, 120, SMALL)
        step = 22 + width(shown, SMALL) + 18
        if x and x + step - 18 > available:
            x, y = 0.0, y + 20
        at, radius = _MARGIN + x, 3 if look in (*KINDS, "other") else 6
        parts.append(f'<g class="{look}"><rect class="b" x="{px(at)}" y="{px(y)}" width="16" height="12" rx="{radius}"/>')
        parts.append(status_symbol(look, at + 8, y + 6, 4) if radius == 6 else "")
        parts.append(text_element("s", at + 22, y + 10, shown, step - 40) + "</g>")
        x += step
        wide = max(wide, x - 18)
    return "".join(parts), y + 32 - _MARGIN, wide


def _legend(picture: _Picture) -> list[tuple[str, str]]:
    """Return the kinds and statuses that occur, those with a colour of their own first."""
    kinds = dict.fromkeys(one.node.kind for one in picture.figures if one.node.type != "run")
    found: list[tuple[str, str]] = [(kind, kind) for kind in KINDS if kind in kinds]
    others = sorted(clean(kind) for kind in kinds if kind not in KINDS)
    found += [("other", kind) for kind in others[:4]] + ([("other", f"{len(others) - 4:,} kinds more")] if others[4:] else [])
    statuses = {status_class(one.node.kind) for one in picture.figures if one.node.type == "run"}
    return found + [(status, f"{status} run") for status in (*STATUSES, "unknown") if status in statuses]


def _edges(picture: _Picture) -> list[str]:
    """Return all lines, then their arrowheads, then their labels, so that nothing covers a label."""
    lines: list[str] = []
    heads: dict[str, None] = {}
    texts: list[str] = []
    taken = _LabelSpace()
    nodes = picture.graph.nodes
    for (a, b, label), role, route in zip(picture.edges, picture.roles, picture.layout.routes, strict=True):
        lanes = route.lanes[::-1] if route.back else route.lanes
        path = _path(lanes, back=route.back)
        tip = escaped(f"{nodes[a].label} → {nodes[b].label}" + (f" ({label})" if label else ""))
        lines.append(f'<path class="e{" back" if route.back else ""}" d="{path}"><title>{tip}</title></path>')
        x, y = lanes[-1][1 if route.back else 0], lanes[-1][2]
        heads[f"M{px(x)} {px(y)}l{'9 -4v8z' if route.back else '-9 -4v8z'}"] = None
        if role:
            texts += _role_label(role, route, taken)
    return [*lines, *(f'<path class="head" d="{head}"/>' for head in heads), *texts]


def _path(lanes: list[tuple[float, float, float]], *, back: bool) -> str:
    """Return the path of a line: a curve from lane to lane, straight where the next lane is level."""
    begin, end = (0, 1) if back else (1, 0)
    x, y = lanes[0][begin], lanes[0][2]
    parts = [f"M{px(x)} {px(y)}"]
    for number, lane in enumerate(lanes[1:], 2):
        last = number == len(lanes)
        there = lane[end] + ((6 if back else -6) if last else 0)  # the line ends inside its arrowhead
        if px(lane[2]) != px(y):
            middle = px((x + there) / 2)
            parts.append(f"C{middle} {px(y)} {middle} {px(lane[2])} {px(there)} {px(lane[2])}")
        elif last or px(lanes[number - 1][2]) != px(y):
            parts.append(f"H{px(there)}")
        x, y = lane[begin], lane[2]
        if not last and px(lanes[number][2]) != px(y):
            parts.append(f"H{px(x)}")
    return "".join(parts)


def _role_label(role: str, route: Route, taken: _LabelSpace) -> list[str]:
    """Return a role as a label on its line, in the last gap before its end, if there is room."""
    (_, begin, above), (end, _, below) = route.lanes[:2] if route.back else route.lanes[-2:]
    wide = width(role, _ROLE)
    for t in (0.5, 0.62, 0.38, 0.72, 0.28, 0.82):
        x = begin + (end - begin) * (t**3 + 1.5 * t * (1 - t))
        y = above + (below - above) * t * t * (3 - 2 * t)
        if begin + 2 <= x - wide / 2 and x + wide / 2 <= end - 10 and taken.take(round(begin), x, y, wide + 6):
            ground = f'<rect class="bg" x="{px(x - wide / 2 - 2)}" y="{px(y - 6.5)}" width="{px(wide + 4)}" height="13" rx="3"/>'
            return [ground + text_element("r", x, y + 3.5, role, wide, anchor=' text-anchor="middle"')]
    return []
