"""The commands of the registry as a shell sees them: what they answer, their exit codes, their JSON, their questions."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import artifactstore
from artifactstore.cli import main
from artifactstore.cli.github import annotation
from artifactstore.printable import visible
from artifactstore.store import Store
from artifactstore.work.registry.verdict import Verdict

GATES = """
[[gate]]
names = "churn/*"
alias = "production"
all = [{ metric = "auc", is = ">= 0.9" }, { approvals = 1, role = "qa" }]
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with three versions of a model, the working folder, and an actor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "ann")
    for name in ("ARTIFACTSTORE_KEYS", "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "ARTIFACTSTORE_KEY_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    store = artifactstore.open(tmp_path / "store", cache=None)
    for number in range(3):
        store.put(f"model {number}".encode(), "churn/model", kind="model")
    store.put(b"rows", "churn/test")
    (tmp_path / "gates.toml").write_text(GATES)
    (tmp_path / "retention.toml").write_text('[[retention]]\nnames = "churn/test"\nkeep_last = 1\n')
    return store


class Said:
    """Run commands, and keep what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        found = main([*arguments])
        self.out, self.err = self._capsys.readouterr()
        assert found == code, (arguments, self.out, self.err)
        return self.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        self(*arguments, "--json", code=code)
        return json.loads(self.out if code in {0, 1} else self.err)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_a_model_is_gated_measured_approved_and_promoted(shell, said, monkeypatch):
    assert "churn/* production asks all of" in said("gates", "--set", "gates.toml", "-m", "CR-1")
    assert "metric auc >= 0.9" in said.out
    assert "approvals 1 role qa" in said.out
    assert re.search(r"^  \(version 1, entry 5, .* UTC by ann\)\n  \(CR-1\)$", said.out, re.MULTILINE)
    assert said("gates", "other/x") == ""
    for name in ("churn/model", "churn/model:v3", "churn/*"):
        assert [one["names"] for one in said.json("gates", name)] == ["churn/*"]

    assert "does not pass for production" in said("gate", "churn/model:v2", "production", code=1)
    assert said("promote", "churn/model:v2", "production", "-m", "try", code=6) == ""
    assert "\n  - auc was not measured" in said.err
    error = said.json("promote", "churn/model:v2", "production", "-m", "try", code=6)
    assert (error["error"], len(error["reasons"]), error["verdict"]["ok"]) == ("refused", 2, False)
    assert error["verdict"]["conditions"][0]["text"] == error["reasons"][0]

    assert "auc = 0.95" in said("measure", "churn/model:v2", "auc=0.95", "f1=1e-3", "--on", "churn/test")
    assert said.json("measure", "churn/model:v1", "auc=0.91")["metrics"] == {"auc": 0.91}
    assert shell.log(fact="measured")[0].fields["on"] == shell.artifact("churn/test").digest
    assert "owner = ann" in said("describe", "churn/model:v2", "owner=ann", 'card={"n": 1}')
    assert shell.artifact("churn/model:v2").metadata == {"owner": "ann", "card": {"n": 1}}
    assert said.json("describe", "churn/model", "team=risk", "--name", "-m", "CR-2")["metadata"] == {"team": "risk"}

    said("approve", "churn/model:v2", "--role", "qa", "-m", "mine")
    assert "it counts for no gate: it is by an author" in said.err
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "quinn")
    line = said("approve", "churn/model:v2", "--role", "qa", "-m", "report 12")
    assert re.search(r"approved by quinn as qa \(claimed\) on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, approval: report 12", line)
    made = said.json("approve", "churn/model:v1", "--role", "qa", "--meaning", "approval", "--alias", "production", "-m", "ok")
    assert (made["verdict"], made["status"], made["name"]) == ("approved", "claimed", "quinn")
    rows = said("approvals", "churn/model:v2").splitlines()
    assert [one.split()[0:2] for one in rows] == [["by", "an"], ["claimed", "approved"]]
    assert re.search(r"claimed +approved +quinn +approval +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +qa +report 12$", rows[1])

    assert said("promote", "churn/model:v1", "production", "--expect", "none", "-m", "CR-3").startswith(
        "churn/model:production -> v1"
    )
    verdict = said.json("promote", "churn/model:v2", "production", "--expect", "v1", "-m", "CR-4")
    assert (verdict["ok"], verdict["ref"], verdict["gates"][0]["version"]) == (True, "churn/model:v2", 1)
    assert said.json("promote", "churn/model:v1", "production", "--expect", "v7", "-m", "x", code=7)["error"] == "conflict"
    assert said("reject", "churn/model:v3", "--meaning", "review", "-m", "drifts").startswith(
        "churn/model:v3\n  rejected by quinn (claimed) on "
    )
    assert "quinn has rejected it: drifts" in said("gate", "churn/model:v3", "production", code=1)

    shown = said("show", "churn/model:v2")
    assert "approvals approved by ann as qa (by an author)" in shown
    assert "approved by quinn as qa (claimed)" in shown
    assert re.search(r"^gates +production: passed in entry \d+; asked by churn/\* \(version 1\)$", shown, re.MULTILINE)
    record = said.json("show", "churn/model:v2")
    assert [one["status"] for one in record["approvals"]] == ["by an author", "claimed"]
    assert record["gates"][0].startswith("production: passed")


def test_a_model_is_rolled_back_held_removed_and_expires(shell, said, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "quinn")
    shell.alias("churn/model:v1", "production")
    shell.alias("churn/model:v2", "production")
    said("gates", "--set", "gates.toml", "-m", "CR-1")
    assert "production: not judged by the present gates, which are newer" in said("show", "churn/model:v2")
    assert "production: not judged; asked by churn/* (version 1)" in said("show", "churn/model:v1")
    assert "churn/model:v1 is production again" in said("rollback", "churn/model", "production", "-m", "errors")
    assert said.json("rollback", "churn/model", "production", "-m", "further", code=6)["reasons"]
    assert said.json("rollback", "churn/model", "production", "--to", "v2", "-m", "back")["ref"] == "churn/model:v2"
    assert "rolled back to in entry" in said("show", "churn/model:v2")

    hold = said("hold", "churn/model:v1", "litigation", "--until", "2999-12-31").split()[0]
    assert re.search(rf"^{hold[:12]}  churn/model:v1  2999-12-31  litigation  quinn", said("holds"))
    assert [one["id"] for one in said.json("holds", "churn/model:v1")] == [hold]
    assert f"it is held ({hold}) by quinn" in said("show", "churn/model:v1")
    assert said.json("show", "churn/model:v1")["held"][0].startswith("it is held")
    assert "litigation" in said.json("remove", "churn/model:v1", "old", code=6)["reasons"][0]
    assert said.json("release", hold[:8], "over", code=6)["error"] == "refused"
    short = said.json("hold", "churn/model:v3", "a look")["id"]
    assert said("release", short, "seen").endswith("is released\n")
    assert said.json("remove", "churn/model:v3", "-m", "GDPR 8")["refs"] == ["churn/model:v3"]
    assert said("remove", "churn/model:v2", "x", code=6) == ""

    assert "keep_last = 1" in said("retention", "--set", "retention.toml", "-m", "CR-9")
    assert said.json("retention")[0]["rules"] == {"keep_last": 1}
    assert shell.put(b"more rows", "churn/test").version == 2
    shell.put(b"yet more rows", "churn/test")
    assert said("expire", "--dry-run") == "churn/test:v1\nchurn/test:v2\n"
    assert said.err.startswith("2 versions would expire: ")
    assert said.json("expire", "--dry-run")["dry_run"] is True
    done = said.json("expire", "-m", "CR-9")
    assert (done["dry_run"], "churn/test:v2" in done["refs"]) == (False, True)
    assert said("unalias", "churn/model", "production", "-m", "retired") == "churn/model:production has ended\n"
    assert said.json("promote", "churn/model:v1", "elsewhere", "-m", "no gate")["gates"] == []
    assert said("unalias", "churn/model:elsewhere", "over") == "churn/model:elsewhere has ended\n"


WITHOUT = [
    ("promote", "churn/model:v1", "production"), ("rollback", "churn/model", "production"), ("unalias", "churn/model", "production"),
    ("unalias", "churn/model:production"), ("approve", "churn/model:v1"), ("reject", "churn/model:v1"), ("sign", "churn/model:v1", "--key", "k"),
    ("hold", "churn/model:v1"), ("release", "abc"), ("remove", "churn/model:v1"), ("gates", "--set", "gates.toml"),
    ("retention", "--set", "retention.toml"), ("expire",), ("taint", "churn/model:v1"), ("untaint", "churn/model:v1"),
]  # fmt: skip


@pytest.mark.parametrize("words", WITHOUT, ids=" ".join)
def test_a_reason_that_is_needed_and_missing_is_asked_for_by_its_flag(shell, said, words):
    before = shell.head
    said(*words, code=2)
    assert said.err == "error: this needs a reason for the audit trail: pass -m 'why'\n"
    blank = ["-m", "  "]
    said(*words, *blank, code=2)
    assert "reason" in said.err
    assert "reason=" not in said.err
    assert artifactstore.open(shell.url, cache=None).head == before


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("gate", "churn/model:v9", "production"), 3, "v9"),
        (("gate", "churn/model/x:v1/y", "production"), 2, "whole artifact"),
        (("gate", "churn/model:v1", "v3"), 2, "v3"),
        (("gate", "churn/model:v1", "production", "--keys", "none.toml"), 2, "none.toml"),
        (("gates", "--set", "none.toml", "-m", "x"), 2, "none.toml"),
        (("gates", "-m", "x"), 2, "pass --set"),
        (("promote", "churn/model:v1", "production", "--expect", "three", "-m", "x"), 2, "--expect three"),
        (("promote", "churn/model:v1", "production", "--expect", "v0", "-m", "x"), 2, "--expect v0"),
        (("rollback", "churn/model", "production", "-m", "x"), 3, "production"),
        (("rollback", "churn/model", "production", "--to", "x", "-m", "x"), 2, "--to x"),
        (("approve", "churn/model:v1", "--meaning", "maybe", "-m", "x"), 2, "--meaning maybe"),
        (("approve", "churn/model:v1", "--key", "none.pem", "-m", "x"), 2, "none.pem"),
        (("reject", "churn/model:v1", "--meaning", "maybe", "-m", "x"), 2, "--meaning maybe"),
        (("approvals", "nothing"), 3, "nothing"),
        (("sign", "churn/model:v1", "--key", "none.pem", "-m", "x"), 2, "none.pem"),
        (("describe", "churn/model:v1", "owner"), 2, "KEY=VALUE"),
        (("describe", "nothing", "a=b", "--name"), 3, "nothing"),
        (("describe", "churn/model:v1", "a=1", "a=2"), 2, "several values"),
        (("measure", "churn/model:v1", "auc=high"), 2, "auc=high"),
        (("measure", "churn/model:v1", "auc=1", "--on", "nothing"), 3, "nothing"),
        (("hold", "churn/model:v1", "x", "--until", "soon"), 2, "soon"),
        (("hold", "churn/model:v1", "x", "--until", "2027-02-30"), 2, "2027-02-30"),
        (("hold", "churn/model:v1", "x", "-m", "y"), 2, "two reasons"),
        (("release", "0123456789", "x"), 3, "there are none"),
        (("remove", "churn/model", "x"), 2, "which version"),
        (("unalias", "churn/model", "nothing", "-m", "x"), 3, "nothing"),
        (("unalias", "churn/model"), 2, "NAME ALIAS"),
        (("retention", "--set", "gates.toml", "-m", "x"), 2, "gates.toml"),
        (("promote", "churn/model:v1", "production", "-m", "x", "--store", "no such store"), 3, "no such store"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)  # fmt: skip
def test_wrong_calls_end_with_their_codes(shell, said, words, code, text):
    said(*words, code=code)
    assert text in said.err
    assert said.out == ""
    assert not re.search(r"\b(keys|reason|meaning|signer|expect|until|to)=", said.err)
    assert said.json(*words, code=code)["message"]


def test_a_verdict_is_written_for_ci_systems(shell, said, tmp_path, monkeypatch):
    said("gates", "--set", "gates.toml", "-m", "CR-1")
    said("gate", "churn/model:v1", "production", "--junit", "j.xml", "--markdown", "m.md", code=1)
    suite = ET.parse("j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure"))) == ("2", "2", 2)
    assert Path("m.md").read_text().startswith("### churn/model:v1 does not pass for `production`")
    assert "::error" not in said.out
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    said("gate", "churn/model:v1", "production", code=1)
    lines = [line for line in said.out.splitlines() if line.startswith("::")]
    assert lines == [
        "::error title=gate production%3A churn/model%3Av1::auc was not measured, asked is >= 0.9",
        "::error title=gate production%3A churn/model%3Av1::approval of role qa: 0 of 1",
    ]
    assert summary.read_text() == "before\n" + Path("m.md").read_text() + "\n"
    verdict = said.json("gate", "churn/model:v1", "production", code=1)
    assert (verdict["ok"], said.err.count("::error title=")) == (False, 2)
    head = shell.head
    said("gate", "churn/model:v1", "other")
    assert (said.out, said.err) == ("churn/model:v1 passes for other: no gate is in force\n", "")
    assert artifactstore.open(shell.url, cache=None).head == head


def test_the_workflow_of_the_guide_gates_and_promotes(shell, said, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/how-to/ci.md").read_text()
    steps = re.findall(r"^      - run: artifactstore (.*)$", page, re.MULTILINE)
    assert [one.split()[0] for one in steps] == ["gate", "promote"]
    assert not any("${{" in one for one in steps)
    summary = tmp_path / "summary.md"
    own = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_RUN_ID": "9",
        "GITHUB_ACTOR": "ann",
        "VERSION": "v1",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    shell.registry.gates({"names": "churn/*", "alias": "production", "all": [{"metric": "auc", "is": ">= 0.9"}]}, reason="CR-1")
    gate, promote = ([os.path.expandvars(word) for word in shlex.split(one)] for one in steps)
    said(*gate, code=1)
    assert said.out.count("::error title=gate production%3A churn/model%3Av1::auc was not measured") == 1
    said(*promote, code=6)
    shell.registry.measure("churn/model:v1", {"auc": 0.95})
    said(*gate)
    assert "::error" not in said.out + said.err
    said(*promote)
    assert artifactstore.open(shell.url, cache=None).log(alias="production")[-1].reason == "run 9, asked by ann"
    assert re.findall(r"^### .*$", summary.read_text(), re.MULTILINE) == [
        "### churn/model:v1 does not pass for `production`",
        "### churn/model:v1 passes for `production`",
    ]
    assert ET.parse("gate.xml").getroot().get("failures") == "0"


COMMANDS_OF_A_RUNNER = re.compile(r"^\s*::[a-z-]+( |::)|##\[[a-z-]+", re.MULTILINE)  # as the runner reads output
HOSTILE = (
    "a\n::set-env name=X::y",
    "\r\n::stop-commands::x",
    "##[add-path]/evil",
    "  ::add-mask::x",
    "%0A::warning::x",
    "100%, a:b",
)


def read_by_a_runner(text: str) -> str:
    for code, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, sign)
    return text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_verdict_starts_another_command_of_a_runner(shell, said, tmp_path, monkeypatch, text):
    line = annotation(text, text)
    assert line.count("\n") == line.count("\r") == 0
    assert line.startswith("::error title=")
    title, message = line.removeprefix("::error title=").split("::", 1)
    assert not set(":,\r\n") & set(title)
    assert (read_by_a_runner(title), read_by_a_runner(message)) == (visible(text), visible(text))
    shell.registry.gates({"names": "*", "alias": "best", "all": [{"metric": text, "is": "> 1"}]}, reason=text)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    for words, code in (
        (("gate", "churn/model:v1", "best"), 1),
        (("promote", "churn/model:v1", "best", "-m", "x"), 6),
        (("gates",), 0),
    ):
        for more in ((), ("--json",)):
            said(*words, *more, code=code)
            for line in [*said.out.splitlines(), *said.err.splitlines()]:
                assert line.startswith("::error title=") or not COMMANDS_OF_A_RUNNER.search(line), line


def test_markdown_of_hostile_text_is_one_row_without_links():
    bad = "x | y\n| z | [l](http://h) ![i](http://h) <img src=x> `c`"
    text = Verdict.of(
        {"ok": False, "ref": "n:v1", "digest": "d", "alias": "a", "at": 1, "gates": [{}], "conditions": [
            {"ok": False, "text": bad, "judged": "facts", "rule": {}}]}
    ).to_markdown()  # fmt: skip
    assert len(text.splitlines()) == 5
    assert "<img" not in text
    assert not re.search(r"(?<!\\)\[", text)
    assert len(re.findall(r"(?<!\\)\|", text.splitlines()[-1])) == 4


ON_A_TERMINAL = """
import fcntl, json, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from artifactstore.cli import main
for command in json.loads(sys.argv[1]):
    print("code", main(command), flush=True)
"""


def on_a_terminal(typed: list[str], *commands: list[str]) -> tuple[list[int], str]:
    """Run commands in a process of their own, on a terminal; type each line when one has asked for it."""
    terminal, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL, json.dumps(commands)], stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # its other end is closed
            break
        if not part:
            break
        shown += part
        if typed and re.search(rb"(\? |: )$", shown):
            os.write(terminal, typed.pop(0).encode())
    os.close(terminal)
    assert process.wait() == 0
    return [int(code) for code in re.findall(rb"^code (\d+)", shown, re.MULTILINE)], shown.decode()


def test_a_reason_is_asked_for_on_a_terminal(shell):
    typed = ["\n", "report 12\n", "kept for court\n", "\x04", "\x03"]
    commands = [
        ["approve", "churn/model:v1"],
        ["hold", "churn/model:v1"],
        ["remove", "churn/model:v2"],
        ["remove", "churn/model:v2"],
    ]
    codes, shown = on_a_terminal(typed, *commands)
    assert (codes, typed) == ([0, 0, 2, 130], []), shown
    assert "A reason is needed" in shown
    assert "nothing was changed" in shown
    assert shell.log(fact="approved")[-1].reason == "report 12"
    assert shell.log(fact="held")[-1].reason == "kept for court"
    assert not shell.log(fact="removed")


def test_keys_of_files_sign_and_their_approvals_are_valid(shell, said, monkeypatch, tmp_path):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem, secret = serialization.Encoding.PEM, serialization.BestAvailableEncryption(b"open sesame")
    for name, encryption in (("qa.pem", serialization.NoEncryption()), ("locked.pem", secret)):
        Path(name).touch(mode=0o600)
        Path(name).write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    Path("qa.pub").write_bytes(private.public_key().public_bytes(pem, form))
    Path("keys.toml").write_text('[quinn]\nkey = "qa.pub"\nroles = ["qa"]\n')
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "quinn")
    assert said.json("approve", "churn/model:v1", "--role", "qa", "--key", "qa.pem", "-m", "ok")["status"] == "claimed"
    assert said("approvals", "churn/model:v1").split()[:3] == ["claimed", "approved", "qa"]
    assert said("approvals", "churn/model:v1", "--keys", "keys.toml").split()[:4] == ["valid", "approved", "qa", "(quinn)"]
    monkeypatch.setenv("ARTIFACTSTORE_KEYS", str(tmp_path / "keys.toml"))
    assert "approved by qa as qa (valid)" in said("show", "churn/model:v1")
    said("gates", "--set", "gates.toml", "--key", "qa.pem", "-m", "CR-1")
    assert "by quinn, signed)" in said.out
    said("approve", "churn/model:v1", "--key", "locked.pem", "-m", "ok", code=2)
    assert "in Python, pass passphrase= or set $ARTIFACTSTORE_KEY_PASSPHRASE" in said.err
    codes, shown = on_a_terminal(["open sesame\n"], ["approve", "churn/model:v2", "--key", "locked.pem", "-m", "ok"])
    assert (codes, "open sesame" in shown, "approved by locked (" in shown) == ([0], False, True), shown
    made = said("sign", "churn/model:v1", "--key", "qa.pem", "-m", "release", "--to", "model.sig")
    assert re.search(
        r"signed by qa on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, model signature of 1 file: release\n  key sha256:", made
    )
    again = said.json("sign", "churn/model:v1", "--key", "qa.pem", "-m", "again")
    assert (again["name"], again["read"], {*again["bundle"]}) == ("qa", 0, {*json.loads(Path("model.sig").read_text())})


def test_lists_and_cards_show_what_is_looked_for_first(shell, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "quinn")
    store = artifactstore.open(shell.url, cache=None)
    registry = store.registry
    registry.gates("gates.toml", reason="CR-1")
    registry.retention("retention.toml", reason="CR-9")
    registry.approve("churn/model:v1", role="qa", reason="report 12")
    registry.hold("churn/model:v1", "litigation")
    today = store.log()[-1].time.strftime("%Y-%m-%d")
    lists: dict[str, tuple[Any, list[str], list[str]]] = {
        "gates": (registry.gates(), ["NAMES", "ALIAS", "ASKED"], ["churn/*", "production", "metric auc ", "CR-1", "quinn"]),
        "approvals": (registry.approvals("churn/model:v1"), ["STATUS", "VERDICT", "NAME", "MEANING"], ["claimed", "quinn", today, "approval"]),
        "holds": (registry.holds(), ["HOLD", "REF"], ["churn/model:v1", "litigation", today]),
        "rules": (registry.retention(), ["NAMES", "KEEPS"], ["keep_last = 1", today]),
    }  # fmt: skip
    for rows, titles, words in lists.values():
        text = str(rows)
        assert text.splitlines()[1].split()[: len(titles)] == titles
        assert max(map(len, text.splitlines())) <= 80
        assert all(word in shown for word in words for shown in (text.replace("\n", " "), rows._repr_html_())), text
    page = store.artifact("churn/model:v1")._repr_html_()
    assert "approved by quinn as qa (claimed)" in page
    assert f"on {today}" in page
    assert "is held (" in page
    assert "production: not judged; asked by churn/* (version 1)" in page
    shell.put(b"more rows", "churn/test")
    planned = registry.expire(dry_run=True)
    assert str(planned).splitlines()[1:] == ["  churn/test:v1"]
    assert "1 version would expire: 4 bytes that clean-up can free; 1 of names with rules stay" in str(planned)
    assert "expired" in str(registry.expire(reason="CR-9"))
