"""Commands that people type from the habits of git, DVC, MLflow, W&B and the Hub: each is answered with the call that does it here."""

import json
import re
import shlex
from datetime import datetime
from pathlib import Path

import pytest
import typer.main

import artifactstore
from artifactstore import InvalidInputError, Store
from artifactstore.cli import main
from artifactstore.cli.options import app, time_of
from artifactstore.habits.commands import COMMANDS, OPTIONS, command_hint, option_hint


def commands() -> dict[str, object]:
    main(["--version"])  # imports the commands, which register themselves
    found: dict[str, object] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def test_every_answer_is_a_call_of_a_command_with_its_options(capsys: pytest.CaptureFixture[str]):
    known = commands()
    for words in COMMANDS:
        if words.partition(" ")[0] in known:
            continue  # its own help answers
        calls = re.findall(r"`artifactstore ([^`]+)`", command_hint(words.split()))
        assert calls, words
        for call in calls:
            name, *rest = shlex.split(call.replace("[", "").replace("]", ""))
            if name.startswith("-"):
                assert name in {"--help", "--version"}
                continue
            assert name in known, (words, call)
            options = {option for one in known[name].params for option in (*one.opts, *one.secondary_opts)}  # type: ignore[attr-defined]
            typed = rest[: rest.index("--")] if "--" in rest else rest
            assert {word for word in typed if re.match("--[a-z]|-[a-z]$", word)} <= options, (words, call)


def test_no_command_is_in_the_table_of_those_that_do_not_exist():
    assert {words for words in COMMANDS if " " not in words} & {*commands()} == set()


def options_of(command: object) -> set[str]:
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}  # type: ignore[attr-defined]


