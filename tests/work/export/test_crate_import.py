"""A crate that was exported comes back: digests, names, runs and lineage, or an error and nothing of it."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import artifactstore
from artifactstore import (
    ArtifactStoreError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    Store,
    UnsupportedError,
)

REFS = ("churn/report", "endless", "churn/raw", "churn/half", "churn/model:production", "nightly äö/1")


def test_crates_come_back_with_their_names_runs_and_lineage(chain: Store, tmp_path: Path) -> None:
    for number, ref in enumerate(REFS):
        for suffix in ("", ".zip"):
            crate = tmp_path / f"crate{number}{suffix}"
            chain.lineage(ref).export("ro-crate", crate)
            other = artifactstore.create(tmp_path / f"other{number}{suffix}", cache=None)
            done = other.maintenance.import_from(crate, reason="from a colleague")
            assert done.kind == "import"
            assert not done.left_out, (ref, done)
            assert done.source == str(crate)
            for name in other.names():
                for version in other.versions(name.name):
                    mine = chain.artifact(version.ref)
                    assert (version.digest, version.kind, version.time, version.actor) == (
                        mine.digest,
                        mine.kind,
                        mine.time,
                        mine.actor,
                    )
                    assert dict(other.artifact(version.ref).metadata) == dict(mine.metadata)
            assert other.runs() or ref == "churn/raw"
            known = {run.id: run for run in chain.runs()}
            for run in other.runs():
                own = known[run.id]
                assert (run.name, run.status, run.params, run.started) == (own.name, own.status, own.params, own.started)
            assert other.verify(level="full").ok
            before = other.head
            again = other.maintenance.import_from(crate)
            assert (again.versions, again.artifacts) == (0, 0)
            assert other.head == before


def test_what_came_back_is_what_it_was(chain: Store, tmp_path: Path) -> None:
    chain.lineage("churn/report").export("ro-crate", tmp_path / "crate.zip")
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.maintenance.import_from(tmp_path / "crate.zip")
    assert other.get("churn/report") == {"x": 1}
    assert isinstance(other.get("churn/features"), pa.Table)
    assert other.artifact("churn/features").profile == chain.artifact("churn/features").profile
    assert other.artifact("churn/model").sha256 == chain.artifact("churn/model").sha256
    assert other.artifact("churn/model").ref == other.artifact("churn/model:production").ref
    assert other.artifact("churn/model").metrics == {"auc": 0.91}
    assert str(other.lineage("churn/report").upstream()) == str(chain.lineage("churn/report").upstream())
    code = other.lineage("churn/report").code
    assert code is not None
    code.checkout(tmp_path / "code")
    assert (tmp_path / "code/train.py").read_text() == "x = 2\n"
    assert {event.actor for event in other.log(name="churn/raw")} == {event.actor for event in chain.log(name="churn/raw")}


def test_into_the_store_that_it_came_from_nothing_comes(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    store = artifactstore.open(tmp_path / "copy", cache=None)
    store.lineage("churn/report").export("ro-crate", tmp_path / "crate")
    before = store.head
    done = store.maintenance.import_from(tmp_path / "crate")
    assert (done.versions, done.artifacts, done.left_out) == (0, 0, [])
    assert store.head == before


def test_a_store_that_had_imported_the_original_takes_nothing_twice(chain: Store, tmp_path: Path) -> None:
    other = artifactstore.create(tmp_path / "other", cache=None)
    chain.maintenance.sync(other)
    chain.lineage("churn/report").export("ro-crate", tmp_path / "crate")
    before = other.head
    other.maintenance.import_from(tmp_path / "crate")
    assert other.head == before
    third = artifactstore.create(tmp_path / "third", cache=None)
    third.maintenance.import_from(tmp_path / "crate")
    chain.maintenance.sync(third)  # the rest comes, and joins what came by the crate
    assert {name.name: name.versions for name in third.names()} == {name.name: name.versions for name in chain.names()}


def test_a_name_with_another_history_is_left_out_or_renamed(chain: Store, tmp_path: Path) -> None:
    chain.lineage("churn/raw").export("ro-crate", tmp_path / "crate")
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.put(b"another", "churn/raw")
    done = other.maintenance.import_from(tmp_path / "crate")
    assert [one.what for one in done.left_out] == ["churn/raw"]
    assert other.maintenance.import_from(tmp_path / "crate", on_conflict="rename", label="them").renamed == {
        "churn/raw": "churn/raw.from-them"
    }
    assert other.get("churn/raw.from-them") == b"raw"
    assert other.get("churn/raw") == b"another"


def test_a_dry_run_writes_nothing(chain: Store, tmp_path: Path) -> None:
    chain.lineage("churn/report").export("ro-crate", tmp_path / "crate")
    other = artifactstore.create(tmp_path / "other", cache=None)
    done = other.maintenance.import_from(tmp_path / "crate", dry_run=True)
    assert (done.versions, done.dry_run) == (5, True)
    assert not other.names()


def _flip(crate: Path) -> None:
    file = crate / "artifacts/churn~raw~v1/data"
    file = file if file.exists() else next((crate / "artifacts/churn~raw~v1").iterdir())
    file.write_bytes(b"raX")


def _edit(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Path], object]:
    def edit(crate: Path) -> None:
        lines = [json.loads(line) for line in (crate / "history.jsonl").read_text().splitlines()]
        change(lines)
        (crate / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def _own_fact(lines: list[dict[str, Any]]) -> None:
    lines.append({"facts": [{"fact": "tainted", "digest": lines[1]["artifact"], "reason": "x"}]})


def _of_another_digest(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        for fact in line.get("facts", ()):
            for inner in fact["facts"]:
                if inner["fact"] == "versioned":
                    inner["digest"] = "blake3:" + "0" * 64


DAMAGE: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "a file with another content": (_flip, CorruptionError, "they were changed"),
    "a file is gone": (
        lambda crate: next((crate / "artifacts/churn~raw~v1").iterdir()).unlink(),
        CorruptionError,
        "they were changed",
    ),
    "a file was added": (
        lambda crate: (crate / "artifacts/churn~raw~v1/more").write_text("x"),
        CorruptionError,
        "they were changed",
    ),
    "a folder is gone": (lambda crate: shutil.rmtree(crate / "artifacts/churn~raw~v1"), CorruptionError, "the crate lacks"),
    "no history": (lambda crate: (crate / "history.jsonl").unlink(), InvalidInputError, "put its files instead"),
    "empty history": (lambda crate: (crate / "history.jsonl").write_text(""), CorruptionError, "history.jsonl is damaged"),
    "no JSON": (lambda crate: (crate / "history.jsonl").write_text("{\n"), CorruptionError, "history.jsonl is damaged"),
    "a newer form": (_edit(lambda lines: lines[0].update(history=2)), InvalidInputError, "upgrade"),
    "an unknown digest": (_edit(lambda lines: lines[0].update(digest="md5")), CorruptionError, "damaged"),
    "a folder outside": (_edit(lambda lines: lines[1].update(folder="../outside")), CorruptionError, "damaged"),
    "an absolute folder": (_edit(lambda lines: lines[1].update(folder="/etc")), CorruptionError, "damaged"),
    "a fact of its own": (_edit(_own_fact), CorruptionError, "not what a store has received"),
    "a version of what is not inside": (_edit(_of_another_digest), CorruptionError, "damaged"),
    "facts that are none": (_edit(lambda lines: lines.append({"facts": [3]})), CorruptionError, "damaged"),
    "a line that is none": (_edit(lambda lines: lines.append({})), CorruptionError, "damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_crate_brings_nothing(chain: Store, tmp_path: Path, what: str) -> None:
    damage, kind, text = DAMAGE[what]
    chain.lineage("churn/raw").export("ro-crate", tmp_path / "crate")
    damage(tmp_path / "crate")
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.put(b"mine", "mine")
    before = other.head
    with pytest.raises(kind, match=text):
        other.maintenance.import_from(tmp_path / "crate")
    assert other.head == before


def test_a_zip_file_that_leads_outside_writes_nothing_there(chain: Store, tmp_path: Path) -> None:
    for number, evil in enumerate(("../evil", "/tmp/evil-of-a-crate", "a/../../evil", "artifacts/x\\..\\evil\x00")):
        crate = tmp_path / f"crate{number}.zip"
        chain.lineage("churn/raw").export("ro-crate", crate)
        with zipfile.ZipFile(crate, "a") as archive:
            archive.writestr(zipfile.ZipInfo("link").filename, "x")
            archive.writestr(evil, "evil")
        other = artifactstore.create(tmp_path / f"other{number}", cache=None)
        if "\x00" in evil:
            continue  # zipfile cuts the name there
        with pytest.raises(CorruptionError, match="impossible path"):
            other.maintenance.import_from(crate)
        assert not list(tmp_path.rglob("evil*"))


def test_a_file_is_never_written_through_a_link(chain: Store, tmp_path: Path) -> None:
    crate, outside = tmp_path / "crate.zip", tmp_path / "outside"
    outside.mkdir()
    chain.lineage("churn/raw").export("ro-crate", crate)
    with zipfile.ZipFile(crate, "a") as archive:
        link = zipfile.ZipInfo("through")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(outside))
        archive.writestr("through/file", "evil")
    other = artifactstore.create(tmp_path / "other", cache=None)
    with pytest.raises(ArtifactStoreError):
        other.maintenance.import_from(crate)
    assert not list(outside.iterdir())


def test_other_sources_are_imported_too(chain: Store, tmp_path: Path) -> None:
    chain.maintenance.bundle(tmp_path / "b.zip", names=["churn/report"], with_lineage=True)
    sources: list[Any] = [tmp_path / "b.zip", f"zip://{tmp_path / 'b.zip'}", chain.url, chain]
    for number, source in enumerate(sources):
        other = artifactstore.create(tmp_path / f"o{number}", cache=None)
        other.maintenance.import_from(source, names=["churn/report"], with_lineage=True)
        assert other.exists("churn/report"), source


def test_wrong_sources_get_one_clear_error(chain: Store, tmp_path: Path) -> None:
    other = artifactstore.create(tmp_path / "other", cache=None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for source in (tmp_path / "none", tmp_path / "empty", tmp_path / "file"):
        with pytest.raises((NotFoundError, InvalidInputError)):
            other.maintenance.import_from(source)
    assert not list((tmp_path / "empty").iterdir())
    chain.lineage("churn/raw").export("ro-crate", tmp_path / "reference", files="reference")
    with pytest.raises(InvalidInputError, match="with its files inside"):
        other.maintenance.import_from(tmp_path / "reference")
    chain.lineage("churn/raw").export("ro-crate", tmp_path / "crate")
    sha = artifactstore.create(tmp_path / "sha", digest="sha256", cache=None)
    with pytest.raises(UnsupportedError, match="digests"):
        sha.maintenance.import_from(tmp_path / "crate")
    reader = artifactstore.open(tmp_path / "other", "r", cache=None)
    with pytest.raises(RefusedError):
        reader.maintenance.import_from(tmp_path / "crate")


def test_the_command(chain: Store, tmp_path: Path) -> None:
    chain.lineage("churn/report").export("ro-crate", tmp_path / "crate.zip")
    other = artifactstore.create(tmp_path / "other", cache=None)
    command = [sys.executable, "-m", "artifactstore", "import", str(tmp_path / "crate.zip"), "--store", other.url]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["versions"] == 5
    assert other.exists("churn/report")
    (tmp_path / "crate.zip").write_bytes(b"PK\x03\x04")
    assert subprocess.run(command, capture_output=True, check=False).returncode in {2, 3}
