"""Trees in a terminal: lineage with its branches, and the folders of an artifact with their sums."""

import io
import json
import os
import pty
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import artifactstore
from artifactstore.cli import main, printing
from artifactstore.cli.process import ready_streams
from artifactstore.display.outline import Branch, Span, Tree
from artifactstore.display.text_renderer import _cells, tree_lines
from artifactstore.model.graph import Graph, Node
from artifactstore.work.queries.lineage_tree import lineage_tree

Call = Callable[..., tuple[int, list[str], str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with a diamond, a chain and a folder; tests only read it."""
    folder = tmp_path_factory.mktemp("trees")
    store = artifactstore.open(folder / "store", cache=None)
    store.put({"rows": 3}, "raw")
    with store.run("features", code=False) as run:
        run.get("raw", role="table")
        run.put({"left": 1}, "features/left")
    with store.run("features", code=False) as run:
        run.get("raw")
        run.put({"other": 1}, "features/right")
    with store.run("train") as run:
        run.get("features/left")
        run.get("features/right")
        run.put(b"weights", "model", kind="model", aliases=["production"])
    store.registry.taint("features/left:v1", "wrong labels")
    store.put({"i": 0}, f"chain/{'x' * 40}/0")
    for i in range(12):
        with store.run("job", code=False) as run:
            run.put({"i": i + 1, "was": run.get(f"chain/{'x' * 40}/{i}")["i"]}, f"chain/{'x' * 40}/{i + 1}")
    for path, size in (("a.txt", 10), ("b/c.txt", 100), ("b/d/e.bin", 1000), ("b/d/f.bin", 2000), ("z.txt", 5)):
        (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / path).write_bytes(random.Random(size).randbytes(size))
    (folder / "data/empty").mkdir()
    (folder / "data/link").symlink_to("a.txt")
    store.put(folder / "data", "scans/raw")
    return store.url


@pytest.fixture
def call(made: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("ARTIFACTSTORE_URL", made)

    def run(*words: str) -> tuple[int, list[str], str]:
        capfd.readouterr()
        code = main(list(words))
        printed = capfd.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run


# -- lineage


def plain(lines: list[str]) -> list[str]:
    """Return lines without what differs from machine to machine: ids, versions of Python and of packages."""
    return [re.sub(r"(run \S+) [0-9a-f]{12}( \[dirty code\])?( · .*)?$", r"\1", line) for line in lines]


def test_a_diamond_is_drawn_once_and_code_is_in_the_line_of_its_run(call: Call):
    code, lines, err = call("lineage", "model")
    assert (code, err) == (0, "")
    assert plain(lines) == [
        "model:v1 [model] <production>",
        "└─ run train",
        "   ├─ features/left:v1 [data] TAINTED",
        "   │  └─ run features",
        "   │     └─ raw:v1 [data]  (table)",
        "   └─ features/right:v1 [data]",
        "      └─ run features",
        "         └─ raw:v1 [data] (above)",
    ]
    assert re.search(r"run train [0-9a-f]{12}( \[dirty code\])? · code .* · Python 3", lines[1])


def test_all_shows_code_and_environments_as_nodes(call: Call):
    lines = call("lineage", "model", "--all")[1]
    assert sum("[environment]" in line for line in lines) == 3
    assert sum("[environment] (above)" in line for line in lines) == 2
    assert sum("[code]" in line for line in lines) == 1
    assert " · code" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("options", "last", "note"),
    [
        (["--depth", "0"], "model:v1 [model] <production> … 6 below", "6 more"),
        (["--depth", "1"], "└─ run train … 5 below", "5 more"),
        (["--depth", "2"], "   └─ features/right:v1 [data] … 2 below", "3 more"),
        (["--depth", "3"], "      └─ run features … 1 below", "1 more"),
        (["--depth", "4"], "         └─ raw:v1 [data] (above)", ""),
        (["--depth", "400"], "         └─ raw:v1 [data] (above)", ""),
    ],
)
def test_a_depth_says_how_many_lie_below(call: Call, options: list[str], last: str, note: str):
    code, lines, err = call("lineage", "model", *options)
    assert code == 0
    assert re.sub(r" [0-9a-f]{12}.* …", " …", lines[-1]) == last
    assert err == (f"… and {note}, further away: --depth shows more steps\n" if note else "")


@pytest.mark.parametrize("options", [["--depth", "-1"], ["--depth", "2", "--format", "svg"], ["--depth", "2", "--json"]])
def test_a_depth_of_what_is_not_a_tree_is_refused(call: Call, options: list[str]):
    assert call("lineage", "model", *options)[:2] == (2, [])


def test_a_question_about_code_shows_it(made: str):
    text = str(artifactstore.open(made, "r").lineage("model").upstream(kind="environment"))
    assert "[environment]" in text


def test_what_was_cut_in_one_place_is_expanded_in_another_that_is_nearer():
    nodes = {one: Node("artifact", one, f"{one}:v1", "data") for one in "abcd"}
    graph = Graph(nodes, [("b", "a", None), ("c", "b", None), ("c", "a", None), ("d", "c", None)])
    tree = lineage_tree(graph, "a", up=True, depth=2)[0]
    assert isinstance(tree, Tree)
    assert [*tree_lines(tree)] == [
        "a:v1 [data]",
        "├─ b:v1 [data]",
        "│  └─ c:v1 [data] (below)",
        "└─ c:v1 [data]",
        "   └─ d:v1 [data]",
    ]


def test_what_was_expanded_above_is_marked_and_not_expanded_again():
    nodes = {one: Node("artifact", one, f"{one}:v1", "data") for one in "abcde"}
    graph = Graph(nodes, [("b", "a", None), ("c", "a", None), ("d", "b", None), ("d", "c", None), ("e", "d", None)])
    tree = lineage_tree(graph, "a", up=True)[0]
    assert isinstance(tree, Tree)
    assert [line.strip(" │├└─").replace(":v1 [data]", "") for line in tree_lines(tree)] == ["a", "b", "d", "e", "c", "d (above)"]


def test_a_chain_of_thousands_is_shown_without_end_and_counted_where_it_is_cut():
    many = 5000
    nodes = {str(i): Node("artifact", str(i), f"n{i}:v1", "data") for i in range(many)}
    graph = Graph(nodes, [(str(i + 1), str(i), None) for i in range(many - 1)])
    for depth in (10, many):
        tree = lineage_tree(graph, "0", up=True, depth=depth)[0]
        assert isinstance(tree, Tree)
        assert len(tree.rows) == min(depth + 1, many)
    assert str(lineage_tree(graph, "0", up=True, depth=10)[0].rows[-1].mark.text) == f"… {many - 11:,} below"  # type: ignore[union-attr]


# -- the look


def random_tree(seed: int) -> Tree:
    chosen = random.Random(seed)
    rows, depth = [Branch(0, "root")], 0
    for number in range(chosen.randrange(40)):
        depth = chosen.randrange(1, depth + 2)
        name = "".join(chosen.choices("abc/é日", k=chosen.randrange(1, 60)))
        notes = [Span(chosen.choice(["[data]", "<best>", "· code 3f2a"]), "dim") for _ in range(chosen.randrange(4))]
        rows.append(
            Branch(
                depth,
                f"{number}{name}",
                notes,
                chosen.choice(["", "(above)", Span("… 3 below", "dim")]),
                lead=chosen.choice(["", "12 kB"]),
            )
        )
    return Tree(rows)


@pytest.mark.parametrize("seed", range(25))
def test_lines_fit_and_branches_join(seed: int):
    tree = random_tree(seed)
    whole = [*tree_lines(tree)]
    assert len(whole) == len(tree.rows)
    for at, (line, row) in enumerate(zip(whole, tree.rows, strict=True)):
        assert (row.text if isinstance(row.text, str) else row.text.text) in line
        signs = re.match(r"(?:12 kB|     )?(?:  )?([ │├└─]*)", line)
        assert signs is not None
        for found in re.finditer("[├│]", signs[1]):  # what begins or goes on is met by a sign in the next line
            column = signs.start(1) + found.start()
            assert whole[at + 1][column : column + 1] in {"├", "│", "└"}, "\n".join(whole)
    for width in (40, 80):
        for line, row in zip(tree_lines(tree, width), tree.rows, strict=True):
            fixed = 12 + 3 * row.depth + 7 + 12 + 4
            assert _cells(line) <= max(width, fixed), line
    coloured = [re.sub(r"\x1b\[\d*m", "", line) for line in tree_lines(tree, 80, colours=True)]
    assert coloured == [*tree_lines(tree, 80)]


def test_a_long_name_is_shortened_in_its_middle_and_keeps_its_version():
    (line,) = tree_lines(Tree([Branch(0, "team/" + "x" * 100 + ":v12", ["[model]"], "(above)")]), 60)
    assert len(line) == 60
    assert line.startswith("team/xxx")
    assert line.endswith(":v12 … (above)")
    (line,) = tree_lines(Tree([Branch(0, "日本" * 40, [])]), 20)
    assert _cells(line) <= 20


@pytest.mark.slow
def test_a_terminal_has_colours_and_eighty_columns(made: str):
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        text = on_a_terminal(
            "lineage", f"chain/{'x' * 40}/12", env={"ARTIFACTSTORE_URL": made, "TERM": "xterm", "COLUMNS": "80", **more}
        )
        assert ("\x1b[" in text) == coloured
        lines = re.sub(r"\x1b\[\d*m", "", text).splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith("chain/xxx")
        assert lines[-2].endswith("… 8 below")
        assert lines[-1] == "… and 8 more, further away: --depth shows more steps"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm"}, True)],
)
def test_colours_are_of_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch, *, variables: dict[str, str], coloured: bool):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not printing._has_colours()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert printing._has_colours() == coloured


def on_a_terminal(*words: str, env: dict[str, str]) -> str:
    main_end, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | env
    process = subprocess.Popen([sys.executable, "-m", "artifactstore", *words], stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while True:
        try:
            block = os.read(main_end, 4096)
        except OSError:
            break
        seen += block
    os.close(main_end)
    assert process.wait() == 0
    return seen.decode()


@pytest.mark.parametrize(
    ("encoding", "signs"), [("ascii", "`- |- |"), ("latin-1", "`- |- |"), ("utf-8", "└─ ├─ │"), ("cp437", "└─ ├─ │")]
)
def test_a_terminal_without_the_signs_gets_others(call: Call, monkeypatch: pytest.MonkeyPatch, encoding: str, signs: str):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    ready_streams()
    main(["lineage", "model", "--depth", "3"])
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert all(sign in text for sign in signs.split())
    assert "\\u" not in text
    assert "\\x" not in text


def test_json_stays_json_whatever_the_encoding_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    artifactstore.open(tmp_path / "s").put(b"x", "n", reason="é … · ├ 日")
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["log", "--json", "--store", str(tmp_path / "s")]) == 0
        stream.flush()
        assert json.loads(stream.buffer.getvalue().decode(encoding))[0]["reason"] == "é … · ├ 日"


# -- folders


def test_the_sizes_of_folders_are_sums(call: Call):
    code, lines, err = call("tree", "scans/raw")
    assert (code, err) == (0, "")
    assert lines == [
        "   3.1 kB  scans/raw:v1 (6 files)",
        " 10 bytes  ├─ a.txt",
        "   3.1 kB  ├─ b/ (3 files)",
        "100 bytes  │  ├─ c.txt",
        "   3.0 kB  │  └─ d/ (2 files)",
        "   1.0 kB  │     ├─ e.bin",
        "   2.0 kB  │     └─ f.bin",
        "  0 bytes  ├─ empty/ (0 files)",
        "           ├─ link -> a.txt",
        "  5 bytes  └─ z.txt",
    ]
    assert call("tree", "scans/raw", "--depth", "0")[1] == ["3.1 kB  scans/raw:v1 (6 files)"]
    assert [line.split("─ ")[-1] for line in call("tree", "scans/raw", "-L", "1")[1][1:]] == [
        "a.txt",
        "b/ (3 files)",
        "empty/ (0 files)",
        "link -> a.txt",
        "z.txt",
    ]
    assert call("tree", "scans/raw:v1/b/d")[1][0].strip() == "3.0 kB  scans/raw:v1/b/d (2 files)"
    assert call("tree", "scans/raw:v1/b/c.txt")[1] == ["100 bytes  scans/raw:v1/b/c.txt"]
    assert call("tree", "scans/raw:v1/empty")[1] == ["0 bytes  scans/raw:v1/empty (0 files)"]


def test_a_tree_as_json_has_a_record_a_line(call: Call):
    rows = json.loads("\n".join(call("tree", "scans/raw", "--json")[1]))
    assert {row["path"]: (row["type"], row["size"], row["files"], row["depth"]) for row in rows} == {
        "": ("dir", 3115, 6, 0), "a.txt": ("file", 10, 1, 1), "b": ("dir", 3100, 3, 1), "b/c.txt": ("file", 100, 1, 2), "b/d": ("dir", 3000, 2, 2),
        "b/d/e.bin": ("file", 1000, 1, 3), "b/d/f.bin": ("file", 2000, 1, 3), "empty": ("dir", 0, 0, 1), "link": ("link", 0, 1, 1), "z.txt": ("file", 5, 1, 1),
    }  # fmt: skip
    rows = json.loads("\n".join(call("tree", "scans/raw:v1/b", "--json", "--depth", "1")[1]))
    assert [row["path"] for row in rows] == ["b", "b/c.txt", "b/d"]


def test_names_are_a_tree_too(call: Call):
    code, lines, _ = call("tree")
    assert code == 0
    assert lines[0].endswith("/store (18 names)")
    assert any(line.endswith("├─ features/ (2 names)") for line in lines)
    assert lines[-1].endswith("   └─ raw v1")
    assert [line.split("─ ")[-1] for line in call("tree", "features/")[1][1:]] == ["left v1", "right v1"]
    assert call("tree", "features")[1] == call("tree", "features/")[1]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["scans/row"], 3, "scans/raw"), (["scans/raw:v1/none"], 3, "has no file or folder 'none'"), (["nothing/"], 3, "no name begins with"),
        (["scans/raw", "--depth", "-1"], 2, "--depth -1"), (["scans/raw:v9"], 3, "scans/raw"),
    ],
)  # fmt: skip
def test_a_tree_of_what_does_not_exist_is_an_error(call: Call, words: list[str], code: int, text: str):
    found, lines, err = call("tree", *words)
    assert (found, lines) == (code, [])
    assert text in err


def test_long_lists_end_with_their_total(call: Call):
    assert call("ls", "-l", "scans/raw")[1][-1] == "total 3.1 kB, 7 files"
    assert re.fullmatch(r"total [\d.]+ \w+, 18 names", call("ls", "-l")[1][-1])
    assert call("ls", "-l", "scans/raw:v1/b/d")[1][-1] == "total 3.0 kB, 2 files"
    assert not any(line.startswith("total") for words in (["ls"], ["ls", "scans/raw"]) for line in call(*words)[1])
    assert isinstance(json.loads("\n".join(call("ls", "-l", "--json")[1])), list)
