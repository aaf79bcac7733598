"""Lineage as a picture: SVG that needs no script, no font and nothing from elsewhere. Text in it is never markup.

It has no ids, so any number of drawings can stand on one page; their one style sheet is the same in all of them.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from artifactstore.catalog.layered import Box, Layout, Route, arrange
from artifactstore.catalog.lettering import MONO, clean, escaped, known, shortened, width
from artifactstore.catalog.lineage import Graph, Node
from artifactstore.catalog.palette import COLOURS, KINDS, STATUSES, kind_class, status_class

__all__ = ["LIMIT", "draw"]

LIMIT: Final = 2000  # nodes
_LINES: Final = 20_000  # edges, and places where lines pass layers: a denser graph is cut earlier
_MARGIN: Final = 24.0
_ROOM: Final = 230.0  # pixels for a label
_TITLE, _SMALL, _TAG, _ROLE = 13.0, 11.0, 10.5, 10.0  # sizes of text
_HIGH: Final = 46.0  # a box without tags
_ROW: Final = 21.0  # what a row of tags adds
_ROWS: Final = 2  # of tags
_HEX: Final = 8  # digits of a digest or of a run's id


@dataclass(frozen=True, slots=True)
class _Tag:
    """A small mark in a box.

    Attributes:
        look: alias, tainted, dirty or more.
        text: what it says.
        x: from the left of the tags.
        row: 0 or 1.
        width: of it.
    """

    look: str
    text: str
    x: float
    row: int
    width: float


@dataclass(frozen=True, slots=True)
class _Figure:
    """What is written in a box, and how much room that takes."""

    node: Node
    label: str
    about: str
    short: str
    width: float
    height: float
    tags: list[_Tag]


@dataclass(slots=True)
class _Taken:
    """Which places have a text already."""

    cells: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, layer: int, x: float, y: float, wide: float) -> bool:
        """Take a place around (x, y) if nothing is near it."""
        row = round(y / 6)
        near = [one for number in range(row - 3, row + 4) for one in self.cells.get((layer, number), ())]
        if any(abs(y - other) < 13 and abs(x - there) < wide for there, other in near):
            return False
        self.cells[layer, row].append((x, y))
        return True


def draw(graph: Graph, start: str, title: str, *, limit: int = LIMIT) -> str:
    """Return a graph as SVG, drawn from left to right in the direction in which things were made.

    Args:
        graph: what is drawn.
        start: the id of the node that the question was about; it is emphasised.
        title: what is written above.
        limit: how many nodes are drawn at most, the nearest; what is left out is said in the picture.
    """
    count = max(1, limit)
    while True:
        nodes, edges, hidden = _nearest(graph, start, count)
        if len(edges) <= _LINES or count == 1:
            figures = [_figure(node, hidden[node.id]) for node in nodes]
            roles = [_role(graph, a, b, role) for a, b, role in edges]
            number = {node.id: i for i, node in enumerate(nodes)}
            layout = arrange(
                [(one.width, one.height) for one in figures],
                [(number[a], number[b]) for a, b, _ in edges],
                texts=[width(role, _ROLE) for role in roles],
                lanes=_LINES,
            )
            if layout.boxes or not nodes:
                break
        count = min(count, len(nodes)) * 2 // 3
    return _written(_Picture(graph, start, title, figures, edges, roles, layout))


@dataclass(frozen=True, slots=True)
class _Picture:
    graph: Graph
    start: str
    title: str
    figures: list[_Figure]
    edges: list[tuple[str, str, str | None]]
    roles: list[str]
    layout: Layout


def _nearest(graph: Graph, start: str, limit: int) -> tuple[list[Node], list[tuple[str, str, str | None]], Counter[str]]:
    """Return the nearest nodes, the edges between them, and how many edges of each lead to what is left out."""
    nodes = sorted(graph.nodes.values(), key=lambda node: (node.id != start, node.depth))[:limit]
    drawn = {node.id for node in nodes}
    edges, hidden = [], Counter[str]()
    for edge in graph.edges:
        a, b, _ = edge
        if a in drawn and b in drawn and a != b:
            edges.append(edge)
        elif a != b:
            hidden.update(one for one in (a, b) if one in drawn)
    return nodes, edges, hidden


def _role(graph: Graph, a: str, b: str, role: str | None) -> str:
    """Return what is written on an edge: nothing where the artifact's colour says the same."""
    if not role or role in {graph.nodes[a].kind, graph.nodes[b].kind}:
        return ""
    return shortened(role, 110, _ROLE)


