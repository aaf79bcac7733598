"""The command line: answers on stdout, talk on stderr, exit codes for ever."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command, get_command_name

from artifactstore.cli import runner
from artifactstore.cli.options import app
from artifactstore.cli.process import EXIT_CODES
from artifactstore.display.values import counted
from artifactstore.errors import ArtifactStoreError
from tests.cli.conftest import Call


def subclasses(kind: type[ArtifactStoreError]) -> set[type[ArtifactStoreError]]:
    found = {kind}
    for one in kind.__subclasses__():
        found |= subclasses(one)
    return found


def test_every_error_has_its_exit_code():
    for error in subclasses(ArtifactStoreError) - {ArtifactStoreError}:
        if error.__module__ == "artifactstore.errors":
            assert EXIT_CODES[error.kind] in {2, 3, 4, 5, 6, 7}


@pytest.fixture
def run(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def filled(run, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("one\n")
    assert run("put", "data", "d", "--metric", "auc=0.9", "--meta", "rows=3", "--meta", "team=risk", "-m", "first")[0] == 0
    (tmp_path / "data/a.txt").write_text("two\n")
    assert run("put", "data", "d")[0] == 0
    return run


def test_put_and_get(filled, tmp_path: Path):
    code, out, err = filled("put", "data", "d")
    assert (code, err) == (0, "")
    assert out.startswith("d:v2  blake3:")
    assert out.endswith("unchanged, 0 uploaded\n")
    assert filled("get", "d:v1", "back") == (0, "back\n", "")
    assert (tmp_path / "back/a.txt").read_text() == "one\n"
    code, out, _ = filled("get", "d:v2/a.txt")
    assert Path(out.strip()).read_text() == "two\n"
    assert filled("cat", "d:v1/a.txt") == (0, "one\n", "")


def test_json_answers_are_json(filled):
    made = json.loads(filled("put", "data", "d", "--json")[1])
    assert (made["ref"], made["new"], made["uploaded"]) == ("d:v2", False, 0)
    assert json.loads(filled("show", "d:v1", "--json")[1])["metadata"] == {"rows": 3, "team": "risk"}
    assert [row["version"] for row in json.loads(filled("versions", "d", "--json")[1])] == [1, 2]
    assert json.loads(filled("ls", "--json")[1])[0]["name"] == "d"
    assert json.loads(filled("ls", "d", "--json")[1])[0]["path"] == "a.txt"
    assert json.loads(filled("find", "--metric", "auc >= 0.9", "--json")[1])[0]["version"] == 1
    assert json.loads(filled("log", "--json")[1])[0]["reason"] == "first"
    assert json.loads(filled("verify", "--json")[1])["ok"] is True
    assert json.loads(filled("diff", "d:v1", "d:v2", "--json")[1])["changes"][0]["change"] == "changed"
    assert json.loads(filled("alias", "d:v1", "good", "--json")[1])["version"] == 1
    code, out, err = filled("get", "nothing", "--json")
    assert (code, out, json.loads(err)["error"]) == (3, "", "not_found")


def test_tables_for_people(filled):
    assert filled("alias", "d:v1", "good")[1].startswith("d:good -> v1")
    assert "good=v1" in filled("ls")[1]
    assert "a.txt" in filled("ls", "d")[1]
    assert "first" in filled("versions", "d")[1]
    assert "alias d good -> v1" in filled("log", "--alias", "good")[1]
    assert "d:good -> v1" in filled("log", "--alias", "good", "--facts")[1]
    assert "content   blake3:" in filled("show", "d")[1]
    assert filled("show", "d:v1", "--listing")[1].endswith("  a.txt\n")
    assert filled("find", "--meta", "rows=3")[1].startswith("d:v1")
    assert filled("put", "data", "ids", "--meta", 'mlflow.run_id="12"', "--meta", "mlflow.version=3")[0] == 0
    for wanted in ("mlflow.run_id=12", 'mlflow.run_id="12"', "mlflow.version=3", "mlflow.version=3.0"):
        assert filled("find", "--metadata", wanted)[1].startswith("ids:v1"), wanted
    assert filled("find", "--meta", "mlflow.run_id=1")[0] == 1
    assert filled("verify", "--level", "full")[1].startswith("ok: ")
    code, out, err = filled("verify")
    assert [line.partition(": ")[0] for line in out.splitlines()] == ["ok", "head"]
    assert err == "not checked: the bytes in packs: --level frames checks their checksums, --level full every digest\n"
    assert code == 0


def test_one_thing_is_counted_in_the_singular(filled):
    assert "  1 file, " in filled("put", "data/a.txt", "single")[1]
    assert filled("verify")[1].startswith("ok: ")
    assert [counted(n, word) for n, word in ((1, "entries"), (2, "entries"), (1, "files"), (0, "packs"))] == [
        "1 entry",
        "2 entries",
        "1 file",
        "0 packs",
    ]


def test_exit_codes(filled, tmp_path: Path):
    assert filled("diff", "d:v1", "d:v1")[0] == 0
    assert filled("diff", "d:v1", "d:v2")[0] == 1
    assert filled("put", "nowhere", "d")[0] == 2
    assert filled("frobnicate")[0] == 2
    assert filled("put")[0] == 2
    assert filled("alias", "d:v1", "a", "--expect", "some")[0] == 2
    assert filled("get", "d:v9")[0] == 3
    assert filled("ls", "--store", "elsewhere")[0] == 3
    assert filled("get", "d:v1", "there")[0] == 0
    (tmp_path / "there/a.txt").write_text("mine")
    assert filled("get", "d:v1", "there")[0] == 7
    assert filled("get", "d:v1", "there", "--overwrite")[0] == 0
    assert filled("alias", "d:v1", "a", "--expect", "v2")[0] == 7
    assert filled("init", "zip://packed.zip")[0] == 6  # which can only be read
    next((tmp_path / "store/manifests").rglob("*.parquet")).unlink()
    assert filled("verify")[0] == 5
    assert filled("--help")[0] == 0


def test_errors_are_one_line_on_stderr(filled):
    code, out, err = filled("get", "dd")
    assert (code, out) == (3, "")
    assert err.startswith("error: no artifact is named 'dd'; similar names: d")
    assert err.count("\n") == 1


def test_hints_are_notes_on_stderr(filled, tmp_path: Path):
    (tmp_path / "data/.git").mkdir()
    code, _, err = filled("put", "data", "d")
    assert code == 0
    assert err.startswith("note: .git is stored too")


def test_init_and_text(run, tmp_path: Path):
    assert run("init", "--digest", "sha256", "other") == (0, f"{tmp_path / 'other'}\n", "")
    assert run("init", "other")[0] == 7
    assert run("ls", "--store", "other") == (0, "", "no names yet: `artifactstore put PATH NAME` stores the first version\n")
    assert run("put", "hello", "--text", "--store", "other")[1].count("sha256:") == 1
    assert "sha256:" in run("put", "hello", "greeting", "--text", "--store", "other")[1]
    assert run("cat", "greeting:v1/data.txt", "--store", "other")[1] == "hello"
    assert run("cat", "greeting", "--store", "other")[1] == "hello"


@pytest.mark.slow
def test_a_closed_pipe_is_no_failure(filled):
    command = f"{sys.executable} -m artifactstore ls d | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_ends_with_what_python_does_at_its_end():
    script = (
        "import atexit, sys, threading, time; atexit.register(print, 'end'); sys.argv = ['artifactstore', '--help'];"
        "said = threading.Event(); flush = sys.stdout.flush; sys.stdout.flush = lambda: (flush(), said.set());"
        "threading.Thread(target=lambda: (said.wait(60), time.sleep(0.2), print('thread'))).start();"
        "from artifactstore.cli import main; main(); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("thread\nend\n")


def test_help_loads_no_store():
    script = (
        "import sys; from artifactstore.cli import main; main(['--help']); print(sorted(m for m in sys.modules if m in WATCHED))"
    )
    watched = {"artifactstore.store", "pyarrow", "pydantic", "fsspec", "s3fs", "rich", "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", script.replace("WATCHED", repr(watched))], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("start", "command", "loaded"),
    [
        ("", ["ls"], (False, False)),
        ("", ["get", "d", "out"], (True, False)),
        ("", ["put", "others", "others"], (True, False)),
        ("", ["diff", "d:v1", "d:v2", "--inside"], (True, True)),
        ("import numpy", ["get", "d", "out"], (True, True)),
        (None, ["get", "d", "out"], (True, True)),
    ],
)
def test_a_command_loads_arrow_without_numpy_and_hides_numpy_from_nothing_else(filled, tmp_path, start, command, loaded):
    """A plugin, or a library of the process, can import it during the command and after it. None: `main` is called as a function."""
    (tmp_path / "others").mkdir()
    (tmp_path / "others/b.txt").write_text("three")
    lines = [
        start or "",
        "import atexit, sys",
        "loaded = lambda: tuple(name in sys.modules for name in ('pyarrow', 'numpy'))",
        "atexit.register(lambda: print((loaded(), int(__import__('numpy').arange(4).sum()))))",
        "from artifactstore.cli import main",
        f"main({command})" if start is None else f"sys.argv = {['artifactstore', *command]}; main()",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == str((loaded, 6))


@pytest.mark.slow
def test_a_local_get_imports_no_fsspec(filled):
    script = "import sys, artifactstore; artifactstore.open().get('d'); print([m for m in ('fsspec', 's3fs', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_progress_shows_on_a_terminal_only(filled, tmp_path: Path):
    (tmp_path / "big").mkdir()
    for n in range(4):
        (tmp_path / f"big/{n}").write_bytes(os.urandom(30_000_000))
    command = [sys.executable, "-m", "artifactstore", "put", "big", "big"]
    main_end, terminal = pty.openpty()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "CI": ""}
    )
    os.close(terminal)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(main_end, 4096)
        except OSError:
            break
        if not block:
            break
        seen += block
    assert process.stdout is not None
    assert process.stdout.read().startswith(b"big:v1")
    assert process.wait() == 0
    process.stdout.close()
    os.close(main_end)
    assert b"MB/s" in seen
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b""


def test_the_demo_runs_and_finds_everything_unchanged_the_second_time(run, tmp_path: Path):
    pytest.importorskip("sklearn")
    code, out, err = run("demo", "--store", str(tmp_path / "demo-store"))
    assert (code, err) == (0, "")
    assert "   ok: " in out
    assert "~ breast_cancer.csv" in out
    code, out, _ = run("demo", "--store", str(tmp_path / "demo-store"))
    assert code == 0
    assert out.count("unchanged, 0 uploaded") == 3


def test_sync_copies_moves_and_says_so(run, tmp_path: Path):
    (tmp_path / "a.txt").write_text("text")
    assert run("put", "a.txt", "n")[0] == 0
    source = str(tmp_path / "store")
    code, out, _ = run("sync", source, "copy", "--dry-run")
    assert (code, out.startswith("would copy 1 entry ")) == (0, True)
    assert not (tmp_path / "copy").exists()
    code, out, _ = run("sync", source, "copy", "--json")
    assert (code, json.loads(out)["entries"], json.loads(out)["moved"]) == (0, 1, False)
    assert run("put", "a.txt", "m", "--store", "copy")[0] == EXIT_CODES["refused"]
    assert run("sync", source, "copy", "--move")[0] == 0
    code, _, err = run("put", "a.txt", "m")
    assert (code, "has moved to" in err) == (EXIT_CODES["refused"], True)
    assert run("put", "a.txt", "m", "--store", "copy")[0] == 0
    assert run("sync", "nowhere", "copy")[0] == EXIT_CODES["not_found"]


def test_the_cache_is_shown_and_cleared(filled):
    code, out, _ = filled("get", "d")
    assert code == 0
    tree = Path(out.strip())
    assert tree.exists()
    use = json.loads(filled("cache", "--json")[1])
    assert use["trees"] > 0
    assert filled("cache")[1].splitlines()[0] == use["folder"]
    assert json.loads(filled("cache", "--clear", "--json")[1])["trees"] == 0
    assert not tree.exists()
    assert filled("ls", "d")[0] == 0


def test_an_empty_url_is_never_taken_for_the_default_store(run, tmp_path: Path):
    for arguments in (
        ("init", ""),
        ("init", "", "--store", "x"),
        ("doctor", ""),
        ("doctor", "", "--policy", "reader"),
        ("ls", "--store", ""),
        ("demo", "folder", "--store", ""),
    ):
        code, _, err = run(*arguments)
        assert (code, "not the URL of a store" in err) == (2, True), (arguments, err)
    assert not (tmp_path / "store").exists()


def test_put_verify_reads_back_what_is_there_and_stores_it_again_where_it_is_damaged(run, tmp_path: Path):
    (tmp_path / "a").write_bytes(os.urandom(50_000))
    assert run("put", "a", "n")[0] == 0
    (pack,) = (tmp_path / "store/packs").rglob("*.pack")
    raw = bytearray(pack.read_bytes())
    raw[1000] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(raw)
    code, out, _ = run("put", "a", "n", "--json")
    assert (code, json.loads(out)["uploaded"]) == (0, 0)
    code, out, err = run("put", "a", "n", "--verify", "--json")
    assert (code, "is stored again" in err) == (0, True)
    assert json.loads(out)["uploaded"] > 50_000
    assert run("get", "n", "out")[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", [["log", "--json"], ["ls"], ["cat", "n"], ["doctor"]])
def test_an_answer_that_cannot_be_written_is_named_as_that(run, tmp_path: Path, command: list[str]):
    (tmp_path / "a").write_text("a")
    assert run("put", "a", "n")[0] == 0
    with Path("/dev/full").open("w") as full:
        code = f"import sys; from artifactstore.cli import main; sys.exit(main({command!r}))"
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == EXIT_CODES["backend"], done.stderr
    assert "cannot write the answer: No space left on device" in done.stderr


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied", "/some/file")]
)
def test_a_failure_of_another_file_is_not_blamed_on_the_answer(run, monkeypatch: pytest.MonkeyPatch, error: OSError):
    """Whatever a command calls may raise it."""

    def fail(*_: object) -> None:
        raise error

    from artifactstore.store import Store

    monkeypatch.setattr(Store, "names", fail)
    code, _, err = run("ls")
    assert code == EXIT_CODES["backend"]
    assert "answer" not in err
    assert f"cannot read or write {error.filename or 'a file of this machine'}: {error.strerror}" in err


@pytest.mark.parametrize(
    "command",
    [["ls"], ["show", "d:v1"], ["runs", "-n", "3"], ["versions", "d"], ["find", "--kind", "data"], ["log"], ["get", "d", "out"]],
)
def test_a_question_to_the_store_loads_no_pydantic(filled, command, tmp_path):
    """Its import takes longer than the answer; typer would check each option by it."""
    script = f"import sys; from artifactstore.cli import main; main({command}); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.endswith("False\n")


def test_each_command_is_in_the_module_that_is_loaded_for_it():
    runner.load_commands()
    found: dict[str, set[str]] = {}
    for one in app.registered_commands:
        assert one.callback is not None
        module = one.callback.__module__.removeprefix("artifactstore.cli.")
        found.setdefault(module, set()).add(one.name or get_command_name(one.callback.__name__))
    assert found == {module: {*names} for module, names in runner.COMMANDS.items()}


def test_a_list_of_names_loads_nothing_that_reads_content(filled):
    script = "import sys; from artifactstore.cli import main; main(['ls']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {one.strip("' ") for one in done.stdout.splitlines()[-1].strip("[]").split(",")}
    unwanted = {"pyarrow", "fsspec", "numpy", "pydantic", "hashlib", "socket"}
    rooms = ("artifactstore.content.", "artifactstore.signing.", "artifactstore.work.put.", "artifactstore.catalog.gates.")
    assert not [one for one in loaded if one in unwanted or one.startswith(rooms)]


def test_options_get_the_values_that_typer_alone_gives_them():
    runner.load_commands()
    plain: Any = get_command(app)
    for name, one in plain.commands.items():
        own: Any = get_command(runner._alone(app, [name]))
        runner._take_text(own)
        options = [param for param in one.params if param.param_type_name == "option"]
        needed = ["x" for param in one.params if param.param_type_name == "argument" and param.required]
        calls = [needed, [*needed, "--json"]]
        calls += [[*needed, option.opts[-1], *([] if option.is_flag else [value])] for option in options for value in VALUES]
        for arguments in calls:
            ours, theirs = _parsed(own.commands[name], arguments), _parsed(one, arguments)
            if "expected a" in str(ours):  # a number, in plainer words
                ours, theirs = (str(text).partition(": ")[0] for text in (ours, theirs))
            assert ours == theirs, (name, arguments)


VALUES = ("", "x", "3", "0.5", "a=b", "é\udc80", "-1", "two words")


def _parsed(command, arguments):
    try:
        return command.make_context("x", list(arguments)).params
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error, of whichever click typer bundles
            raise
        return error.format_message()


def test_a_second_ctrl_c_ends_what_is_leaving_at_once_and_silently():
    program = (
        "import atexit, time\nfrom artifactstore.cli import process\n"
        "atexit.register(lambda: (print('leaving', flush=True), time.sleep(100)))\nprocess.leave(130)"
    )
    leaving = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert leaving.stdout is not None
    assert leaving.stdout.readline() == "leaving\n"
    leaving.send_signal(signal.SIGINT)
    _, said = leaving.communicate(timeout=60)
    assert (leaving.returncode, said) == (130, "")
