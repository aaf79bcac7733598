"""The vendors' schemas and the real pre-commit, which `.ci/run` installs beside the tests' environment; the examples of the pages."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import artifactstore
from artifactstore.runtime.yaml.reader import parse_yaml
from tests.cli.test_ci import Runner
from tests.servers.place import SERVERS

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = SERVERS / "ci-tools/bin"
pytestmark = pytest.mark.slow
needs_tools = pytest.mark.skipif(
    not (TOOLS / "pre-commit").exists(), reason="check-jsonschema and pre-commit are not installed: see .ci/run"
)


def examples(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def checked(schema: str, *paths: Path) -> int:
    """Check files by a schema that comes with the tool."""
    words = [str(TOOLS / "check-jsonschema"), "--builtin-schema", schema, *map(str, paths)]
    return subprocess.run(words, capture_output=True, check=False).returncode


@needs_tools
def test_the_vendors_schemas_take_the_action_the_template_and_the_examples(tmp_path: Path):
    assert checked("vendor.github-actions", ROOT / "docs/integrations/github/action.yml") == 0
    assert checked("vendor.gitlab-ci", ROOT / "docs/integrations/gitlab.yml") == 0
    (tmp_path / "github.yml").write_text(examples("integrations/github.md")[0])
    (tmp_path / "guide.yml").write_text(examples("how-to/ci.md")[0])
    (tmp_path / "gitlab.yml").write_text(examples("integrations/gitlab.md")[0])
    assert checked("vendor.github-workflows", tmp_path / "github.yml", tmp_path / "guide.yml") == 0
    assert checked("vendor.gitlab-ci", tmp_path / "gitlab.yml") == 0
    action = (ROOT / "docs/integrations/github/action.yml").read_text()
    (tmp_path / "action.yml").write_text(action.replace("using: composite", "using: bash"))
    assert checked("vendor.github-actions", tmp_path / "action.yml") == 1, "the schema finds a mistake"


def git(folder: Path, *words: str, code: int = 0, **env: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example")
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, **env}
    done = subprocess.run(["git", *who, *words], cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return (done.stdout + done.stderr).strip()


@needs_tools
def test_pre_commit_refuses_a_commit_whose_pointer_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", "")
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{TOOLS}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    hooks, project = tmp_path / "hooks", tmp_path / "project"
    hooks.mkdir()
    (project / "data").mkdir(parents=True)
    (hooks / ".pre-commit-hooks.yaml").write_bytes((ROOT / ".pre-commit-hooks.yaml").read_bytes())
    for folder in (hooks, project):
        git(folder, "init", "-q", "-b", "main")
    git(hooks, "add", "-A")
    git(hooks, "commit", "-qm", "hooks")
    # The page's own configuration, but for the repository; the program is that of this environment instead of one that is installed.
    text = examples("integrations/pointers.md")[0].replace("https://github.com/artifactstore/artifactstore", str(hooks))
    text = text.replace("rev: main", f"rev: {git(hooks, 'rev-parse', 'HEAD')}")
    (project / ".pre-commit-config.yaml").write_text(text.rstrip() + "\n        language: system\n")
    subprocess.run(["pre-commit", "install"], cwd=project, check=True, capture_output=True)
    (project / "data/a.csv").write_text("x\n")
    command = [str(Path(sys.executable).with_name("artifactstore")), "track", "data", "churn/data"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    git(project, "add", "-A")
    assert "pointers pin what the working copies are" in git(project, "commit", "-qm", "good")
    (project / "data/a.csv").write_text("y\n")
    (project / "note").write_text("x")
    git(project, "add", "-A")
    refused = git(project, "commit", "-qm", "behind", code=1)
    assert re.search(r"pointers pin what the working copies are\.+Failed", refused)
    assert "changed  data (1 files)" in refused
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "tracked again")


def test_the_workflow_of_the_page_trains_gates_and_promotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its steps one after the other, those of other actions and pip left out."""
    store = artifactstore.create(tmp_path / "store", cache=None)
    (tmp_path / "features.csv").write_text("x\n1\n")
    store.put(tmp_path / "features.csv", "churn/features")
    store.registry.gates({"names": "churn/*", "alias": "production", "all": [
        {"metric": "auc", "is": ">= 0.9"}, {"reads": "tracked"}, {"code": "clean"}]}, reason="CR-1")  # fmt: skip
    action = Runner(tmp_path, store.url)
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(
        "rows = open('in/features.csv').read()\nopen('model.bin', 'w').write(rows)\nprint('auc=0.93')\n"
    )
    (work / ".gitignore").write_text("in/\nmodel.bin\ngate.xml\n")
    git(work, "init", "-q", "-b", "main")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "code")
    workflow: Any = parse_yaml(examples("integrations/github.md")[0].encode(), "the page")
    outputs: dict[str, dict[str, str]] = {}

    def value(text: str) -> str:
        found = re.sub(r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", lambda match: outputs[match[1]][match[2]], str(text))
        return found.replace("${{ github.run_id }}", "99")

    done = []
    for step in workflow["jobs"]["train"]["steps"]:
        if str(step.get("uses", "")).startswith("artifactstore/"):
            folder = step["uses"].partition("@")[0].removeprefix("artifactstore/artifactstore/")
            assert (ROOT / folder / "action.yml").exists()
            given = {name: value(text) for name, text in step["with"].items()} | {"package": ""}
            ran = action(None, **given)
            assert ran.code == 0, ran.out
            outputs[step.get("id", "")] = ran.outputs
            done.append(given["do"])
        elif str(step.get("run", "")).startswith("artifactstore run"):
            words = shlex.split(step["run"].replace("-- python ", f"-- {sys.executable} "))
            env = {**action.base, "GIT_CONFIG_GLOBAL": os.devnull}
            ran_ = subprocess.run(words, cwd=work, env=env, capture_output=True, text=True, check=False)
            assert ran_.returncode == 0, ran_.stderr
            done.append("run")
    assert done == ["check-pointers", "run", "gate", "promote"]
    held = artifactstore.open(store.url, cache=None).artifact("churn/model:production")
    assert (held.ref, dict(held.metrics)) == ("churn/model:v1", {"auc": 0.93})
    assert artifactstore.open(store.url, cache=None).log(alias="production")[-1].reason == "run 99"
