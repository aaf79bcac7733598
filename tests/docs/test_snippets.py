"""What the README and the documents show is run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(document.read_text()) if name == language and "# not run here" not in text]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_snippets_of_a_document_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for text in blocks(document, "python"):
        exec(compile(text, str(document), "exec"), names)
    commands = [line[2:] for text in blocks(document, "console") for line in text.splitlines() if line.startswith("$ ")]
    if commands:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        script = "set -e\n" + "\n".join(commands)
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, done.stderr


def test_every_link_to_a_document_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"`((?:docs|benchmarks|tests)/[A-Za-z0-9_./-]+)`", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} names {target}"


def test_documents_name_no_machine_and_no_registry():
    for document in DOCUMENTS:
        assert not re.search(r"/work/|/root/|pypi\.org|files\.pythonhosted", document.read_text()), document
