"""Outlines as HTML for notebooks and pages: no scripts, every text escaped here, readable on white and on black."""

from collections.abc import Iterable, Iterator
from typing import Final

from artifactstore.display.outline import (
    Bars,
    Block,
    Change,
    Changes,
    Heading,
    Inline,
    Line,
    Lines,
    Note,
    Pairs,
    Section,
    Span,
    Table,
    Tree,
)
from artifactstore.printable import html, visible

__all__ = ["CARD", "REPORT", "Markup", "as_html", "document", "element"]

# Colours are inherited from the page, or are readable on white and on black.
REPORT: Final = "max-width:64em;line-height:1.45;font-family:sans-serif"
CARD: Final = "border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.6em .9em;max-width:60em;line-height:1.45"
_DIM: Final = "opacity:.7"
_COLOURS: Final = {"+": "#1a8a4a", "-": "#d1453b"}
_CODE: Final = "background:none;color:inherit;padding:0"
_TAG: Final = "border:1px solid rgba(128,128,128,.6);border-radius:4px;padding:0 .4em;margin-left:.5em;font-size:85%"
_ROLES: Final = {
    "": "",
    "dim": _DIM,
    "label": "opacity:.75;font-size:85%;white-space:nowrap",
    "tag": _TAG,
    "good": "color:#1a8a4a",
    "warning": "color:#b7791f",
    "bad": "color:#d1453b",
}
_CELL: Final = "padding:.1em .8em .1em 0;text-align:left;vertical-align:top"
_NUMBER: Final = "padding:.1em .8em .1em 0;text-align:right;vertical-align:top"
_LONG: Final = "min-width:12em;max-width:36em;overflow-wrap:anywhere"
_SHORT: Final = 32  # characters of a cell that is not broken: a narrow page scrolls instead
_TABLE: Final = "border-collapse:collapse;color:inherit;margin:.3em 0"
_WIDE: Final = 120  # pixels of a small chart
_CHART: Final = "vertical-align:middle;border-bottom:1px solid rgba(128,128,128,.6)"
_SHADES: Final = ("fill:#3d82c9", "fill:#6ba1d8", "fill:#95bbe2", "fill:#b3cce6")
_REST: Final = "fill:rgba(128,128,128,.35)"
_FRAME: Final = "overflow-x:auto;border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.5em .7em;line-height:1.35"


