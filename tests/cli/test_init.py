"""`init` on a terminal: what it asks, what it writes, and that it never asks where nobody answers."""

import os
import pty
import re
import select
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError
from artifactstore.cli import main
from artifactstore.cli.setup.files import gitignored, ignore, repository, with_url, write_url

TOP: tuple[str, ...] = ()
TOOL = ("tool", "artifactstore")


@pytest.mark.parametrize(("table", "text", "expected"), [
    (TOP, "", 'url = "s"\n'),
    (TOP, "# mine\nactor = 'me'\n", 'url = "s"\n# mine\nactor = \'me\'\n'),
    (TOP, "url = 'old' # why\n[stores.a]\nurl = 'x'\n", "url = \"s\"\n[stores.a]\nurl = 'x'\n"),
    (TOP, "[stores.a]\nurl = 'x'", "url = \"s\"\n[stores.a]\nurl = 'x'\n"),
    (TOOL, "", '[tool.artifactstore]\nurl = "s"\n'),
    (TOOL, "[project]\nname = 'p'", "[project]\nname = 'p'\n\n[tool.artifactstore]\nurl = \"s\"\n"),
    (TOOL, "[tool.artifactstore]\nactor = 'a'\n[tool.b]\nurl = 1\n", "[tool.artifactstore]\nurl = \"s\"\nactor = 'a'\n[tool.b]\nurl = 1\n"),
    (TOOL, "[ tool . artifactstore ] # ours\nurl='o'\n", '[ tool . artifactstore ] # ours\nurl = "s"\n'),
    (TOOL, "[tool.artifactstore.stores.a]\nurl = 'x'\n", "[tool.artifactstore.stores.a]\nurl = 'x'\n\n[tool.artifactstore]\nurl = \"s\"\n"),
    (TOOL, "a = 1\r\n", 'a = 1\r\n\r\n[tool.artifactstore]\r\nurl = "s"\r\n'),
    (TOOL, "t = '''\n[tool.artifactstore]\n'''\n[tool.x]\n", None),
    (TOOL, "tool = {artifactstore = {actor = 'a'}}\n", None),
    (TOOL, "tool = 1\n", None),
    (TOOL, "[tool.artifactstore]\nurl = '''\nlong'''\n", None),
    (TOOL, "nothing of it is TOML", None),
])  # fmt: skip
def test_the_url_is_written_and_all_else_stays(table: tuple[str, ...], text: str, expected: str | None):
    if expected is None:
        with pytest.raises(InvalidInputError, match=r"it is not TOML|written in an unusual way: add url = \"s\" yourself"):
            with_url(text, table, "s")
        return
    made = with_url(text, table, "s")
    assert made == expected
    assert with_url(made, table, "s") == made
    assert with_url(made, table, 'ü"\\') != made


def test_a_file_that_cannot_be_changed_is_named_and_keeps_its_mode(tmp_path: Path):
    path = tmp_path / "deep/config.toml"
    write_url(path, TOP, "s")
    path.chmod(0o640)
    (tmp_path / "link.toml").symlink_to(path)
    write_url(tmp_path / "link.toml", TOP, "t")
    assert (path.stat().st_mode & 0o777, tomllib.loads(path.read_text()), (tmp_path / "link.toml").is_symlink()) == (
        0o640,
        {"url": "t"},
        True,
    )
    path.write_bytes(b"\xff")
    for bad in (path, path / "below.toml", tmp_path):
        with pytest.raises(InvalidInputError, match=re.escape(f"cannot write {bad}: ")):
            write_url(bad, TOP, "s")
    assert path.read_bytes() == b"\xff"


@pytest.mark.parametrize("lines", [None, "", "*.pyc", "*.pyc\n", "build/\r\n"])
def test_a_line_is_added_to_gitignore_once(tmp_path: Path, lines: str | None):
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub/store").mkdir(parents=True)
    if lines is not None:
        (tmp_path / ".gitignore").write_bytes(lines.encode())
    assert repository(tmp_path / "sub") == tmp_path
    line = gitignored(tmp_path, tmp_path / "sub/store")
    assert line == "/sub/store/"
    ignore(tmp_path, line)
    assert gitignored(tmp_path, tmp_path / "sub/store") is None
    assert (tmp_path / ".gitignore").read_text().split() == [*(lines or "").split(), line]
    for outside in (tmp_path, tmp_path.parent, Path("/elsewhere")):
        assert gitignored(tmp_path, outside) is None
    for known in ("sub/store", "/sub/store", "sub/store/", "  /sub/store/  "):
        (tmp_path / ".gitignore").write_text(known + "\n")
        assert gitignored(tmp_path, tmp_path / "sub/store") is None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "p"\n')
    monkeypatch.chdir(folder / "sub")
    return folder


