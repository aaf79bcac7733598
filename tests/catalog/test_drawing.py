"""Drawings of lineage: well-formed whatever names hold, nothing overlaps, every mark is there, and bytes are the same every time."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactstore.display.graph.layered_layout import Layout, arrange
from artifactstore.display.graph.mermaid import flowchart
from artifactstore.display.graph.palette import COLOURS, KINDS, STATUSES
from artifactstore.display.graph.svg import draw
from artifactstore.display.graph.text_metrics import MONO, clean, shortened, width
from artifactstore.model.graph import Graph, Node

from .drawn import SVG, Story, drawn, grown, hostile, marked

ANY = st.text(st.characters(codec=None, categories=None), max_size=40)  # surrogates, too


@st.composite
def shapes(draw_: st.DrawFn) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    count = draw_(st.integers(1, 24))
    sizes = draw_(st.lists(st.tuples(st.integers(20, 300), st.integers(46, 90)), min_size=count, max_size=count))
    node = st.integers(0, count - 1)
    edges = draw_(st.lists(st.tuples(node, node).filter(lambda pair: pair[0] != pair[1]), max_size=60, unique=True))
    return sizes, edges


@st.composite
def graphs(draw_: st.DrawFn) -> Graph:
    graph = Graph()
    for number in range(draw_(st.integers(1, 10))):
        run = number % 2 == 1
        label, kind = draw_(ANY), draw_(st.sampled_from((*KINDS, "own")) | ANY)
        one = f"{number}{draw_(ANY)}"
        marks = {"aliases": tuple(draw_(st.lists(ANY, max_size=6))), "tainted": draw_(st.booleans())}
        depth = draw_(st.integers(0, 5))
        graph.nodes[one] = (
            Node("run", one, label, draw_(st.sampled_from(STATUSES) | ANY), depth, dirty=draw_(st.booleans()))
            if run
            else Node("artifact", one, label, kind, depth, **marks)  # type: ignore[arg-type]
        )
    names = st.sampled_from(sorted(graph.nodes))
    pairs = draw_(st.lists(st.tuples(names, names, st.none() | ANY), max_size=20, unique_by=lambda edge: edge[:2]))
    graph.edges = [edge for edge in pairs if edge[0] != edge[1]]
    return graph


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def cyclic(count: int, edges: list[tuple[int, int]]) -> bool:
    waiting = [0] * count
    for _, after in edges:
        waiting[after] += 1
    ready, done = [one for one in range(count) if not waiting[one]], 0
    while ready:
        one, done = ready.pop(), done + 1
        for before, after in edges:
            if before == one:
                waiting[after] -= 1
                ready += [after] if not waiting[after] else []
    return done < count


def check(layout: Layout, edges: list[tuple[int, int]]) -> None:
    rects = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in layout.boxes]
    assert not any(overlap(one, other) for one, other in combinations(rects, 2))
    assert all(
        rect[0] >= 0 and rect[1] >= -0.01 and rect[2] <= layout.width + 0.01 and rect[3] <= layout.height + 0.01 for rect in rects
    )
    assert len(layout.routes) == len(edges)
    for (a, b), route in zip(edges, layout.routes, strict=True):
        first, last = (b, a) if route.back else (a, b)
        assert layout.layers[first] < layout.layers[last]
        assert route.lanes[-1][0] == layout.boxes[last].x
        assert rects[last][1] < route.lanes[-1][2] < rects[last][3]
        if route.whole:
            assert route.lanes[0][1] == rects[first][2]
            assert rects[first][1] < route.lanes[0][2] < rects[first][3]
        for begin, end, y in route.lanes[0 if not route.whole else 1 : -1]:
            assert begin <= end
            assert not any(overlap((begin - 0.5, y - 2, end + 0.5, y + 2), rect) for rect in rects), "a line passes between boxes"
        assert all(one[1] < other[0] for one, other in pairwise(route.lanes)), "lines go from layer to layer"


@pytest.mark.slow
@given(shapes())
@settings(max_examples=200, deadline=None)
def test_no_boxes_overlap_lines_pass_between_them_and_follow_the_layers(shape):
    sizes, edges = shape
    layout = arrange(sizes, edges)
    check(layout, edges)
    assert any(route.back for route in layout.routes) == cyclic(len(sizes), edges)
    assert arrange(sizes, edges) == layout
    for box, (wide, high) in zip(layout.boxes, sizes, strict=True):
        assert box.width >= wide - 0.01
        assert box.height == high


@given(graphs())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_names_hold_a_drawing_is_well_formed_and_the_same_every_time(graph):
    start = next(iter(graph.nodes))
    text = draw(graph, start, graph.nodes[start].label)
    assert text == draw(graph, start, graph.nodes[start].label)
    picture = drawn(text)
    assert len(picture.of("n")) == len(graph.nodes)
    assert len(picture.of("e")) == len(graph.edges)
    assert all(path.get("d", "").startswith("M") for path in picture.of("e"))
    assert not any(overlap(one, other) for one, other in combinations(picture.boxes(), 2))
    chart = flowchart(graph, start)
    chart.encode()
    assert len(chart.splitlines()) == 1 + len(graph.nodes) + len(graph.edges) + chart.count("classDef") * 2


def test_nothing_in_a_drawing_runs_leads_elsewhere_or_has_an_id():
    for graph, start in (marked(), hostile()):
        picture = drawn(draw(graph, start, 'A <title> "with" all'))
        assert {one.tag.removeprefix(SVG) for one in picture.root.iter()} <= {
            "svg", "title", "desc", "style", "rect", "g", "path", "circle", "text", "tspan",
        }  # fmt: skip
        attributes = {name for one in picture.root.iter() for name in one.attrib}
        assert not {name for name in attributes if name == "id" or name.startswith("on") or "href" in name}
        sheets = [one.text or "" for one in picture.root.iter(f"{SVG}style")]
        assert len(sheets) == 1
        assert not re.search(r"url\(|@import|@font-face|#as|<", sheets[0])
        assert picture.root.get("role") == "img"
        assert picture.root.get("aria-label") == picture.root[0].text == 'A <title> "with" all'


def test_two_drawings_on_a_page_share_their_style_and_nothing_else():
    first, second = draw(*marked(), "One"), draw(*hostile(), "Two")
    sheets = [re.findall(r"<style>(.*?)</style>", one) for one in (first, second)]
    assert sheets[0] == sheets[1]
    selectors = re.findall(r"(?:^|})([^{}@]+){", sheets[0][0].replace("(prefers-color-scheme:dark){", "}"))
    assert len(selectors) > 40
    assert all("asl" in one for selector in selectors for one in selector.split(",")), "nothing else of the page is touched"


def test_every_mark_is_said_in_words():
    graph, start = marked()
    picture = drawn(draw(graph, start, "t"))
    words = picture.text("g")
    assert words[:3] == ["tainted", "production", "other:champion"]
    assert "dirty code" in words
    assert any(re.fullmatch(r"\+\d+", word) for word in words), "aliases that have no room are counted"
    (begins,) = picture.of("start")
    assert {"model", "bad"} <= set(begins.get("class", "").split())
    tip = begins[0].text or ""
    assert "churn/model:19" in tip, "and told by the tooltip"
    assert start in tip
    assert "where this drawing begins" in tip
    assert len(picture.of("ring")) == 1
    assert len(picture.of("back")) == 1, "what closes a cycle is dashed"
    assert {"an input", "best"} <= set(picture.text("r"))
    described = next(one.text or "" for one in picture.root if one.tag == f"{SVG}desc")
    assert described == "5 artifacts, 2 runs. It begins at churn/model:v7. 1 tainted. 1 with dirty code. 1 failed."


@pytest.mark.slow
def test_bytes_are_the_same_in_every_process():
    program = (
        "import hashlib; from tests.catalog.drawn import grown, hostile, marked; from artifactstore.display.graph.svg import draw;"
        "print(hashlib.sha256(''.join(draw(*one, 't') for one in (grown(200), hostile(), marked())).encode()).hexdigest())"
    )
    root = str(Path(__file__).parents[2])
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True, capture_output=True, timeout=60, cwd=root, env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_the_legend_names_only_what_occurs():
    graph, start = marked()
    text = draw(graph, start, "t")
    legend = text[: text.index('<g transform="')]
    for word in (*KINDS, "failed run", "running run"):
        assert f">{word}</text>" in legend
    assert "finished run" not in legend
    assert ">a kind of one's own</text>" in legend
    story = Story()
    alone = story.artifact("a:v1")
    text = draw(story.graph, alone, "t")
    assert re.findall(r">([^<>]+)</text>", text[: text.index('<g transform="')]) == ["t", "1 artifact, 0 runs", "data"]


def test_a_long_name_is_shortened_in_the_middle_and_whole_in_the_tooltip():
    story = Story()
    name = "churn/" + "folder/" * 30 + "features:v1234"
    one = story.artifact(name)
    picture = drawn(draw(story.graph, one, name))
    (label,) = picture.text("t")
    assert label.startswith("churn/")
    assert "…" in label
    assert label.endswith(":v1234")
    assert name in (picture.of("n")[0][0].text or "")


def test_what_has_no_name_is_called_by_its_kind():
    graph = Graph({"blake3:0123456789ab": Node("artifact", "blake3:0123456789ab", "blake3:01234567", "code")})
    picture = drawn(draw(graph, "blake3:0123456789ab", "t"))
    assert picture.text("t") == ["code"]
    assert "no name · 01234567" in picture.text("s")
    assert '["code<br/>no name, 01234567"]' in flowchart(graph, "")


@given(ANY, st.floats(10, 300), st.booleans())
def test_a_shortened_text_fits_where_anything_does(text: str, room: float, bold: bool):  # noqa: FBT001
    short = shortened(text, room, 12, bold=bold)
    assert width(short, 12, bold=bold) <= room or len(short) <= 1
    assert short == clean(short)
    assert "…" in short or short == clean(text)


def test_a_graph_that_is_too_big_is_cut_and_that_is_said():
    graph, start = grown(400)
    count = len(graph.nodes)
    text = draw(graph, start, "t", limit=50)
    picture = drawn(text)
    assert len(picture.of("n")) == 50
    assert f"The nearest 50 are drawn … and {count - 50:,} more" in text
    near = sorted(graph.nodes.values(), key=lambda node: node.depth)[:50]
    assert {(one[0].text or "").split(" · ")[2] for one in picture.of("n")} == {node.id for node in near}
    assert any(re.fullmatch(r"… \d+ more", word) for word in picture.text("g")), "boxes say what is not drawn beside them"
    assert "more" not in draw(graph, start, "t", limit=count).split('<g transform="')[0].split("</style>")[1]


@pytest.mark.slow
def test_two_thousand_nodes_do_not_hang_and_a_dense_graph_is_cut_earlier():
    graph, start = grown(2000)
    before = time.process_time()
    text = draw(graph, start, "t", limit=len(graph.nodes))
    assert time.process_time() - before < 60, "it hangs: 0.4 s where this was written"
    assert text.count('<g class="n ') == len(graph.nodes)
    story = Story()
    artifacts = [story.artifact(f"a{i}") for i in range(300)]
    for i, one in enumerate(artifacts[1:], 1):
        run = story.run("r", depth=i)
        for other in artifacts[:i]:
            story.edge(other, run)
        story.edge(run, one)
    text = draw(story.graph, artifacts[-1], "t")
    assert re.search(r"The nearest [\d,]+ are drawn … and [\d,]+ more", text)
    assert len(text) < 10_000_000


def test_what_all_runs_share_is_drawn_as_one_line_with_branches():
    story = Story()
    environment, before = story.artifact("env:v1", "environment"), story.artifact("a0")
    for i in range(1, 400):
        run = story.run("step", depth=i)
        story.edge(before, run)
        story.edge(environment, run, "environment")
        before = story.artifact(f"a{i}", depth=i)
        story.edge(run, before)
    text = draw(story.graph, environment, "t")
    assert text.count('<g class="n ') == 800
    assert len(text) < 1_000_000


def test_where_a_drawing_begins_is_at_the_end_of_what_leads_there_even_in_a_cycle():
    story = Story()
    first, run, last = story.artifact("first"), story.run("r"), story.artifact("last")
    again = story.run("again")
    for one, other in ((first, run), (run, last), (last, again), (again, first)):
        story.edge(one, other)
    for start in story.graph.nodes:
        for up in (True, False):
            picture = drawn(draw(story.graph, start, "t", up=up))
            left = {
                (group[0].text or "").split(" · ")[2]: box[0] for group, box in zip(picture.of("n"), picture.boxes(), strict=True)
            }
            assert left[start] == (max if up else min)(left.values())
            assert len(picture.of("back")) == 1


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_are_seen_in_light_and_in_dark(theme: int):
    def contrast(one: str, other: str) -> float:
        a, b = sorted(luminance(COLOURS[name][theme]) for name in (one, other))
        return (b + 0.05) / (a + 0.05)

    grounds = [f"{kind}-fill" for kind in (*KINDS, "other", "run")] + ["page"]
    for ground in grounds:
        for ink in ("ink", "soft"):
            assert contrast(ink, ground) >= 4.5, (ink, ground)
    for tag in ("tainted", "dirty", "alias"):
        assert contrast(f"{tag}-ink", f"{tag}-fill") >= 4.5
    for name in COLOURS:
        if name.endswith(("-line", "-mark")) or name == "edge":
            assert contrast(name, "page") >= 3, name
    for status in STATUSES:
        assert contrast("sign", f"{status}-mark") >= 3


# What the page's script says of each drawing: texts that leave their boxes, and boxes that overlap.
LOOK = """
const said = [];
document.querySelectorAll("svg.asl").forEach((svg, i) => {
  const boxes = [...svg.querySelectorAll("g.n")];
  const inside = (a, b) => a.x >= b.x - .5 && a.x + a.width <= b.x + b.width + .5 && a.y >= b.y - 3 && a.y + a.height <= b.y + b.height + 3;
  for (const g of boxes) {
    const box = g.querySelector("rect.b").getBBox();
    for (const one of g.querySelectorAll("text, rect, path, circle"))
      if ((one.tagName != "text" || one.textContent.trim()) && !inside(one.getBBox(), box)) said.push([i, "outside", one.outerHTML.slice(0, 200)]);
    for (const text of g.querySelectorAll("text.g")) {
      let tag = text.previousElementSibling;
      while (tag.tagName != "rect") tag = tag.previousElementSibling;
      if (!inside(text.getBBox(), tag.getBBox())) said.push([i, "outside its tag", text.textContent]);
    }
  }
  const rects = boxes.map(g => g.querySelector("rect.b").getBBox());
  rects.forEach((a, j) => rects.slice(j + 1).forEach(b => {
    if (a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height) said.push([i, "overlap"]);
  }));
  const whole = svg.viewBox.baseVal;
  for (const text of svg.querySelectorAll("text")) {
    const at = text.getBoundingClientRect(), page = svg.getBoundingClientRect();
    if (at.left < page.left || at.right > page.right || at.top < page.top || at.bottom > page.bottom) said.push([i, "off the page", text.textContent]);
  }
  const paths = [...svg.querySelectorAll("path.e")];
  for (const path of paths.slice(0, 300)) {
    const long = path.getTotalLength();
    for (let at = 2; at < long - 2; at += 7) {
      const p = path.getPointAtLength(at);
      if (rects.some(b => p.x > b.x + 1 && p.x < b.x + b.width - 1 && p.y > b.y + 1 && p.y < b.y + b.height - 1)) {
        said.push([i, "a line through a box", path.textContent]); break;
      }
    }
  }
  said.push([i, "boxes", rects.length, getComputedStyle(boxes[0].querySelector("rect.b")).fill]);
});
document.getElementById("said").textContent = JSON.stringify(said);
"""
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.slow
def test_in_a_browser_texts_lie_in_their_boxes_and_nothing_overlaps(tmp_path: Path):
    graphs_ = [marked(), hostile(), grown(150)]
    pictures = "".join(f"<div>{draw(graph, start, 'title ' * 3)}</div>" for graph, start in graphs_)
    page = f'<!doctype html><meta charset="utf-8"><body data-jp-theme-light="false">{pictures}<pre id="said"></pre><script>{LOOK}</script>'
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}/user",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "page.html").as_uri()], capture_output=True, check=False, timeout=120, text=True
    )
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    said = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    seen = [one for one in said if one[1] == "boxes"]
    assert [one[2] for one in seen] == [len(graph.nodes) for graph, _ in graphs_]
    assert [one for one in said if one[1] != "boxes"] == []
    dark = [int(COLOURS["model-fill"][1][i : i + 2], 16) for i in (1, 3, 5)]
    assert seen[0][3] == f"rgb({dark[0]}, {dark[1]}, {dark[2]})", "the notebook's theme counts"


def test_a_flowchart_has_the_same_colours_and_marks():
    graph, start = marked()
    text = flowchart(graph, start)
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    number = re.search(r'(n\d+)\["churn/model:v7<br/>', text)
    assert number
    for name in ("model", "tainted", "start"):
        assert any(re.fullmatch(rf"  class [n\d,]*\b{number[1]}\b[n\d,]* {name}", line) for line in lines)
    assert COLOURS["model-fill"][0] in next(line for line in lines if line.startswith("  classDef model "))
    assert "⚠ TAINTED" in text
    assert "⚑ production" in text
    assert "⚠ dirty code" in text
    assert '-->|"best"|' in text


@pytest.mark.parametrize(
    "name",
    ["end", 'a"b', "[x](y){z}", "a#35;b", "`t` **b** __i__", "1. one", "- dash", "style/a:b#2;", "classDef a:b#c;", "%%{init: {}}%%",
     "a|b --> c", "https://e.org", "www.e.org", "<script>", "a\nb", "a@b.c", "A & B;", "$$x$$", "a\\nb", "fa:fa-car", "~~~", "click n0 x"],
)  # fmt: skip
def test_nothing_in_a_name_is_syntax_of_a_flowchart(name: str):
    story = Story()
    one, run = story.artifact("x" + name), story.run(name)
    two = story.artifact(name)
    story.edge(one, run, name)
    story.edge(run, two)
    chart = [line for line in flowchart(story.graph, one).splitlines() if "class" not in line]
    safe = r"(?:[a-zA-Z0-9 /.,:@+=-]|[^\x00-\x7f]|#\d+;)*"
    assert re.fullmatch(rf'  n0\["{safe}<br/>{safe}"\]', chart[1])
    assert re.fullmatch(rf'  n1\(\["{safe}<br/>{safe}"\]\)', chart[2])
    assert re.fullmatch(rf'  n0 -->\|"{safe}"\| n1', chart[4])
    label = chart[2].split('"')[1].split("<br/>")[0]
    assert re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label).replace("\u200b", "") == clean(name)
    assert not re.search(r"style|classDef|--|://|www", label, re.IGNORECASE)


def test_a_monospaced_character_is_as_wide_as_is_said():
    assert 0.6 <= MONO <= 0.62
