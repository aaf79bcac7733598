"""Secrets planted at every door of automatic capture, and then looked for in all that a store has and shows."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.remote.secrets import hide, secret_names, without_secrets
from artifactstore.errors import InvalidInputError
from artifactstore.model.redaction import MARK
from artifactstore.store import Store
from artifactstore.work.secrets import looks_secret
from artifactstore.work.session.commit import commit
from artifactstore.work.session.prepared import Prepared, Step
from tests.planted import NAMES, TEXTS, forms, value
from tests.warm import command

CHILD = """
import os, subprocess, sys, warnings
warnings.simplefilter("ignore")
import artifactstore
from tests.planted import NAMES, TEXTS, forms, value

store = artifactstore.open(sys.argv[1], cache=None)
texts = [text.format(value(1000 + number)) for number, text in enumerate(TEXTS)] + [secret for _, secret in forms(1)]
numbers = iter(range(2000, 3000))

@store.step
def fetch(url, api_key, password, options, number=3):
    return 1

fetch(f"https://bob:{value(2900)}@h/x", value(2901), password=value(2902), options={"deep": [{"db_password": value(2903)}]})

params = {name: value(next(numbers)) for name in NAMES} | {"args": texts, "max_tokens": 5}
params["nested"] = {"db": {name: value(next(numbers)) for name in NAMES}}
with store.run("doors", params=params) as run:
    for text in texts:
        sys.audit("subprocess.Popen", "sh", ["sh", "-c", text], None, None)
        sys.audit("os.system", text.encode())
        sys.audit("subprocess.Popen", "p", ["p", "--password", value(next(numbers)), text], None, None)
    run.put({"a": 1}, "made")
for text in [*texts, f"401 for {value(2901)} and {os.environ['MY_API_KEY']}"]:
    try:
        with store.run("fails"):
            raise RuntimeError(text)
    except RuntimeError:
        pass

