"""DVC itself makes the repositories: its caches, its remotes, its pipelines. `.ci/run` installs it, beside the tests' environment."""

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.integrations.checked.hashes import LegacyMd5
from artifactstore.integrations.dvc import import_from
from tests.servers.place import SERVERS
from tests.work.tree import tree

DVC = SERVERS / "dvc/bin/dvc"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DVC.exists(), reason="DVC is not installed beside the tests' environment: see .ci/run"),
]
PIPELINE = """
stages:
  train:
    cmd: >-
      python3 train.py --an-option-that-is-long-enough for-the-command --to-be-folded by-the-writer
      --of dvc.lock && echo 'done: # all'
    deps: [data/raw, train.py]
    params: [train, seed]
    outs: [model.bin]
    metrics:
      - metrics.json: {cache: false}
  each:
    foreach: [x, y]
    do:
      cmd: echo ${item} > ${item}.txt
      outs: [{'${item}.txt': {persist: true}}]
artifacts:
  best: {path: model.bin, type: model}
"""
TRAIN = 'import json; json.dump({"auc": 0.9, "by": {"a": 1}}, open("metrics.json", "w")); open("model.bin", "wb").write(b"\\0model" + open("params.yaml", "rb").read())'


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.run("git", "init", "-q", "-b", "main")
        self.run(str(DVC), "init", "-q")

    def run(self, *words: str) -> str:
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "Jane"), ("EMAIL", "j@x.org"))
        }
        env = {**os.environ, **who, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self) -> str:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "work")
        return self.run("git", "rev-parse", "HEAD")

    def write(self, path: str, data: str | bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data.encode() if isinstance(data, str) else data)


def test_a_repository_that_dvc_made_comes_in_from_its_cache_and_from_its_remote(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.run(str(DVC), "remote", "add", "-q", "-d", "far", str(tmp_path / "far"))
    raw: dict[str, Any] = {"a.csv": b"a,b\r\n1,2\r\n", "sub/ü b.bin": bytes(range(256)) * 50}
    for path, data in raw.items():
        project.write(f"data/raw/{path}", data)
    project.write("odd name.txt", "odd\r\n")
    project.write("dvc.yaml", PIPELINE)
    project.write("train.py", TRAIN)
    project.write("params.yaml", "train: {lr: 1e-05, on: 'on', text: 'a: b # c'}\nseed: 7\n")
    project.run(str(DVC), "add", "-q", "data/raw", "odd name.txt")
    project.run(str(DVC), "repro", "-q")
    one = project.commit()
    project.write("data/raw/new", b"new")
    project.run(str(DVC), "add", "-q", "data/raw")
    project.run(str(DVC), "repro", "-q")
    two = project.commit()
    project.run(str(DVC), "push", "-q", "--all-commits")
    before = tree(project.folder)
    store = artifactstore.open(tmp_path / "store", cache=None)
    report = import_from(store, str(project.folder), name="p")
    assert tree(project.folder) == before
    assert (report.missing, report.changed, report.skipped) == ([], [], [])
    assert (report.names, report.versions, report.runs) == (6, 7, 4)
    assert [one.metadata["git.commit"] for one in store.versions("p/data/raw")] == [one, two]
    assert tree(store.get("p/data/raw:v1", tmp_path / "v1")) == raw
    assert tree(store.get("p/data/raw:v2", tmp_path / "v2")) == {**raw, "new": b"new"}
    model = store.artifact("p/model.bin")
    assert (model.kind, model.commit) == ("model", two)  # of the run that made it last
    assert [item.ref for item in model.inputs if item.role == "data/raw"] == ["p/data/raw:v2"]
    (run,) = [run for run in store.runs() if run.id == f"dvc-{two}-train"]
    assert run.params == {"train.lr": 1e-05, "train.on": "on", "train.text": "a: b # c", "seed": 7}
    assert run.metrics == {"auc": 0.9, "by.a": 1.0}
    entries = len(store.log())
    assert import_from(store, str(project.folder), name="p").versions == 0
    assert len(store.log()) == entries
    # Without the cache all comes from the remote, and what is in git from there.
    (project.folder / ".dvc/cache").rename(tmp_path / "no-cache")
    other = artifactstore.open(tmp_path / "other", cache=None)
    again = import_from(other, str(project.folder), name="p")
    assert again.versions == 7, again.missing + again.skipped
    assert other.artifact("p/data/raw").digest == store.artifact("p/data/raw").digest


def test_the_md5_of_dvc_2_is_that_of_dvc_s_own_code(tmp_path: Path) -> None:
    draw = random.Random(5)
    for k in range(40):
        parts = [draw.choice([b"text\r\n", b"\r", b"\n", b"\0", b"\xff" * 9, b"word "]) for _ in range(draw.randint(0, 30))]
        size = draw.choice([0, 0, 511, 2**20 - 1, 2**20, 2**21 - 1])
        (tmp_path / f"{k:02}").write_bytes(draw.choice([b"x", b"\r\n", b"\x80"]) * size + b"".join(parts))
    code = """
import io, sys, pathlib
from dvc_data.hashfile.hash import fobj_md5
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(fobj_md5(io.BytesIO(path.read_bytes()), name="md5-dos2unix"))
"""
    done = subprocess.run([SERVERS / "dvc/bin/python", "-c", code, tmp_path], capture_output=True, text=True, check=True)
    expected = done.stdout.split()
    assert len({*expected}) > 20
    for path, one in zip(sorted(tmp_path.iterdir()), expected, strict=True):
        check, data, at = LegacyMd5(one), path.read_bytes(), 0
        while at < len(data):
            step = draw.choice([1, 700, 2**20, 2**22])
            check.update(data[at : at + step])
            at += step
        assert check.is_right(), path
