"""Why two models differ: their runs' parameters, code, packages and inputs, and why those differ, opened only where unequal."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import NotFoundError, Store
from artifactstore.cli import main
from artifactstore.testing.backends import CountingBackend
from artifactstore.work.queries.explanation import Why
from artifactstore.work.runs.capture.environment import environment
from artifactstore.work.runs.capture.notebook_cells import Cells
from artifactstore.work.runs.capture.program import Part, Program

pd = pytest.importorskip("pandas")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / "train.py").write_text("a = 1\nb = 2\nc = 3\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "first")
    monkeypatch.chdir(work)
    return artifactstore.create(tmp_path / "store", cache=None)


def frame(rows: int) -> Any:
    return pd.DataFrame({"id": range(rows), "x": [float(one % 7) for one in range(rows)]})


def chain(store: Store, rows: int, depth: int, auc: float) -> str:
    """Raw, features of it, a model of these; returns the model's reference."""
    store.put(frame(rows), "raw")
    with store.run("prepare"):
        raw = store.get("raw")
        store.put(raw.assign(y=raw["x"] * 2), "features")
    store.put(b"labels", "labels")
    with store.run("train", params={"depth": depth, "seed": 1, "inner": {"rate": 0.1}}) as run:
        run.get("features", role="features")
        run.get("labels")
        return run.put(f"{rows} {depth}".encode(), "model", kind="model", metrics={"auc": auc}).ref


def test_it_names_parameters_code_metrics_and_inputs_down_to_rows(store: Store, monkeypatch: pytest.MonkeyPatch):
    a = chain(store, 100, 6, 0.8)
    Path("train.py").write_text("a = 1\nb = 20\nc = 3\n")
    Path("new.py").write_text("new\n")
    other = {**environment(), "packages": [{"name": "numpy", "version": "9.9"}]}
    monkeypatch.setattr("artifactstore.work.runs.captured.environment", lambda _folder: other)
    b = chain(store, 130, 8, 0.9)
    found = store.why(a, b)
    assert not found.equal
    assert [(one.key, one.old, one.new) for one in found.metrics] == [("auc", 0.8, 0.9)]
    assert [(one.key, one.old, one.new) for one in found.params] == [("depth", 6, 8)]
    assert ("numpy", "9.9") in [(one.key, one.new) for one in found.packages]
    assert found.code is not None
    assert (found.code.old == found.code.new, found.code.old_dirty, found.code.new_dirty) == (True, False, True)
    assert {row[:2] for row in found.code.files} == {("~", "train.py"), ("+", "new.py")}
    assert "-b = 2\n+b = 20\n" in found.code.patch
    (change,) = found.inputs
    assert (change.role, change.old, change.new) == ("features", "features:v1", "features:v2")
    assert any("100 -> 130 rows: 30 added, 0 removed" in line for line in change.inside)
    deeper = change.why
    assert deeper is not None
    assert [one.role for one in deeper.inputs] == ["raw"]
    assert deeper.inputs[0].why is None, "nobody knows what made it"
    assert "1 input (labels:v1)" in found.same
    text = str(found)
    for part in ("depth: 6 -> 8", "auc: 0.8 -> 0.9", "with changes", "raw:v1 -> raw:v2", "+b = 20", "1 input (labels:v1)"):
        assert part in text, part
    assert text.count("+b = 20") == found.to_html().count("+b = 20") == 1, "the same code made both, and is told once"
    assert json.loads(json.dumps(found.to_json()))["inputs"][0]["why"]["inputs"][0]["new"] == "raw:v2"


def test_the_patch_can_be_applied_by_git(store: Store, tmp_path: Path):
    a = chain(store, 10, 1, 0.1)
    Path("train.py").write_text("a = 1\nb = 2\nc = 4")  # no line end
    Path("deep").mkdir()
    Path("deep/x.py").write_text("x\n")
    b = chain(store, 10, 2, 0.2)
    code = store.why(a, b).code
    assert code is not None
    old, new = (store.lineage(one).code for one in (a, b))
    assert old is not None
    assert new is not None
    there = old.checkout(tmp_path / "there")
    (tmp_path / "p").write_text(code.patch)
    git(there, "apply", str(tmp_path / "p"))
    for path in ("train.py", "deep/x.py"):
        assert (there / path).read_bytes() == Path(path).read_bytes()


