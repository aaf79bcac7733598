"""One outline gives text and HTML: with the same contents, and with nothing that steers a terminal or a page."""

import itertools
import re
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.display.html_renderer import Markup, as_html, document, element
from artifactstore.display.lists import LISTS
from artifactstore.display.outline import (
    ARROW,
    BREAK,
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
    Role,
    Section,
    Span,
    Table,
    Tree,
    table_of,
)  # fmt: skip
from artifactstore.display.text_renderer import as_text, table_lines
from tests.cli.test_hostile_text import EVIL, is_clean

ROLES: tuple[Role, ...] = typing.get_args(Role)


def outline(text: str) -> list[Block]:
    """Every kind of block, with a text in every field that can hold one."""
    charts = [Bars([1, 2], [text, text], text, of_whole=of_whole) for of_whole in (True, False)]
    spans: list[Inline] = [Span(text, role, tip=text, link=text if role == "code" else "") for role in ROLES]
    spans += charts
    rows = [
        Change(sign, text, old, new, note)
        for sign in "+-~>"
        for old in (None, text)
        for new in (None, text)
        for note in ("", text)
    ]
    columns = [Column(text, align=align, fit=fit) for align in ("left", "right") for fit in ("keep", "cut", "wrap")]
    leaves: list[Block] = [
        Heading(text), Heading(spans, 2), Line(text), Line([*spans, [text, [spans[0]]]], dim=True), Note(text), Changes(rows), Changes(rows, limit=3),
        Lines([text, spans]), Lines([f"+{text}", f"-{text}", spans], is_patch=True, limit=2, indent=2),
        Tree([Branch(0, text, spans, text, text), Branch(1, Span(text, "strong"), [text], spans), Branch(2, text), Branch(1, text)]),
        Table(columns, [[text] * 6, spans[:6]], more=text), Pairs([(text, text), (spans, spans)], more=text),
    ]  # fmt: skip
    return [
        *leaves,
        *(Section(text, leaves, is_open, count=3) for is_open in (None, True, False)),
        Section(spans, [Section(text, leaves)]),
    ]


def blocks_of(blocks: list[Any]) -> Iterator[type]:
    for one in blocks:
        yield type(one)
        if isinstance(one, Section):
            yield from blocks_of([*one.body])


