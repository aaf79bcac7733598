"""A selection by reference, and with all that it was made from: what comes along, what stays, what the copy says it lacks."""

import json
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, NotFoundError, Store
from artifactstore.cli import main
from tests.work.repositories import git

pytestmark = pytest.mark.filterwarnings("ignore:.*was made from raw.*:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store: raw:v1 -> features:v1 -> model:v1 and v2, with code, and other names beside."""
    top = tmp_path_factory.mktemp("lineage")
    (top / "project").mkdir()
    (top / "project/train.py").write_text("print('train')\n")
    git(top / "project", "init", "-q")
    git(top / "project", "add", "-A")
    git(top / "project", "commit", "-qm", "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top / "project")
        store = artifactstore.open(top / "store", cache=None)
        store.put(b"raw 1", "raw")
        with store.run("prepare"):
            store.get("raw")
            store.put(b"features 1", "features", kind="data")
        store.put(b"raw 2", "raw")
        for number in (1, 2):
            with store.run("train", params={"depth": number}):
                store.get("features")
                store.put(f"model {number}".encode(), "model", metrics={"auc": number / 10})
        store.alias("model:v1", "production")
        store.put(b"something else", "other")
        store.registry.taint("raw:v1", "wrong labels")
    return top / "store"


def copy(source: Path, target: Path, *names: str, lineage: bool) -> Store:
    store = artifactstore.open(source, "r", cache=None)
    store.maintenance.sync(target, names=list(names), with_lineage=lineage)
    return artifactstore.open(target, cache=None)


@pytest.mark.parametrize("by", ["model:v1", "model:production", "digest", "bundle"])
def test_one_version_comes_with_everything_that_it_was_made_from(source: Path, tmp_path: Path, by: str):
    original = artifactstore.open(source, "r", cache=None)
    digest = original.artifact("model:v1").digest
    if by == "bundle":
        original.maintenance.bundle(tmp_path / "b.zip", names=["model:v1"], with_lineage=True)
        made = artifactstore.open(f"zip://{tmp_path}/b.zip", "r", cache=None)
    else:
        made = copy(source, tmp_path / "copy", digest if by == "digest" else by, lineage=True)
    assert made.get("model:v1") == b"model 1"
    assert made.artifact("model:production").digest == digest
    with pytest.warns(UserWarning, match="wrong labels"):
        assert made.get("raw:v1") == b"raw 1"
    assert {one.name for one in made.names()} == {"model", "features", "raw"}
    lineage = made.lineage("model:v1")
    assert {one.name for one in lineage.upstream().runs} == {"prepare", "train"}
    assert lineage.code is not None
    lineage.code.checkout(tmp_path / "code")
    assert (tmp_path / "code/train.py").read_text() == "print('train')\n"
    assert made.artifact("model:v1").metrics == {"auc": 0.1}
    assert made.artifact("model:v1").commit == original.artifact("model:v1").commit
    for ref in ("model:v2", "raw:v2"):  # of these only the history comes
        with pytest.raises(NotFoundError):
            made.get(ref)
    assert made.verify(level="full").ok


def test_a_name_comes_with_all_versions_and_their_lineage(source: Path, tmp_path: Path):
    made = copy(source, tmp_path / "copy", "model", lineage=True)
    assert made.get("model:v2") == b"model 2"
    assert made.exists("features")
    assert not made.exists("other")
    assert made.verify(level="full").ok


def test_without_it_the_copy_says_what_it_lacks(source: Path, tmp_path: Path):
    store = artifactstore.open(source, "r", cache=None)
    report = store.maintenance.sync(tmp_path / "copy", names=["model:v1"])
    assert "features:v1" in report.lacking
    assert "not in the copy, but used to make it: " in str(report)
    made = artifactstore.open(tmp_path / "copy", cache=None)
    assert made.get("model:v1") == b"model 1"
    assert not made.exists("features")
    again = store.maintenance.sync(tmp_path / "copy", names=["model:v1"], with_lineage=True)
    assert again.lacking == []
    assert artifactstore.open(tmp_path / "copy", cache=None).get("features") == b"features 1"
    assert store.maintenance.sync(tmp_path / "copy", names=["model:v1"], with_lineage=True).artifacts == 0


def test_what_cannot_be_selected_is_named(source: Path, tmp_path: Path):
    store = artifactstore.open(source, "r", cache=None)
    for names, text in ((["model:v9"], "has no v9"), (["nothing:v1"], "no artifact is named"), (["no*"], "matches 'no\\*'")):
        with pytest.raises(NotFoundError, match=text):
            store.maintenance.sync(tmp_path / "copy", names=names)
    with pytest.raises(InvalidInputError, match="is a path in an artifact"):
        store.maintenance.sync(tmp_path / "copy", names=["model:v1/x"])
    with pytest.raises(InvalidInputError, match="for a selection by names="):
        store.maintenance.sync(tmp_path / "copy", with_lineage=True)
    with pytest.raises(InvalidInputError, match="for a selection by names="):
        store.maintenance.bundle(tmp_path / "b.zip", with_lineage=True)
    with pytest.raises(InvalidInputError, match="expected True or False"):
        store.maintenance.sync(tmp_path / "copy", names=["model"], with_lineage="yes")  # type: ignore[arg-type]


def test_on_the_command_line(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["sync", str(source), str(tmp_path / "copy"), "model:production", "--json"]) == 0
    assert "features:v1" in json.loads(capfd.readouterr().out)["lacking"]
    assert main(["sync", str(source), str(tmp_path / "copy"), "model:production"]) == 0
    assert "; --with-lineage copies that, too" in capfd.readouterr().err
    assert main(["sync", str(source), str(tmp_path / "copy"), "model:production", "--with-lineage"]) == 0
    assert main(["bundle", str(tmp_path / "b.zip"), "model:v2", "--with-lineage", "--store", str(source)]) == 0
    assert main(["bundle", str(tmp_path / "c.zip"), "--with-lineage", "--store", str(source)]) == 2
    assert "--with-lineage is for a selection" in capfd.readouterr().err