def test_only_what_is_unequal_is_opened(store: Store):
    a, b = chain(store, 50, 1, 0.1), chain(store, 50, 2, 0.2)
    again = artifactstore.open(store.url, cache=None)
    counting = CountingBackend(again._session.backend)
    again._session.backend = counting
    core = again._session.core()
    core.journal.backend = core.journal.cached_backend = counting
    found = again.why(a, b)
    assert [one.key for one in found.params] == ["depth"]
    assert not found.inputs
    assert {"code", "environment", "packages"} <= {*found.same}
    assert [key for verb, key in counting.calls if key.startswith(("packs/", "manifests/"))] == []


def test_the_same_and_what_nobody_knows_is_said(store: Store):
    a = chain(store, 5, 1, 0.1)
    assert store.why(a, a).equal
    assert "the same" in str(store.why(a, a))
    store.put(b"alone", "alone")
    found = store.why("alone", a)
    assert found.unknown == ("no run produced alone",)
    assert "unknown: no run produced alone" in str(found)
    first, second = [run.id for run in store.runs()][:2]
    assert not store.why(first, second).equal
    assert store.why(first, first).equal
    with pytest.raises(NotFoundError):
        store.why(a, "nothing")


def test_equal_records_with_unequal_results_point_to_randomness(store: Store):
    for one in (b"1", b"2"):
        with store.run("train"):
            store.put(one, "model")
    assert "randomness" in str(store.why("model:v1", "model:v2"))


COMMANDS = (["python", "train.py", "--lr", "0.1"], ["python", "train.py", "--lr", "0.2"])


def two_runs(store: Store, change: Callable[[int, pytest.MonkeyPatch], Any]) -> Why:
    """Compare two runs of which one thing differs; their outputs do, too, so that there is a question."""
    for n in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "orig_argv", COMMANDS[0])
            change(n, patch)
            with contextlib.suppress(RuntimeError), store.run("train") as run:
                run.put({"n": n}, "model")
                if n and change is fails:
                    raise RuntimeError("stop")
    return store.why("model:v1", "model:v2")


def commands(n: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "orig_argv", COMMANDS[n])


