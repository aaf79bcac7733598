"""`artifactstore ci`, the composite action and the template for GitLab: in environments as GitHub and GitLab make them, with hostile inputs."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

import artifactstore
from artifactstore.runtime.yaml.reader import parse_yaml
from artifactstore.store import Store

ROOT: Final = Path(__file__).parents[2]
ACTION: Final = parse_yaml((ROOT / "docs/integrations/github/action.yml").read_bytes(), "action.yml")
TEMPLATE: Final = parse_yaml((ROOT / "docs/integrations/gitlab.yml").read_bytes(), "gitlab.yml")
HOSTILE: Final = {
    "a command": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "an end of a command": "x; touch pwned; #",
    "quotes": '"; touch pwned; \'; touch pwned; "',
    "lines": "x\ntouch pwned\n",
    "a heredoc": "x\nEOF\ntouch pwned\nverdict=yes\n",
    "an output": "x\nverdict=yes\nverdict<<E\nyes\nE",
    "a workflow command": "x\n::set-output name=verdict::yes\n::error::forged\n::add-mask::a",
    "an old workflow command": "##[set-output name=verdict;]yes ##[error]forged",
    "an expression": "${{ github.token }}",
    "an option": "--store=/etc",
    "unicode": "ﬀ\u202e\u2028\u0085\x1b[31m\u200b|<script>[x](http://h)",
    "long": "x" * 100_000,
    "a glob": "* ~ $HOME {a,b} \\",
}
COMMAND: Final = re.compile(r"^\s*::[a-z-]+( |::)|##\[[a-z-]+", re.MULTILINE)  # as the runner reads output


@dataclass
class Done:
    """What a job has done, as its CI system sees it."""

    code: int
    out: str
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def commands(self) -> list[str]:
        return [line for line in self.out.splitlines() if COMMAND.search(line)]


class Runner:
    """Runs the steps of the composite action as GitHub's runner does: its expressions, its shell, its files."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.base = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(folder / "temp"),
            "ARTIFACTSTORE_URL": store,
            "ARTIFACTSTORE_CACHE": "",
            "ARTIFACTSTORE_ACTOR": "ci",
            "LC_ALL": "C.UTF-8",
        }
        (folder / "temp").mkdir()

    def __call__(self, env: Mapping[str, str] | None = None, **inputs: str) -> Done:
        given = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
        assert inputs.keys() <= given.keys()
        given |= {"package": "", **inputs}
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        done, steps = Done(0, ""), dict[str, dict[str, str]]()
        for number, step in enumerate(ACTION["runs"]["steps"]):
            if step.get("if") == "inputs.package != ''" and not given["package"]:
                continue
            files = {
                name: self.folder / "temp" / f"{name}-{number}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")
            }
            for file in files.values():
                file.write_text("")
            own = {name: self._value(text, given, steps) for name, text in step["env"].items()}
            assert "${{" not in step["run"], "an expression in a script would be program text"
            script = self.folder / "temp" / "script.sh"
            script.write_text(step["run"])
            ran = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
                cwd=work,
                env={**self.base, **(env or {}), **own, **{name: str(file) for name, file in files.items()}},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            assert files["GITHUB_ENV"].read_text() == ""
            steps[step["id"]] = self._outputs(files["GITHUB_OUTPUT"].read_text())
            done = Done(
                ran.returncode, done.out + ran.stdout.decode(), summary=done.summary + files["GITHUB_STEP_SUMMARY"].read_text()
            )
            if ran.returncode:
                break
        done.outputs = {name: self._value(about["value"], given, steps) for name, about in ACTION["outputs"].items()}
        assert not (work / "pwned").exists()
        return done

    def _value(self, text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
        """Evaluate the expressions that the action uses."""
        match = re.fullmatch(r"\$\{\{ (?:inputs\.([a-z]+)|steps\.([a-z]+)\.outputs\.([a-z]+)(?: \|\| '([^']*)')?) \}\}", text)
        assert match is not None, text
        return inputs[match[1]] if match[1] else steps.get(match[2], {}).get(match[3], "") or match[4] or ""

    @staticmethod
    def _outputs(text: str) -> dict[str, str]:
        """Read a file of outputs as the runner does, with its heredocs."""
        found, lines = {}, iter(text.splitlines())
        for line in lines:
            if match := re.fullmatch(r"([^=<]+)<<(.+)", line):
                found[match[1]] = "\n".join(iter(lambda: next(lines), match[2]))
            else:
                name, sign, value = line.partition("=")
                assert sign, text
                found[name] = value
        return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.create(tmp_path / "store", cache=None)
    made.put(b"model 1", "churn/model", kind="model", metrics={"auc": 0.95})
    made.put(b"model 2", "churn/model", kind="model", metrics={"auc": 0.8})
    made.registry.gates({"names": "churn/*", "alias": "production", "all": [{"metric": "auc", "is": ">= 0.9"}]}, reason="CR-1")
    return made


@pytest.fixture
def action(tmp_path: Path, store: Store) -> Runner:
    return Runner(tmp_path, store.url)


def test_inputs_reach_the_program_as_variables_alone():
    from artifactstore.cli.pipeline.steps import VARIABLES

    for step in ACTION["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
    used = {name: text for step in ACTION["runs"]["steps"] for name, text in step["env"].items()}
    taken = {re.findall(r"inputs\.([a-z]+)", text)[0] for text in used.values() if "inputs." in text}
    assert taken == {*ACTION["inputs"]}, "each input is used"
    for name, variable in VARIABLES.items():
        assert name == "dotenv" or used[variable] == f"${{{{ inputs.{name} }}}}"
    assert not any(
        "$[[" in str(line) for line in (*TEMPLATE[".artifactstore"]["before_script"], *TEMPLATE[".artifactstore"]["script"])
    )


def test_a_job_puts_gates_promotes_and_verifies(action: Runner, store: Store):
    (action.folder / "work").mkdir()
    (action.folder / "work/model.bin").write_bytes(b"model 3")
    made = action(do="put", path="model.bin", name="churn/model", kind="model", metrics="auc=0.97\nf1 = 0.5\n", reason="build 7")
    found = artifactstore.open(store.url, cache=None).artifact("churn/model")
    assert (made.code, made.outputs) == (0, {"digest": found.digest, "ref": "churn/model:v3", "verdict": ""})
    assert (dict(found.metrics), found.reason, found.actor) == ({"auc": 0.97, "f1": 0.5}, "build 7", "ci")
    assert made.summary.startswith("### churn/model:v3 is new\n")
    assert found.digest in made.summary
    no = action(do="gate", ref="churn/model:v2", alias="production", junit="gate.xml")
    assert (no.code, no.outputs["verdict"], no.outputs["ref"]) == (1, "no", "churn/model:v2")
    assert no.commands == ["::error title=artifactstore gate%3A gate production%3A churn/model%3Av2::auc is 0.8, asked is >= 0.9"]
    assert no.summary.startswith("### churn/model:v2 does not pass for `production`")
    assert ET.parse(action.folder / "work/gate.xml").getroot().get("failures") == "1"
    refused = action(do="promote", ref="churn/model:v2", alias="production", reason="x")
    assert (refused.code, refused.outputs["verdict"], len(refused.commands)) == (6, "no", 1)
    yes = action(do="promote", ref=made.outputs["ref"], alias="production", reason="CR-2", expect="none")
    assert (yes.code, yes.outputs) == (0, {**made.outputs, "verdict": "yes"})
    assert not yes.commands
    raced = action(do="promote", ref="churn/model:v1", alias="production", reason="CR-2", expect="v2")
    assert (raced.code, raced.outputs["verdict"]) == (7, "")
    assert raced.summary.startswith("### promote failed: conflict\n")
    assert len(raced.commands) == 1
    sound = action(do="verify", ref="churn/model:production", level="full")
    assert (sound.code, sound.outputs) == (0, {**made.outputs, "verdict": "yes"})
    got = action(do="get", ref="churn/model:production", to="deploy")
    assert (got.code, got.outputs["digest"]) == (0, found.digest)
    assert (action.folder / "work/deploy/model.bin").read_bytes() == b"model 3"
    pack = next((Path(store.url) / "manifests").rglob("*.parquet"), None) or next((Path(store.url) / "packs").rglob("*.pack"))
    pack.chmod(0o600)
    pack.write_bytes(b"damaged")
    bad = action(do="verify", level="full", junit="reports/verify.xml")
    assert (bad.code, bad.outputs["verdict"]) == (5, "no")
    assert 1 <= len(bad.commands) <= 10
    assert int(ET.parse(action.folder / "work/reports/verify.xml").getroot().get("failures", "0")) >= 1


def test_a_job_tracks_checks_and_checks_out(action: Runner, store: Store):
    work = action.folder / "work"
    (work / "data/raw").mkdir(parents=True)
    (work / "data/raw/a.csv").write_text("x\n")
    made = action(do="track", path="data/raw", name="churn/raw", reason="delivery")
    assert (made.code, made.outputs["ref"]) == (0, "churn/raw:v1")
    same = action(do="check-pointers")
    assert (same.code, same.outputs["verdict"]) == (0, "yes")
    (work / "data/raw/a.csv").write_text("y\n")
    differs = action(do="check-pointers", path="data\n")
    assert (differs.code, differs.outputs["verdict"]) == (1, "no")
    assert differs.commands == ["::error title=artifactstore check-pointers%3A data/raw::changed (1 files)"]
    unsaved = action(do="checkout")
    assert (unsaved.code, (work / "data/raw/a.csv").read_text()) == (7, "y\n")
    shutil.rmtree(work / "data/raw")
    brought = action(do="checkout", path="data/raw.artifact")
    assert (brought.code, brought.outputs["ref"]) == (0, f"churn/raw@{made.outputs['digest']}")
    assert (work / "data/raw/a.csv").read_text() == "x\n"
    named = action({"ARTIFACTSTORE_URL": "", "XDG_DATA_HOME": str(action.folder / "none")}, do="check-pointers")
    assert (named.code, named.outputs["verdict"]) == (0, "yes"), "the pointers name the store"


@pytest.mark.parametrize(
    "what", [one if one in {"a workflow command", "a heredoc"} else pytest.param(one, marks=pytest.mark.slow) for one in HOSTILE]
)
def test_no_input_runs_a_command_or_forges_an_output(action: Runner, store: Store, what: str):
    bad = HOSTILE[what]
    (action.folder / "work").mkdir()
    (action.folder / "work/model.bin").write_bytes(b"model 3")
    head = store.head
    own = ("verdict=yes", "forged")
    everywhere = dict.fromkeys(
        ("ref", "path", "name", "kind", "metrics", "to", "alias", "expect", "level", "fraction", "anchor"), bad
    )
    calls: list[dict[str, str]] = [
        {"do": bad},
        {"do": "gate", "ref": "churn/model:v2", "alias": bad},
        {"do": "gate", "ref": bad, "alias": "production"},
        {"do": "promote", **everywhere, "reason": bad},
    ]
    # A process each: the long one and the first steps are enough for the others.
    for inputs in calls if what in {"a workflow command", "quotes", "unicode"} else calls[1:2] if what != "long" else calls[3:]:
        done = action(None, **inputs)
        assert done.code in {2, 3, 6}, done.out
        assert done.outputs == {"digest": "", "ref": "", "verdict": ""}, done.outputs
        assert len(done.commands) == 1, done.commands
        assert done.commands[0].startswith("::error title=artifactstore ")
        assert not any(line.strip() in own for line in (done.out + done.summary).splitlines())
        assert "<script" not in done.summary
        assert "\x1b" not in done.out + done.summary
        assert "\u202e" not in done.out + done.summary
    assert artifactstore.open(store.url, cache=None).head == head
    # What is taken as it is: a reason is a text of any form.
    done = action(do="put", path="model.bin", name="churn/model", reason=bad)
    assert (done.code, done.outputs["ref"], len(done.commands)) == ((2, "", 1) if what == "long" else (0, "churn/model:v3", 0))
    assert what == "long" or artifactstore.open(store.url, cache=None).artifact("churn/model").reason == bad


def test_the_requirement_that_is_installed_is_one_word_behind_the_options(action: Runner, tmp_path: Path):
    programs = tmp_path / "programs"
    programs.mkdir()
    fake = (
        '#!/bin/sh\nif [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; printf "#!/bin/sh\\nexec artifactstore \\"\\$@\\"\\n" > "$3/bin/artifactstore"; chmod +x "$3/bin/artifactstore"; exit; fi\n'
        f'for word in "$@"; do printf "<%s>" "$word"; done > {tmp_path}/words\n'
    )
    (programs / "python3").write_text(fake)
    (programs / "python3").chmod(0o755)
    path = f"{programs}{os.pathsep}{action.base['PATH']}"
    for package in ("artifactstore-ml[s3]==0.1", "--index-url=http://h x; touch pwned $(touch pwned)"):
        done = action({"PATH": path}, package=package, do="gate", ref="churn/model:v1", alias="production")
        assert (done.code, done.outputs["verdict"]) == (0, "yes"), done.out
        assert (tmp_path / "words").read_text() == f"<-m><pip><install><--quiet><--disable-pip-version-check><--><{package}>"


class GitLab:
    """Runs a job that extends the template as GitLab's runner does: one script of all lines, variables in the environment."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(exist_ok=True)
        self.base = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "GITLAB_CI": "true",
            "CI": "true",
            "ARTIFACTSTORE_URL": store,
            "ARTIFACTSTORE_ACTOR": "ci",
        }

    def __call__(self, **variables: str) -> tuple[int, str, dict[str, str]]:
        job = TEMPLATE[".artifactstore"]
        own = {**job["variables"], "ARTIFACTSTORE_PACKAGE": "", **variables}
        lines = ["set -eo pipefail", *job["before_script"], *job["script"]]
        ran = subprocess.run(
            ["bash", "-c", "\n".join(lines)], cwd=self.folder, env={**self.base, **own}, capture_output=True, check=False
        )
        reports = job["artifacts"]["reports"]
        assert (job["artifacts"]["when"], (self.folder / reports["junit"]).exists()) == ("always", True)
        pairs = [line.partition("=")[::2] for line in (self.folder / reports["dotenv"]).read_text().splitlines()]
        assert not (self.folder / "pwned").exists()
        return ran.returncode, (ran.stdout + ran.stderr).decode(), dict(pairs)


def test_the_template_for_gitlab_gates_and_hands_on_what_came_of_it(store: Store, tmp_path: Path):
    job = GitLab(tmp_path, store.url)
    code, out, found = job(ARTIFACTSTORE_CI_DO="gate", ARTIFACTSTORE_CI_REF="churn/model:v2", ARTIFACTSTORE_CI_ALIAS="production")
    digest = store.artifact("churn/model:v2").digest
    assert code == 1
    assert "NO  gate production: churn/model:v2: auc is 0.8, asked is >= 0.9" in out
    assert found == {"ARTIFACTSTORE_DIGEST": digest, "ARTIFACTSTORE_REF": "churn/model:v2", "ARTIFACTSTORE_VERDICT": "no"}
    assert ET.parse(job.folder / "artifactstore-junit.xml").getroot().get("failures") == "1"
    for bad in (HOSTILE["a heredoc"] + HOSTILE["quotes"] + HOSTILE["a command"],):
        code, out, found = job(ARTIFACTSTORE_CI_DO="gate", ARTIFACTSTORE_CI_REF=bad, ARTIFACTSTORE_CI_ALIAS=bad)
        assert code in {2, 3}
        assert found == {"ARTIFACTSTORE_DIGEST": "", "ARTIFACTSTORE_REF": "", "ARTIFACTSTORE_VERDICT": ""}


def test_a_step_without_what_it_needs_names_the_input(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from artifactstore.cli import main

    monkeypatch.setenv("ARTIFACTSTORE_URL", store.url)
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    for words, env, text in (
        (["ci"], {}, "'' is not a step: expected put, get"),
        (["ci", "put"], {}, "put needs path and name: set `path` of the action, or $ARTIFACTSTORE_CI_PATH, `name`"),
        (["ci"], {"DO": "promote", "REF": "churn/model:v1", "ALIAS": "production"}, "promote needs reason"),
        (["ci", "verify"], {"FRACTION": "x"}, "fraction: expected a number"),
        (["ci", "put"], {"PATH": ".", "NAME": "x", "METRICS": "auc"}, "metrics: 'auc': expected NAME=NUMBER"),
    ):
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(f"ARTIFACTSTORE_CI_{name}", value)
            assert main(words) == 2
        assert text in capsys.readouterr().err
    monkeypatch.setenv("ARTIFACTSTORE_CI_REF", "churn/model:v1")
    monkeypatch.setenv("ARTIFACTSTORE_CI_ALIAS", "production")
    assert main(["ci", "gate", "--json"]) == 0
    answer: Any = json.loads(capsys.readouterr().out)
    assert (answer["do"], answer["verdict"], answer["judgement"]["ok"]) == ("gate", "yes", True)


@pytest.mark.parametrize("bad", [one for what, one in HOSTILE.items() if what != "long"])
def test_no_text_of_a_check_breaks_the_files_that_a_ci_system_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, bad: str
):
    from artifactstore.cli.pipeline.outcome import Check, Outcome, publish

    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    checks = [Check(bad, ok=False, text=bad), Check(bad, ok=True, text=bad)]
    outcome = Outcome(bad, bad, 1, verdict=False, digest=bad, ref=bad, checks=checks)
    publish(outcome, junit=str(tmp_path / "j.xml"), dotenv=str(tmp_path / "d.env"), to_stderr=False)
    suite = ET.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure"))) == ("2", "1", 1)
    assert {*Runner._outputs((tmp_path / "GITHUB_OUTPUT").read_text())} == {"digest", "ref", "verdict"}
    assert [line.partition("=")[0] for line in (tmp_path / "d.env").read_text().splitlines()] == [
        "ARTIFACTSTORE_DIGEST",
        "ARTIFACTSTORE_REF",
        "ARTIFACTSTORE_VERDICT",
    ]
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    rows = [line for line in summary.splitlines() if line.startswith(("| ✅", "| ❌"))]
    assert len(rows) == 2
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    assert "<script" not in summary
    assert not re.search(r"(?<!\\)\[x\]", summary)
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.slow
def test_the_job_is_the_actor_where_its_token_is_verified(action: Runner, store: Store, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cryptography")
    from tests.signing.test_tokens import ISSUER, SUBJECT, jwk
    from tests.work.test_identity import Provider, served

    (action.folder / "work").mkdir()
    (action.folder / "work/model.bin").write_bytes(b"model 3")
    (action.folder / "work/jwks.json").write_text(json.dumps({"keys": [jwk("RS256")]}))
    (action.folder / "work/keys.toml").write_text(
        f'[ci]\nissuer = "{ISSUER}"\njwks = "jwks.json"\nsubjects = ["repo:acme/churn:*"]\nroles = ["release"]\n'
    )
    with served() as url:
        job = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "bearer-of-the-job",
            "ARTIFACTSTORE_KEYS": "keys.toml",
            "ARTIFACTSTORE_RETRY_SECONDS": "0",
        }
        made = action(job, do="put", path="model.bin", name="churn/model", identity="oidc")
        assert made.code == 0, made.out
        event = artifactstore.open(store.url, cache=None).log()[-1]
        assert (event.actor, event.identity, event.claims["repository"]) == (SUBJECT, "oidc", "acme/churn")
        assert "bearer-of-the-job" not in made.out + made.summary
        head = artifactstore.open(store.url, cache=None).head
        (action.folder / "work/model.bin").write_bytes(b"model 4")
        Provider.answers = [(200, {"value": "eyJ.forged.token"})]
        forged = action(job, do="put", path="model.bin", name="churn/model", identity="oidc")
        assert (forged.code, forged.outputs["digest"]) == (2, "")
        assert "eyJ.forged.token" not in forged.out + forged.summary
        assert artifactstore.open(store.url, cache=None).head == head
