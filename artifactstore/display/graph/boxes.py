"""Boxes of a drawing: their text, their size, and their SVG."""

from dataclasses import dataclass
from typing import Final

from artifactstore.display.graph.layered_layout import Box
from artifactstore.display.graph.palette import kind_class, status_class
from artifactstore.display.graph.text_metrics import MONO, clean, escaped, has_known_width, short_alias, shortened, width
from artifactstore.model.graph import Node

__all__ = ["SMALL", "Figure", "draw_box", "measure_box", "px", "ring", "status_symbol", "text_element"]

SMALL: Final = 11.0  # font size below a label
_TITLE, _TAG = 13.0, 10.5  # font sizes
_ROOM: Final = 230.0  # max width of a label, in pixels
_HIGH: Final = 46.0  # height of a box without tags
_ROW: Final = 21.0  # height of a row of tags
_ROWS: Final = 2  # max rows of tags
_HEX: Final = 8  # digits shown of a digest or of a run's id


@dataclass(frozen=True, slots=True)
class _Tag:
    """A small mark in a box.

    Attributes:
        look: alias, tainted, dirty or more.
        text: its text.
        x: offset from the left of the tags.
        row: 0 or 1.
        width: its width.
    """

    look: str
    text: str
    x: float
    row: int
    width: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The text of a box, and its size."""

    node: Node
    label: str
    about: str
    short: str
    width: float
    height: float
    tags: list[_Tag]


def measure_box(node: Node, hidden: int) -> Figure:
    """Return the text of a node's box; `hidden` of its edges lead to omitted nodes."""
    run = node.type == "run"
    digest = node.id if run else node.id.partition(":")[2] or node.id
    short = clean(digest)[:_HEX]
    named = node.name is not None
    about = shortened(node.kind if named or node.about else "no name", 110, SMALL) + " · "
    label = shortened(node.label if named else node.about or node.kind, _ROOM, _TITLE, bold=True)
    looks = [("tainted", "tainted")] if node.tainted else []
    looks += [("dirty", "dirty code")] if node.dirty else []
    looks += [("more", "no-op")] if node.idle else []
    looks += [("alias", short_alias(alias, node.label)) for alias in node.aliases]
    looks += [("more", f"… {hidden:,} more")] if hidden else []
    tags, wide = _tags(looks)
    text = max(width(label, _TITLE, bold=True), width(about, SMALL) + _mono(short), wide)
    rows = tags[-1].row + 1 if tags else 0
    return Figure(node, label, about, short, max(96.0, text) + (56 if run else 32), _HIGH + rows * _ROW, tags)


def _mono(short: str) -> float:
    return max(len(short) * MONO * SMALL, width(short, SMALL))


def _tags(looks: list[tuple[str, str]]) -> tuple[list[_Tag], float]:
    """Lay tags out in rows; those without room are counted."""
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


def px(value: float) -> str:
    """Format a number of pixels for SVG."""
    return f"{value:.1f}".removesuffix(".0")


def text_element(look: str, x: float, y: float, text: str, wide: float, *, anchor: str = "") -> str:
    """Return a text element; if its width varies between fonts, it is fixed by `textLength`."""
    length = "" if has_known_width(text) else f' textLength="{px(wide)}" lengthAdjust="spacingAndGlyphs"'
    return f'<text class="{look}" x="{px(x)}" y="{px(y)}"{anchor}{length}>{escaped(text)}</text>'


def status_symbol(status: str, x: float, y: float, size: float) -> str:
    """Return a run's status as a disc with a symbol (check mark, cross, arrow), readable without colours."""
    at, half = f'<circle class="dot" cx="{px(x)}" cy="{px(y)}" r="{px(size)}"/>', size / 2.4
    if status == "finished":
        return (
            at
            + f'<path class="sign" d="M{px(x - half)} {px(y)}l{px(half * 0.8)} {px(half * 0.8)} {px(half * 1.3)} {px(-half * 1.6)}"/>'
        )
    if status == "failed":
        across = px(2 * half)
        return at + f'<path class="sign" d="M{px(x - half)} {px(y - half)}l{across} {across}m0 -{across}l-{across} {across}"/>'
    if status == "running":
        return at + f'<path class="play" d="M{px(x - half * 0.7)} {px(y - half)}v{px(2 * half)}l{px(half * 1.8)} {px(-half)}z"/>'
    return at


