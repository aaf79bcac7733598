"""`diff` and `status` with folders of this machine: what a word means, what is printed, and the exit code."""

import json
from pathlib import Path

import pytest

import artifactstore
from tests.cli.conftest import Call


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A folder `data` that was put as raw, a folder `raw`, and a function that runs a command there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    for name in ("data", "raw", "with space"):
        Path(name).mkdir()
        Path(name, "a.csv").write_text("1\n")
    artifactstore.open().put("data", "raw")
    Path("raw/a.csv").write_text("2\n")
    return call


SAME, OTHER = (0, "no differences, 1 unchanged\n"), (1, "~ a.csv\n1 changed, 0 unchanged\n")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("raw", SAME), ("./raw", OTHER), ("raw/", OTHER), ("{here}/raw", OTHER), ("raw:v1", SAME), ("data", SAME), ("data/", SAME),
        ("../{name}/raw", OTHER), ("with space", SAME), ("data/a.csv", SAME), ("raw/a.csv", OTHER), ("~/raw", OTHER),
        ("raw:latest/a.csv", SAME),
    ],
)  # fmt: skip
def test_a_word_is_a_reference_if_the_store_has_it_and_a_path_if_it_looks_like_one(
    call, word: str, expected: tuple[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    first = "raw:v1/a.csv" if word.endswith("a.csv") else "raw:v1"
    word = word.format(here=tmp_path, name=tmp_path.name)
    code, out, err = call("diff", first, word)
    assert (code, out) == expected
    assert err == (
        "note: raw is a name in the store and a path: read as the name; for the path write ./raw\n" if word == "raw" else ""
    )
    assert call("diff", word, first)[0] == expected[0]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["diff", "raw", "./none"], 2, "no such path: 'none'"),
        (["diff", "raw", "none"], 3, "no artifact is named 'none'"),
        (["diff", "raw", "raw:v1", "--exclude", "x"], 2, "--exclude is for a folder of this machine"),
        (["diff", "raw", "./data", "--links", "all"], 2, "--links all: expected 'keep' or 'follow'"),
        (["status", "none"], 2, "no such path: 'none'"),
        (["status", "with space/a.csv", "--against", "raw:v9"], 3, "raw has no v9"),
        (["status", "raw"], 3, "compare it with a version, --against NAME:v1"),
    ],
)
def test_what_cannot_be_compared_gets_one_clear_error(call, words: list[str], code: int, text: str):
    found, out, err = call(*words)
    assert (found, out) == (code, "")
    assert text in err


def test_status_says_where_a_folder_came_from_and_what_changed(call):
    assert call("status", "data") == (0, "data: put as raw:v1\n  no differences, 1 unchanged\n", "")
    assert call("status", "with space")[1] == "with space: has the content of raw:v1\n  no differences, 1 unchanged\n"
    call("get", "raw:v1", "old")
    Path("data/a.csv").write_text("3\n")
    Path("data/b").write_text("")
    shown = ["data: put as raw:v1", "  ~ a.csv", "  + b", "  1 added, 1 changed, 0 unchanged"]
    code, out, err = call("status")
    assert (code, out.splitlines(), err) == (1, [*shown, "old: got from raw:v1", "  no differences, 1 unchanged"], "")
    call("put", "data", "raw")
    assert call("status", "old")[1].splitlines()[-1] == "  raw:v2 is newer"
    code, out, _ = call("status", "raw", "--against", "raw", "--json")
    assert code == 1
    (row,) = json.loads(out)
    assert {key: row[key] for key in ("path", "ref", "how", "newest", "unchanged")} == {
        "path": "raw", "ref": "raw", "how": "against", "newest": None, "unchanged": 0,
    }  # fmt: skip
    assert row["changes"] == json.loads(call("diff", "raw", "./raw", "--json")[1])["changes"]
    assert {one["change"] for one in row["changes"]} == {"changed", "removed"}


def test_differences_inside_files_are_shown_for_folders_as_well(call):
    Path("data/a.json").write_text('{"x": 1}')
    call("put", "data", "raw")
    Path("data/a.json").write_text('{"x": 2}')
    assert call("diff", "raw", "./data", "--inside")[1].splitlines()[:2] == ["a.json:", "  ~ /x: 1 -> 2"]
