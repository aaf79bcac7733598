"""Lineage where people look at it: in a notebook, in a file, on the command line."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, Store
from artifactstore.model.graph import Graph, Node
from artifactstore.work.queries.drawing import Drawing, folded


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(b"raw", "raw")
    with store.run("prepare", code=False) as run:
        run.get("raw")
        run.put(b"features", "features", role="表 ä")
    with store.run("train", code=False) as run:
        store.get("features")
        run.put(b"model", "model", kind="model")
    with pytest.raises(RuntimeError), store.run("report", code=False) as run:  # noqa: PT012 - what comes before is drawn
        store.get("model")
        run.put(b"report", "report")
        raise RuntimeError("stop")
    store.alias("model:v1", "production")
    return store


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in ET.fromstring(svg.encode()).iter("{http://www.w3.org/2000/svg}text")]


def test_a_view_draws_itself(chain: Store):
    view = chain.lineage("model:production").upstream()
    said = texts(view.svg())
    assert said[0] == "What model:v1 was made from"
    assert {"model:v1", "train", "features:v1", "prepare", "raw:v1", "production", "表 ä"} <= set(said)
    assert "report" not in said
    down = texts(chain.lineage("model").downstream().svg())
    assert down[0] == "What was made from model:v1"
    assert {"report", "report:v1", "failed run"} <= set(down)
    assert view.svg() == chain.lineage("model").upstream().svg()


def test_lineage_draws_both_directions(chain: Store, tmp_path: Path):
    drawing = chain.lineage("model").draw()
    said = texts(str(drawing))
    assert said[0] == "Lineage of model:v1"
    assert {"raw:v1", "prepare", "train", "model:v1", "report", "report:v1"} <= set(said)
    assert repr(drawing).startswith("Drawing('Lineage of model:v1', ")
    assert 'class="n model start' in str(drawing)
    run = chain.runs("train")[0].id
    assert texts(str(chain.lineage(run).draw()))[0] == "Lineage of train"
    assert chain.lineage("model").draw(tmp_path / "both.svg").svg() == (tmp_path / "both.svg").read_text("utf-8")


def test_a_notebook_shows_it_in_a_frame_that_scrolls(chain: Store):
    lineage = chain.lineage("model")
    for one in (lineage, lineage.upstream(), lineage.downstream(), lineage.draw()):
        text = one._repr_html_()
        assert re.match(
            r'<div style="overflow:auto;max-height:80vh(;direction:rtl)?"><div style="position:relative;[^"]*"><svg ', text
        )
        assert text.count("scroll-initial-target") == 1
        assert "<script" not in text
        assert not hasattr(one, "_repr_svg_"), "a notebook would keep both"


@pytest.mark.slow
def test_a_notebook_keeps_little_of_what_is_large(chain: Store):
    view = chain.lineage("model").upstream()
    for i in range(1000):
        run = Node("run", f"r{i}", "sweep", "finished", 1)
        view._graph.nodes[run.id] = run
        view._graph.edges.append((run.id, view._start, None))
    assert view._repr_html_().count('<g class="n ') == 300
    assert "The nearest 300 are drawn … and " in view._repr_html_()
    assert view.draw(all=True).svg().count('<g class="n ') == len(view._graph.nodes)


def test_a_page_pans_and_zooms_by_the_one_script_that_its_policy_permits(chain: Store):
    page = chain.lineage("model").draw().html()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert policy is not None
    assert policy[1] == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert script.isascii()
    assert page.count("<button ") == 4
    assert not re.search(r"\son\w+=|https?://(?!www\.w3\.org/2000/svg)", page)


def bundle(many: int) -> Graph:
    graph = Graph()
    graph.nodes["blake3:e"] = Node("artifact", "blake3:e", "blake3:e", "environment", 2, about="Python 3.12 · 48 packages")
    graph.nodes["blake3:0"] = Node("artifact", "blake3:0", "model:v1", "model")
    for i in range(many):
        graph.nodes[f"r{i}"] = Node("run", f"r{i}", "train", "finished", 1)
        graph.nodes[f"blake3:c{i}"] = Node(
            "artifact", f"blake3:c{i}", f"blake3:c{i}", "code", 2, about=f"code {i} main*" if i else ""
        )
        graph.nodes[f"blake3:d{i}"] = Node("artifact", f"blake3:d{i}", f"data{i}:v1" if i else "blake3:d0", "data", 2)
        graph.edges += [
            ("blake3:e", f"r{i}", "environment"),
            (f"blake3:c{i}", f"r{i}", "code"),
            (f"blake3:d{i}", f"r{i}", None),
            (f"r{i}", "blake3:0", None),
        ]
    return graph


@pytest.mark.parametrize(("many", "everything", "shown"), [(3, False, 11), (12, False, 25), (12, True, 38)])
def test_code_and_environments_fold_into_runs_where_a_drawing_is_large(many: int, everything: bool, shown: int):  # noqa: FBT001
    drawing = Drawing(bundle(many), "blake3:0", up=True, all=everything)
    svg = drawing.svg()
    assert svg.count('<g class="n ') == shown
    folds = many == 12 and not everything
    assert ("code and environments (13) are under the pointer of their runs" in svg) == folds
    tips = [
        one.text or ""
        for one in ET.fromstring(svg.encode()).iter("{http://www.w3.org/2000/svg}title")
        if (one.text or "").startswith("run train")
    ]
    assert sum("Python 3.12 · 48 packages · code 5 main*" in tip for tip in tips) == (1 if folds else 0)
    assert "d0" in svg, "data without a name is drawn"


def test_the_node_that_was_asked_for_is_never_folded():
    graph = bundle(12)
    assert 'class="n code start' in Drawing(graph, "blake3:c3", up=False).svg()
    named = replace(graph.nodes["blake3:c4"], label="library:v2")
    graph.nodes["blake3:c4"] = named
    assert "library:v2" in texts(Drawing(graph, "blake3:0", up=True).svg())
    graph.edges.append(("r1", "blake3:c5", None))
    assert graph.nodes["blake3:c5"].id in folded(graph, "blake3:0").nodes, "a run produced it"


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


EVENTS = """
const said = [], svg = document.querySelector("#view svg");
const look = (name) => said.push([name, ...svg.getAttribute("viewBox").split(" ").map(Number)]);
const key = (key, more) => dispatchEvent(new KeyboardEvent("keydown", {key, ...more}));
const point = (type, x) => svg.dispatchEvent(new PointerEvent(type, {pointerId: 1, clientX: x, clientY: 100, bubbles: true}));
look("start"); svg.dispatchEvent(new WheelEvent("wheel", {deltaY: -200, clientX: 400, clientY: 300, cancelable: true})); look("wheel");
key("0"); look("fit"); key("ArrowLeft"); look("left"); key("+", {ctrlKey: true}); look("of the browser");
document.querySelectorAll("#keys button")[3].click(); look("home");
point("pointerdown", 100); point("pointermove", 150); look("drag"); point("pointerup", 150); point("pointermove", 190); look("released");
const pre = document.createElement("pre"); pre.id = "said"; pre.textContent = JSON.stringify(said); document.body.append(pre);
"""


def dumped(path: Path, folder: Path) -> str:
    """Return a page as a browser has it once its scripts have run."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder}/user",
        "--window-size=800,600",
    ]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, check=False, timeout=120, text=True)
    assert "<svg" in done.stdout, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.slow
