"""`run -- COMMAND`: parameters, metrics that are given or printed, and mistakes that are refused before anything happens."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli.options import pairs
from artifactstore.cli.running.child import PrintedMetrics
from artifactstore.cli.running.cmd_run import _nested
from artifactstore.errors import InvalidInputError
from tests.cli.conftest import Call


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    artifactstore.open().put({"rows": 3}, "churn/raw")
    return call


def printing(text: str) -> list[str]:
    """Return a program that prints a text and, with a file's name, writes that file."""
    return [
        sys.executable,
        "-S",
        "-c",
        f"import sys; sys.stdout.write({text!r}); [open(one, 'w').write('x') for one in sys.argv[1:]]",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["lr=0.1"], {"lr": 0.1}),
        (["lr=1e-3", "n=7", "big=true", "none=null"], {"lr": 0.001, "n": 7, "big": True, "none": None}),
        (["name=adam", "empty=", "zip=007", "pair=a=b"], {"name": "adam", "empty": "", "zip": "007", "pair": "a=b"}),
        (["a=NaN", "b=1e999", "c=-Infinity"], {"a": "NaN", "b": "1e999", "c": "-Infinity"}),
        (['text="7"', "list=[1, 2]", 'group={"a": 1}'], {"text": "7", "list": [1, 2], "group": {"a": 1}}),
        (["opt.lr=0.1", "opt.name=adam", "opt.sub.a=1"], {"opt": {"lr": 0.1, "name": "adam", "sub": {"a": 1}}}),
    ],
)
def test_parameters_are_json_or_text_and_dots_are_groups(given: list[str], expected: dict[str, Any]):
    assert _nested(pairs("param", given)) == expected


@pytest.mark.parametrize(
    "given",
    [["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"], [".a=1"], ["a..b=1"], ["a.=1"], ["command=x"], ["command.x=1"], ['a={"b": 1}', "a.b=2"]],
)  # fmt: skip
def test_parameters_that_contradict_each_other_are_refused(given: list[str]):
    with pytest.raises(InvalidInputError, match="--param"):
        _nested(pairs("param", given))


def test_parameters_and_metrics_are_those_of_the_run_and_of_its_only_output(call: Call):
    options = [
        "--param",
        "lr=0.1",
        "--param",
        "opt.name=adam",
        "--metric",
        "auc=0.91",
        "--metric",
        "f1",
        "--in",
        "churn/raw=in",
        "--out",
        "m=model",
    ]
    code, out, err = call("run", "--name", "train", *options, "--", *printing("f1=0.1\nf1: 0.75\n"), "model")
    assert (code, out.splitlines()[:2]) == (0, ["f1=0.1", "f1: 0.75"])
    assert out.splitlines()[2].startswith("m:v1")
    assert err.endswith("finished  auc=0.91  f1=0.75\n")
    store = artifactstore.open()
    run = store.runs()[-1]
    assert {key: value for key, value in run.params.items() if key != "command"} == {"lr": 0.1, "opt": {"name": "adam"}}
    assert run.metrics == {"auc": 0.91, "f1": 0.75}
    assert store.artifact("m").metrics == {"auc": 0.91, "f1": 0.75}
    assert len(store.runs(where=["params.opt.name = adam", "metrics.f1 > 0.7", "lr < 0.2"])) == 1
    assert call("find", "--metric", "auc>=0.9")[1].startswith("m:v1")
    assert "put m:v1 · run train · auc 0.91, f1 0.75" in call("log")[1]


def test_an_input_that_is_one_file_is_written_to_a_path_with_its_suffix_else_into_a_folder(call: Call, tmp_path: Path):
    (tmp_path / "t.csv").write_text("id\n1\n")
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/sub/a.csv").write_text("a\n")
    (tmp_path / "d/b.txt").write_text("b\n")
    store = artifactstore.open()
    store.put(tmp_path / "t.csv", "table")
    store.put(tmp_path / "d", "folder")
    show = [sys.executable, "-S", "-c", "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text(), end='')"]
    (tmp_path / "kept").mkdir()
    (tmp_path / "old.csv").write_text("old")
    for given, read in (
        ("table=in/new.csv", "in/new.csv"), ("table=old.csv", "old.csv"), ("table=in2", "in2/t.csv"), ("table=./x.y/", "x.y/t.csv"),
        ("table=data.v1", "data.v1/t.csv"), ("table:latest=kept", "kept/t.csv"), ("folder:v1/sub/a.csv=one.csv", "one.csv"), ("churn/raw=raw.json", "raw.json"),
    ):  # fmt: skip
        code, out, err = call("run", "--in", given, "--", *show, read)
        assert (code, out[:2]) == (0, {"one.csv": "a\n", "raw.json": '{"'}.get(read, "id")), (given, err)
    assert (tmp_path / "old.csv").is_file()
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".artifactstore")] == []
    (used,) = [one for one in artifactstore.open().lineage(store.runs()[0].id).inputs if one.kind == "data"]
    assert used.ref == "table:v1"


