"""Who is asking, on S3: profiles, environment, web identity, credentials that expire; and secrets that nothing says."""

import logging
import pickle
import sys
import traceback
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.errors import ArtifactStoreError, BackendError
from tests.servers.moto import ACCESS_KEY, SECRET_KEY
from tests.servers.proxy import FaultProxy, scripted
from tests.warm import command

TOKEN = "a-session-token-that-nobody-may-see"


@pytest.fixture
def nobody(s3_url, monkeypatch):
    """A place on S3, and no credentials in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    return s3_url


def settings(home: Path, **files: str) -> None:
    (home / ".aws").mkdir()
    for name, text in files.items():
        (home / ".aws" / name).write_text(text)


def signed_by(proxy: FaultProxy) -> set[str]:
    """The access keys that requests were signed with."""
    return {one.headers["authorization"].split("Credential=")[1].split("/")[0] for one in proxy.log}


def test_a_profile_says_key_region_and_endpoint(nobody, isolated, s3_server, monkeypatch):
    with FaultProxy(s3_server) as proxy:
        settings(
            isolated,
            config=f"[profile team]\nregion = eu-west-3\nendpoint_url = {proxy.url}\n",
            credentials=f"[team]\naws_access_key_id = AKIAPROFILEPROFILE\naws_secret_access_key = {SECRET_KEY}\n",
        )
        monkeypatch.setenv("AWS_PROFILE", "team")
        assert artifactstore.open(nobody).put(b"1", "name").version == 1
        assert signed_by(proxy) == {"AKIAPROFILEPROFILE"}
        assert all("/eu-west-3/s3/" in one.headers["authorization"] for one in proxy.log)


def test_a_missing_profile_is_named_with_what_to_do(nobody, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    with pytest.raises(BackendError, match=r"no usable credentials.*AWS_PROFILE"):
        artifactstore.open(nobody).put(b"1", "name")


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_environment_says_endpoint_and_region(nobody, s3_server, monkeypatch, variable):
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
        artifactstore.open(nobody).put(b"1", "name")
        assert all("/ap-south-1/s3/" in one.headers["authorization"] for one in proxy.log)
        assert {one.headers["x-amz-security-token"] for one in proxy.log} == {TOKEN}


def test_a_role_is_taken_by_web_identity(nobody, s3_server, tmp_path, monkeypatch):
    """As a pod does whose service account has a role (IRSA): a file with a token, a role, and STS."""
    (tmp_path / "token").write_text("eyJhbGciOiJub25lIn0.eyJzdWIiOiJwb2QifQ.")
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/training")
        monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "pod")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert artifactstore.open(nobody).put(b"1", "name").version == 1
        asked = [one for one in proxy.log if one.verb == "POST" and one.path == "/"]
        assert len(asked) == 1  # of STS, unsigned, once
        assert "authorization" not in asked[0].headers
        signed = [one for one in proxy.log if one is not asked[0]]
        assert all("Credential=ASIA" in one.headers["authorization"] for one in signed)
        assert all(one.headers["x-amz-security-token"] for one in signed)


def test_credentials_that_expire_in_the_middle_of_a_put_are_taken_anew(nobody, isolated, s3_server, tmp_path, monkeypatch):
    """A program gives them, another key each time; the server says that the first has expired."""
    given = tmp_path / "given"
    program = tmp_path / "give.py"
    program.write_text(
        "import json, pathlib, sys\n"
        f"given = pathlib.Path({str(given)!r})\n"
        "number = len(given.read_text()) if given.exists() else 0\n"
        "given.write_text('x' * (number + 1))\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId=f'AKIAGIVEN{{number}}', SecretAccessKey={SECRET_KEY!r}, SessionToken={TOKEN!r})))\n"
    )
    with FaultProxy(s3_server) as proxy:
        settings(isolated, config=f"[default]\nregion = us-east-1\ncredential_process = {sys.executable} {program}\n")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(nobody)
        store.put(b"1", "name")
        first = signed_by(proxy)
        assert len(first) == 1
        proxy.plan = lambda one: "expired" if one.headers["authorization"].find(next(iter(first))) > 0 else "ok"
        assert store.put(bytes(range(256)) * 1000, "name").version == 2
        assert sum(one.fault == "expired" for one in proxy.log) == 1
        assert len(signed_by(proxy)) == 2


FAULTS = ("403", "expired", "skewed", "moved", "redirect", "slowdown", "reset", "page", "failed-200")


@pytest.mark.slow
def test_no_secret_is_in_what_is_said_when_things_fail(s3_url, s3_server, caplog, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.2")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    options = {"key": ACCESS_KEY, "secret": SECRET_KEY, "token": TOKEN}
    said: list[str] = []
    with FaultProxy(s3_server) as proxy, caplog.at_level(logging.DEBUG, "artifactstore"):
        store = artifactstore.open(s3_url, cache=None, storage_options={**options, "endpoint_url": proxy.url})
        store.put(b"1", "name")
        backend = connect(s3_url, storage_options={**options, "endpoint_url": proxy.url})
        for fault in FAULTS:
            proxy.plan = lambda _, fault=fault: fault  # type: ignore[misc]
            for call in (
                lambda: store.put(b"2", "name"),
                lambda: store.get("name"),
                store.names,
                lambda: backend.write("x", b""),
                lambda: backend.delete("x"),
                lambda: list(backend.list("")),
            ):
                try:
                    call()
                except ArtifactStoreError as error:
                    said += ["".join(traceback.format_exception(error)), repr(error), repr(pickle.loads(pickle.dumps(error)))]
        for thing in (store, backend):
            said += [repr(thing), str(thing)]
            with pytest.raises(ArtifactStoreError) as refused:
                pickle.dumps(thing)
            said.append(str(refused.value))
    assert len(said) > 60
    for text in (*said, caplog.text):
        for secret in (SECRET_KEY, TOKEN, ACCESS_KEY):
            assert secret not in text


def test_no_secret_is_printed_by_the_command(s3_url, s3_server, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.2")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        for plan in ("403", "expired", "slowdown"):
            proxy.plan = lambda _, plan=plan: plan  # type: ignore[misc]
            for arguments in (["ls", "--store", s3_url], ["doctor", s3_url, "--quick", "--json"]):
                run = command(*arguments)
                assert run.returncode != 0
                assert run.stdout + run.stderr
                for secret in (SECRET_KEY, TOKEN, ACCESS_KEY):
                    assert secret not in run.stdout + run.stderr
        proxy.plan = scripted("")