def test_in_a_browser_the_page_opens_with_the_node_in_view(tmp_path: Path):
    drawing = Drawing(bundle(40), "blake3:0", up=True, all=True)
    page = dumped(drawing.save(tmp_path / "page.html"), tmp_path)
    (view,) = re.findall(r'<svg [^>]*viewBox="([-0-9. e]+)"', page)
    x, y, wide, high = map(float, view.split())
    svg = drawing.svg()
    assert view != re.findall(r'viewBox="([^"]*)"', svg)[0], "the script ran, under the policy of the page"
    assert x <= svg.start[0] - svg.start[2] / 2
    assert svg.start[0] + svg.start[2] / 2 <= x + wide
    assert y <= svg.start[1] <= y + high
    assert wide < 1200, "large enough to read"
    assert 'id="keys" hidden' not in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.slow
def test_in_a_browser_the_page_zooms_and_pans(tmp_path: Path):
    text = Drawing(bundle(40), "blake3:0", up=True, all=True).html()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)  # for the events of this test
    (tmp_path / "page.html").write_text(text.replace("</body>", f"<script>{EVENTS}</script></body>"), encoding="utf-8")
    found = re.search(r'<pre id="said">(.*?)</pre>', dumped(tmp_path / "page.html", tmp_path), re.DOTALL)
    assert found
    seen = {name: tuple(view) for name, *view in json.loads(found[1])}
    assert seen["wheel"][2] < seen["start"][2], "closer"
    assert seen["wheel"][0] > seen["start"][0], "around the pointer"
    assert seen["fit"][2] > seen["start"][2]
    assert seen["left"][0] < seen["fit"][0]
    assert seen["of the browser"] == seen["left"], "the browser's own keys are left to it"
    assert seen["home"] == seen["start"]
    assert seen["drag"][0] == pytest.approx(seen["home"][0] - 50 * seen["home"][2] / 800)
    assert seen["released"] == seen["drag"]


def test_files_are_written_whole_or_not_at_all(chain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    view = chain.lineage("model").upstream()
    here = tmp_path / "out"
    here.mkdir()
    view.draw(here / "a.svg")
    view.draw(str(here / "a.html"))
    view.draw(here / "A.MMD")
    assert (here / "a.svg").read_text("utf-8") == view.svg()
    assert (here / "a.html").read_text("utf-8").startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    assert (here / "A.MMD").read_text("utf-8") == view.mermaid()
    (here / "a.svg").write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            view.draw(here / "a.svg")
    assert (here / "a.svg").read_text() == "before"
    for wrong in (here / "a.png", here / "noending", here / "gone" / "a.svg", 5, ""):
        with pytest.raises(InvalidInputError):
            view.draw(wrong)
    assert sorted(one.name for one in here.iterdir()) == ["A.MMD", "a.html", "a.svg"]
    if os.name == "posix":
        mask = os.umask(0o022)
        view.draw(here / "b.svg")
        os.umask(mask)
        assert (here / "b.svg").stat().st_mode & 0o777 == 0o644, "others may read it, as any file"


@pytest.mark.slow
def test_the_command_prints_what_any_terminal_can(chain: Store):
    env = {**os.environ, "ARTIFACTSTORE_URL": chain.url, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for form, begin in (("svg", b"<svg "), ("html", b"<!doctype html>")):
        command = [sys.executable, "-m", "artifactstore", "lineage", "model", "--format", form]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, env=env)
        assert done.stdout.startswith(begin)
        assert done.stdout.isascii()
        if form == "svg":
            svg = done.stdout.decode()
    assert texts(svg) == texts(chain.lineage("model").upstream().svg())


def test_a_run_that_reads_what_it_writes_is_drawn_too(chain: Store):
    with chain.run("noop", code=False) as run:
        run.put(chain.get("raw"), "raw")
    svg = chain.lineage("raw").upstream().svg()
    assert svg.count("→") == 3, "the environment, what was read, and what was written"
    assert 'class="e back"' in svg