def talk(*answers: tuple[str, str]) -> tuple[int, str]:
    """Run `init` on a pseudo-terminal; each answer is typed when its question is there. Returns exit code and screen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "artifactstore", "init"])
    seen, left, end = "", list(answers), time.monotonic() + 120
    start, status = 0, None
    while time.monotonic() < end:
        if select.select([fd], [], [], 1)[0]:
            try:
                seen += os.read(fd, 65536).decode(errors="replace")
            except OSError:
                break
            if not left:
                ended, code = os.waitpid(pid, os.WNOHANG)
                status = code if ended else None
            if not seen or status is not None:
                break
            if left and left[0][0] in seen[start:]:
                start = len(seen)
                os.write(fd, left.pop(0)[1].encode())
    os.close(fd)
    code = os.waitpid(pid, 0)[1] if status is None else status
    assert left == [], seen
    return os.waitstatus_to_exitcode(code), seen


def test_a_terminal_is_asked_where_and_which_file_names_the_store(project: Path):
    code, screen = talk(
        ("Where [", "s3:/typo\n"),
        ("Where [", "../artifacts\n"),
        ("Which (project, user, none) [project]", "\n"),
        (".gitignore? [Y/n]", "\n"),
    )
    assert code == 0, screen
    assert "error: this URL begins with s3: but lacks the two slashes" in screen
    assert tomllib.loads((project / "pyproject.toml").read_text()) == {
        "project": {"name": "p"},
        "tool": {"artifactstore": {"url": "artifacts"}},
    }
    assert (project / ".gitignore").read_text() == "/artifacts/\n"
    assert artifactstore.open().url == str(project / "artifacts")
    assert all(len(line) <= 80 or "/" in line for line in screen.splitlines())
    # Again: the file names it already, and git leaves it out.
    code, screen = talk((f"Where [{project}/artifacts]", "\n"))
    assert (code, screen.splitlines()[-1].strip(": ")) == (0, str(project / "artifacts"))  # the prompt may end after the answer


def test_a_folder_outside_of_the_project_is_named_for_the_user_alone(project: Path, tmp_path: Path):
    code, screen = talk(("Where [", f"{tmp_path}/elsewhere\n"), ("Which (project, user, none) [user]", "\n"))
    assert code == 0, screen
    assert "artifactstore" not in (project / "pyproject.toml").read_text()
    assert artifactstore.open().url == str(tmp_path / "elsewhere")


def test_a_store_with_a_name_is_written_by_its_name(project: Path, tmp_path: Path):
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "artifactstore/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'[stores.team]\nurl = "{tmp_path}/team"\n')
    code, screen = talk(("Where [", "team\n"), ("Which (", "project\n"))
    assert code == 0, screen
    assert tomllib.loads((project / "pyproject.toml").read_text())["tool"]["artifactstore"] == {"url": "team"}
    assert artifactstore.open().url == str(tmp_path / "team")


@pytest.mark.slow
def test_the_users_file_and_a_remote_location_that_is_examined(project: Path, s3_url: str):
    code, screen = talk(("Where [", f"{s3_url}\n"), ("Which (", "u\n"))
    assert code == 0, screen
    assert "every guarantee that a store needs holds" in screen
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "artifactstore/config.toml"
    assert tomllib.loads(config.read_text()) == {"url": s3_url}
    assert artifactstore.open().url == s3_url
    assert "artifactstore" not in (project / "pyproject.toml").read_text()
    assert not (project / ".gitignore").exists()


def test_an_end_of_input_leaves_everything_as_it_was(project: Path):
    code, _ = talk(("Where [", "\x04"))
    assert code == 130
    assert {one.name for one in project.iterdir()} == {"sub", ".git", "pyproject.toml"}


def test_without_a_terminal_or_with_a_url_nothing_is_asked(project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    done = subprocess.run(
        [sys.executable, "-m", "artifactstore", "init"], input="x\n", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(Path(os.environ["XDG_DATA_HOME"]) / "artifactstore/store")
    assert main(["init", str(tmp_path / "s")]) == 0
    assert main(["init", "--store", str(tmp_path / "t"), "--json"]) == 0
    assert "Where" not in done.stderr + capfd.readouterr().err
    assert (project / "pyproject.toml").read_text() == '[project]\nname = "p"\n'
