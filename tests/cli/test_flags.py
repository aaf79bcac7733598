"""Messages speak the language of the command line: options of the Python API become flags."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main

from artifactstore.cli import main
from artifactstore.cli.flags import FLAGS, PAIRS, in_flags
from artifactstore.cli.options import app
from artifactstore.cli.process import EXIT_CODES


def test_every_flag_of_the_table_is_an_option_of_some_command():
    main(["--version"])  # imports the commands, which register themselves
    command: Any = typer.main.get_command(app)
    commands = command.commands
    known = {option for command in commands.values() for one in command.params for option in (*one.opts, *one.secondary_opts)}
    assert {*FLAGS.values(), *PAIRS.values()} - {"TO"} <= known
    assert "to" in {one.name for one in commands["get"].params}  # the argument TO


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("to store the text itself, pass format='text'", "to store the text itself, pass --text"),
        ("overwrite=True replaces them", "--overwrite replaces them"),
        ("exclude=['*.tmp'] matched nothing", "--exclude '*.tmp' matched nothing"),
        ("pass exclude=['.git', 'a b'].", "pass --exclude .git --exclude 'a b'."),
        ("level='frames' checks them, level='full' all", "--level frames checks them, --level full all"),
        ("pass path= with one of a, b", "pass --path with one of a, b"),
        ("pass to= to choose a folder", "pass TO to choose a folder"),
        ("pass to='https://…'", "pass --to https://…"),
        ("fraction=2.0: above 0", "--fraction 2.0: above 0"),
        ("pass env=False to run", "pass --no-env to run"),
        ("profile='full' or profile=True", "--profile-full or --profile"),
        ("it is unknown: pass it as command=[…]", "it is unknown: in Python, pass it as command=[…]"),
        ("lost. Pass single_writer=True if", "lost. In Python, pass single_writer=True if"),
        ("pass storage_options={'path': 1}", "pass storage_options={'path': 1}"),
        ("https://h/?path=3&key=4 is gone", "https://h/?path=3&key=4 is gone"),
        ("say format='pickle'", "say format='pickle'"),
        ("pass keys=, or set $ARTIFACTSTORE_KEYS", "pass --keys, or set $ARTIFACTSTORE_KEYS"),
        ("reason= is for a change: pass rules=, too", "--reason is for a change: pass --set, too"),
        ("meaning='maybe': expected one of review", "--meaning maybe: expected one of review"),
        ("is encrypted: pass passphrase= or set $X", "is encrypted: in Python, pass passphrase= or set $X"),
        ("signer='kms:x': no such file", "--key kms:x: no such file"),
        ("a=b and --level='x'", "a=b and --level='x'"),
    ],
)
def test_options_become_flags_and_all_else_stays(message: str, expected: str):
    assert in_flags(message) == expected
    assert in_flags(expected) == expected


def test_commands_print_errors_and_notes_in_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def err(*arguments: str, code: int = 0) -> str:
        assert main([*arguments]) == code, arguments
        return capsys.readouterr().err

    for name, text in (("d", "a"), ("to", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(text)
    assert "pass --text" in err("put", "not there", "x", code=EXIT_CODES["invalid_input"])
    assert "pass --text" in json.loads(err("put", "not there", "x", "--json", code=EXIT_CODES["invalid_input"]))["message"]
    assert "note: --exclude '*.tmp' matched nothing" in err("put", "d", "d", "--exclude", "*.tmp")
    assert "pass --overwrite" in err("get", "d", "to", code=EXIT_CODES["already_exists"])
    assert "--level frames" in err("verify")
