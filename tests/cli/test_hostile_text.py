"""Whatever others wrote into a store, no command and nothing that shows itself lets it steer a terminal or a page."""

import contextlib
import importlib
import io
import json
import pkgutil
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

import artifactstore
from artifactstore.catalog.runs.parent import ParentRun
from artifactstore.cli import main
from artifactstore.display.displayed import Displayed
from artifactstore.display.graph.page import SCRIPT
from artifactstore.errors import ArtifactStoreError, RefusedError
from artifactstore.maintenance.doctor.findings import Check, Diagnosis
from artifactstore.maintenance.gc.cleanup import Cleanup
from artifactstore.maintenance.repack.repacked import Repacked
from artifactstore.maintenance.repair.report import Lost, Repaired, Restored
from artifactstore.maintenance.snapshot import Published
from artifactstore.maintenance.sync.report import LeftOut, SyncReport
from artifactstore.maintenance.verify.report import Finding, Report
from artifactstore.objects.compare.tables import Shift, TableDiff
from artifactstore.printable import as_lines, html, json_escaped, visible
from artifactstore.store import Store
from artifactstore.work.monitoring.report import Drift
from artifactstore.work.monitoring.rules import Rule
from artifactstore.work.monitoring.serving.served import LogCheck
from artifactstore.work.registry.retention import Expiry
from artifactstore.work.registry.verdict import Verdict
from artifactstore.work.reproduce.comparison import Output, Reproduction
from artifactstore.work.sync.imported import Imported
from tests.work.test_odd_facts import append

EVIL = "\x1b]0;P\x07\x1b[2K\x9b31m\nFORGED\r\u202eevil\u2066\u200b\u2060<script>alert(1)</script>|`]]>&\"'=1+1\t@x\x7f\u3164\u00ad\ufeff"
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\u3164\ufeff]")


