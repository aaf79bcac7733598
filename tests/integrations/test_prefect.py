"""Prefect itself, with its own server and database in a folder of the test: the recipe of its page, and what it claims.

Run where Prefect is installed: `.ci/run` has an environment of its own for it. One program runs everything: its server takes longest.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.pages import snippets

pytest.importorskip("prefect")

MORE = """
import warnings
seen = []

@task(retries=1)
@store.step
def shaky() -> str:
    seen.append(1)
    if len(seen) < 2:
        raise ValueError("not yet")
    return store.put({"tries": len(seen)}, "churn/shaky").ref

@task
@store.step
def left() -> str:
    return store.put(["left"], "churn/left").ref

@task
@store.step
def right(given: str) -> str:
    return store.put(store.get(given) + ["right"], "churn/right").ref

@flow
def parallel() -> None:
    with store.run("parallel", code=False):
        made = left.submit()
        both = [right.submit(made), left.submit()]
        [one.result() for one in both]
        shaky()

parallel()
runs = {run.id: run for run in store.runs() if run.name.rpartition(".")[2] in {"left", "right", "shaky"}}
above = store.runs("parallel")[0].id
print({run.name: run.parent for run in runs.values()}, above)
assert {run.parent for run in runs.values()} == {above}
assert sorted(run.status for run in runs.values() if run.name.endswith("shaky")) == ["failed", "finished"]
assert [one.ref for one in store.artifact("churn/right").inputs if one.role is None] == ["churn/left:v1"]
"""


def test_the_recipe_of_its_page_runs_and_so_do_tries_and_threads(tmp_path: Path) -> None:
    program = tmp_path / "flow.py"
    (recipe,) = snippets("prefect")
    program.write_text(recipe + MORE)
    quiet = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "250",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_API_URL": "",
        "DO_NOT_TRACK": "1",
    }
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **quiet},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
