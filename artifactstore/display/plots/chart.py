"""A chart: SVG in light and dark without scripts, its frame, axes and legend, and what it shows in words."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from artifactstore.display.graph.palette import themed
from artifactstore.display.graph.text_metrics import escaped, shortened, width
from artifactstore.display.html_renderer import Markup, document, element
from artifactstore.display.plots.axis import Axis
from artifactstore.errors import InvalidInputError
from artifactstore.printable import as_lines
from artifactstore.runtime.atomic_files import replace_whole

__all__ = ["Chart", "Colours", "drawing", "hue", "named", "px", "text", "x_axis", "y_axis"]

_SMALL: Final = 11.0  # size of text
_LOW, _MIDDLE, _HIGH = (
    (47, 111, 208),
    (154, 104, 164),
    (224, 113, 28),
)  # readable on white and on black, whatever the colour vision
# Okabe and Ito's hues, of a lightness that both grounds permit.
_HUES: Final = ("#2f78c4", "#d1701a", "#138f6b", "#b8559e", "#8a7a00", "#2f9fc9", "#c4453a", "#7d6bd1")
_NAMED: Final = 12  # entries of a legend
_PAINT: Final = (
    ".asp{font-family:system-ui,sans-serif;font-size:11px;max-width:100%;height:auto}.asp .h{font-size:14px;font-weight:700}"
    ".asp .l{fill:none;stroke-width:1.5px;stroke-linejoin:round;opacity:.75}.asp .l:hover,.asp .p:hover{opacity:1;stroke-width:3.5px}"
    ".asp .o{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}.asp .p{opacity:.85}.asp .grid{stroke-width:1px;opacity:.35}.asp .axis{stroke-width:1px}"
)
_RULES: Final = (
    ("bg", "fill", "page"), ("h", "fill", "ink"), ("t", "fill", "ink"), ("s", "fill", "soft"), ("o", "fill", "soft"), ("o", "stroke", "page"), ("grid", "stroke", "edge"), ("axis", "stroke", "edge"),
)  # fmt: skip


class Chart:
    """A chart of runs: notebooks show it, `svg()` returns it, `save` writes a file, `str` says in words what is on it.

    Args:
        title: what it is.
        facts: what it shows, and what was left out.
        svg: the drawing.
    """

    def __init__(self, title: str, facts: Sequence[str], svg: str) -> None:
        self.title = title
        self.facts = tuple(facts)
        self._svg = svg

    def svg(self) -> str:
        """Return it as SVG."""
        return self._svg

    def html(self) -> str:
        """Return it as a page of its own."""
        return document(self.title, Markup(self._svg))

    def save(self, to: str | Path) -> Path:
        """Write a file atomically: `.svg` or `.html`.

        Raises:
            InvalidInputError: the suffix is another one, or the folder does not exist.
        """
        path = Path(to)
        make = {".svg": self.svg, ".html": self.html}.get(path.suffix.lower())
        if make is None:
            raise InvalidInputError(f"expected a path ending with .svg or .html, got {path.suffix or path.name!r}")
        if not path.parent.is_dir():
            raise InvalidInputError(f"the folder {path.parent} does not exist: make it first, or choose another path")
        replace_whole(path, make().encode())
        return path

    def __str__(self) -> str:
        return as_lines([self.title, *(f"  {fact}" for fact in self.facts)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return element("div", Markup(self._svg), style="overflow:auto")


def drawing(title: str, facts: Iterable[str], wide: float, high: float, parts: Iterable[str]) -> str:
    """Return the SVG of a chart: its title above, its facts below."""
    notes = [shortened(one, wide - 24, _SMALL) for one in facts]
    full = high + 30 + 16 * len(notes) + 8
    size = f'width="{px(wide)}" height="{px(full)}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="asp" role="img" aria-label="{escaped(title)}" {size} '
        f'viewBox="0 0 {px(wide)} {px(full)}"><style>{themed("asp", _RULES, _PAINT)}</style><rect class="bg" {size} rx="6"/>'
        f'<text class="h" x="12" y="20">{escaped(shortened(title, wide - 24, 14, bold=True))}</text><g transform="translate(0 30)">'
    )
    below = "".join(text("s", 12, high + 12 + 16 * i, one) for i, one in enumerate(notes))
    return head + "".join(parts) + below + "</g></svg>\n"


def px(value: float) -> str:
    """Format a number of pixels for SVG."""
    return f"{value:.1f}".removesuffix(".0")


def text(look: str, x: float, y: float, shown: str, anchor: str = "", *, limit: float | None = None) -> str:
    """Return a text; `anchor` is middle or end, `limit` the pixels that it may take."""
    shown = shown if limit is None else shortened(shown, limit, _SMALL)
    at = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{look}" x="{px(x)}" y="{px(y)}"{at}>{escaped(shown)}</text>'


def x_axis(axis: Axis, left: float, right: float, top: float, bottom: float) -> Iterable[str]:
    """Yield a horizontal axis with its grid and label; ticks whose texts would meet are left out."""
    yield f'<path class="axis" d="M{px(left)} {px(bottom)}H{px(right)}"/>'
    end = -1e9
    room = (right - left) / max(1, len(axis.ticks)) - 6 if axis.kind == "category" else 120.0
    for place, label in axis.ticks:
        x, shown = left + place * (right - left), shortened(label, max(24.0, room), _SMALL)
        half = width(shown, _SMALL) / 2
        if axis.kind != "category":
            yield f'<path class="grid" d="M{px(x)} {px(top)}V{px(bottom)}"/>'
        if x - half > end + 4:
            yield text("s", x, bottom + 15, shown, "middle")
            end = x + half
    yield text("t", (left + right) / 2, bottom + 33, axis.label + _scale(axis), "middle", limit=right - left)


def y_axis(
    axis: Axis,
    left: float,
    right: float,
    top: float,
    bottom: float,
    *,
    grid: bool = True,
    limit: float = 60.0,
    outside: bool = False,
) -> Iterable[str]:
    """Yield a vertical axis: its ticks with their texts to the left, or `outside` to the right; the caller draws its label."""
    yield f'<path class="axis" d="M{px(left)} {px(top)}V{px(bottom)}"/>'
    last = 1e9
    for place, label in axis.ticks:
        y = bottom - place * (bottom - top)
        if grid and axis.kind != "category":
            yield f'<path class="grid" d="M{px(left)} {px(y)}H{px(right)}"/>'
        if last - y >= 12:
            look, side = "s" if grid else "o", 6 if outside else -6
            yield text(look, left + side, y + 4, label, "" if outside else "end", limit=limit)
            last = y


def _scale(axis: Axis) -> str:
    return " (log)" if axis.kind == "log" else ""


class Colours:
    """The colours of runs by a column, and their legend: shades from blue to orange for numbers, hues for texts.

    Args:
        axis: of the column; None: one colour.
    """

    def __init__(self, axis: Axis | None) -> None:
        self.axis = axis

    def of(self, value: Any) -> str | None:
        """Return the colour of a value; None if it has none."""
        if self.axis is None:
            return _HUES[0]
        place = self.axis.at(value)
        if place is None:
            return None
        if self.axis.kind == "category":
            return _HUES[self.axis.names[str(value)] % len(_HUES)]
        return _between(place)

    def legend(self, x: float, y: float, limit: float) -> Iterable[str]:
        """Yield the legend."""
        if self.axis is None:
            return
        yield text("t", x, y + 4, self.axis.label + _scale(self.axis), limit=limit)
        if self.axis.kind == "category":
            yield from named([(name, _HUES[i % len(_HUES)]) for name, i in self.axis.names.items()], x, y + 20, limit)
            return
        for step in range(20):
            yield f'<rect x="{px(x)}" y="{px(y + 16 + 6 * step)}" width="14" height="6.5" fill="{_between(1 - (step + 0.5) / 20)}"/>'
        for place, label in self.axis.ticks:
            yield text("s", x + 20, y + 16 + 120 * (1 - place) + 4, label, limit=limit - 20)

    @property
    def is_shown(self) -> bool:
        """Whether there is a legend."""
        return self.axis is not None


def named(entries: Sequence[tuple[str, str]], x: float, y: float, limit: float) -> Iterable[str]:
    """Yield a legend of names, each with its colour; those without room are counted."""
    for i, (name, colour) in enumerate(entries[:_NAMED]):
        yield f'<rect x="{px(x)}" y="{px(y + 18 * i - 5)}" width="12" height="10" rx="2" fill="{colour}"/>'
        yield text("s", x + 18, y + 18 * i + 4, name, limit=limit - 18)
    if len(entries) > _NAMED:
        yield text("s", x, y + 18 * _NAMED + 4, f"… {len(entries) - _NAMED:,} more", limit=limit)


def hue(number: int) -> str:
    """Return the colour of the k-th of some things."""
    return _HUES[number % len(_HUES)]


def _between(place: float) -> str:
    one, other, share = (_LOW, _MIDDLE, place * 2) if place < 0.5 else (_MIDDLE, _HIGH, place * 2 - 1)
    return "#" + "".join(f"{round(a + (b - a) * min(1.0, max(0.0, share))):02x}" for a, b in zip(one, other, strict=True))