def _figure(node: Node, hidden: int) -> _Figure:
    run = node.type == "run"
    digest = node.id if run else node.id.partition(":")[2] or node.id
    short = clean(digest)[:_HEX]
    about = shortened(node.kind, 110, _SMALL) + " · "
    if not run and node.id.startswith(node.label):
        about, short = about + "no name", ""
    label = shortened(node.label, _ROOM, _TITLE, bold=True)
    looks = [("tainted", "tainted")] if node.tainted else []
    looks += [("dirty", "dirty code")] if node.dirty else []
    looks += [("alias", _alias(alias, node.label)) for alias in node.aliases]
    looks += [("more", f"… {hidden:,} more")] if hidden else []
    tags, wide = _tags(looks)
    text = max(width(label, _TITLE, bold=True), width(about, _SMALL) + _mono(short), wide)
    rows = tags[-1].row + 1 if tags else 0
    return _Figure(node, label, about, short, max(96.0, text) + (56 if run else 32), _HIGH + rows * _ROW, tags)


def _mono(short: str) -> float:
    return max(len(short) * MONO * _SMALL, width(short, _SMALL))


def _alias(alias: str, label: str) -> str:
    name, _, word = alias.rpartition(":")
    return word if label.startswith(name + ":") else alias


def _tags(looks: list[tuple[str, str]]) -> tuple[list[_Tag], float]:
    """Lay tags out in rows; what has no room is counted."""
    tags: list[_Tag] = []
    at, row, widest = 0.0, 0, 0.0
    for number, (look, text) in enumerate(looks):
        shown = shortened(text, 150, _TAG)
        wide = width(shown, _TAG) + (12 if look == "more" else 26)
        left = len(looks) - number
        last = row == _ROWS - 1 and left > 1 and at + wide + 50 > _ROOM
        if at and at + wide > _ROOM and row < _ROWS - 1:
            at, row = 0.0, row + 1
        elif at and (at + wide > _ROOM or last):
            shown = f"+{left:,}"
            tags.append(_Tag("more", shown, at, row, width(shown, _TAG) + 12))
            return tags, max(widest, at + tags[-1].width)
        tags.append(_Tag(look, shown, at, row, wide))
        widest = max(widest, at + wide)
        at += wide + 6
    return tags, widest


