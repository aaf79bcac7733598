"""One store for all exports: three chained runs in a repository with a dirty tree, a failed one, and all that is odd."""

import contextlib
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

import artifactstore
from artifactstore import Store
from artifactstore.work.tracking.current_run import EXPORTED

SECRET = "s3cr3t-of-the-remote"


def git(folder: Path, *arguments: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, env=env)


def make(top: Path, url: Path, digest: str = "blake3") -> None:
    work = top / "work"
    (work / "model").mkdir(parents=True)
    git(work, "init", "-q")
    (work / "train.py").write_text("x = 1\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "first")
    git(work, "remote", "add", "origin", f"https://user:{SECRET}@git.example/team/churn.git")
    (work / "train.py").write_text("x = 2\n")
    (work / "model/weights ä.bin").write_bytes(b"w" * 100)
    (work / "model/config.json").write_text("{}")
    (work / "model/link").symlink_to("config.json")
    (work / "model/start.sh").write_text("#!/bin/sh\n")
    (work / "model/start.sh").chmod(0o755)
    store = artifactstore.create(url, digest=digest, cache=None)
    with contextlib.chdir(work):
        store.put(b"raw", "churn/raw")
        with store.run(
            "prepare äö", params={"scale": 2, "odd": object(), "größe": "ß", "deep": {"a": [1, None, True, 1.5]}}
        ) as run:
            run.get("churn/raw", role="rohdaten ü")
            table = pa.table(
                {"n": [1, 2, None], "text": ["x", "y", "z"], "x": [0.5, 1.5, float("nan")], "yes": [True, False, None]}
            )
            run.put(table, "churn/features", role="features")
        with store.run("train", id="nightly äö/1") as run:
            run.get("churn/features")
            run.log(loss=0.5)
            run.put("model", "churn/model", kind="model", metrics={"auc": 0.91}, metadata={"note": "größer <b>"})
            unnamed = run.put(b"no name")
            with store.run("inner"):
                store.get("churn/raw")
                store.put(b"plot", "churn/plot")
        with contextlib.suppress(ValueError), store.run("evaluate") as run:
            run.get("churn/model", to=top / "got")
            run.put(b"half", "churn/half")
            raise ValueError("broken <here>")
        with store.run("report") as run:
            run.use("churn/model")
            run.get(unnamed.ref)
            run.get("churn/plot")
            run.put({"x": 1}, "churn/report")
        endless = store.run("endless", id="endless").start()
        endless.put(b"so far", "churn/so-far")
        endless._running().end()  # its process is gone
        os.environ.pop(EXPORTED, None)
    store.alias("churn/model:v1", "production")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a store lies that no test changes."""
    top = tmp_path_factory.mktemp("exports")
    make(top, top / "store")
    return top / "store"


@pytest.fixture
def chain(made: Path) -> Store:
    return artifactstore.open(made, "r", cache=None)
