"""Commands that people type from the habits of git, DVC, MLflow, W&B and the Hub: each is answered with the call that does it here."""

import json
import re
import shlex

import pytest
import typer.main

from artifactstore.cli import main
from artifactstore.cli.options import app
from artifactstore.habits import COMMANDS, command_hint


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


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("add data", "artifactstore put PATH NAME"), ("push", "artifactstore put PATH NAME"), ("pull", "artifactstore get REF FOLDER"),
        ("checkout raw", "artifactstore get REF FOLDER"), ("commit -m x", "nothing is staged"), ("download a", "artifactstore get REF FOLDER"),
        ("upload ./m", "artifactstore put PATH NAME"), ("list", "artifactstore ls"), ("history", "artifactstore log"), ("rm a", "artifactstore unalias"),
        ("tag a b", "artifactstore alias REF ALIAS"), ("artifact put", "artifactstore put"), ("artifact get a", "artifactstore get"), ("models list", "find --kind model"),
        ("log_artifact x", "artifactstore put"), ("UPLOAD x", "artifactstore put"), ("dag", "artifactstore lineage"), ("exp show", "artifactstore runs"),
        ("fsck", "artifactstore verify"), ("du", "artifactstore usage"), ("clone", "artifactstore sync"), ("login", "no server"), ("ui", "no server"), ("prune", "artifactstore gc"), ("heal", "artifactstore repair"),
        ("pusj", "artifactstore put PATH NAME"), ("dowload", "artifactstore get REF FOLDER"), ("artifact", "artifactstore ls -l"), ("repro", "artifactstore reproduce"),
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
        ("lss", "Did you mean 'ls'"),
        ("verfy", "Did you mean 'verify'"),
        ("linage", "'lineage'"),
        ("frobnicate", "No such command"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_command(typed: str, answer: str, capsys: pytest.CaptureFixture[str]):
    assert main([typed]) == 2
    assert answer in capsys.readouterr().err


def test_the_help_begins_with_what_one_begins_with(capsys: pytest.CaptureFixture[str]):
    main(["--help"])
    listed = re.findall(r"^  (\w+)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert listed[:2] == ["init", "demo"]
    assert listed.index("put") < listed.index("run") < listed.index("verify")
    assert sorted(listed) == sorted(commands())