from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.user_ns["store"] = store
shell.run_cell(f"api_key = '{value(2950)}'\\nurl = 'https://u:{value(2951)}@h/x'", store_history=True)
shell.run_cell(f"%env HF_TOKEN={value(2952)}", store_history=True)
shell.run_cell("with store.run('cells') as run:\\n    run.put({'b': 2}, 'cells')", store_history=True)
"""
HIDDEN = (
    ".env", ".env-prod", "auth.json", "token.json", "rootkey.csv", ".vault-token", "credentials.csv", "password.txt", "secrets/prod.json",
    ".secrets", ".docker/config.json", ".cargo/credentials.toml", "api_key.txt", "x-firebase-adminsdk-1.json", "terraform.tfstate.backup",
    ".my.cnf", "id_rsa", ".aws/credentials", "key.pem", ".netrc", ".npmrc", ".pypirc", "kaggle.json", "my_passwords.yaml", "db-secrets.yml",
    ".streamlit/secrets.toml", ".huggingface/token", ".bash_history", "gcp-service-account.json", "prod.tfvars", "alice_accessKeys.csv",
    "hf_token.txt", ".config.secret", "vpn.ovpn", ".s3cfg", "clearml.conf",
)  # fmt: skip
SHOWN = (
    ".env.example", "environment.py", "secret_santa.csv", "secret_santa.py", "tokenizer.json", "special_tokens_map.json", "added_tokens.json",
    "keys.py", "id_rsa.pub", "passwords.py", "secrets/__init__.py", "auth.py", "token_count.json", "sort_key.json", "keyboard.json",
    "credentials.py", "api_keys.md", "monkey.txt", "compass.toml",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HIDDEN)
def test_files_that_hold_secrets_are_known_by_their_names(name: str):
    assert looks_secret(name)
    assert looks_secret(f"deep/{name}")
    assert looks_secret(name.upper())


@pytest.mark.parametrize("name", SHOWN)
def test_files_that_only_sound_so_are_stored(name: str):
    assert not looks_secret(name)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, set[str]]:
    """A store that a program has worked with whose every automatic door had secrets, and these secrets."""
    top = tmp_path_factory.mktemp("planted")
    repository = top / "code"
    repository.mkdir()
    everywhere = {value(number) for number in range(1000, 3100)} | {secret for _, secret in forms(1)}
    numbers = iter(range(3000, 3090))
    for name in HIDDEN:
        (repository / name).parent.mkdir(exist_ok=True, parents=True)
        (repository / name).write_text(value(next(numbers)))
    (repository / "train.py").write_text(CHILD)
    lock = "\n".join(
        f"--extra-index-url https://ci:{value(3090)}@h/simple\nhttps://{value(3091)}@h/x.whl\n# {one}" for _, one in forms(1)
    )
    (repository / "requirements.txt").write_text(lock)
    (repository / "uv.lock").write_text(f'source = {{ registry = "https://u:{value(3092)}@h/simple" }}\n')
    (repository / ".gitignore").write_text("requirements.txt\nuv.lock\n")
    git = ["git", "-c", "user.email=a@b", "-c", "user.name=n"]
    remote = f"https://oauth2:{value(3093)}@h/x.git"
    for arguments in (["init", "-q", "."], ["add", "train.py"], ["commit", "-q", "-m", "x"], ["remote", "add", "origin", remote]):
        subprocess.run([*git, *arguments], cwd=repository, check=True)
    command = [f"--{name}={value(2100 + number)}" for number, name in enumerate(NAMES)]
    command += [word for number, name in enumerate(NAMES) for word in (f"--{name}", value(2200 + number))]
    command += [text.format(value(2300 + number)) for number, text in enumerate(TEXTS)] + [secret for _, secret in forms(1)]
    env = {**os.environ, "MY_API_KEY": value(3095), "PYTHONPATH": str(Path(__file__).parents[2]), "NXF_TASK_NAME": f"x --password {value(3096)}",
           "CONTAINER_IMAGE": f"https://u:{value(3097)}@h/image:1", "IPYTHONDIR": str(top / "ipython")}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "train.py", str(top / "store"), *command], cwd=repository, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return artifactstore.open(top / "store", cache=None), everywhere


def found(text: str, secrets: set[str]) -> set[str]:
    """Return the secrets in a text; those without a form of their own are looked for by how they begin."""
    here = {one for one in secrets if one.startswith("Zx") is False and one in text}
    return here | {one for one in re.findall(r"Zx\d{4}\w{14}", text) if one in secrets}


def test_no_secret_is_in_anything_that_the_store_holds(planted: tuple[Store, set[str]], tmp_path: Path):
    store, secrets = planted
    raw = "".join(path.read_bytes().decode(errors="replace") for path in Path(store.url).rglob("*") if path.is_file())
    assert found(raw, secrets) == set()
    with store._session.state() as state:
        digests = [*state.stored]
    assert len(digests) >= 4, "code, environment, cells, and what was made"
    files: list[str] = []
    for number, digest in enumerate(digests):
        store._session.with_manifest(digest, lambda manifest: files.extend(manifest.paths))
        from artifactstore.work.get.get import get

        got = get(store._session, digest, tmp_path / str(number), decode=False)
        for path in [got, *got.rglob("*")]:
            if path.is_file():
                assert found(path.read_text(errors="replace"), secrets) == set(), path
    assert not {*HIDDEN} & {*files}
    assert "train.py" in files


@pytest.mark.slow
def test_no_secret_is_in_anything_that_the_store_shows(planted: tuple[Store, set[str]], tmp_path: Path):
    store, secrets = planted
    runs = store.runs()
    lineage = store.lineage("made")
    shown = [
        repr(runs),
        str(runs.to_arrow().to_pylist()),
        runs._repr_html_(),
        store.log().to_arrow().to_pylist(),
        str(store.why("made", "cells")),
    ]
    shown += [lineage.export(standard) for standard in ("prov", "openlineage", "slsa")]
    lineage.export("ro-crate", tmp_path / "crate")
    shown += [path.read_text(errors="replace") for path in (tmp_path / "crate").rglob("*") if path.is_file()]
    for arguments in (
        ["log"],
        ["runs"],
        ["show", "made"],
        ["log", "--json"],
        ["runs", "--json"],
        ["why", runs[-1].id, runs[-2].id, "--json"],
    ):
        done = command(*arguments, "--store", store.url)
        shown.append(done.stdout + done.stderr)
    for one in shown:
        assert found(one if isinstance(one, str) else json.dumps(one, default=str), secrets) == set()


@pytest.mark.slow
def test_what_was_taken_out_is_marked_and_the_rest_is_there(planted: tuple[Store, set[str]]):
    store, _ = planted
    (run,) = store.runs("doors")
    assert {name: run.params[name] for name in NAMES} == dict.fromkeys(NAMES, MARK)
    assert run.params["nested"]["db"] == dict.fromkeys(NAMES, MARK)
    assert run.params["max_tokens"] == 5
    assert f"--password={MARK}" in run.command
    assert [word for word in run.command if word.startswith("--lr")] == []
    assert all(MARK in str(words) for words in run.programs)
    assert all(MARK in str(one.error) for one in store.runs("fails"))
    (step,) = store.runs("__main__.fetch")
    assert step.params == {
        "url": f"https://{MARK}@h/x", "api_key": MARK, "password": MARK, "options": {"deep": [{"db_password": MARK}]}, "number": 3
    }  # fmt: skip
    assert run.code["remotes"] == {"origin": "https://h/x.git"}
    environment = next(one for one in store.lineage(run.id).inputs if one.kind == "environment")
    assert environment.digest is not None
    locks = store.get(environment.digest)["locks"]
    assert f"--extra-index-url https://{MARK}@h/simple" in locks["requirements.txt"]


def test_a_field_that_is_captured_tomorrow_passes_the_redactor_too(store: Store):
    secret = value(11)
    store.put(b"x", "n")
    digest = store.artifact("n").digest
    facts: list[dict[str, Any]] = [
        {"fact": "started", "run": "r", "name": "x", "of_tomorrow": {"db_password": secret}},
        {"fact": "used", "run": "r", "digest": digest, "code": {"of_tomorrow": f"https://u:{secret}1@h/x"}},
        {"fact": "finished", "run": "r", "status": "finished", "said": f"--password {secret}2"},
    ]
    commit(store._session, Step(lambda _core: Prepared(facts, 1, "")))
    fields = [event.fields for event in store.log()][-3:]
    assert secret not in str(fields)
    assert str(fields).count(MARK) == 3


def test_parameters_that_look_like_secrets_are_told_once(store: Store):
    with (
        pytest.warns(UserWarning, match=r"recorded as \[redacted\]: unheard_of_password"),
        store.run("a", params={"unheard_of_password": "x1"}, code=False) as run,
    ):
        pass
    assert run.params == {"unheard_of_password": MARK}
    with store.run("b", params={"unheard_of_password": "x2", "max_tokens": 5}, code=False) as run:  # a warning would be an error
        pass
    assert store.runs()[-1].params == {"unheard_of_password": MARK, "max_tokens": 5}


# -- storage options

SECRET_OPTIONS: list[dict[str, object]] = [
    {"headers": {"Authorization": "Bearer {}"}}, {"headers": {"X-Api-Auth": "{}"}}, {"headers": {"Cookie": "session={}"}},
    {"client_kwargs": {"headers": {"Authorization": "Basic {}"}}}, {"client_kwargs": {"cookies": {"a": "{}"}}}, {"headers": {"X-Custom": "{}"}},
    {"key": "{}"}, {"secret": "{}"}, {"token": "{}"}, {"client_kwargs": {"aws_secret_access_key": "{}"}}, {"password": "{}"}, {"passphrase": "{}"},
    {"account_key": "{}"}, {"sas_token": "sv=1&sig={}"}, {"connection_string": "AccountName=a;AccountKey={};EndpointSuffix=x"},
    {"client_secret": "{}"}, {"credential": "{}"}, {"auth": ["user", "{}"]}, {"auth": {"user": "u", "code": "{}"}}, {"cookies": "{}"},
    {"session": "{}"}, {"pwd": "{}"}, {"AWS_KEY": "{}"}, {"endpoint_url": "https://u:{}@host"}, {"client_kwargs": {"proxy": "http://u:{}@proxy:3128"}},
    {"client_kwargs": {"deep": {"deeper": [{"api_key": "{}"}]}}}, {"endpoint_url": "https://h/?sig={}"}, {"x": "sk-proj-{}"},
    {"default_headers": {"X-Vault": "{}"}}, {"encoding": "utf8", "params": {"access_token": "{}"}},
]  # fmt: skip
FINE_OPTIONS: list[dict[str, object]] = [
    {"username": "bob", "port": 22, "key_filename": "/home/me/.ssh/id"}, {"anon": True}, {"token": "anon"}, {"token": "google_default"}, {"key": None},
    {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9000", "region_name": "eu"}}, {"headers": {"User-Agent": "me", "Accept": "*/*"}},
    {"look_for_keys": False, "allow_agent": True, "known_hosts": "/x"}, {"profile": "team", "use_ssl": True}, {"account_name": "a"},
    {"config_kwargs": {"max_pool_connections": 5, "s3": {"addressing_style": "path"}}}, {"project": "p", "requester_pays": True}, {"timeout": 5.5},
]  # fmt: skip


def filled(given: object, secret: str) -> object:
    if isinstance(given, dict):
        return {key: filled(one, secret) for key, one in given.items()}
    if isinstance(given, list):
        return [filled(one, secret) for one in given]
    return given.format(secret) if isinstance(given, str) else given


@pytest.mark.parametrize("given", SECRET_OPTIONS, ids=str)
def test_one_rule_tells_secret_options(given: dict[str, object]):
    secret = value(8)
    options: dict[str, object] = filled({**given, "region": "eu"}, secret)  # type: ignore[assignment]
    assert secret_names(options)
    assert secret not in json.dumps(without_secrets(options))
    assert without_secrets(options)["region"] == "eu"
    assert secret not in hide(
        f"the server says: {'sk-proj-' if 'x' in given else ''}{secret} is wrong, {json.dumps(options)}", options
    )


@pytest.mark.parametrize("given", FINE_OPTIONS, ids=str)
def test_options_that_are_no_secrets_travel(given: dict[str, object]):
    assert secret_names(given) == []
    assert without_secrets(given) == given


@pytest.fixture
def published(store: Store, tmp_path: Path) -> Iterator[str]:
    """The URL of a web server that has the store."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with store.run("t", code=False) as run:
        run.put(b"x", "n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=store.url))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_neither_pickles_nor_files_nor_variables_hold_secret_options(published: str, tmp_path: Path):
    import pickle

    secret = value(9)
    options = {"headers": {"Authorization": f"Bearer {secret}", "User-Agent": "me"}}
    store = artifactstore.open(published, "r", storage_options=options, cache=None)
    for one in (store, store._session.backend):
        with pytest.raises(InvalidInputError, match=r"headers\.Authorization") as caught:
            pickle.dumps(one)
        assert secret not in str(caught.value)
    assert secret not in repr(store) + repr(store._session.backend)
    folder = tmp_path / "again"
    code = "import json, os, pathlib; pathlib.Path(os.environ['ARTIFACTSTORE_FORK']).with_name('seen.json').write_text(json.dumps(dict(os.environ)))"
    made = store.lineage("n").reproduce(folder, env=False, command=[sys.executable, "-c", code])
    assert any("headers.Authorization" in note for note in made.notes)
    fork = folder / "fork.json"
    assert stat.S_IMODE(fork.stat().st_mode) == 0o600
    assert json.loads(fork.read_text())["options"] == {"headers": {"User-Agent": "me"}}
    assert (folder / "seen.json").exists()
    for path in folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
