"""What the README and the documents show is run as it stands there."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.warm import command

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> list[tuple[str, str]]:
    """Return the blocks that are run, with their languages, in the order in which they are read."""
    found = BLOCK.findall(document.read_text())
    return [(name, text) for name, text in found if name in {"python", "console"} and "# not run here" not in text]


def commands(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


# The command of all documents but the README: it asks the test for what the command would do, in a process of its own.
ASKING = """#!{python} -ISE
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({address!r})
asked.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode())
asked.shutdown(socket.SHUT_WR)
code, out, err = json.load(asked.makefile())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def commands_in(folder: Path) -> Iterator[None]:
    """Put a program called `artifactstore` into a folder, which runs the command where its imports are done."""
    address = str(folder / "socket")
    program = folder / "artifactstore"
    program.write_text(ASKING.format(python=sys.executable, address=address))
    program.chmod(0o755)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as file:
                words, env, cwd = json.load(file)
                if words == ["end"]:
                    return
                done = command(*words, env=env, cwd=Path(cwd))
                json.dump([done.returncode, done.stdout, done.stderr], file)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            subprocess.run([program, "end"], capture_output=True, check=False)
            thread.join()


@contextmanager
def variables_restored() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# The pages of the tutorial are one story: each goes on where the one before ended.
TUTORIAL = [path for path in DOCUMENTS if path.parent.name == "tutorial"]
STORIES = [TUTORIAL, *([path] for path in DOCUMENTS if path not in TUTORIAL)]


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story[0].relative_to(ROOT).as_posix())
def test_the_snippets_of_a_document_run(story: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        if any(commands(text) for document in story for _, text in blocks(document)) and story != [ROOT / "README.md"]:
            stack.enter_context(commands_in(Path(folder)))
            folders.insert(0, folder)
        stack.enter_context(variables_restored())
        own = {"PATH": os.pathsep.join(folders), "VARIABLES": str(Path(folder, "variables"))}
        for document in story:
            for language, text in blocks(document):
                if language == "python":
                    exec(compile(text, str(document), "exec"), names)
                elif commands(text):
                    script = [
                        "set -e",
                        'touch "$VARIABLES"; . "$VARIABLES"; cd "$PWD"',
                        *commands(text),
                        'export -p > "$VARIABLES"',
                    ]
                    done = subprocess.run(
                        ["bash", "-c", "\n".join(script)], capture_output=True, text=True, check=False, env={**os.environ, **own}
                    )
                    assert done.returncode == 0, done.stderr + done.stdout