def cells(n: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("artifactstore.work.runs.captured.executed", lambda: Cells(f"# %% [1]\nrate = 0.{n}\n", "cells.py", None))


def modules(n: int, patch: pytest.MonkeyPatch) -> None:
    part = Part("/elsewhere/helper.py", "helper.py", f"FACTOR = {n}\n".encode())
    patch.setattr("artifactstore.work.runs.captured.running", lambda: Program(parts={part.path: part}))


def branches(n: int, _patch: pytest.MonkeyPatch) -> None:
    git(Path.cwd(), "checkout", "-q", "-B", f"branch-{n}")


def commits(n: int, _patch: pytest.MonkeyPatch) -> None:
    git(Path.cwd(), "commit", "-q", "--allow-empty", "-m", f"commit {n}")


def fails(_n: int, _patch: pytest.MonkeyPatch) -> None:
    """Let the second run fail."""


def variables(n: int, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("OMP_NUM_THREADS", str(n))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(
    ("change", "part", "told"),
    [
        (commands, "run", ["~ command: ", "train.py --lr 0.1 -> ", "train.py --lr 0.2"]),
        (cells, "cells", ["-rate = 0.0", "+rate = 0.1"]),
        (modules, "modules", ["-FACTOR = 0", "+FACTOR = 1"]),
        (branches, "run", ["code branch: branch-0 -> branch-1"]),
        (commits, "run", ["code commit: "]),
        (fails, "run", ["status: finished -> failed", "error: RuntimeError: stop"]),
        (variables, "environment", ["variables.OMP_NUM_THREADS: 0 -> 1"]),
    ],
)
def test_everything_that_a_run_records_is_compared(
    store: Store, change: Callable[[int, pytest.MonkeyPatch], Any], part: str, told: list[str]
):
    found = two_runs(store, change)
    text, page = str(found), found.to_html()
    assert getattr(found, part)
    assert json.loads(json.dumps(found.to_json()))[part]
    for one in told:
        assert one in text
    assert "compared: name, command" in page
    assert "nothing that was recorded differs" not in text
    last = text.splitlines()[-1]
    assert last.startswith("  compared: name, command, status and programs of the runs, metrics, parameters, code, cells")
    assert last.endswith("; not recorded: parameters")


def test_what_was_not_recorded_is_said_where_nothing_differs(store: Store):
    for n in (0, 1):
        with store.run("train", code=False, params={"depth": 1}) as run:
            run.put({"n": n}, "model")
    found = store.why("model:v1", "model:v2")
    assert "nothing that was recorded differs" not in str(found), "what is not known may differ"
    assert str(found).splitlines()[-1].endswith("; not recorded: code")
    assert found.lacking == ("code",)
    with store.run("train", params={"depth": 1}) as run:
        run.put({"n": 2}, "model")
    later = store.why("model:v2", "model:v3")
    assert "code of model:v2" in later.lacking
    assert "nothing that was recorded differs" not in str(later)


def test_a_file_that_was_read_around_the_store_and_changed_is_named(store: Store, tmp_path: Path):
    far = tmp_path / "far.csv"
    for n in (1, 2):
        far.write_text(str(n))
        with store.run("train"):
            store.put(far.read_text().encode(), "model")
    found = store.why("model:v1", "model:v2")
    (one,) = found.around
    assert one.key.endswith("far.csv")
    assert one.old != one.new
    assert "read outside the store" in str(found)


def test_inputs_are_matched_by_role_name_and_place(store: Store):
    for name in ("a", "b", "c", "d"):
        store.put(name.encode(), name)
    with store.run("one", code=False) as run:
        run.get("a", role="left")
        run.get("b")
        store.put(b"1", "out")
    with store.run("two", code=False) as run:
        run.get("c", role="left")
        run.get("d")
        run.get("b")
        store.put(b"2", "out")
    found = store.why("out:v1", "out:v2")
    assert [(one.role, one.old, one.new) for one in found.inputs] == [("left", "a:v1", "c:v1"), ("d", None, "d:v1")]


def test_what_is_read_by_name_is_an_input_whatever_its_role_is_called(store: Store):
    for n in (1, 2):
        store.put(str(n).encode(), "generated")
        with store.run("build", code=False) as run:
            run.get("generated", role="code")
            store.put(f"built {n}".encode(), "program")
    found = store.why("program:v1", "program:v2")
    assert [(one.role, one.old, one.new) for one in found.inputs] == [("code", "generated:v1", "generated:v2")]


def test_notebooks_are_compared_by_the_source_of_their_cells(store: Store):
    def notebook(source: str, count: int) -> str:
        cell = {"cell_type": "code", "source": [source], "execution_count": count, "outputs": [{"text": str(count)}]}
        return json.dumps({"cells": [cell], "nbformat": 4})

    Path("n.ipynb").write_text(notebook("x = 1", 1))
    a = chain(store, 5, 1, 0.1)
    Path("n.ipynb").write_text(notebook("x = 2", 77))
    b = chain(store, 5, 2, 0.1)
    code = store.why(a, b).code
    assert code is not None
    assert "+x = 2" in code.patch
    assert "77" not in code.patch


def test_the_page_escapes_everything_and_the_command_answers(store: Store, capsys: pytest.CaptureFixture[str]):
    evil = "<script>alert(1)</script>"
    for n in (1, 2):
        Path("train.py").write_text(f"{evil}{n}\n")
        with store.run("train", params={evil: f"{evil}{n}"}):
            store.put(str(n).encode(), "model")
    page = store.why("model:v1", "model:v2").to_html()
    assert "<script" not in page
    assert "&lt;script" in page
    assert main(["why", "model:v1", "model:v2", "--store", store.url]) == 1
    assert "train.py" in capsys.readouterr().out
    assert main(["why", "model:v1", "model:v2", "--json", "--store", store.url]) == 1
    assert json.loads(capsys.readouterr().out)["code"]["files"][0][1] == "train.py"
    assert main(["why", "model:v1", "model:v1", "--format", "html", "--store", store.url]) == 0
    assert "the same" in capsys.readouterr().out
    assert main(["why", "model:v1", "model:v2", "--format", "pdf", "--store", store.url]) == 2


def test_what_differs_is_seen_however_small_it_is_or_far_behind(store: Store):
    command = ["python", "train.py", *(f"--option-{i}" for i in range(30)), "--rate"]
    refs = []
    for rate in (1, 2):
        with store.run("train", params={"command": [*command, str(rate), "--end"], "loss": float(f"0.10000000{rate}")}) as run:
            refs.append(run.put(f"{rate}".encode(), "model", metrics={"auc": float(f"0.90000000{rate}")}).ref)
    found = store.why(*refs)
    lines = [line.strip() for line in str(found).splitlines()]
    assert "~ auc: 0.900000001 -> 0.900000002" in lines
    assert "~ loss: 0.100000001 -> 0.100000002" in lines
    (shown,) = [line for line in lines if line.startswith("~ command")]
    old, _, new = shown.partition(" -> ")
    assert '"--rate", "1", "--end"]' in old
    assert '"--rate", "2", "--end"]' in new
    assert len(shown) < 250
    assert "0.900000001" in found.to_html()
    assert "&quot;2&quot;, &quot;--end&quot;" in found.to_html()


def test_a_long_chain_says_where_it_was_followed_no_further(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("artifactstore.work.queries.explain._DEEPEST", 3)
    for side in "ab":
        store.put({"side": side}, f"{side}/0")
        for i in range(6):
            with store.run("job", code=False) as run:
                run.put({"from": run.get(f"{side}/{i}"), "i": i}, f"{side}/{i + 1}")
    assert "unknown: why these differ: they are more than 3 steps back" in str(store.why("a/6", "b/6"))
    assert "steps back" not in str(store.why("a/3", "b/3"))


def pair_of(store: Store, old: Any, new: Any) -> Why:
    for params in (old, new):
        with store.run("train", params=params):
            store.put(repr((params, store.head)).encode(), "m")
    newest = len(store.versions("m"))
    return store.why(f"m:v{newest - 1}", f"m:v{newest}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({}, {"a": None}, "+ a: null"), ({"a": None}, {}, "- a: null"), ({"a": None}, {"a": 0}, "~ a: null -> 0"),
        ({"a": {"b": None}}, {"a": {}}, "- a.b: null"), ({"a": 1}, {"a": "1"}, '~ a: 1 -> "1"'), ({"a": "null"}, {"a": None}, "~ a: "),
        ({"a": "\u00e9"}, {"a": "e\u0301"}, '~ a: "\\u00e9" -> "e\\u0301"'), ({"a": True}, {"a": 1}, "~ a: true -> 1"),
        ({"a": [1]}, {"a": [1.0]}, "~ a: [1] -> [1.0]"),
    ],
)  # fmt: skip
def test_values_that_look_alike_are_shown_so_that_they_differ(store: Store, old: Any, new: Any, line: str):
    found = pair_of(store, old, new)
    assert f"    {line}" in str(found)
    if "->" in line:
        shown = line.partition(": ")[2].split(" -> ")
        assert shown[0] != shown[1]


def test_the_same_input_in_another_role_is_a_difference(store: Store):
    store.put(b"x", "raw")
    for role in (None, "train", "test", "test"):
        with store.run("train") as run:
            run.get("raw", **({} if role is None else {"role": role}))
            store.put(repr(store.head).encode(), "m")
    assert "~ raw: raw:v1 (no role) -> raw:v1 (train)" in str(store.why("m:v1", "m:v2"))
    assert "~ raw: raw:v1 (train) -> raw:v1 (test)" in str(store.why("m:v2", "m:v3"))
    assert "nothing that was recorded differs" not in str(store.why("m:v2", "m:v3"))
    assert not store.why("m:v3", "m:v4").inputs


def test_what_was_redacted_is_said_to_be_unknown(store: Store):
    with pytest.warns(UserWarning, match="look like secrets"):
        found = pair_of(store, {"wh_token": "one"}, {"wh_token": "two"})
    assert "what was redacted" in found.lacking
    assert "what was redacted" not in pair_of(store, {"a": 1}, {"a": 2}).lacking