def is_clean(text: str) -> bool:
    text = text.replace(f"<script>{SCRIPT}</script>", "", 1)  # the one that pans and zooms drawings
    if text.lstrip().startswith("<"):  # a page or a picture: its lines are nobody's words, but no markup may be
        return BAD.search(text) is None and "<script" not in text
    return BAD.search(text) is None and not re.search(r"^\s{0,1}FORGED", text, re.MULTILINE)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with such text in every field that can hold any."""
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "bob" + EVIL)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")  # a command takes such a text for a folder, too
    store = artifactstore.open(tmp_path / "store", cache=None)
    folder = tmp_path / "source"
    folder.mkdir()
    odd = EVIL.replace("/", "").replace("\r", "")
    for number in (1, 2):
        (folder / odd).write_text(str(number))
        store.put(folder, "n", reason=EVIL, metadata={EVIL: EVIL}, metrics={EVIL: number})
    store.alias("n:v1", "best", reason=EVIL)
    for number in (1, 2):
        with store.run("train", params={EVIL: EVIL, "k": number}, code=False) as run:
            run.log(**{EVIL: number})
            run.get("n:v1", role=EVIL)
            run.put({EVIL: number}, f"o{number}", role=EVIL)
    with contextlib.suppress(ValueError), store.run("fails", code=False):
        raise ValueError(EVIL)
    digest = store.artifact("n").digest
    append(
        store,
        {"fact": "started", "run": "evil", "name": EVIL, "command": [EVIL], "params": {EVIL: [EVIL]}, "parent": EVIL, "reason": EVIL},
        {"fact": "used", "run": "evil", "digest": digest, "name": EVIL, "version": 1, "role": EVIL, "path": EVIL,
         "code": {"commit": EVIL, "branch": EVIL, "remotes": {EVIL: EVIL}, "folder": EVIL, "dirty": True}},
        {"fact": "produced", "run": "evil", "digest": store.artifact("o1").digest, "name": EVIL, "role": EVIL},
        {"fact": "finished", "run": "evil", "status": "failed", "error": EVIL, "around": [{"path": EVIL, "size": 1}], "programs": [[EVIL]]},
        {"fact": "measured", "digest": digest, "metrics": {EVIL: 0.5}, "by": EVIL},
        {"fact": "versioned", "name": EVIL, "digest": digest, "kind": EVIL, "metadata": {EVIL: EVIL}},
        {"fact": "aliased", "name": "n", "alias": EVIL, "version": 1},
        {"fact": "versioned", "name": "kinds", "digest": digest, "kind": EVIL},
        {"fact": EVIL, "name": EVIL, "alias": EVIL, "digest": EVIL, "reason": EVIL},
    )  # fmt: skip
    store.registry.gates({"names": "n", "alias": "gated", "all": [{"metric": EVIL, "is": ">= 5"}]}, reason=EVIL)
    store.registry.retention({"names": "o1", "keep_last": 1, "keep_kinds": [EVIL]}, reason=EVIL)
    store.registry.hold("o2", EVIL)
    (tmp_path / "gates.toml").write_text(
        f'[[gate]]\nnames = "o2"\nalias = "best"\nany = [{{ metric = {json.dumps(EVIL)}, is = "> 1" }}]\nreason = true\n'
    )
    monkeypatch.setenv("ARTIFACTSTORE_URL", store.url)
    return artifactstore.open(store.url, cache=None)


def called(*arguments: str) -> tuple[int, str, str]:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()


# Each command, with arguments that make it show much. One that is new fails the test until it is here.
COMMANDS: dict[str, list[list[str]]] = {
    "init": [["DIR"], [EVIL]], "put": [["SOURCE", "n2"], [EVIL, "n2"], ["SOURCE", EVIL]], "get": [["n:v1", "TO"], [EVIL], ["n:v9"]],
    "alias": [["n:v1", "prod", "--expect", "v9"], ["n:v1", EVIL], ["n:v2", "best", "--expect", "v2"]], "cache": [[]],
    "ls": [[], ["n"], ["--prefix", EVIL], ["-l"], ["-l", "n"], [EVIL + "/"], [EVIL + "*"], ["--at", EVIL]], "versions": [["n"], [EVIL]], "find": [[], ["--kind", EVIL], ["--metric", EVIL], [EVIL], ["--tag", EVIL], ["--alias", EVIL]],
    "show": [["n"], ["n:v1"], ["kinds"], ["o1"], ["evil"], [EVIL]], "diff": [["n:v1", "n:v2"], ["o1", "o2", "--inside"], [EVIL, "n"], ["n", "SOURCE"]],
    "verify-folder": [["SOURCE", "n:v1"], ["SOURCE", EVIL], [EVIL, "n:v1"]],
    "track": [["SOURCE", "n3"], ["--status"], ["--status", EVIL], [EVIL], ["SOURCE", EVIL]], "checkout": [[], [EVIL]],
    "ci": [["gate"], [EVIL], []],
    "status": [["SOURCE"], ["SOURCE", "--against", EVIL], [EVIL]],
    "log": [[], ["--facts"], ["-n", "3"], ["--actor", EVIL], ["--fact", EVIL], ["--since", EVIL], ["--ref", EVIL], ["--csv"], ["--html"]], "verify": [[], ["--level", EVIL], ["--level", "full"], ["--keys", EVIL], ["--anchor", EVIL]],
    "run": [["--", "true", EVIL], ["--strict", "--in", "n=TO8", "--", "true", EVIL], ["--param", f"{EVIL}={EVIL}", "--metric", f"{EVIL}=1", "--metric", EVIL, "--", "true"], ["--out", EVIL, "--", "true"], ["--", EVIL], ["--in", EVIL, "--", "true"]], "runs": [[], ["--status", EVIL], [EVIL], ["--where", EVIL], ["--sort", EVIL], ["--columns", EVIL], ["--columns", "name,params,error,command,code"],
             ["--compare", "evil", "--compare", "o1"]],
    "lineage": [["o1"], ["n", "--down"], ["evil"], ["o1", "--all", "--depth", "2"], ["o1", "--format", "svg"], ["o1", "--format", "html"], ["o1", "--format", "mermaid"], [EVIL]],
    "export": [["o1", "--as", "prov"], ["o1", "--as", "slsa"], ["evil", "--as", "openlineage"], ["o1", "--as", "ro-crate", "--to", "TO2"],
               ["o1", "--as", EVIL]],
    "why": [["o1", "o2"], ["evil", "o1"], ["o1", "o2", "--format", "html"], ["o1", EVIL]], "impact": [["n"], [EVIL]],
    "cp": [["n:v1", "copied"], [EVIL, "x"], ["n:v1", EVIL]], "unalias": [["n:best", EVIL], ["n:none", EVIL], [EVIL, EVIL]],
    "gates": [[], [EVIL], ["--set", EVIL, "-m", EVIL], ["--set", "GATES", "-m", EVIL]], "gate": [["n:v1", "best"], ["n:v1", "gated"], ["n:v1", EVIL], [EVIL, "best"], ["n:v1", "best", "--keys", EVIL]],
    "promote": [["n:v1", "other", "-m", EVIL], ["n:v1", "gated", "-m", EVIL], ["n:v1", EVIL, "-m", EVIL], ["n:v1", "other", "--expect", EVIL, "-m", "x"], [EVIL, "other", "-m", "x"]],
    "rollback": [["n", "best", "-m", EVIL], [EVIL, EVIL, "-m", EVIL], ["n", "best", "--to", EVIL, "-m", "x"]],
    "approve": [["n:v1", "-m", EVIL, "--role", EVIL], ["n:v1", "-m", EVIL, "--alias", EVIL], ["n:v1", "-m", "x", "--meaning", EVIL], ["n:v1", "-m", "x", "--key", EVIL]],
    "reject": [["n:v2", "-m", EVIL], [EVIL, "-m", EVIL]], "approvals": [["n:v1"], [EVIL], ["n:v1", "--keys", EVIL]], "sign": [["n:v1", "--key", EVIL, "-m", EVIL]],
    "describe": [["n:v1", f"{EVIL}={EVIL}"], ["n", f"k={EVIL}", "--name"], ["n", EVIL], [EVIL, "a=b", "--name"]], "drift": [["n:v1", "n:v1"], [EVIL, "SOURCE"], ["SOURCE", "n", "--rule", EVIL], ["n", "n", "--labels", EVIL], ["--serving", EVIL], ["n", "n", "--column", EVIL]],
    "measure": [["n:v1", f"{EVIL}=1"], ["n:v1", f"a={EVIL}"], ["n:v1", "a=1", "--on", EVIL]],
    "hold": [["n:v1", EVIL], ["n:v1", EVIL, "--until", EVIL], [EVIL, EVIL]], "holds": [[], ["n:v1"], [EVIL]], "release": [[EVIL, EVIL]], "remove": [["n:v1", EVIL], [EVIL, EVIL], ["n", EVIL]],
    "retention": [[], ["--set", EVIL, "-m", EVIL]], "expire": [["--dry-run"], ["-m", EVIL]],
    "taint": [["n:v1", EVIL]], "untaint": [["n:v1", EVIL]], "reproduce": [["o1", "TO3", "--no-env"], ["evil", "TO4", "--no-env"]],
    "gc": [["--dry-run"], ["--dry-run", "--why", "n:v1"], ["--dry-run", "--why", "n:v2"], ["--dry-run", "--why", EVIL], ["-m", EVIL, "--grace", "0"], ["--grace", EVIL]],
    "repack": [[], ["--dry-run"], [EVIL], ["--below", EVIL]],
    "usage": [[], ["--by", "version"], ["--by", EVIL]],
    "sync": [["STORE", "COPY"], [EVIL, "COPY2"], ["STORE", "COPY3", "o1", "--with-lineage"], ["STORE", "COPY4", "o1"], ["STORE", "COPY5", EVIL]], "bundle": [["ZIP"], ["ZIP2", EVIL]], "import": [[EVIL], ["TO6"], ["STORE", EVIL]], "snapshot": [[]], "push": [["n:v1", EVIL], [EVIL, "r.example/x"], ["n:v1", "r.example/x", "--layout", EVIL]], "pull": [[EVIL, "pulled"], ["r.example/x", EVIL]], "repair": [[], ["--dry-run"], ["--source", EVIL], ["--files", EVIL], ["--source", "STORE"]],
    "doctor": [["DOCTOR", "--quick"], ["--policy", EVIL]], "cat": [[EVIL], ["n:v9"]], "selftest": [["DOCTOR2"], ["STORE"], ["DOCTOR3", "--report", EVIL]],
    "tree": [["n"], [], [EVIL], [EVIL + "/"], ["n", "--depth", "0"]], "head": [[]], "anchor": [["--to", "TO7", "-m", EVIL], ["--to", EVIL], ["--key", EVIL], ["--meaning", EVIL]], "config": [[]], "completion": [["bash"], [EVIL]], "rescue": [[EVIL], [EVIL, EVIL], ["TO5", "x"]],
}  # fmt: skip
BYTES = ("cat", "demo")  # bytes are bytes; the demo needs its extra and shows only what it has put itself


@pytest.mark.slow
def test_every_command_shows_hostile_text_harmlessly(evil: Store, tmp_path: Path):
    from artifactstore.cli import runner

    called("ls")  # every command has added itself
    known = {
        one.name or one.callback.__name__.rstrip("_") for one in running_app().registered_commands if one.callback is not None
    }
    assert known - {*COMMANDS, *BYTES} == set(), "a new command: add it above"
    assert runner is not None
    for command in sorted(known - {"demo"}):
        for given in COMMANDS[command]:
            for as_json in ([], ["--json"]) if "html" not in given and "svg" not in given else ([],):
                words = [
                    str(tmp_path / f"{word}{len(as_json)}")
                    if word.isupper() and word not in {"STORE", "SOURCE", "GATES"}
                    else word
                    for word in given
                ]
                words = [
                    {"STORE": evil.url, "SOURCE": str(tmp_path / "source"), "GATES": str(tmp_path / "gates.toml")}.get(word, word)
                    for word in words
                ]
                code, out, err = called(command, *as_json, *words)
                assert code != 70, (command, given, err)
                shown = out.replace("\u200b", "") if "mermaid" in given else out
                assert is_clean(shown), (command, given, as_json)
                assert is_clean(err), (command, given, as_json, err)
                out = out.replace(f"<script>{SCRIPT}</script>", "", 1)
                assert "<script" not in out or as_json or not {"svg", "html"} & {*given}, (command, given)
                if as_json and code == 0 and command not in BYTES and "mermaid" not in given:
                    json.loads(out)


def running_app() -> typer.Typer:
    from artifactstore.cli.options import app

    return app


# Each class that shows itself; one that is new fails the test until it is here.
SHOWN: dict[str, Callable[[Store], Iterator[str]]] = {
    "Rows": lambda s: (text for rows in (s.names(), s.versions("n"), s.find(), s.artifact("n").files, s.artifact("o1").inputs, s.lineage("o1").upstream().artifacts, s.lineage("o1").runs, s.runs()[0].history(EVIL)) for text in (repr(rows), rows._repr_html_())),
    "Log": lambda s: ways(s.log(), s.log().transactions),
    "RunTable": lambda s: ways(s.runs(), s.runs(columns=["name", f"params.{EVIL}", "error", "command", "code", "around"])),
    "Artifact": lambda s: (text for ref in ("n:v1", "o1", "kinds") for text in (repr(s.artifact(ref)), s.artifact(ref)._repr_html_())),
    "LineageGraph": lambda s: (text for view in views(s) for text in (str(view), repr(view), view._repr_html_())),
    "Drawing": lambda s: (text for view in views(s) for one in [view.draw()] for text in (str(one), repr(one), one.html(), one._repr_html_())),
    "Lineage": lambda s: (text for ref in ("o1", "evil") for text in (repr(s.lineage(ref)), s.lineage(ref)._repr_html_())),
    "Why": lambda s: (text for a, b in (("o1", "o2"), ("evil", "o1")) for one in [s.why(a, b)] for text in (str(one), repr(one), one.to_html())),
    "Diff": lambda s: (text for a, b in (("n:v1", "n:v2"), ("o1", "o2")) for one in [s.diff(a, b)] for text in (repr(one), one.inside(), one._repr_html_())),
    "Status": lambda s: ways(s.status(Path(s.url).parent / "source"), s.status(Path(s.url).parent / "source", against="n:v1")),
    "Code": lambda s: iter([repr(s.lineage("evil").code)]),
    "TableDiff": lambda _: ways(TableDiff(1, 2, 1, 0, None, 0, (EVIL,), (EVIL,), ((EVIL, EVIL, EVIL),), (Shift(EVIL, 1.0, 1.0, None, 0.0, 0.1),))),
    "Reproduction": lambda s: ways(reproduced(s)),
    "Report": lambda _: ways(Report("full", [Finding("damage", EVIL, EVIL), Finding(EVIL, EVIL, EVIL)], {EVIL: 2}, [EVIL], EVIL)),
    "Verdict": lambda _: ways(Verdict.of({"ok": False, "ref": EVIL, "digest": EVIL, "alias": EVIL, "at": 1, "gates": [{"names": EVIL}], "conditions": [
        {"ok": False, "text": EVIL, "judged": "facts", "rule": {EVIL: EVIL}}]})),
    "Drift": lambda _: ways(drifted()),
    "LogCheck": lambda _: ways(LogCheck((EVIL,), (EVIL,), EVIL, 1, 1, 1, 0, {EVIL: 1}, {EVIL: 1}, None, None)),
    "Repacked": lambda _: ways(Repacked((EVIL,), (EVIL,), 1, 2, dry_run=True), Repacked((), (), 0, 0, dry_run=False)),
    "Cleanup": lambda _: ways(Cleanup((EVIL,), (EVIL,), (EVIL,), 1, 2, 3, 4, dry_run=True), Cleanup((), (), (), 0, 0, 0, 0, dry_run=False)),
    "Expiry": lambda _: ways(Expiry((EVIL,) * 99, 1, 2, dry_run=False, _why={"n": [EVIL]}), Expiry((), 0, 0, dry_run=True)),
    "SyncReport": lambda _: ways(*(
        SyncReport(kind, EVIL, EVIL, head=EVIL, moved=True, renamed={EVIL: EVIL}, left_out=[LeftOut(EVIL, EVIL)])
        for kind in ("replica", "move", "import", "bundle")
    )),
    "Diagnosis": lambda _: ways(Diagnosis(EVIL, EVIL, reached=True, checks=tuple(Check(EVIL, "fail", EVIL, EVIL, EVIL, EVIL) for _ in range(2)))),
    "Repaired": lambda _: ways(Repaired.of([Restored(EVIL, EVIL)], [Lost(EVIL, EVIL, EVIL, EVIL)], dry_run=False)),
    "Imported": lambda _: ways(Imported(1, 2, 3, 4, [EVIL], [EVIL], [EVIL])),
    "Published": lambda _: ways(Published(1, EVIL, 2, new=True)),
    "ArtifactStoreError": lambda s: iter([str(error_of(s)), repr(error_of(s)), str(ArtifactStoreError(EVIL))]),
    "Reference": lambda _: iter(()), "Digest": lambda _: iter(()),  # can hold no such text
    "ParentRun": lambda _: (text for one in [ParentRun.parse(f"n/{EVIL}/{uuid.UUID(int=1)}")] if one is not None for text in (str(one), repr(one))),
    "Serving": lambda _: iter(()),  # its names are checked, its references resolved
}  # fmt: skip
# Whose text has no field that others write: backends and stores (a URL of the caller's), marks of options, shapes of tensors.
OWN = {"Store", "Profiles", "Registry", "_Any", "TensorInfo", "Void", "Run", "_Tensor", "Keep"}


def ways(*shown: Displayed) -> Iterator[str]:
    return (text for one in shown for text in (str(one), one._repr_html_()))


def drifted() -> Drift:
    measures = {"status": "compared", "psi": 1.0, "new": [EVIL], "missing": 0.5}
    columns = {EVIL: measures, f"{EVIL}2": {"status": "type changed", "types": [EVIL, EVIL]}, f"{EVIL}3": {"status": "missing"}}
    sides = {"rows": {"reference": 1, "current": 2}, "reference": {"ref": EVIL}, "current": {}, "approximate": True}
    return Drift(False, (Rule(EVIL, EVIL, None, False),), None, {**sides, "columns": columns})  # noqa: FBT003 - as it is made


def reproduced(store: Store) -> Reproduction:
    log = Path(store.url).parent / "log"
    log.write_text(EVIL)
    output = Output(EVIL, EVIL, EVIL, None, "different", {EVIL: (1.0, 2.0)})
    run = replace(store.runs()[0], name=EVIL, id=EVIL)
    return Reproduction(run, "failed", (output,), output, (EVIL,), (EVIL,), Path(EVIL.replace("\0", "")), 1, log)


def views(store: Store) -> list[Any]:
    return [store.lineage("o1").upstream(), store.lineage("n").downstream(), store.lineage("evil").upstream()]


def error_of(store: Store) -> RefusedError:
    store.registry.taint("n:v1", EVIL)
    with pytest.raises(RefusedError) as caught:
        store.get("n:best")
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_everything_that_shows_itself_is_harmless(evil: Store, name: str):
    for text in SHOWN[name](evil):
        assert is_clean(text)
        if text.startswith("<svg"):
            ET.fromstring(text)


def test_no_class_that_shows_itself_is_forgotten():
    found = set()
    lacking: list[str] = []  # packages that cannot be imported, such as those that need PyTorch
    for module in pkgutil.walk_packages(artifactstore.__path__, "artifactstore.", onerror=lacking.append):
        if not re.match(r"artifactstore\.(work|catalog|maintenance|model|store|errors|objects\.compare)", module.name):
            continue  # what no user holds
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:
            continue  # of an extra
        for one in vars(loaded).values():
            if not isinstance(one, type) or issubclass(one, tuple):
                continue
            if one.__module__ == module.name and issubclass(one, Displayed):
                found.add(one.__name__)
            if one.__module__ == module.name and not hasattr(one, "__dataclass_fields__"):
                found |= {one.__name__} if {"__str__", "__repr__", "_repr_html_"} & {*vars(one)} else set()
            elif one.__module__ == module.name and {"__str__", "_repr_html_"} & {*vars(one)}:
                found.add(one.__name__)
    assert found - {*SHOWN} - OWN == set(), "it is new: add it above"


def test_a_warning_about_others_words_is_harmless(evil: Store):
    evil.registry.taint("n:v1", EVIL)
    with pytest.warns(UserWarning, match="tainted") as caught:
        evil.get("n:v1")
    assert all(is_clean(str(one.message)) for one in caught)


def test_no_command_prints_by_itself():
    for path in Path(artifactstore.__file__).parent.joinpath("cli").rglob("*.py"):
        if path.name not in {"printing.py", "options.py", "arguments.py", "github.py"}:
            printed = re.findall(r"(?<![\w.])print\(.*", path.read_text())
            assert [line for line in printed if "json.dumps" not in line] == [], path.name


def test_what_is_written_out_and_what_stays():
    assert visible("a\x1b\n\u202e\u200b\x9b\u3164日本é") == "a\\x1b\\n\\u202e\\u200b\\x9b\\u3164日本é"
    assert visible("a\nb", lines=True) == "a\nb"
    assert visible(visible(EVIL)) == visible(EVIL)
    assert as_lines(["a\nb", "c"]) == "a\\nb\nc"
    assert html("<b>\x1b") == "&lt;b&gt;\\x1b"
    assert is_clean(html(EVIL).replace("\n", ""))
    for text in (EVIL, "é😀\U000e0101", "plain"):
        assert json.loads(json_escaped(json.dumps([text], ensure_ascii=False))) == [text]
        assert is_clean(json_escaped(json.dumps([text], ensure_ascii=False)))