def draw_box(one: Figure, box: Box, *, start: bool) -> str:
    """Return a box with its text."""
    node, x, y = one.node, box.x, box.y
    run = node.type == "run"
    look = status_class(node.kind) if run else kind_class(node.kind)
    classes = f"n {look}" + (" start" if start else "") + (" bad" if node.tainted else "")
    radius = 22 if run else 7
    at = f'x="{px(x)}" y="{px(y)}"'
    size = f'width="{px(box.width)}" height="{px(box.height)}"'
    parts = [f'<g class="{classes}"><title>{escaped(_tip(node, start=start))}</title>']
    parts.append(f'<rect class="b" {at} {size} rx="{radius}"/>')
    if run:
        parts.append(status_symbol(look, x + 21, y + 23, 8))
        left = x + 37
    else:
        band = f"M{px(x + 7)} {px(y)}h-1a6 6 0 0 0 -6 7v{px(box.height - 14)}a6 6 0 0 0 6 7h1z"
        parts.append(f'<path class="band" d="{band}"/>')
        left = x + 18
    parts.append(text_element("t", left, y + 20, one.label, width(one.label, _TITLE, bold=True)))
    parts.append(_about(one, left, y + 36))
    parts += [_drawn_tag(tag, left + tag.x, y + _HIGH - 2 + tag.row * _ROW) for tag in one.tags]
    parts.append("</g>")
    return "".join(parts)


def ring(one: Figure, box: Box) -> str:
    """Return the ring around the starting box, drawn below the arrowheads."""
    size = f'width="{px(box.width + 10)}" height="{px(box.height + 10)}" rx="{27 if one.node.type == "run" else 12}"'
    return f'<rect class="ring" x="{px(box.x - 5)}" y="{px(box.y - 5)}" {size}/>'


def _about(one: Figure, x: float, y: float) -> str:
    wide = width(one.about, SMALL)
    if not (has_known_width(one.about) and one.short.isascii()):
        return text_element("s", x, y, one.about + one.short, wide + width(one.short, SMALL))
    short = f'<tspan class="m">{escaped(one.short)}</tspan>' if one.short else ""
    return f'<text class="s" x="{px(x)}" y="{px(y)}">{escaped(one.about)}{short}</text>'


_GLYPHS: Final = {
    "alias": "v10h1.4v-4.5h6.1l-1.8 -2.6 1.8 -2.6h-6.1v-.3z",  # a flag
    "tainted": "m4 0l4.6 9h-9.2z",  # a triangle
    "dirty": "m4 .5l4 4.2 -4 4.2 -4 -4.2z",  # a diamond
}


def _drawn_tag(tag: _Tag, x: float, y: float) -> str:
    parts = [f'<rect class="{tag.look}" x="{px(x)}" y="{px(y)}" width="{px(tag.width)}" height="17" rx="4"/>']
    if glyph := _GLYPHS.get(tag.look):
        parts.append(f'<path class="{tag.look}-x" d="M{px(x + 6)} {px(y + 3.8)}{glyph}"/>')
    at = x + (18 if tag.look in _GLYPHS else 6)
    parts.append(text_element(f"g {tag.look}-x", at, y + 12.5, tag.text, width(tag.text, _TAG)))
    return "".join(parts)


def _tip(node: Node, *, start: bool) -> str:
    """Return the full text about a node, which its box shortens, for a tooltip."""
    lines = [f"run {node.label}" if node.type == "run" else node.about or node.label, node.kind, node.id]
    lines += [node.about] if node.type == "run" and node.about else []
    lines += [f"alias {alias}" for alias in node.aliases]
    lines += [word for word, there in (("tainted", node.tainted), ("dirty code", node.dirty), ("no-op", node.idle)) if there]
    return " · ".join([*lines, *(["where this drawing begins"] if start else [])])