def test_outputs_that_were_not_written_are_named_before_any_is_put(call: Call):
    code, _, err = call("run", "--out", "a=a", "--out", "b=b", "--", *printing(""), "a")
    assert (code, err) == (2, "error: --out b=b: the program has not written b\n")
    assert not artifactstore.open().exists("a")
    assert "has not written b" in (artifactstore.open().runs()[-1].error or "")


def test_metrics_of_several_outputs_are_those_of_the_run_alone(call: Call):
    assert call("run", "--metric", "auc=1", "--out", "a=a", "--out", "b=b", "--json", "--", *printing(""), "a", "b")[0] == 0
    store = artifactstore.open()
    assert store.runs()[-1].metrics == {"auc": 1.0}
    assert store.artifact("a").metrics == {}


def test_what_a_failing_program_printed_is_kept(call: Call):
    program = [sys.executable, "-S", "-c", "print('loss: 3'); raise SystemExit(5)"]
    code, out, _ = call("run", "--metric", "loss", "--param", "x=1", "--out", "m=m", "--", *program)
    assert (code, out) == (5, "loss: 3\n")
    run = artifactstore.open().runs()[-1]
    assert (run.status, run.error, run.metrics, run.params["x"]) == ("failed", "the program returned 5", {"loss": 3.0}, 1)


def test_a_metric_that_is_not_printed_is_a_note_and_one_that_is_not_finite_is_recorded_as_such(call: Call):
    code, _, err = call("run", "--metric", "auc", "--metric", "loss", "--", *printing("loss=nan"))
    assert code == 0
    assert "note: the program printed no line such as auc=0.91 to stdout" in err
    run = artifactstore.open().runs()[-1]
    assert (run.metrics, run.not_finite) == ({}, {"loss": 1})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--in", "churn/row"], "similar names: churn/raw"),
        (["--in", "churn/raw:v9=in"], "churn/raw"),
        (["--in", "churn/raw:best"], "churn/raw"),
        (["--in", "churn/raw:v1/none.txt"], "has no file or folder 'none.txt'"),
        (["--in", "churn/raw", "--in", "other"], "other"),
        (["--in", "=x"], "expected NAME=PATH"),
        (["--in", "a b"], "a b"),
        (["--out", "m:v3=x"], "'m:v3' is not a valid name"),
        (["--out", "two words=x"], "is not a valid name"),
        (["--out", "m"], "expected NAME=PATH"),
        (["--param", "lr"], "--param 'lr': expected KEY=VALUE"),
        (["--param", "=1"], "expected KEY=VALUE"),
        (["--param", "a=1", "--param", "a.b=2"], "is given twice, or is a value and a group"),
        (["--param", "command=x"], "choose another key"),
        (["--metric", "auc=high"], "the value must be a number"),
        (["--metric", "=1"], "expected NAME=NUMBER, or NAME"),
        (["--metric", "auc=1", "--metric", "auc"], "auc is given twice"),
        (["--metric", "step=1"], "a metric cannot be called 'step'"),
        (["--metric", "--"], "a metric cannot be called '--'"),
        (["--metric", "self"], "a metric cannot be called 'self'"),
    ],
)
def test_a_mistake_is_refused_before_the_program_runs_and_before_anything_is_recorded(call: Call, options: list[str], text: str):
    before = artifactstore.open().head
    code, out, err = call("run", *options, "--", *printing("ran"), "file")
    assert code == (3 if options[0] == "--in" and text not in {"expected NAME=PATH", "a b"} else 2), err
    assert text in err
    assert out == ""
    assert not Path("file").exists()
    assert artifactstore.open().head == before


def test_a_program_that_does_not_exist_is_refused_before_anything_is_recorded(call: Call):
    before = artifactstore.open().head
    assert call("run", "--", "no-such-program")[2] == "error: cannot run no-such-program: no such program\n"
    assert artifactstore.open().head == before


def test_secrets_among_parameters_are_not_recorded(call: Call, tmp_path: Path):
    assert call("run", "--param", "password=s3cr3t99", "--param", "db.token=s3cr3t99", "--", *printing(""))[0] == 0
    params = artifactstore.open().runs()[-1].params
    assert (params["password"], params["db"]) == ("[redacted]", {"token": "[redacted]"})
    assert not any(b"s3cr3t99" in path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())