def test_every_answer_for_an_option_is_one_that_exists_and_none_is_for_an_option_that_exists():
    known = commands()
    everywhere = {option for one in known.values() for option in options_of(one)}
    for command, table in OPTIONS.items():
        own = options_of(known[command]) if command else everywhere
        assert not own & {*table} or not command, (command, own & {*table})
        for option, answer in table.items():
            if answer.startswith("-"):
                assert any(one in own for one in answer.split("|")), (command, option)
                continue
            said = option_hint(command or "ls", option, ())
            for call in re.findall(r"`artifactstore ([^`]+)`", said):
                name, *rest = shlex.split(call)
                assert name in known, said
                assert {word for word in rest if re.match("--[a-z]|-[a-z]$", word)} <= options_of(known[name]), said


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("runs --filter x", "it is --where here"), ("runs --order-by acc", "it is --sort here"), ("put a b --type model", "it is --kind here"),
        ("put a b --tags c", "it is --tag here"), ("put a b --message x", "it is --reason here"), ("get a --output-dir b", "`artifactstore get REF FOLDER`"),
        ("get a -o b", "`artifactstore get REF FOLDER`"), ("ls -R", "`artifactstore tree REF`"), ("ls -la", "`artifactstore versions NAME`"), ("log --oneline", "one row a transaction"),
        ("log --max_count=3", "it is --limit here"), ("gc -n", "it is --dry-run here"), ("verify --full", "`artifactstore verify --level full`"), ("runs --csv", "`store.runs().to_pandas().to_csv(…)`"),
    ],
)  # fmt: skip
def test_an_option_of_another_tool_is_answered_with_the_one_here(typed: str, answer: str, capsys: pytest.CaptureFixture[str]):
    assert main(typed.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: no such option: -")
    assert answer in err.splitlines()[0]


def test_a_condition_that_find_took_for_a_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    artifactstore.create(tmp_path / "store", cache=None).put(b"x", "n", metrics={"acc": 0.9})
    assert main(["find", "acc>0.5", "--store", str(tmp_path / "store")]) == 1
    assert "`artifactstore find --metric 'acc>0.5'` asks for a metric" in capsys.readouterr().err
    assert main(["find", "nothing", "--store", str(tmp_path / "store")]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("add data", "artifactstore put PATH NAME"), ("commit -m x", "nothing is staged"), ("download a", "artifactstore get REF FOLDER"),
        ("upload ./m", "artifactstore put PATH NAME"), ("list", "artifactstore ls"), ("history", "artifactstore log"), ("rm a", "artifactstore unalias"),
        ("tag a b", "artifactstore alias REF ALIAS"), ("artifact put", "artifactstore put"), ("artifact get a", "artifactstore get"), ("models list", "find --kind model"),
        ("log_artifact x", "artifactstore put"), ("UPLOAD x", "artifactstore put"), ("dag", "artifactstore lineage"), ("exp show", "artifactstore runs"),
        ("fsck", "artifactstore verify"), ("du", "artifactstore usage"), ("clone", "artifactstore sync"), ("login", "no server"), ("ui", "no server"), ("prune", "artifactstore gc"), ("heal", "artifactstore repair"),
        ("dowload", "artifactstore get REF FOLDER"), ("artifact", "artifactstore ls -l"), ("repro", "artifactstore reproduce"),
        ("blame", "artifactstore why"), ("search x", "artifactstore find"), ("mv a b", "artifactstore cp"), ("revert", "artifactstore rollback NAME ALIAS"), ("delete x", "artifactstore remove NAME:v3"), ("deploy", "artifactstore promote"),
    ],
)  # fmt: skip
def test_a_command_of_another_tool_is_answered_with_the_one_here(typed: str, answer: str, capsys: pytest.CaptureFixture[str]):
    assert main(typed.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: no such command: {typed.split(maxsplit=1)[0]}; ")
    assert answer in err
    assert main([*typed.split(), "--json"]) == 2
    assert answer in json.loads(capsys.readouterr().err)["message"]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("push", "artifactstore put PATH NAME"),
        ("pull", "artifactstore get REF FOLDER"),
        ("track", "artifactstore track PATH"),
        ("checkout raw", "artifactstore get raw FOLDER"),
    ],
)
def test_a_command_that_means_something_else_in_other_tools_says_so(
    typed: str, answer: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    artifactstore.create(tmp_path / "store")
    assert main(typed.split()) == (3 if " " in typed else 2)
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("lss", "Did you mean 'ls'"),
        ("verfy", "Did you mean 'verify'"),
        ("linage", "'lineage'"),
        ("frobnicate", "no such command"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_command(typed: str, answer: str, capsys: pytest.CaptureFixture[str]):
    assert main([typed]) == 2
    assert answer in capsys.readouterr().err


def test_the_help_begins_with_what_one_begins_with(capsys: pytest.CaptureFixture[str]):
    main(["--help"])
    listed = re.findall(r"^  ([\w-]+)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert listed[:2] == ["init", "demo"]
    assert listed.index("put") < listed.index("run") < listed.index("verify")
    assert sorted(listed) == sorted(commands())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = artifactstore.open(tmp_path / "store")
    for number in (0.5, 0.9):
        with store.run("train", params={"lr": number, "how": "fast"}, code=False) as run:
            run.log(auc=number)
            store.put(b"%d" % (100 * number), "churn/model", aliases=["production"])
    return store


FIRST = [["--store", "URL"], ["--store=URL"], ["--json", "--store", "URL"], ["--store", "URL", "--json"]]


@pytest.mark.parametrize(
    "words", [["ls"], ["show", "churn/model:v1"], ["runs", "-n", "1"], ["log", "--limit", "1"], ["lineage", "churn/model"]]
)
@pytest.mark.parametrize("options", FIRST, ids=" ".join)
def test_what_every_command_has_may_be_typed_before_the_command(
    options: list[str], words: list[str], store: Store, capsys: pytest.CaptureFixture[str]
):
    given = [one.replace("URL", store.url) for one in options]
    assert main([*given, *words]) == 0
    before = capsys.readouterr()
    assert main([*words, *given]) == 0
    assert capsys.readouterr() == before
    assert before.out


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        ("show churn/model@production", 2, "did you mean churn/model:production?"),
        ("show churn/model@v1", 2, "did you mean churn/model:v1?"),
        ("get churn/model@2 out", 2, "did you mean churn/model:v2?"),
        ("show churn/model==1", 2, "did you mean churn/model:v1?"),
        ("show churn/model:2", 3, "did you mean churn/model:v2?"),
        ("show models:/churn/model/2", 2, "did you mean churn/model:v2?"),
        ("show models:/churn/model/Production", 2, "did you mean churn/model:production?"),
        ("show models:/churn/model@production", 2, "did you mean churn/model:production?"),
        ("show hf://churn/model", 2, "did you mean churn/model?"),
        ("show train", 3, "2 runs have this name: pass an id, "),
        ("lineage train", 3, "2 runs have this name: pass an id, "),
        ("why train churn/model", 3, "2 runs have this name: pass an id, "),
        ("show trian", 3, "no run's id and no commit begins with it either"),
        ("runs --where auc>", 2, "'auc>' is not a condition"),
        ("runs --where 'auc > '", 2, "'auc > ' is not a condition"),
        ("runs --where auc>0,9", 2, "'0,9' is not a number, as auc is of some run"),
        ("runs --where lr<x", 2, "'x' is not a number"),
        ("runs --limit x", 2, "expected a whole number, got 'x'"),
        ("log -n 1.5", 2, "expected a whole number, got '1.5'"),
        ("verify --fraction half", 2, "expected a number, got 'half'"),
        ("ls --stor x", 2, "no such option: --stor"),
        ("show", 2, "missing argument 'ref'"),
        ("ls --limit", 2, "no such option: --limit"),
        ("alias a b c", 2, "got unexpected extra argument"),
    ],
)  # fmt: skip
def test_a_call_that_is_not_quite_right_is_answered_with_the_one_that_is(
    typed: str, code: int, says: str, store: Store, capsys: pytest.CaptureFixture[str]
):
    words = shlex.split(typed)
    for more in ([], ["--json"]):
        assert main(["--store", store.url, *more, *words]) == code
        out, err = capsys.readouterr()
        assert out == ""
        if more:
            assert says in json.loads(err)["message"]
        else:
            assert err.startswith("error: ")
            assert says in err


def test_numbers_of_options_are_read_without_what_checks_models(store: Store, capsys: pytest.CaptureFixture[str]):
    for typed in ("runs --limit 1", "runs --limit +1", "verify --fraction .5", "verify --fraction 1e-1", "log -n -0"):
        assert main([*typed.split(), "--store", store.url]) == 0, capsys.readouterr()


def test_a_put_without_a_name_says_how_to_give_it_one(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("x")
    assert main(["put", str(tmp_path / "file"), "--store", store.url]) == 0
    assert "`artifactstore put PATH NAME` gives it one" in capsys.readouterr().err
    assert main(["put", str(tmp_path / "file"), "named", "--store", store.url]) == 0
    assert "NAME" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11", "2026-11-01", "2026-11-30"), ("2026-12", "2026-12-01", "2026-12-31"), ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026", "2026-01-01", "2026-12-31"), ("2026-11-23", "2026-11-23", "2026-11-23"),
    ],
)  # fmt: skip
def test_a_month_and_a_year_are_times_as_a_day_is(text: str, first: str, last: str):
    assert time_of(text) == datetime.fromisoformat(f"{first}T00:00:00+00:00")
    assert time_of(text, end=True) == datetime.fromisoformat(f"{last}T23:59:59.999999+00:00")