class Markup(str):
    """HTML whose texts are escaped."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | bool | None) -> Markup:
    """Return an HTML element.

    Args:
        tag: its name.
        *children: its contents; what is not `Markup` is escaped.
        **attributes: True lists a name alone; None, False and empty ones are left out.
    """
    given = "".join(
        f" {name}" if value is True else f' {name}="{html(value)}"' for name, value in attributes.items() if value
    )  # fmt: skip
    inside = "".join(one if isinstance(one, Markup) else html(one) for one in children)
    return Markup(f"<{tag}{given}>{inside}</{tag}>")


def document(title: str, body: Markup, *, style: str = "", script: str = "") -> str:
    """Return a complete page, which loads and sends nothing.

    Args:
        title: its title.
        body: its contents.
        style: a style sheet of this package's.
        script: a script of this package's; no other one runs.
    """
    permitted = f"; script-src '{_script_hash(script)}'" if script else ""
    policy = f"default-src 'none'; style-src 'unsafe-inline'{permitted}"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'{element("title", title)}<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
    )
    sheet = f"<style>{style}</style>" if style else ""
    code = f"<script>{script}</script>" if script else ""
    return f'<!doctype html>\n<html lang="en"><head>{head}{sheet}</head>\n<body>{body}{code}</body></html>\n'


def _script_hash(script: str) -> str:
    """Return the source expression of a content security policy that permits a script."""
    import base64  # noqa: PLC0415 - few pages have a script
    import hashlib  # noqa: PLC0415 - as above

    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def as_html(blocks: Iterable[Block], *, look: str = REPORT) -> Markup:
    """Render an outline as one element with a CSS style."""
    return element("div", *_parts(blocks), style=look)


def _parts(blocks: Iterable[Block]) -> Iterator[Markup]:
    for block in blocks:
        match block:
            case Line():
                yield element("div", _inline(block.text), style=_DIM if block.dim else "")
            case Note():
                yield element("div", _inline(block.text), style=_DIM)
            case Heading():
                yield element(f"h{block.level}", _inline(block.text))
            case Section():
                yield _section(block)
            case Changes():
                yield from _changes(block)
            case Lines():
                lines = Markup("\n".join(_line(line, is_patch=block.is_patch) for line in block.lines))
                yield element(
                    "pre", lines, style=f"{_CODE};{_FRAME}" if block.is_patch else f"{_CODE};margin:.3em 0;overflow-x:auto"
                )
            case Pairs():
                yield _pairs(block)
            case Table():
                yield _table(block)
            case Tree():
                yield _tree(block)


def _inline(text: Inline, *, lines: bool = True) -> Markup:
    """Render inline text; unless `lines`, line feeds in it are escaped."""
    if isinstance(text, str):
        return Markup(html(text if lines else visible(text)))
    if isinstance(text, Bars):
        return _bars(text)
    if not isinstance(text, Span):
        return Markup("".join(_inline(part, lines=lines) for part in text))
    words = text.text if lines else visible(text.text)
    match text.role:
        case "arrow":
            return Markup("→")
        case "break":
            return Markup("<br>")
        case "strong":
            shown = element("b", words, title=text.tip)
        case "code":
            shown = element("code", words, title=text.tip, style=_CODE)
        case role:
            shown = element("span", words, title=text.tip, style=_ROLES[role]) if role or text.tip else Markup(html(words))
    return element("a", shown, href=text.link) if text.link else shown


def _bars(chart: Bars) -> Markup:
    """Render a small chart as SVG; bars in one colour, shares in shades of it."""
    total = (sum(chart.counts) if chart.of_whole else max(chart.counts, default=0)) or 1
    tall, step = (12, 0.0) if chart.of_whole else (26, _WIDE / max(1, len(chart.counts)))
    parts, at = [], 0.0
    for i, count in enumerate(chart.counts):
        rest = chart.of_whole and i == len(chart.counts) - 1
        wide = _WIDE * count / total if chart.of_whole else step
        high = tall if chart.of_whole else max(1.0, (tall - 2) * count / total) if count else 0.0
        if wide > 0 and high > 0:
            tip = (element("title", chart.tips[i]),) if chart.tips else ()
            shade = (_REST if rest else _SHADES[min(i, len(_SHADES) - 1)]) if chart.of_whole else _SHADES[0]
            sides = {"x": at, "y": tall - high, "width": max(0.4, wide - (1 if wide > 3 else 0)), "height": high}
            parts.append(element("rect", *tip, style=shade, **{name: f"{side:.1f}" for name, side in sides.items()}))
        at += wide
    title = (element("title", chart.title),) if chart.title else ()
    return element(
        "svg", *title, *parts, width=str(_WIDE), height=str(tall), viewBox=f"0 0 {_WIDE} {tall}", role="img", style=_CHART
    )


def _section(block: Section) -> Markup:
    title = _inline(block.title) + (f" ({block.count:,})" if block.count is not None else "")
    if block.is_open is None:
        return element("div", element("div", Markup(title)), *_parts(block.body))
    body = element("div", *_parts(block.body), style="margin-left:1.1em")
    return element("details", element("summary", Markup(title)), body, open=block.is_open, style="margin:.3em 0 .3em .6em")


def _tree(block: Tree) -> Markup:
    """Render a tree as lines that are indented."""
    lines = (
        Markup(
            "  " * row.depth
            + _inline([one for note in (row.lead, row.text, *row.notes, row.mark) for one in (note, " ")], lines=False)
        )
        for row in block.rows
    )
    return element("pre", Markup("\n".join(lines)), style=f"{_CODE};margin:.3em 0;overflow-x:auto")


def _changes(block: Changes) -> Iterator[Markup]:
    rows = block.rows if block.limit is None else block.rows[: block.limit]
    valued = any(one.old is not None or one.new is not None for one in rows)
    noted = any(one.note for one in rows)
    if rows:
        yield element("table", *(_change(one, valued=valued, noted=noted) for one in rows), style=_TABLE)
    if len(block.rows) > len(rows):
        yield element("div", f"… {len(block.rows) - len(rows):,} more", style=_DIM)


def _change(one: Change, *, valued: bool, noted: bool) -> Markup:
    colour = _COLOURS.get(one.sign, "")
    cells = [element("td", one.sign, style=f"{_CELL};color:{colour}" if colour else _CELL)]
    cells.append(element("td", element("code", one.name, style=_CODE), style=_CELL))
    if valued:
        cells += _values(one)
    if noted:
        cells.append(element("td", one.note, style=f"{_CELL};{_DIM}"))
    return element("tr", *cells)


def _values(one: Change) -> list[Markup]:
    """Render both values; one alone is a statement unless the sign says which side lacks it."""
    if one.sign not in {"+", "-"} and (one.old is None or one.new is None):
        return [element("td", one.new or one.old or "", colspan="3", style=_CELL)]
    old, new = ("—" if value is None else value for value in (one.old, one.new))
    return [element("td", text, style=_CELL) for text in (old, "→", new)]


def _line(line: Inline, *, is_patch: bool) -> Markup:
    colour = _COLOURS.get(line[:1]) if is_patch and isinstance(line, str) else None
    shown = _inline(line, lines=False)
    return element("span", shown, style=f"color:{colour}") if colour else shown


def _pairs(block: Pairs) -> Markup:
    rows = [
        element("tr", element("td", _inline(name), style=f"{_CELL};{_DIM}"), element("td", _inline(value), style=_CELL))
        for name, value in block.rows
    ]
    more = [element("tr", element("td", block.more, style=f"{_CELL};{_DIM}"))] if block.more else []
    return element("table", *rows, *more, style=_TABLE)


def _table(block: Table) -> Markup:
    styles = []
    for i, column in enumerate(block.columns):
        longest = max([len(column.title), *(_length(row[i]) for row in block.rows)])
        fit = "white-space:nowrap" if longest <= _SHORT else "" if column.fit == "keep" else _LONG
        styles.append(";".join(part for part in (_NUMBER if column.align == "right" else _CELL, fit) if part))
    titles = (" ".join(word.lower() if word.isalpha() else word for word in column.title.split(" ")) for column in block.columns)
    heads = (element("th", title, style=f"{style};{_DIM}") for title, style in zip(titles, styles, strict=True))
    rows = (
        element("tr", *(element("td", _inline(cell), style=style) for cell, style in zip(row, styles, strict=True)))
        for row in block.rows
    )
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), style=_TABLE)
    more = element("div", block.more, style=_DIM) if block.more else ""
    return element("div", table, Markup(more), style="overflow-x:auto")


def _length(text: Inline) -> int:
    """Return the number of characters that a cell shows."""
    if isinstance(text, Span):
        return len(text.text)
    return len(text) if isinstance(text, str) else 0 if isinstance(text, Bars) else sum(map(_length, text))
