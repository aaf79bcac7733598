"""Outlines as text for terminals: equal for every reader, no line longer than the data demands."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Final

from artifactstore.display.outline import (
    Bars,
    Block,
    Branch,
    Change,
    Changes,
    Column,
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
from artifactstore.display.values import sparkline
from artifactstore.printable import visible

__all__ = ["WIDTH", "as_text", "inline_text", "table_lines", "tree_lines"]

WIDTH: Final = 80  # columns of a report
_NARROWEST: Final = 12  # columns that are left of a cell that is cut or wrapped
_GAP: Final = "  "
_COLOURS: Final = {
    "strong": 1,
    "good": 32,
    "warning": 33,
    "bad": 31,
    "dim": 2,
}  # of ANSI terminals; grey (90) is the background of some dark themes


def as_text(blocks: Iterable[Block], *, width: int | None = WIDTH) -> str:
    """Render an outline as lines. Only tables depend on the width; None: they are as wide as their cells."""
    lines: list[str] = []
    _add(lines, blocks, "", width)
    return "\n".join(lines)


def inline_text(text: Inline, *, colours: bool = False) -> str:
    """Render inline text on one line; it cannot steer a terminal."""
    if isinstance(text, str):
        return visible(text)
    if isinstance(text, Span):
        shown = visible(text.text)
        return f"\x1b[{_COLOURS[text.role]}m{shown}\x1b[0m" if colours and text.role in _COLOURS else shown
    if isinstance(text, Bars):
        return "" if text.of_whole else sparkline(text.counts)
    return "".join(inline_text(part, colours=colours) for part in text)


def _add(lines: list[str], blocks: Iterable[Block], space: str, width: int | None) -> None:
    for block in blocks:
        match block:
            case Line() | Heading() | Note():
                lines.append(space + inline_text(block.text))
            case Section():
                lines.append(space + inline_text(block.title).rstrip())
                _add(lines, block.body, space + " " * block.indent, width)
            case Changes():
                lines += [space + _change(one) for one in block.rows]
            case Lines():
                inner = space + " " * block.indent
                lines += [inner + line for line in _limited(block)]
            case Pairs():
                lines += [space + line for line in _pairs(block)]
            case Table():
                header, rows = table_lines(block, None if width is None else width - len(space))
                lines += [space + line for line in (header, *rows)]
            case Tree():
                lines += [space + line for line in tree_lines(block)]


def _change(one: Change) -> str:
    values = " -> ".join(visible(value) for value in (one.old, one.new) if value is not None)
    line = f"{one.sign} {visible(one.name)}".lstrip() + (f": {values}" if values else "")
    return f"{line}  {visible(one.note)}" if one.note else line


def _limited(block: Lines) -> Iterator[str]:
    many = len(block.lines)
    shown = many if block.limit is None else min(block.limit, many)
    yield from map(inline_text, block.lines[:shown])
    if many > shown:
        yield f"… {many - shown} more lines"


def _pairs(block: Pairs) -> Iterator[str]:
    names = [inline_text(name) for name, _ in block.rows]
    width = max(map(_cells, names), default=0) if block.width is None else block.width
    for name, (_, value) in zip(names, block.rows, strict=True):
        yield f"{_padded(name, width, 'left')} {inline_text(value)}".rstrip()
    if block.more:
        yield visible(block.more)


# -- trees

_SHORTEST: Final = 12  # characters that are left of a name that is shortened
_BRANCHES: Final = ("├─ ", "└─ ", "│  ", "   ")


def tree_lines(tree: Tree, width: int | None = None, *, colours: bool = False) -> Iterator[str]:
    """Yield the lines of a tree with its branches.

    Args:
        tree: the tree.
        width: columns of the terminal; None: lines are as long as they are.
        colours: colour what has a role, and dim the branches.
    """
    leads = [visible(row.lead) for row in tree.rows]
    lead = max(map(_cells, leads), default=0)
    last = _last_ones(tree.rows)
    open_: list[bool] = []  # per depth, whether a line of that depth follows
    for row, first, is_last in zip(tree.rows, leads, last, strict=True):
        del open_[max(0, row.depth - 1) :]
        signs = "".join(_BRANCHES[2 if more else 3] for more in open_)
        if row.depth:
            signs += _BRANCHES[1 if is_last else 0]
            open_.append(not is_last)
        before = f"{_padded(first, lead, 'right')}  " if lead else ""
        room = None if width is None else width - _cells(before) - len(signs)
        shown = _painted(signs, "dim", colours=colours) if signs else ""
        yield before + shown + _branch(row, room, colours=colours)


def _last_ones(rows: Sequence[Branch]) -> list[bool]:
    """Return of each line whether no line of its depth follows under the same one."""
    last, seen = [False] * len(rows), set[int]()
    for at in range(len(rows) - 1, -1, -1):
        depth = rows[at].depth
        last[at] = depth not in seen
        seen = {one for one in seen if one <= depth} | {depth}
    return last


def _branch(row: Branch, room: int | None, *, colours: bool) -> str:
    name = row.text if isinstance(row.text, Span) else Span(row.text)
    text, role, notes, mark = visible(name.text), name.role, [*row.notes], inline_text(row.mark)
    tail = f" {mark}" if mark else ""
    used = _cells(text) + _cells(tail) + sum(1 + _cells(inline_text(one)) for one in notes)
    if room is not None and used > room:
        while notes and used > room - 2:  # of the ellipsis
            used -= 1 + _cells(inline_text(notes.pop()))
        cut = len(notes) < len(row.notes) and not mark.startswith("…")
        notes += ["…"] if cut else []
        text = _shortened(text, max(_SHORTEST, room - used + _cells(text) - (2 if cut else 0)))
    parts = [_painted(text, role, colours=colours), *(inline_text(one, colours=colours) for one in notes)]
    return " ".join([*parts, *([inline_text(row.mark, colours=colours)] if mark else [])])


def _painted(text: str, role: str, *, colours: bool) -> str:
    return f"\x1b[{_COLOURS[role]}m{text}\x1b[0m" if colours and role in _COLOURS else text


def _shortened(text: str, room: int) -> str:
    """Shorten a text in its middle: names differ at their ends."""
    if _cells(text) <= room:
        return text
    head = _fitting(text, (room - 1) // 2)
    tail = _fitting(text[::-1], room - 1 - _cells(head))[::-1]
    return f"{head}…{tail}"


def _fitting(text: str, room: int) -> str:
    """Return the beginning of a text that has room."""
    used = 0
    for at, one in enumerate(text):
        used += _cells(one)
        if used > room:
            return text[:at]
    return text


# -- tables


def table_lines(table: Table, width: int | None = None, *, colours: bool = False) -> tuple[str, list[str]]:
    """Render a table, and return its header and its lines.

    Args:
        table: the table.
        width: columns of the terminal; None: as wide as its cells, for programs that read it.
        colours: colour what has a role.
    """
    cells_of = [*zip(*table.rows, strict=True)] or [()] * len(table.columns)
    shown = [*map(_shown, cells_of)]
    titles = [visible(column.title) for column in table.columns]
    widths = natural = [
        max(column.least, _cells(title), widest) for title, column, (_, widest) in zip(titles, table.columns, shown, strict=True)
    ]
    if width is not None:
        widths = _fitted(table.columns, titles, natural, width)
    if widths == natural and not colours:
        aligned = (
            _aligned(cells, column, widths[i]) for i, (column, (cells, _)) in enumerate(zip(table.columns, shown, strict=True))
        )
        lines = [*map(str.rstrip, map(_GAP.join, zip(*aligned, strict=True)))]
    else:
        rows = [*zip(*(cells for cells, _ in shown), strict=True)]
        lines = [*_broken(table, rows, widths, colours=colours)]
    if table.more:
        lines.append(visible(table.more))
    return _row(titles, table.columns, widths, [""] * len(titles)), lines


def _shown(cells: Sequence[Inline]) -> tuple[list[str], int]:
    """Return the texts of a column, and the width of the widest; all at once where nothing in them needs a look."""
    if {*map(type, cells)} <= {str}:
        texts: list[str] = [*cells]  # type: ignore[list-item]  # checked above
        whole = "".join(texts)
        if whole.isascii() and whole.isprintable():
            return texts, max(map(len, texts), default=0)
    texts = [*map(inline_text, cells)]
    return texts, max(map(_cells, texts), default=0)


def _aligned(cells: list[str], column: Column, width: int) -> list[str]:
    if all(map(str.isascii, cells)):
        return [*map(str.rjust if column.align == "right" else str.ljust, cells, repeat(width))]
    return [_padded(cell, width, column.align) for cell in cells]


def _broken(table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int], *, colours: bool) -> Iterator[str]:
    """Yield the lines of rows whose cells are cut, wrapped or coloured."""
    for row, given in zip(rows, table.rows, strict=True):
        parts = [_within(cell, column, most) for cell, column, most in zip(row, table.columns, widths, strict=True)]
        shades = [cell.role if colours and isinstance(cell, Span) else "" for cell in given]
        for number in range(max(map(len, parts), default=0)):
            cells = [part[number] if number < len(part) else "" for part in parts]
            yield _row(cells, table.columns, widths, shades)


def _fitted(columns: Sequence[Column], titles: Sequence[str], widths: list[int], width: int) -> list[int]:
    """Narrow the columns that may be, the widest first, until the table fits or nothing is left to take."""
    widths = list(widths)
    least = [max(_NARROWEST, column.least, _cells(title)) for title, column in zip(titles, columns, strict=True)]
    while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - width) > 0:
        able = [i for i, column in enumerate(columns) if column.fit != "keep" and widths[i] > least[i]]
        if not able:
            break
        widest = max(able, key=widths.__getitem__)
        next_ = max((widths[i] for i in able if widths[i] < widths[widest]), default=0)
        widths[widest] = max(least[widest], next_, widths[widest] - excess)
    return widths


def _within(cell: str, column: Column, width: int) -> list[str]:
    if _cells(cell) <= width or column.fit == "keep":
        return [cell]
    if column.fit == "cut":
        return [_cut(cell, width)]
    import textwrap  # noqa: PLC0415 - only for long cells

    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def _cut(text: str, width: int) -> str:
    return _fitting(text, width - 1).rstrip() + "…"


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], shades: Sequence[str]) -> str:
    shown = []
    for cell, column, width, role in zip(cells, columns, widths, shades, strict=True):
        colour = _COLOURS.get(role) if cell else None
        text = _padded(cell, width, column.align)
        shown.append(text if colour is None else text.replace(cell, f"\x1b[{colour}m{cell}\x1b[0m"))
    return _GAP.join(shown).rstrip()


def _padded(text: str, width: int, align: str) -> str:
    space = " " * (width - _cells(text))
    return space + text if align == "right" else text + space


def _cells(text: str) -> int:
    """Return the number of columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(one) in {"Mn", "Me"} else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
