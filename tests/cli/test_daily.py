"""What people look at every day: one record of an artifact or a run, the table of runs, lists, stdin, copies."""

import io
import json
import math
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest

import artifactstore
from artifactstore import RunInfo
from artifactstore.catalog.runs.table import Selection
from artifactstore.cli import main, printing
from tests.cli.conftest import Call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with three runs; tests only read it."""
    store = artifactstore.open(tmp_path_factory.mktemp("daily") / "store", cache=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a loss of NaN is warned of once
        _train(store)
    with pytest.raises(ZeroDivisionError), store.run("train", params={"lr": 9}, code=False):
        _ = 1 / 0
    return store.url


def _train(store: artifactstore.Store) -> None:
    store.put({"rows": 3}, "churn/raw", tags={"stage": "raw"}, description="the raw table")
    for number, rate in enumerate((0.1, 0.3, 0.5)):
        with store.run("train", params={"lr": rate, "opt": {"name": "adam"}}, code=False) as run:
            run.get("churn/raw", role="table")
            for step in range(60):
                run.log(loss=math.exp(-rate * step) if step else math.nan, step=step)
            store.put(f"weights {rate}".encode(), "churn/model", kind="model", metrics={"auc": 0.8 + rate / 10}, aliases=["best"])
        if number == 1:
            store.put(store.artifact("churn/model"), "prod/model")


@pytest.fixture
def call(call: Call, trained: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("ARTIFACTSTORE_URL", trained)
    return call


def test_one_record_says_where_a_model_came_from(call):
    lines = call("show", "churn/model")[1].splitlines()
    found = {line[:9].strip(): line[10:] for line in lines if line[:9].strip()}
    assert found["ref"] == "churn/model:v3"
    assert found["aliases"].startswith("best (since 20")
    assert found["run"].startswith("train ")
    assert found["run"].endswith("(finished)")
    assert found["env"].startswith("Python 3")
    assert found["inputs"] == "churn/raw:v1 (table)"
    assert found["shares"] == "0 files with churn/model:v2"
    assert found["metrics"] == "auc = 0.85"
    shown = json.loads(call("show", "churn/model", "--json")[1])
    assert shown["inputs"][0]["ref"] == "churn/raw:v1"
    assert shown["inputs"][0]["role"] == "table"
    assert shown["run"].startswith(found["run"].split()[1])
    raw = call("show", "churn/raw")[1]
    assert "about     the raw table" in raw
    assert "tags      stage = raw" in raw
    assert "run " not in raw


def test_one_record_says_who_moved_an_alias_and_why(call):
    assert call("alias", "churn/model:v2", "audited", "--reason", "approved,\n CR-1182")[0] == 0
    found = [line for line in call("show", "churn/model:audited")[1].splitlines() if "audited (since" in line]
    assert len(found) == 1
    actor = artifactstore.open().log(alias="audited")[-1].actor
    assert found[0].endswith(f"UTC by {actor}: approved,\\n CR-1182)")
    assert call("unalias", "churn/model:audited", "done")[0] == 0
    assert "audited" not in call("show", "churn/model:v2")[1]


def test_a_run_is_shown_with_the_course_of_its_metrics(call, trained: str):
    first = artifactstore.open(trained, "r").runs()[0]
    code, out, _ = call("show", first.id[:12])
    assert code == 0
    assert 'params    lr = 0.1\n          opt = {"name": "adam"}' in out
    assert "  60 values\n" in out
    assert "▁" in out
    assert "█" in out
    assert "outputs   churn/model:v1" in out
    shown = json.loads(call("show", first.id, "--json")[1])
    assert [one["ref"] for one in shown["inputs"]] == ["churn/raw:v1"]
    assert shown["not_finite"] == {"loss": 1}
    assert "status    failed: ZeroDivisionError" in call("show", artifactstore.open(trained, "r").runs()[-1].id)[1]
    # A copy of its output does not change what it produced.
    assert "outputs   churn/model:v2" in call("show", artifactstore.open(trained, "r").runs()[1].id)[1]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ([], ["0.1", "0.3", "0.5", "9"]),
        (["--sort", "-metrics.auc"], ["0.5", "0.3", "0.1", "9"]),
        (["--sort", "auc", "--limit", "2"], ["0.1", "0.3"]),
        (["--where", "metrics.auc >= 0.82"], ["0.3", "0.5"]),
        (["--where", "auc>=0.82", "--where", "lr<0.4"], ["0.3"]),
        (["--where", "status = failed"], ["9"]),
        (["--where", "params.opt.name = adam", "--sort", "-lr"], ["0.5", "0.3", "0.1"]),
        (["--where", "status != finished"], ["9"]),
        (["--where", "name ~ RAI"], ["0.1", "0.3", "0.5", "9"]),
        (["--where", "started < 2020-01-01"], []),
        (["--where", "error ~ division"], ["9"]),
        (["--where", "status = failed", "--sort", "metrics.auc"], ["9"]),
    ],
)
def test_runs_are_chosen_and_sorted(call, options: list[str], rates: list[str]):
    code, out, err = call("runs", *options, "--columns", "lr,seconds")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == rates


def test_runs_on_a_terminal_show_metrics_and_parameters_as_there_is_room(call, monkeypatch):
    seen = {}
    for columns in (50, 80, 300, None):
        monkeypatch.setattr(printing, "width", lambda columns=columns: columns)
        code, out, err = call("runs", "--sort", "-auc")
        assert code == 0
        seen[columns] = out
        if columns is not None:
            assert max(map(len, out.splitlines())) <= columns
            assert err.startswith("not shown: ") == (columns < 300)
        else:
            assert err == ""
    first = seen[300].splitlines()[0].split()
    assert len(first[0]) == 12, "the id, which commands take, is first"
    assert len(seen[50].splitlines()[0].split()) < len(seen[80].splitlines()[0].split()) < len(first)
    assert first[3] == "0.85", "the column that is sorted by"
    assert len(seen[None].splitlines()[0].split()) < len(first)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--where", "aucc > 1"], "the nearest are metrics.auc"),
        (["--columns", "params.rl"], "params.lr"),
        (["--where", "auc"], "is not a condition; expected for example 'metrics.auc >= 0.9'"),
        (["--sort", "-"], "must be a column"),
        (["--where", "started > soon"], "is not a time"),
        (["--limit", "-1"], "must be a number of runs"),
        (["--compare", "x"], "no artifact is named 'x'"),
    ],
)
def test_a_wrong_choice_of_runs_names_what_there_is(call, options: list[str], text: str):
    code, out, err = call("runs", *options)
    assert code in {2, 3}
    assert out == ""
    assert text in err


def test_a_column_that_none_of_the_chosen_runs_has_is_empty(call):
    code, out, err = call("runs", "--where", "status = failed", "--columns", "lr,metrics.auc")
    assert (code, out.split(), err) == (0, ["9"], "")


def test_the_fields_of_all_runs_are_collected_once_a_table():
    counted = [0]

    class Params(dict[str, float]):
        def items(self):
            counted[0] += 1
            return super().items()

    runs = [RunInfo(str(n), "r", "finished", datetime.now(UTC), params=Params(lr=n)) for n in range(300)]
    table = Selection(where=["lr >= 0"], sort="-lr", columns=["lr", "params.lr"]).of(runs)
    assert table.values("lr")[:2] == [299, 298]
    assert table.values("params.lr")[:2] == [299, 298]
    assert counted[0] <= len(runs)


def test_runs_side_by_side_show_only_what_differs(call, trained: str):
    runs = artifactstore.open(trained, "r").runs()
    _, out, _ = call("runs", "--compare", runs[0].id, "--compare", runs[2].id)
    assert "params.lr" in out
    assert "metrics.auc" in out
    assert "opt" not in out
    found = json.loads(call("runs", "--compare", runs[0].id, "--compare", runs[2].id, "--json")[1])
    assert found["differ"]["params.lr"] == ["0.1", "0.5"]
    assert call("runs", "--compare", runs[0].id)[0] == 2
    assert call("runs", "--compare", runs[0].id, runs[2].id)[1] == out, "ids after one option"


def test_runs_take_their_name_as_an_option_too(call, trained: str):
    name = artifactstore.open(trained, "r").runs()[0].name
    assert call("runs", "--name", f"{name[:2]}*") == call("runs", f"{name[:2]}*")
    assert call("runs", "--name", "nothing*")[1] == call("runs", "nothing*")[1]
    code, _, err = call("runs", "train", "evaluate")
    assert code == 2
    assert "expected one name or pattern" in err


def test_the_table_of_runs_in_python(trained: str):
    pytest.importorskip("pandas")
    store = artifactstore.open(trained, "r")
    frame = store.runs("train", where="auc >= 0.82", sort="-auc", columns=["params.lr", "metrics.auc"]).to_pandas()
    assert frame.to_dict("list") == {"params.lr": [0.5, 0.3], "metrics.auc": pytest.approx([0.85, 0.83])}
    assert {"params.lr", "params.opt.name", "metrics.loss", "metrics.auc"} <= set(store.runs().to_pandas().columns)
    series = store.runs()[0].history("loss")
    assert [one.step for one in series] == list(range(60))
    assert math.isnan(series[0].value)
    assert series[1].value == pytest.approx(math.exp(-0.1))
    assert series.to_pandas().shape == (60, 3)
    with pytest.raises(artifactstore.NotFoundError, match="it logged: loss"):
        store.runs()[0].history("auc")


def test_lists(call):
    assert [line.split()[0] for line in call("ls", "churn")[1].splitlines()] == ["churn/model", "churn/raw"]
    assert [line.split()[0] for line in call("ls", "churn/")[1].splitlines()] == ["churn/model", "churn/raw"]
    assert [line.split()[0] for line in call("ls", "*/model")[1].splitlines()] == ["churn/model", "prod/model"]
    assert "churn/model:v3  blake3:" in call("ls", "-l")[1]
    assert call("ls", "-l", "churn/model")[1].startswith("blake3:")
    assert call("ls", "nothing/")[0] == 3
    assert call("ls", "no*")[0] == 3
    assert call("ls", "nothing")[0] == 3
    code, out, err = call("versions", "churn/model", "--at", "4")
    assert (code, len(out.splitlines())) == (0, 1)
    assert err == "as of entry 4\n"
    assert len(call("log", "-n", "2")[1].splitlines()) == 2
    everything = call("log")[1]
    assert -1 < everything.find("run train failed") < everything.find("run train started"), "the newest first"
    assert call("find", "raw", "table")[0] == 2
    assert call("find", "raw table")[1].startswith("churn/raw:v1")
    assert call("find", "absent")[0] == 1
    assert call("find", "--alias", "best")[1].startswith("churn/model:v3")
    assert call("find", "--tag", "stage=raw")[1].startswith("churn/raw:v1")


def test_put_from_stdin_with_aliases_and_tags_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    assert main(["put", "-", "notes/today.txt", "--alias", "best", "--tag", "stage=raw", "--description", "two lines"]) == 0
    assert main(["cp", "notes/today.txt:best", "kept/today", "-m", "to keep"]) == 0
    assert main(["unalias", "notes/today.txt:best", "it was a test"]) == 0
    capfd.readouterr()
    assert main(["cat", "kept/today"]) == 0
    assert capfd.readouterr().out == "a\nb\n"
    store = artifactstore.open()
    assert store.artifact("notes/today.txt").aliases == ()
    assert store.artifact("kept/today").metadata == {
        "description": "two lines",
        "tags": {"stage": "raw"},
        "copied_from": "notes/today.txt:v1",
    }
    assert [one.path for one in store.artifact("kept/today").files] == ["today.txt"]
    assert main(["unalias", "notes/today.txt", "x"]) == 2
