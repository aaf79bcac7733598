"""The commands sync and bundle as a shell sees them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lab, team = (artifactstore.create(tmp_path / name, cache=None) for name in ("lab", "team"))
    lab.put(b"theirs", "taken")
    lab.put(b"free", "churn/model")
    team.put(b"ours", "taken")
    return tmp_path


def test_an_import_that_leaves_something_out_ends_with_7_and_says_what(two, capsys):
    code, out, _ = said(capsys, "sync", "lab", "team")
    assert code == 7
    assert "imported 1 version, 1 artifact moved" in out
    assert "left out: taken: taken:v1 is a different artifact" in out
    code, out, _ = said(capsys, "sync", "lab", "team", "--json")
    assert code == 7
    report: dict[str, Any] = json.loads(out)
    assert (report["kind"], report["entries"], [one["what"] for one in report["left_out"]]) == ("import", 0, ["taken"])
    code, out, _ = said(capsys, "sync", "lab", "team", "--names", "churn/*")
    assert code == 0
    code, out, _ = said(capsys, "sync", "lab", "team", "--on-conflict", "rename", "--label", "lab", "--dry-run")
    assert (code, "would import 1 version," in out) == (0, True)
    code, out, _ = said(capsys, "sync", "lab", "team", "--on-conflict", "rename", "--label", "lab", "--reason", "CR-7")
    assert (code, "taken is named taken.from-lab here" in out) == (0, True)
    code, out, _ = said(capsys, "log", "--facts", "--name", "taken.from-lab", "--store", "team")
    assert (code, "(from store " in out) == (0, True)
    code, out, _ = said(capsys, "log", "--name", "taken.from-lab", "--store", "team")
    assert (code, re.search(r"  receive .* of store [0-9a-f]{8}: put .*  CR-7$", out, re.MULTILINE) is not None) == (0, True), out
    code, out, _ = said(capsys, "log", "--fact", "received", "--store", "team")
    assert (code, "CR-7" in out, "store " in out) == (0, True, True)


def test_wrong_calls_end_with_their_codes(two, capsys):
    assert said(capsys, "sync", "lab", "lab")[0] == 2
    assert said(capsys, "sync", "lab", "lab/inner")[0] == 2
    assert said(capsys, "sync", "nothing", "team")[0] == 3
    assert said(capsys, "sync", "lab", "team", "--names", "nothing*")[0] == 3
    assert said(capsys, "sync", "lab", "team", "--on-conflict", "merge")[0] == 2
    assert said(capsys, "init", "sha", "--digest", "sha256")[0] == 0
    assert said(capsys, "sync", "lab", "sha")[0] == 6


def test_a_bundle_is_written_read_and_imported(two, capsys):
    code, out, _ = said(capsys, "bundle", "all.zip", "--store", "lab")
    assert (code, "2 entries" in out) == (0, True)
    assert said(capsys, "bundle", "all.zip", "--store", "lab")[0] == 7
    code, out, _ = said(capsys, "bundle", "some.zip", "churn/*", "--store", "lab", "--json")
    assert (code, json.loads(out)["versions"]) == (0, 1)
    code, out, _ = said(capsys, "ls", "--store", "zip://some.zip")
    assert (code, out.split()[0]) == (0, "churn/model")
    assert said(capsys, "sync", "zip://some.zip", "team")[0] == 0
    assert said(capsys, "sync", "zip://all.zip", "new")[0] == 0
    assert said(capsys, "verify", "--level", "full", "--store", "new")[0] == 0
    assert said(capsys, "sync", "lab", "zip://all.zip")[0] == 6
    assert said(capsys, "bundle", "x.zip", "nothing", "--store", "lab")[0] == 3