# -- metrics that a program prints


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auc=0.91", 0.91), ("auc: 0.91\n", 0.91), ("auc = .5\n", 0.5), ("auc=1\nauc=2\n", 2.0), ("AUC=0.9\n", None), ("val_auc=0.9", None),
        ("auc=0.9 val_auc=0.1\n", 0.9), ("epoch 3  loss: 1e-3  auc: 9.1E-1\n", 0.91), ('{"auc": 0.91, "loss": 2}\n', 0.91), ("'auc': 7,", 7.0),
        ("auc=91%\n", None), ("auc=0.9.1\n", None), ("auc=high\n", None), ("auc=-3\n", -3.0), ("auc=+3\n", 3.0), ("auc=0.5.\n", None),
        ("auc=0.5,\n", 0.5), ("\x1b[32mauc=\x1b[1m0.91\x1b[0m\n", 0.91), ("auc=0.1\rauc=0.2\r", 0.2), ("model/auc=1\n", None), ("auc:\n0.9\n", None),
        ("auc=0.9\nthe auc was good\n", 0.9), ("auc=nan", math.nan), ("auc=inf\n", math.inf), ("auc=-inf\n", -math.inf), ("auc==0.9", None), ("", None),
        ("auc\t:\t3", 3.0), ("macauc=1", None), ("auc2=1", None), ("loss=1;auc=2", 2.0), ("(auc=0.25)", 0.25), ("é auc=0.5 é", 0.5),
    ],
)  # fmt: skip
def test_the_last_value_that_is_printed_counts(text: str, expected: float | None):
    for size in (1, 3, 1000):  # as a pipe delivers it
        metrics = PrintedMetrics(["auc"])
        raw = text.encode()
        for at in range(0, len(raw), size):
            metrics.feed(raw[at : at + size])
        metrics.end()
        assert metrics.values.get("auc") == pytest.approx(expected, nan_ok=True) if expected is not None else metrics.values == {}


def test_names_are_no_patterns_and_a_line_without_end_takes_no_memory():
    metrics = PrintedMetrics(["f1.5", "a+b", "recall@5"])
    metrics.feed(b"f1x5=1 a+b=2 recall@5=3\n")
    assert metrics.values == {"a+b": 2.0, "recall@5": 3.0}
    for _ in range(50):
        metrics.feed(b"x" * 2**16)
    assert len(metrics._line) <= 2**16


def test_what_a_program_prints_passes_through_unchanged_and_at_once(tmp_path: Path):
    raw = bytes(range(256)) * 300 + b"no end "
    (tmp_path / "raw").write_bytes(raw)
    program = (
        "import sys, time; sys.stdout.buffer.write(open('raw', 'rb').read()); print('auc=1'); sys.stdin.readline(); print('late')"
    )
    words = [
        sys.executable,
        "-m",
        "artifactstore",
        "run",
        "--metric",
        "auc",
        "--store",
        str(tmp_path / "s"),
        "--",
        sys.executable,
        "-c",
        program,
    ]
    process = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(len(raw) + 6) == raw + b"auc=1\n"  # while the program still runs
    out, err = process.communicate(b"\n", timeout=60)
    assert (process.returncode, out) == (0, b"late\n")
    assert b"auc=1" in err


# -- signals


@pytest.mark.parametrize(
    ("number", "code", "options"),
    [
        (signal.SIGINT, 130, ["--metric", "auc"]),
        (signal.SIGTERM, 143, []),
        pytest.param(signal.SIGHUP, 129, [], marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, [], marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, ["--metric", "auc"], marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_program_and_the_run_is_recorded_as_failed(
    tmp_path: Path, number: signal.Signals, code: int, options: list[str]
):
    program = "import signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print('auc=3', flush=True); open('on', 'w'); time.sleep(60)"
    words = [
        sys.executable,
        "-m",
        "artifactstore",
        "run",
        *options,
        "--store",
        str(tmp_path / "s"),
        "--",
        sys.executable,
        "-S",
        "-c",
        program,
    ]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "on").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Ctrl-C of a terminal reaches the whole group; a scheduler signals the process that it started.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert out == "auc=3\n"
    run = artifactstore.open(tmp_path / "s", "r").runs()[-1]
    assert (run.status, run.error) == ("failed", f"the program returned {code}")
    assert run.metrics == ({"auc": 3.0} if options else {})


def test_output_of_a_program_that_outlives_the_first_one_does_not_hold_it_up(call: Call):
    program = "import subprocess, sys; print('auc=1', flush=True); subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(30)'])"
    began = time.monotonic()
    assert call("run", "--metric", "auc", "--", sys.executable, "-S", "-c", program)[0] == 0
    assert time.monotonic() - began < 25
    assert artifactstore.open().runs()[-1].metrics == {"auc": 1.0}


def test_the_answer_as_json_has_the_metrics(call: Call):
    assert json.loads(call("run", "--json", "--metric", "auc=0.5", "--", *printing(""))[1])["metrics"] == {"auc": 0.5}


@pytest.mark.parametrize("read", [["--metric", "auc"], []])
def test_with_json_what_the_program_prints_goes_to_stderr(call: Call, read: list[str]):
    code, out, err = call("run", "--json", *read, "--out", "m=m.txt", "--", *printing("auc=0.5\nten ÷ two\n"), "m.txt")
    assert code == 0
    assert json.loads(out)["metrics"] == ({"auc": 0.5} if read else {})
    assert "auc=0.5\nten ÷ two\n" in err
    assert call("run", *read, "--", *printing("auc=0.5\n"))[1] == "auc=0.5\n"