def _style() -> str:
    """Return the style sheet: colours of their own for light and dark, by the system's wish or by the notebook's theme."""
    paint = (
        ".asl{font-family:system-ui,sans-serif}"
        ".asl .t{font-size:13px;font-weight:700}.asl .s{font-size:11px}.asl .m{font-family:ui-monospace,monospace}"
        ".asl .g{font-size:10.5px}.asl .h{font-size:15px;font-weight:700}"
        ".asl .r{font-size:10px;font-style:italic;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}"
        ".asl .e{fill:none;stroke-width:1.5px}.asl .back{stroke-dasharray:5 4}"
        ".asl .b{stroke-width:1.2px}.asl .start .b{stroke-width:2.4px}.asl .ring{fill:none;stroke-width:2px}"
        ".asl .sign{fill:none;stroke-width:1.8px;stroke-linecap:round;stroke-linejoin:round}"
    )
    rules = [("bg", "fill", "page"), ("t", "fill", "ink"), ("h", "fill", "ink"), ("s", "fill", "soft"), ("r", "fill", "soft")]
    rules += [("r", "stroke", "page"), ("e", "stroke", "edge"), ("head", "fill", "edge"), ("ring", "stroke", "ink")]
    rules += [("sign", "stroke", "sign"), ("play", "fill", "sign")]
    for kind in (*KINDS, "other"):
        rules += [(f"{kind} .b", "fill", f"{kind}-fill"), (f"{kind} .b", "stroke", f"{kind}-line")]
        rules += [(f"{kind} .band", "fill", f"{kind}-line")]
    for status in (*STATUSES, "unknown"):
        rules += [(f"{status} .b", "fill", "run-fill"), (f"{status} .b", "stroke", f"{status}-line")]
        rules += [(f"{status} .dot", "fill", f"{status}-mark")]
    rules += [("bad .b", "stroke", "tainted-fill")]
    for tag in ("tainted", "dirty", "alias"):
        rules += [(f"{tag}", "fill", f"{tag}-fill"), (f"{tag}-x", "fill", f"{tag}-ink")]
    rules += [("dirty", "stroke", "dirty-line"), ("more", "fill", "page"), ("more", "stroke", "edge"), ("more-x", "fill", "ink")]
    # What knows no variables takes the first of the two.
    plain = "".join(
        f".asl .{name}{{{what}:{COLOURS[one][0]};{what}:var(--asl-{one},{COLOURS[one][0]})}}" for name, what, one in rules
    )
    dark = "".join(f"--asl-{one}:{colours[1]};" for one, colours in COLOURS.items())
    light = "".join(f"--asl-{one}:{colours[0]};" for one, colours in COLOURS.items())
    dark_page = ('body[data-jp-theme-light="false"]', "body.vscode-dark", 'html[theme="dark"]', 'html[data-theme="dark"]')
    light_page = ('body[data-jp-theme-light="true"]', "body.vscode-light", 'html[theme="light"]', 'html[data-theme="light"]')
    return (
        f"{paint}{plain}@media (prefers-color-scheme:dark){{svg.asl{{{dark}}}}}"
        + ",".join(f"{page} svg.asl" for page in dark_page)
        + f"{{{dark}}}"
        + ",".join(f"{page} svg.asl" for page in light_page)
        + f"{{{light}}}"
    )


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _text(look: str, x: float, y: float, text: str, wide: float, *, anchor: str = "") -> str:
    """Return an element of text; what fonts may draw wider than is known is told its width."""
    told = "" if known(text) else f' textLength="{_n(wide)}" lengthAdjust="spacingAndGlyphs"'
    return f'<text class="{look}" x="{_n(x)}" y="{_n(y)}"{anchor}{told}>{escaped(text)}</text>'


def _written(picture: _Picture) -> str:
    layout = picture.layout
    head, top, needed = _heading(picture)
    wide, high = max(layout.width, needed) + 2 * _MARGIN, layout.height + top + 2 * _MARGIN
    name = escaped(picture.title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="asl" role="img" aria-label="{name}" width="{_n(wide)}" '
        f'height="{_n(high)}" viewBox="0 0 {_n(wide)} {_n(high)}" style="max-width:none">',
        f"<title>{name}</title><desc>{escaped(_described(picture))}</desc><style>{_style()}</style>",
        f'<rect class="bg" width="{_n(wide)}" height="{_n(high)}" rx="6"/>',
        head,
        f'<g transform="translate({_n(_MARGIN)} {_n(top + _MARGIN)})">',
    ]
    parts += _edges(picture)
    parts += [_box(one, box, start=one.node.id == picture.start) for one, box in zip(picture.figures, layout.boxes, strict=True)]
    parts.append("</g></svg>\n")
    return "".join(parts)


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _facts(picture: _Picture) -> str:
    types = Counter(node.type for node in picture.graph.nodes.values())
    more = len(picture.graph.nodes) - len(picture.figures)
    said = f"{_counted(types['artifact'], 'artifact')}, {_counted(types['run'], 'run')}"
    return f"The nearest {len(picture.figures):,} are drawn … and {more:,} more ({said} in all)" if more else said


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
    """Return title, facts and legend, how high they are, and how wide."""
    room = max(440.0, picture.layout.width)
    title, facts = shortened(picture.title, room, 15, bold=True), _facts(picture)
    wide = max(width(title, 15, bold=True), width(facts, _SMALL))
    parts = [_text("h", _MARGIN, _MARGIN + 12, title, wide), _text("s", _MARGIN, _MARGIN + 31, facts, wide)]
    x, y = 0.0, _MARGIN + 44
    for look, text in _legend(picture):
        shown = shortened(text, 120, _SMALL)
        step = 22 + width(shown, _SMALL) + 18
        if x and x + step - 18 > room:
            x, y = 0.0, y + 20
        at, radius = _MARGIN + x, 3 if look in (*KINDS, "other") else 6
        parts.append(f'<g class="{look}"><rect class="b" x="{_n(at)}" y="{_n(y)}" width="16" height="12" rx="{radius}"/>')
        parts.append(_sign(look, at + 8, y + 6, 4) if radius == 6 else "")
        parts.append(_text("s", at + 22, y + 10, shown, step - 40) + "</g>")
        x += step
        wide = max(wide, x - 18)
    return "".join(parts), y + 22 - _MARGIN, wide


