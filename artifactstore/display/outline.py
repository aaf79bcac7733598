"""Outlines: what a report contains, in its order, without a look. `text_renderer` and `html_renderer` show the same outline.

A report is a list of blocks. A block consists of inline text: plain strings, and spans that have a role. All of it may be
hostile: the renderers escape it, and nothing else does.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from artifactstore.runtime.records import dataclass

__all__ = [
    "ARROW",
    "BREAK",
    "Bars",
    "Block",
    "Branch",
    "Change",
    "Changes",
    "Column",
    "Heading",
    "Inline",
    "Line",
    "Lines",
    "Note",
    "Pairs",
    "Section",
    "Span",
    "Table",
    "Tree",
    "column_of",
    "table_of",
]

Role = Literal["", "strong", "dim", "code", "tag", "good", "warning", "bad", "label", "arrow", "break"]


@dataclass(frozen=True, slots=True)
class Span:
    """Text with a role.

    Attributes:
        text: the text.
        role: how it differs from the text around it; terminals show only colours.
        tip: the full text that it stands for; pages show it under the pointer.
        link: a URL that the caller vouches for.
    """

    text: str
    role: Role = ""
    tip: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """A small chart in a line: a histogram, or the shares of a whole.

    Attributes:
        counts: the height of each bar, or each share; not negative.
        tips: what each of them is; pages show it under the pointer. Empty: the title alone is shown.
        title: what all of it is.
        of_whole: whether the counts are shares, the last of which is the rest.
    """

    counts: Sequence[float]
    tips: Sequence[str] = ()
    title: str = ""
    of_whole: bool = False


Inline = str | Span | Bars | Sequence["Inline"]
ARROW: Final = Span("->", "arrow")
BREAK: Final = Span(" ", "break")  # a new line in a cell of a page


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of what follows."""

    text: Inline
    level: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line or sentence; `dim` if it is of less interest."""

    text: Inline
    dim: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that is not a part of the answer: commands print it to stderr."""

    text: Inline


@dataclass(frozen=True, slots=True)
class Section:
    """A line, and what belongs to it.

    Attributes:
        title: the line.
        body: its blocks, indented in text.
        is_open: whether a page shows the body at once; None: always, without a way to fold it.
        count: the number of items, which a page shows beside the title.
        indent: number of spaces that text indents the body by.
    """

    title: Inline
    body: Sequence["Block"]
    is_open: bool | None = None
    count: int | None = None
    indent: int = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `~ depth: 6 -> 8`.

    Attributes:
        sign: `+` added, `-` removed, `~` changed, `>` moved, or empty.
        name: what differs.
        old: its value before, or None.
        new: its value now, or None.
        note: a remark.
    """

    sign: str
    name: str
    old: str | None = None
    new: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """A list of differences; a page shows the first `limit`."""

    rows: Sequence[Change]
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines whose spaces matter, such as a patch or a tree.

    Attributes:
        lines: the lines.
        is_patch: whether `+` and `-` at their beginnings are coloured.
        limit: the number of lines that text shows.
        indent: number of spaces that text indents them by.
    """

    lines: Sequence[Inline]
    is_patch: bool = False
    limit: int | None = None
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of a tree.

    Attributes:
        depth: 0 for a root; a line belongs to the nearest line above it that is less deep.
        text: its name, which is shortened in its middle where the line is too long.
        notes: what follows the name; where the line is too long, the last ones are left out.
        mark: what follows them, and is never left out.
        lead: a cell before the tree, aligned on the right.
    """

    depth: int
    text: str | Span
    notes: Sequence[Inline] = ()
    mark: Inline = ""
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree, line by line from the top; text draws its branches."""

    rows: Sequence[Branch]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: its title.
        cell: returns the cell of a record; see `table_of`.
        align: `right` for numbers.
        fit: what happens to it in a table that is too wide. `keep`: nothing, for names and digests that a user copies; `cut`: its
            texts lose their ends; `wrap`: they continue on further lines.
        least: its least width, in characters of text.
        field: the field whose values are the texts of the cells, if formatted by `format`: then a list that has its records in
            columns needs no record for each row.
        format: makes a cell of such a value.
    """

    title: str
    cell: Callable[[Any], Inline] = str
    align: Literal["left", "right"] = "left"
    fit: Literal["keep", "cut", "wrap"] = "keep"
    least: int = 0
    field: str = ""
    format: Callable[[Any], Inline] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        columns: its columns.
        rows: one cell for each column; empty lists a title alone.
        more: a line on what is not listed.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Inline]]
    more: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names with their values.

    Attributes:
        rows: (name, value).
        width: number of characters that text pads names to; by default the longest.
        more: a line on what is not listed.
    """

    rows: Sequence[tuple[Inline, Inline]]
    width: int | None = None
    more: str = ""


Block = Heading | Line | Note | Section | Changes | Lines | Table | Pairs | Tree


def table_of(records: Iterable[Any], columns: Sequence[Column], more: str = "") -> Table:
    """Return a table of records with chosen columns."""
    values: Callable[[str], list[Any]] | None = getattr(records, "values", None)
    if values is None or not all(column.field for column in columns):
        return Table(columns, [[column.cell(record) for column in columns] for record in records], more)
    cells = (values(one.field) if one.format is None else map(one.format, values(one.field)) for one in columns)
    return Table(columns, [*zip(*cells, strict=True)], more)


def column_of(title: str, field: str, format: Callable[[Any], Inline] | None = None, **look: Any) -> Column:  # noqa: A002 - what it is
    """Return a column of a field of the records; without `format` its values are texts."""
    make = format or str
    return Column(title, lambda record: make(getattr(record, field)), field=field, format=format, **look)
