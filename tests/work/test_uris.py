"""URIs of artifacts: one text for the store and a reference, wherever either is taken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli import main
from artifactstore.errors import InvalidInputError
from artifactstore.work.settings.uri import make_uri, parse_uri

REF = "churn/model@blake3:" + "ab" * 32
ODD = ["plain", "with space", "hash#mark", "per%cent", "per%41cent", "quest?ion", "plus+and&co", "ünï", "a@b"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("slashes", ["///", "/"])
def test_the_uri_of_an_artifact_leads_back_to_it(tmp_path: Path, name: str, slashes: str, capsys: Any) -> None:
    store = artifactstore.open(tmp_path / name)
    made = store.put(b"bytes", "churn/model")
    named, unnamed = made.uri.replace("///", slashes, 1), store.put(b"others").uri.replace("///", slashes, 1)
    at, _, ref = named.partition("#")
    assert ref == f"churn/model@{made.digest}"
    assert artifactstore.open(at).get(ref) == b"bytes"
    for uri in (named, f"{at}#churn/model", f"{at}#churn/model:v1", f"{at}#churn/model:latest"):
        assert main(["show", uri, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["digest"] == made.digest
    assert main(["show", unnamed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] is None


@pytest.mark.parametrize(
    ("url", "options", "uri"),
    [
        ("s3://bucket/ml", None, "artifactstore+s3://bucket/ml"),
        ("s3a://bucket/ml", {}, "artifactstore+s3://bucket/ml"),
        ("s3://b", {"endpoint_url": "http://minio:9000"}, "artifactstore+s3://b?endpoint=http://minio:9000"),
        ("s3://b", {"client_kwargs": {"endpoint_url": "http://h/x?y#z"}}, "artifactstore+s3://b?endpoint=http://h/x%3Fy%23z"),
        ("s3://b", {"endpoint_url": "http://me:secret@h", "key": "K", "secret": "S"}, "artifactstore+s3://b"),
        ("s3://b/a#b%", {"key": "K"}, "artifactstore+s3://b/a%23b%25"),
        ("abfss://c@account.dfs.core.windows.net/x", None, "artifactstore+abfss://c@account.dfs.core.windows.net/x"),
        ("gs://b/x", None, "artifactstore+gs://b/x"),
        ("ssh://host/x", None, "artifactstore+sftp://host/x"),
        ("https://host/x", None, "artifactstore+https://host/x"),
        ("memory://m", None, "artifactstore+memory://m"),
        ("/data/store", None, "artifactstore+file:///data/store"),
    ],
)
def test_a_uri_says_the_store_and_no_secret(url: str, options: dict[str, Any] | None, uri: str) -> None:
    made = make_uri(url, REF, options)
    assert made == f"{uri}#{REF}"
    parsed = parse_uri(made)
    assert parsed is not None
    assert parsed.url == url.replace("s3a://", "s3://").replace("ssh://", "sftp://")
    assert (parsed.ref, parsed.store) == (REF, uri)
    for word in ("secret", "me:", "=K", "=S"):
        assert word not in made


def test_a_store_says_the_endpoint_that_it_was_opened_with() -> None:
    parsed = parse_uri("artifactstore+s3://bucket/x?endpoint=http%3A%2F%2Fminio%3A9000#n:v1")
    assert parsed is not None
    assert (parsed.url, dict(parsed.options), parsed.ref) == ("s3://bucket/x", {"endpoint_url": "http://minio:9000"}, "n:v1")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("artifactstore+file:///x#n:v1", "'n:v1' the reference"),
        ("artifactstore+file:///x#", "no reference follows"),
        ("artifactstore+ftp://x", "schemes are file"),
        ("artifactstore+://x", "expected artifactstore"),
        ("artifactstore+s3:/bucket", "expected artifactstore"),
        ("artifactstore+s3:bucket", "expected artifactstore"),
        ("artifactstore+file://host/x", "no host"),
        ("artifactstore+file://", "absolute path"),
        ("artifactstore+s3://b?key=secret", "no 'key'"),
        ("artifactstore+s3://b?endpoint=", "no 'endpoint'"),
        ("artifactstore+s3://b?endpoint=http://a&endpoint=http://b", "once"),
        ("artifactstore+s3://b?endpoint=http://me:secret@h", "user or a password"),
        ("artifactstore+s3://me:secret@b/x", "password"),
    ],
)
def test_what_is_no_uri_of_a_store_is_one_clear_error_without_secrets(text: str, word: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        artifactstore.open(text)
    assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_uri_may_name_the_store_in_the_environment_and_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = artifactstore.open(tmp_path / "a b").put(b"x", "n").uri.partition("#")[0]
    monkeypatch.setenv("ARTIFACTSTORE_URL", uri)
    assert artifactstore.open().get("n") == b"x"
    monkeypatch.delenv("ARTIFACTSTORE_URL")
    (tmp_path / "pyproject.toml").write_text(f'[tool.artifactstore]\nurl = "{uri}"\n')
    monkeypatch.chdir(tmp_path)
    assert artifactstore.open().get("n") == b"x"


@pytest.mark.parametrize(
    "words",
    [
        ["versions", "{store}#n"],
        ["cat", "{store}#n:v1/n.txt"],
        ["get", "{store}#n", "out"],
        ["alias", "{store}#n:v1", "best", "-m", "why"],
        ["diff", "{store}#n:v1", "{store}#n:v1"],
        ["lineage", "{store}#n"],
        ["cp", "{store}#n", "m"],
        ["describe", "{store}#n", "text=new"],
        ["put", "n.txt", "m", "--onto", "{store}#n"],
        ["put", "n.txt", "m", "--onto={store}#n"],
        ["measure", "{store}#n", "auc=1", "--on", "{store}#n"],
        ["verify", "--store", "{store}"],
        ["run", "--in", "{store}#n", "--", sys.executable, "-c", "print('artifactstore+file:///x#y')"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_takes_it_for_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n.txt").write_text("text")
    store = artifactstore.open(tmp_path / "a b").put("n.txt", "n").uri.partition("#")[0]
    assert main([word.format(store=store) for word in words]) in (0, None), capfd.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "artifactstore+file:///a#n", "--store", "b"], "--store"),
        (["show", "artifactstore+file:///a#n", "--store=b"], "--store"),
        (["diff", "artifactstore+file:///a#n", "artifactstore+file:///b#n"], "///a and artifactstore+file:///b"),
        (["show", "artifactstore+file:///a#"], "no reference follows"),
        (["show", "--store", "artifactstore+file:///a#n", "n"], "the store to open"),
        (["version", "artifactstore+file:///a#n"], ""),
    ],
)
def test_a_command_works_on_one_store(words: list[str], message: str, capsys: Any) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_uri_survives_a_shell(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "a b#c")
    uri = store.put(b"x", "n").uri
    command = [sys.executable, "-m", "artifactstore", "show", uri, "--json"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["name"] == "n"