def _legend(picture: _Picture) -> list[tuple[str, str]]:
    """Return the kinds and statuses that occur, those that have a colour of their own first."""
    kinds = dict.fromkeys(one.node.kind for one in picture.figures if one.node.type != "run")
    found = [(kind, kind) for kind in KINDS if kind in kinds]
    others = sorted(clean(kind) for kind in kinds if kind not in KINDS)
    found += [("other", kind) for kind in others[:4]] + ([("other", f"{len(others) - 4:,} kinds more")] if others[4:] else [])
    statuses = {status_class(one.node.kind) for one in picture.figures if one.node.type == "run"}
    return found + [(status, f"{status} run") for status in (*STATUSES, "unknown") if status in statuses]


def _sign(status: str, x: float, y: float, size: float) -> str:
    """Return a run's status as a disc with a sign: a hook, a cross, an arrow; it says the same without colours."""
    at, half = f'<circle class="dot" cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}"/>', size / 2.4
    if status == "finished":
        return at + f'<path class="sign" d="M{_n(x - half)} {_n(y)}l{_n(half * 0.8)} {_n(half * 0.8)} {_n(half * 1.3)} {_n(-half * 1.6)}"/>'
    if status == "failed":
        across = _n(2 * half)
        return at + f'<path class="sign" d="M{_n(x - half)} {_n(y - half)}l{across} {across}m0 -{across}l-{across} {across}"/>'
    if status == "running":
        return at + f'<path class="play" d="M{_n(x - half * 0.7)} {_n(y - half)}v{_n(2 * half)}l{_n(half * 1.8)} {_n(-half)}z"/>'
    return at


def _edges(picture: _Picture) -> list[str]:
    """Return all lines, then their heads, then their texts: nothing lies above a text."""
    lines, heads, texts, taken = [], {}, [], _Taken()
    nodes = picture.graph.nodes
    for (a, b, said), role, route in zip(picture.edges, picture.roles, picture.layout.routes, strict=True):
        lanes = route.lanes[::-1] if route.back else route.lanes
        path = _path(lanes, back=route.back)
        tip = escaped(f"{nodes[a].label} → {nodes[b].label}" + (f" ({said})" if said else ""))
        lines.append(f'<path class="e{" back" if route.back else ""}" d="{path}"><title>{tip}</title></path>')
        x, y = lanes[-1][1 if route.back else 0], lanes[-1][2]
        heads[f"M{_n(x)} {_n(y)}l{'9 -4v8z' if route.back else '-9 -4v8z'}"] = None
        if role:
            texts += _written_role(role, route, taken)
    return [*lines, *(f'<path class="head" d="{head}"/>' for head in heads), *texts]


def _path(lanes: list[tuple[float, float, float]], *, back: bool) -> str:
    """Return the path of a line: a curve from lane to lane, straight on where the next is level with it."""
    begin, end = (0, 1) if back else (1, 0)
    x, y = lanes[0][begin], lanes[0][2]
    parts = [f"M{_n(x)} {_n(y)}"]
    for number, lane in enumerate(lanes[1:], 2):
        last = number == len(lanes)
        there = lane[end] + ((6 if back else -6) if last else 0)  # the line ends within its head
        if _n(lane[2]) != _n(y):
            middle = _n((x + there) / 2)
            parts.append(f"C{middle} {_n(y)} {middle} {_n(lane[2])} {_n(there)} {_n(lane[2])}")
        elif last or _n(lanes[number - 1][2]) != _n(y):
            parts.append(f"H{_n(there)}")
        x, y = lane[begin], lane[2]
        if not last and _n(lanes[number][2]) != _n(y):
            parts.append(f"H{_n(x)}")
    return "".join(parts)


