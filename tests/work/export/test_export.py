"""What holds for every standard: equal bytes, no secrets, what is refused, where it goes."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, BackendError, InvalidInputError, Store
from artifactstore.work.export.record import as_text, repository_url
from tests.warm import command
from tests.work.export.conftest import SECRET

STANDARDS = ("openlineage", "prov", "slsa", "ml-bom")


def texts(store: Store, ref: str, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    found = {standard: as_text(store.lineage(ref).export(standard)).encode() for standard in STANDARDS}
    for files in ("inside", "reference"):
        path = store.lineage(ref).export("ro-crate", folder / f"{files}.zip", files=files)
        found[files] = path.read_bytes()
    return found


def test_two_exports_are_equal_byte_for_byte(chain: Store, tmp_path: Path):
    first = texts(chain, "churn/report", tmp_path / "1")
    assert first == texts(chain, "churn/report", tmp_path / "2")
    assert first == texts(artifactstore.open(chain.url, "r", cache=tmp_path / "cache"), "churn/report", tmp_path / "3")
    with chain._session.state() as state:
        head = state.head
    assert first == texts(chain.at(head), "churn/report", tmp_path / "4")


def test_what_comes_later_changes_nothing_of_what_was_told_before(chain: Store):
    with chain._session.state() as state:
        before = state.names["churn/model"][0]["seq"]
    (train,) = chain.runs("train")
    then, now = (one.lineage(train.id).export("prov") for one in (chain.at(before), chain))
    shared = set(then["used"]) & set(now["used"])
    assert shared == set(then["used"]), "ids are made of what they name"


def test_no_export_holds_a_secret(chain: Store, tmp_path: Path):
    for name, data in texts(chain, "churn/report", tmp_path).items():
        assert SECRET.encode() not in data, name
        if name != "reference":
            assert b"git.example/team/churn.git" in data, name


@pytest.mark.parametrize("standard", STANDARDS)
def test_an_artifact_without_a_run_says_so_little(chain: Store, standard: str):
    found = chain.lineage("churn/raw").export(standard)
    if standard == "prov":
        assert "activity" not in found
        assert len(found["entity"]) == 3  # the artifact, its version, its name
    elif standard == "ml-bom":
        assert (found["components"], "formulation" in found) == ([], False)
    else:
        assert found == []


def test_a_received_run_keeps_its_id_and_what_did_not_come_along_is_named(chain: Store, tmp_path: Path):
    other = artifactstore.create(tmp_path / "other", cache=None)
    artifactstore.open(chain.url, cache=None).maintenance.sync(other.url, names=["churn/report"])
    found = texts(other, "churn/report", tmp_path / "texts")
    ours = chain.lineage(chain.runs("report")[0].id)
    (theirs,) = other.lineage("churn/report").export("slsa")
    assert theirs["predicate"]["runDetails"]["metadata"] == ours.export("slsa")[0]["predicate"]["runDetails"]["metadata"]
    start, end = other.lineage("churn/report").export("openlineage")
    assert start["run"]["runId"] == ours.export("openlineage")[0]["run"]["runId"]
    assert [one["inputFacets"]["inputStatistics"].get("size") for one in end["inputs"]] == [None] * 3
    assert b"Its bytes are not in the store" in found["inside"]


def test_of_a_run_only_that_run_is_told(chain: Store):
    (train,) = chain.runs("train")
    assert {one["job"]["name"] for one in chain.lineage(train.id).export("openlineage")} == {"train"}
    names = [one["job"]["name"] for one in chain.lineage("churn/report").export("openlineage")]
    assert names == ["prepare äö"] * 2 + ["train"] * 2 + ["inner"] * 2 + ["report"] * 2


def test_unknown_standards_and_options_name_those_that_are_known(chain: Store, tmp_path: Path):
    lineage = chain.lineage("churn/report")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ("prof", {}, "openlineage, prov, slsa, ro-crate, ml-bom"),
        (5, {}, "openlineage"),
        ("prov", {"files": "inside"}, "prov has no option 'files': expected one of overwrite"),
        ("openlineage", {"namespace": 5}, "expected a str"),
        ("ro-crate", {"files": "near", "to": tmp_path / "c"}, "inside, reference"),
        ("ro-crate", {}, "folder or a zip"),
        ("prov", {"to": "https://host"}, "is a URL"),
        ("slsa", {"to": tmp_path / "none/x"}, "make it first"),
        ("slsa", {"to": Path(chain.url) / "x"}, "is inside the store"),
        ("openlineage", {"to": tmp_path / "x", "send": True}, "leave one of them out"),
    ]
    for standard, options, said in cases:
        with pytest.raises(InvalidInputError, match=said):
            lineage.export(standard, **options)


def test_a_file_is_replaced_only_where_that_is_said(chain: Store, tmp_path: Path):
    lineage, target = chain.lineage("churn/report"), tmp_path / "out.jsonl"
    assert lineage.export("slsa", target) == target
    assert [json.loads(line) for line in target.read_text().splitlines()] == lineage.export("slsa")
    with pytest.raises(AlreadyExistsError, match=r"out\.jsonl exists already"):
        lineage.export("openlineage", target)
    lineage.export("openlineage", str(target), overwrite=True)
    assert target.read_text() == as_text(lineage.export("openlineage"))
    lineage.export("prov", tmp_path / "prov.json")
    assert json.loads((tmp_path / "prov.json").read_text()) == lineage.export("prov")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.jsonl", "prov.json"]


def test_a_file_that_cant_be_written_leaves_nothing(chain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackendError, match="No space left"):
        chain.lineage("churn/report").export("prov", tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_an_export_in_a_run_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.run("make") as run:
        run.put(b"x", "x")
        store.lineage("x").export("ro-crate", tmp_path / "crate")
        store.lineage("x").export("slsa")
    with store._session.state() as state:
        assert {edge.get("role") for edge in state.edges[run.id] if edge["fact"] == "used"} <= {"environment", "code"}


def test_what_is_used_in_the_role_of_an_environment_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(b"\xff no JSON", "image")
    with store.run("make", code=False) as run:
        run.get("image", role="environment")
        run.put(b"x", "x")
    (statement,) = store.lineage("x").export("slsa")
    build = statement["predicate"]["buildDefinition"]
    assert build["internalParameters"]["python"]["version"]
    assert {one["annotations"]["kind"] for one in build["resolvedDependencies"]} == {"environment", "data"}


def test_repositories_are_urls():
    assert repository_url("git@host.example:team/x.git") == "ssh://git@host.example/team/x.git"
    assert repository_url("https://host.example/x.git") == "https://host.example/x.git"
    assert repository_url("/srv/x y.git") == "file:///srv/x%20y.git"
    assert repository_url("../x.git") == "../x.git"


def test_the_record_tells_times_that_can_be_read(chain: Store):
    for event in chain.lineage("churn/report").export("openlineage"):
        assert datetime.fromisoformat(event["eventTime"]).tzinfo == UTC


def call(store: Store, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = command("export", *arguments, env={**os.environ, "ARTIFACTSTORE_URL": store.url, **env})
    assert done.returncode == code, done.stderr
    return done


def test_the_command(chain: Store, tmp_path: Path):
    for standard in STANDARDS:
        told = call(chain, "churn/report", "--as", standard)
        assert told.stdout == as_text(chain.lineage("churn/report").export(standard))
    assert json.loads(call(chain, "churn/report", "--as", "slsa", "--json").stdout) == chain.lineage("churn/report").export(
        "slsa"
    )
    crate = tmp_path / "crate"
    assert call(chain, "churn/report", "--as", "ro-crate", "--to", str(crate), "--files", "reference").stdout.strip() == str(
        crate
    )
    assert sorted(one.name for one in crate.iterdir()) == ["ro-crate-metadata.json", "ro-crate-preview.html"]
    call(chain, "churn/report", "--as", "ro-crate", "--to", str(crate), code=7)
    call(chain, "churn/report", "--as", "ro-crate", code=2)
    assert "expected one of openlineage" in call(chain, "churn/report", "--as", "x", code=2).stderr
    call(chain, "nothing", "--as", "prov", code=3)
    assert "no run is recorded" in call(chain, "churn/raw", "--as", "slsa").stderr
    dead = call(chain, "churn/report", "--as", "openlineage", "--send", code=4, OPENLINEAGE_URL="http://127.0.0.1:9")
    assert "127.0.0.1:9/api/v1/lineage is unreachable" in dead.stderr