class Page(HTMLParser):
    """Parse a page: its text, and whether all elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        assert self.opened in ([], ["html"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"br", "meta"}:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_outline_of_these_tests_has_every_kind_of_block_and_field():
    assert {*blocks_of(outline("x"))} == {*typing.get_args(Block)}
    assert all(is_dataclass(kind) and fields(kind) for kind in typing.get_args(Block))


@pytest.mark.parametrize("width", [None, 200, 80, 20])
def test_no_text_steers_a_terminal(width: int | None):
    text = as_text(outline(EVIL), width=width)
    assert is_clean(text)
    plain = as_text(outline("plain"), width=None)
    assert len(as_text(outline(EVIL), width=None).splitlines()) == len(plain.splitlines()), "no text looks like a further line"


def test_no_text_changes_a_page():
    page = as_html(outline(EVIL))
    assert is_clean(page)
    found = Page(page)
    assert found.tags <= {
        "div", "h1", "h2", "b", "code", "span", "a", "br", "table", "thead", "tbody", "tr", "th", "td", "pre", "details", "summary",
        "svg", "rect", "title",
    }  # fmt: skip
    drawn = {"width", "height", "viewbox", "role", "x", "y"}
    assert found.attributes <= {"style", "title", "href", "open", "colspan", *drawn}
    assert "<script>alert(1)</script>" in found.text
    whole = document(EVIL, element("p", EVIL, title=EVIL), style="p{margin:0}")
    assert is_clean(whole)
    assert "script" not in Page(whole).tags


def test_text_and_page_have_the_same_words_in_the_same_order():
    word = (f"w{i}" for i in itertools.count())
    cells: list[list[Inline]] = [[next(word), [next(word), Span(next(word), "code")]] for _ in range(3)]
    blocks: list[Block] = [
        Heading(next(word)),
        Section([next(word), ARROW, Span(next(word), "tag")], [
            Changes([Change("~", next(word), next(word), next(word), next(word)), Change("+", next(word), new=next(word))]),
            Lines([next(word), [next(word), " ", next(word)]]),
            Section(next(word), [Line(next(word)), Note(next(word))], is_open=False),
        ]),
        Pairs([(next(word), next(word)), (next(word), Span(next(word), "dim"))], more=next(word)),
        Table([Column(next(word)), Column(next(word), align="right")], [[next(word), next(word)]], more=next(word)),
        Table([Column("a"), Column("b")], cells),
    ]  # fmt: skip
    text, page = (re.findall(r"w[0-9]+", shown) for shown in (as_text(blocks), Page(as_html(blocks)).text))
    assert text == page
    assert len({*text}) == len(text) == int(next(word)[1:])


def test_elements_escape_what_is_not_markup():
    assert element("b", "<i>", element("i", "&"), title='"') == '<b title="&quot;">&lt;i&gt;<i>&amp;</i></b>'
    assert element("details", open=True, style="", title=None) == "<details open></details>"
    assert isinstance(element("b"), Markup)


def test_changes_have_one_form():
    rows = [
        Change("~", "depth", "6", "8"), Change("+", "a", new="1"), Change("-", "b", "2"), Change(">", "c", note="(was d)"), Change("", "auc", "1", "2"),
    ]  # fmt: skip
    assert as_text([Changes(rows)]).splitlines() == ["~ depth: 6 -> 8", "+ a: 1", "- b: 2", "> c  (was d)", "auc: 1 -> 2"]
    page = as_html([Changes(rows, limit=2)])
    assert "… 3 more" in page
    assert page.count("<tr>") == 2
    assert "—" in page
    alone = Page(as_html([Changes([Change("~", "values", new="psi 0.3"), Change("~", "depth", "6", "8")])])).text
    assert alone == "~valuespsi 0.3~depth6→8"


def test_sections_indent_and_fold():
    inner = Section("inner", [Lines(["a", "b", "c"], limit=2, indent=1)], is_open=False, indent=4)
    blocks = [Section(["a ", ARROW, " b", BREAK], [inner, Note("end")], count=2)]
    assert as_text(blocks).splitlines() == ["a -> b", "  inner", "       a", "       b", "       … 1 more lines", "  end"]
    page = as_html(blocks)
    assert "a → b<br> (2)" in page
    assert "<details " in page
    assert "<details open" not in page
    assert "c</pre>" in page
    assert "\n" not in as_html([Lines(["a\nb"]), Lines([Span("c\nd", "dim")])]), "a name is one line"


# -- tables


def rows_of(columns: list[Column], *rows: list[str]) -> list[str]:
    header, lines = table_lines(Table(columns, rows))
    return [header, *lines]


def test_columns_are_aligned_whatever_the_width_of_their_characters():
    columns = [Column("NAME"), Column("N", align="right"), Column("X")]
    assert rows_of(columns, ["a", "1", "x"], ["日本", "1,000", ""], ["e\u0301", "20", "y"]) == [
        "NAME      N  X", "a         1  x", "日本  1,000", "e\u0301        20  y",
    ]  # fmt: skip


LONG = "one two three four five six seven eight nine ten eleven"
NAME = "a/very/long/name/that/a/user/must/copy:v12"


@pytest.mark.slow
@pytest.mark.parametrize("width", [10, 40, 60, 80, 100, 200, None])
@pytest.mark.parametrize(
    "fits", [("keep", "cut"), ("keep", "wrap"), ("keep", "cut", "wrap"), ("keep", "keep"), ("cut", "keep", "wrap")]
)
def test_a_table_fits_if_it_can_and_never_cuts_what_is_copied(fits: tuple[Any, ...], width: int | None):
    columns = [Column(f"C{i}", fit=fit) for i, fit in enumerate(fits)]
    cells = [NAME if fit == "keep" else LONG for fit in fits]
    _, lines = table_lines(Table(columns, [cells, ["x"] * len(cells)]), width)
    kept = sum(len(NAME) for fit in fits if fit == "keep")
    least = kept + sum(12 for fit in fits if fit != "keep") + 2 * (len(fits) - 1)
    assert lines[0].count(NAME) == fits.count("keep")
    assert max(map(len, lines)) <= max(width or 10_000, least)
    if "cut" not in fits:
        assert all(word in " ".join(lines) for word in LONG.split()) or fits == ("keep", "keep")
    if width is None or width >= 200:
        assert len(lines) == 2
        assert "…" not in "".join(lines)


def test_colours_do_not_move_columns():
    table = Table([Column("A"), Column("B")], [[Span("ok", "good"), "x"], [Span("failed", "bad"), "y"], [Span("", "bad"), "z"]])
    coloured = table_lines(table, colours=True)[1]
    assert coloured[0] == "\x1b[32mok\x1b[0m      x"
    assert (
        [re.sub("\x1b\\[[0-9]+m", "", line) for line in coloured]
        == table_lines(table)[1]
        == ["ok      x", "failed  y", "        z"]
    )


def test_tables_are_made_of_chosen_columns():
    columns = [Column("UP", str.upper), Column("LENGTH", lambda text: str(len(text)), align="right")]
    made = table_of(["a", "bcd"], columns, more="2 of 9")
    assert as_text([made]).splitlines() == ["UP   LENGTH", "A         1", "BCD       3", "2 of 9"]
    assert "text-align:right" in as_html([made])
    assert all(
        column.fit == "keep"
        for columns in LISTS.values()
        for column in columns
        if column.title in {"NAME", "REF", "DIGEST", "RUN", "PATH"}
    )


def test_html_is_escaped_in_one_module():
    package = Path(artifactstore.__file__).parent
    for path in package.rglob("*.py"):
        source = path.read_text()
        if path.relative_to(package).as_posix() not in {"printable.py", "display/html_renderer.py"}:
            assert not re.search(r"printable import .*\bhtml\b|from html import|import html$", source, re.MULTILINE), path
            assert not re.search(r"</?(div|td|tr|table|pre|code|details)\b", source), f"{path}: outlines are rendered in display"


def test_short_cells_are_not_broken_on_a_narrow_page_and_long_ones_are():
    columns = [Column("name"), Column("text", fit="wrap"), Column("path")]
    page = as_html([Table(columns, [["short", "w" * 200, "p" * 200], [Span("2026-11-30 12:01", tip="t" * 200), "", ""]])])
    styles = re.findall(r'<td style="([^"]*)"', page)
    assert ["nowrap" in style for style in styles] == [True, False, False] * 2
    assert ["overflow-wrap:anywhere" in style for style in styles] == [False, True, False] * 2
    assert "min-width" in styles[1], "never a letter a line"
    label: Inline = [Bars([1, 2]), BREAK, Span("x" * 20, "label")]
    assert "nowrap" in as_html([Table([Column("d")], [[label]])])