def _written_role(role: str, route: Route, taken: _Taken) -> list[str]:
    """Return a role, written on its line in the last gap before its end, where there is room."""
    (_, begin, above), (end, _, below) = route.lanes[:2] if route.back else route.lanes[-2:]
    wide = width(role, _ROLE)
    for t in (0.5, 0.62, 0.38, 0.72, 0.28, 0.82):
        x = begin + (end - begin) * (t**3 + 1.5 * t * (1 - t))
        y = above + (below - above) * t * t * (3 - 2 * t)
        if begin + 2 <= x - wide / 2 and x + wide / 2 <= end - 10 and taken.take(round(begin), x, y, wide + 6):
            return [_text("r", x, y + 3.5, role, wide, anchor=' text-anchor="middle"')]
    return []


def _box(one: _Figure, box: Box, *, start: bool) -> str:
    node, x, y = one.node, box.x, box.y
    run = node.type == "run"
    look = status_class(node.kind) if run else kind_class(node.kind)
    classes = f"n {look}" + (" start" if start else "") + (" bad" if node.tainted else "")
    radius = 22 if run else 7
    at = f'x="{_n(x)}" y="{_n(y)}"'
    size = f'width="{_n(box.width)}" height="{_n(box.height)}"'
    parts = [f'<g class="{classes}"><title>{escaped(_tip(node, start=start))}</title>']
    if start:
        parts.append(
            f'<rect class="ring" x="{_n(x - 5)}" y="{_n(y - 5)}" width="{_n(box.width + 10)}" height="{_n(box.height + 10)}" '
            f'rx="{radius + 5}"/>'
        )
    parts.append(f'<rect class="b" {at} {size} rx="{radius}"/>')
    if run:
        parts.append(_sign(look, x + 21, y + 23, 8))
        left = x + 37
    else:
        band = f"M{_n(x + 7)} {_n(y)}h-1a6 6 0 0 0 -6 7v{_n(box.height - 14)}a6 6 0 0 0 6 7h1z"
        parts.append(f'<path class="band" d="{band}"/>')
        left = x + 18
    parts.append(_text("t", left, y + 20, one.label, width(one.label, _TITLE, bold=True)))
    parts.append(_about(one, left, y + 36))
    for tag in one.tags:
        parts.append(_drawn_tag(tag, left + tag.x, y + _HIGH - 2 + tag.row * _ROW))
    parts.append("</g>")
    return "".join(parts)


def _about(one: _Figure, x: float, y: float) -> str:
    wide = width(one.about, _SMALL)
    if not (known(one.about) and one.short.isascii()):
        return _text("s", x, y, one.about + one.short, wide + width(one.short, _SMALL))
    short = f'<tspan class="m">{escaped(one.short)}</tspan>' if one.short else ""
    return f'<text class="s" x="{_n(x)}" y="{_n(y)}">{escaped(one.about)}{short}</text>'


_GLYPHS: Final = {
    "alias": "v10h1.4v-4.5h6.1l-1.8 -2.6 1.8 -2.6h-6.1v-.3z",  # a flag
    "tainted": "m4 0l4.6 9h-9.2z",  # a triangle
    "dirty": "m4 .5l4 4.2 -4 4.2 -4 -4.2z",  # a diamond
}


def _drawn_tag(tag: _Tag, x: float, y: float) -> str:
    parts = [f'<rect class="{tag.look}" x="{_n(x)}" y="{_n(y)}" width="{_n(tag.width)}" height="17" rx="4"/>']
    if glyph := _GLYPHS.get(tag.look):
        parts.append(f'<path class="{tag.look}-x" d="M{_n(x + 6)} {_n(y + 3.8)}{glyph}"/>')
    at = x + (18 if tag.look in _GLYPHS else 6)
    parts.append(_text(f"g {tag.look}-x", at, y + 12.5, tag.text, width(tag.text, _TAG)))
    return "".join(parts)


def _tip(node: Node, *, start: bool) -> str:
    """Return all that is known of a node: what is shortened in its box can be read there."""
    lines = [f"run {node.label}" if node.type == "run" else node.label, node.kind, node.id]
    lines += [f"alias {alias}" for alias in node.aliases]
    lines += [word for word, there in (("tainted", node.tainted), ("dirty code", node.dirty)) if there]
    return " · ".join([*lines, *(["where this drawing begins"] if start else [])])
