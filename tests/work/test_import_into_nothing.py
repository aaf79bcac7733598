"""An import into a place without a store makes one, as a put does; a dry run makes nothing, and says what would come."""

import json
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, Store
from artifactstore.cli import main


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same artifact as a store, a bundle and a crate; with SHA-256 digests, which a store does not have unless it is asked to."""
    folder = tmp_path_factory.mktemp("sources")
    store = artifactstore.create(folder / "store", digest="sha256", cache=None)
    store.put(b"1", "a")
    store.maintenance.bundle(folder / "bundle.zip")
    store.lineage("a").export("ro-crate", folder / "crate")
    return {"store": store.url, "bundle": str(folder / "bundle.zip"), "crate": str(folder / "crate")}


@pytest.mark.parametrize("kind", ["store", "bundle", "crate"])
def test_a_dry_run_makes_nothing_and_an_import_makes_the_store(
    sources: dict[str, str], kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "new"
    words = ["import", sources[kind], "--store", str(place), "--json"]
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capfd.readouterr().out)["target"] == str(place)
    assert not place.exists()
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["target"] == str(place)
    assert artifactstore.open(place).get("a:v1") == b"1"
    before = len(artifactstore.open(place).log())
    assert main([*words, "--dry-run"]) == 0
    assert len(artifactstore.open(place).log()) == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_another_system_too(tmp_path: Path, *, dry_run: bool) -> None:
    store = artifactstore.open(tmp_path / "new", cache=None)
    with store.maintenance.intake("dvc", "somewhere", dry_run=dry_run) as intake:
        intake.put(b"1", "a", marks={"dvc.md5": "0" * 32})
    assert intake.report.versions == 1
    assert (tmp_path / "new").exists() is not dry_run


@pytest.mark.parametrize("kind", ["store", "bundle", "crate"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_other_files_does_not_become_a_store(
    sources: dict[str, str], kind: str, tmp_path: Path, *, dry_run: bool
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    store: Store = artifactstore.open(tmp_path, cache=None)
    with pytest.raises(InvalidInputError, match="not empty"):
        store.maintenance.import_from(sources[kind], dry_run=dry_run)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_the_place_that_nobody_named_is_told_once(
    sources: dict[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ARTIFACTSTORE_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert main(["import", sources["crate"]]) == 0
    assert capfd.readouterr().err.count("no store was named") == 1
    assert main(["import", sources["crate"]]) == 0
    assert "no store was named" not in capfd.readouterr().err