def test_what_is_no_month_is_refused():
    for text in ("2026-13", "2026-00", "0000", "26-11", "2026-1"):
        with pytest.raises(InvalidInputError, match="2026-11, 2h, 3d"):
            time_of(text)


@pytest.mark.parametrize("tainted", ["not tainted", "tainted"])
@pytest.mark.parametrize(
    ("right", "wrong"), [("--in churn/model=data", "--in data=churn/model"), ("--out churn/model=data", "--out data=churn/model")]
)
def test_a_name_and_a_path_that_are_exchanged_are_refused_before_the_program_runs(  # noqa: PLR0917 - fixtures
    right: str, wrong: str, tainted: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("x")
    if tainted == "tainted":
        store.registry.taint("churn/model:v1", "x")
        store.registry.taint("churn/model:v2", "x")
    before = store.head
    assert main(["run", "--store", store.url, *wrong.split(), "--", "touch", "ran"]) in {2, 3}
    assert f"the name comes first: {right}" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert store.head == before


def test_the_record_of_what_was_made_from_tainted_data_says_so(store: Store, capsys: pytest.CaptureFixture[str]):
    with store.run("other", code=False) as run:
        run.get("churn/model")
        run.put(b"made of it", "other")
    assert main(["show", "other", "--store", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tainted_above"] is None
    store.registry.taint("churn/model:v2", "bad labels")
    assert main(["show", "other", "--store", store.url]) == 0
    assert "it was made from churn/model:v2, which is tainted: bad labels (" in capsys.readouterr().out
    assert main(["show", "other", "--store", store.url, "--json"]) == 0
    assert "bad labels" in json.loads(capsys.readouterr().out)["tainted_above"]


def test_a_bundle_that_is_taken_for_a_store_is_answered_with_how_to_read_it(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bundle = str(tmp_path / "b.zip")
    assert main(["bundle", bundle, "churn/model", "--store", store.url]) == 0
    capsys.readouterr()
    assert main(["ls", "--store", bundle]) == 3
    (url,) = re.findall(r"is read as (zip://\S+),", capsys.readouterr().err)
    assert main(["ls", "--store", url]) == 0
    assert "churn/model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("show blake3:5a3b", "a digest has 64 digits of 0 to 9 and a to f"),
        ("show blake3:5a3b6c1f…", "a digest has 64 digits"),
        ("show n@blake3:5A3B6C", "a digest has 64 digits"),
        ("log n:v1", "`artifactstore log --ref n:v1`"),
        ("export n --as pdf --to x", "expected one of openlineage, prov, slsa, ro-crate, ml-bom, dossier, "),
    ],
)
def test_what_is_almost_right_is_told_what_is_meant(typed: str, answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = artifactstore.create(tmp_path / "store", cache=None).put(b"x", "n")
    words = ["--store", str(tmp_path / "store")]
    assert main([*typed.split(), *words]) == 2
    assert answer in capsys.readouterr().err
    digits = made.digest.removeprefix("blake3:")[:8]
    assert main(["show", digits, *words]) == 3
    assert f"a digest begins so: blake3:{digits}" in capsys.readouterr().err
    assert main(["show", f"blake3:{digits}", *words]) == 0
