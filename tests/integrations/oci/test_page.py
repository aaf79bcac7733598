"""The page, copied and run: its commands and its Python, against a registry."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from tests.integrations.oci.conftest import MODEL, write
from tests.warm import command

PAGE = (Path(__file__).parents[3] / "docs/integrations/oci.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(# not run here: tests/integrations/oci.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_works(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    store = artifactstore.open()
    store.put(write(tmp_path / "source", MODEL), "churn/model", kind="model")

    def real(text: str) -> str:
        return text.replace("localhost:5000", host)

    shown: dict[str, Any] = {}
    for number, text in enumerate(blocks("console")):
        for line in (line[2:] for line in text.splitlines() if line.startswith("$ ")):
            words, _, target = real(line).partition(" > ")
            done = command(*shlex.split(words)[1:])
            assert done.returncode == 0, done.stderr
            if target:
                shown = json.loads(done.stdout)
        if number == 0:
            assert list(shown) == ["target", "digest", "pinned", "blobs", "sent", "sent_bytes", "referrers"]
            assert (shown["sent"], shown["target"]) == (0, f"{host}/team/churn:stable")
            for python in blocks("python"):
                exec(real(python), {})
    assert len(blocks("console")) == 2
    assert store.artifact("copies/churn").metadata["oci.digest"] == shown["digest"]


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (["pull", "{host}/none:v1", "x", "--plain-http"], 3, "not_found"),
        (["pull", "{host}/x:none", "x", "--plain-http"], 3, "not_found"),
        (["pull", "{host}/x@sha256:" + "0" * 64, "x", "--plain-http"], 3, "not_found"),
        (["push", "none", "{host}/x", "--plain-http"], 3, "not_found"),
        (["push", "churn/model", "{host}/x@sha256:" + "0" * 64, "--plain-http"], 2, "invalid_input"),
        (["push", "churn/model", "{host}/x", "--layout", "docker", "--plain-http"], 2, "--layout"),
        (["push", "churn/model", "nowhere", "--plain-http"], 2, "HOST"),
        (["push", "churn/model", "{host}/x"], 4, "--plain-http"),
        (["export", "churn/model", "--as", "oci"], 2, "--to"),
        (["export", "churn/model", "--as", "oci", "--to", "source"], 7, "not empty"),
    ],
)
def test_the_exit_codes_are_those_of_the_errors(  # noqa: PLR0917 - fixtures
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, word: str
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    artifactstore.open().put(write(tmp_path / "source", MODEL), "churn/model", kind="model")
    done = command(*(one.format(host=registry.host) for one in words), "--json")
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
