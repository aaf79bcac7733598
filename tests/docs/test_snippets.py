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


def blocks(document: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(document.read_text()) if name == language and "# not run here" not in text]


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_snippets_of_a_document_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for text in blocks(document, "python"):
        exec(compile(text, str(document), "exec"), names)
    commands = [line[2:] for text in blocks(document, "console") for line in text.splitlines() if line.startswith("$ ")]
    if not commands:
        return
    script = "set -e\n" + "\n".join(commands)
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        if document.name != "README.md":
            stack.enter_context(commands_in(Path(folder)))
            folders.insert(0, folder)
        env = {**os.environ, "PATH": os.pathsep.join(folders)}
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr


def test_every_link_to_a_document_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"`((?:docs|benchmarks|tests)/[A-Za-z0-9_./-]+)`", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} names {target}"


def test_documents_name_no_machine_and_no_registry():
    for document in DOCUMENTS:
        assert not re.search(r"/work/|/root/|pypi\.org|files\.pythonhosted", document.read_text()), document
