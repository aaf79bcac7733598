"""The actor as a token states it: verified by given keys, recorded without the token, and never shown as more than it is."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("cryptography")

import artifactstore
from artifactstore.cli import main
from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import parse_entry, parse_txn
from artifactstore.store import Store
from artifactstore.work.settings import identity
from tests.signing.private_keys import private, public_pem
from tests.signing.test_tokens import ALGORITHMS, ISSUER, SUBJECT, b64, jwk
from tests.signing.test_tokens import token as made_token

GITHUB: Final = {
    "repository": "acme/churn",
    "ref": "refs/heads/main",
    "sha": "4f2a91c0",
    "run_id": "99",
    "run_attempt": "1",
    "workflow": "train",
    "actor": "ann",
    "ref_protected": True,
}


def token(algorithm: str = "RS256", header: dict[str, Any] | None = None, which: int = 0, **claims: Any) -> str:
    now = int(time.time())
    return made_token(
        algorithm, {"aud": "artifactstore", "iat": now - 5, "nbf": now - 5, "exp": now + 300, **GITHUB, **claims}, header, which
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    identity._known.clear()
    for name in (*identity._DECIDES, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ARTIFACTSTORE_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The keys that count: an issuer with a key of each algorithm."""
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk(one) for one in ALGORITHMS]}))
    path = tmp_path / "keys.toml"
    path.write_text(f'[ci]\nissuer = "{ISSUER}"\njwks = "jwks.json"\nsubjects = ["repo:acme/churn:*"]\nroles = ["release"]\n')
    monkeypatch.setenv("ARTIFACTSTORE_KEYS", str(path))
    return path


def opened(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


def stored_bytes(store: Store) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(Path(store.url).rglob("*")) if path.is_file())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_verified_token_is_the_actor_and_is_not_recorded(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, capfd
):
    given = token(algorithm)
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", f"{given}\n")
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "alice")  # a claim does not outweigh what is known
    store = opened(tmp_path)
    store.put(b"x", "n", reason="r")
    with store.run("train"):
        store.put(b"y", "m")
    for event in store.log():
        assert (event.actor, event.identity) == (SUBJECT, "oidc")
        assert event.claims == {"iss": ISSUER, "sub": SUBJECT, **GITHUB, "ref_protected": "true"}
    assert main(["log", "--store", store.url, "--json", "--facts"]) == 0
    assert main(["log", "--store", store.url]) == 0
    printed = "".join(capfd.readouterr())
    for part in (given, *given.split(".")):
        assert part.encode() not in stored_bytes(store)
        assert part not in printed
    assert '"run_id": "99"' in printed


def as_secret(header: dict[str, Any], secret: bytes) -> str:
    """Return a token whose signature is a HMAC by something public."""
    now = int(time.time())
    parts = [{"typ": "JWT", **header}, {"iss": ISSUER, "sub": SUBJECT, "aud": "artifactstore", "exp": now + 300}]
    signed = ".".join(b64(json.dumps(one).encode()) for one in parts)
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def unsigned(algorithm: Any) -> str:
    _, claims, _ = token().split(".")
    return f"{b64(json.dumps({'alg': algorithm, 'typ': 'JWT'}).encode())}.{claims}."


NOW: Final = int(time.time())
REFUSED: Final = {
    "alg none": lambda: unsigned("none"),
    "alg None": lambda: unsigned("None"),
    "alg null": lambda: unsigned(None),
    "HS256 by the public key": lambda: as_secret({"alg": "HS256"}, public_pem(private("RSA")).encode()),
    "RS256 whose signature is a HMAC": lambda: as_secret({"alg": "RS256", "kid": "rsa0"}, public_pem(private("RSA")).encode()),
    "HS256 by the JWK": lambda: as_secret({"alg": "HS256", "kid": "rsa0"}, json.dumps(jwk("RS256")).encode()),
    "another key": lambda: token(which=1, header={"kid": "rsa0"}),
    "another key id": lambda: token(header={"kid": "rsa9"}),
    "an algorithm that is not the key's": lambda: token(header={"alg": "ES256"}),
    "an algorithm for RSA that is not supported": lambda: token(header={"alg": "RS512"}),
    "an extension": lambda: token(header={"crit": ["b64"]}),
    "another issuer": lambda: token(iss="https://evil.example"),
    "an issuer with a slash more": lambda: token(iss=ISSUER + "/"),
    "another audience": lambda: token(aud="sts.amazonaws.com"),
    "no audience": lambda: token(aud=None),
    "an audience that contains ours": lambda: token(aud="artifactstore.evil"),
    "our audience as the nonce": lambda: token(aud="x", nonce="artifactstore"),
    "another subject": lambda: token(sub="repo:evil/churn:ref:refs/heads/main"),
    "a subject that begins like it": lambda: token(sub="repo:acme/churn-evil:ref:x"),
    "expired": lambda: token(exp=NOW - 90),
    "never expires": lambda: token(exp=None),
    "expires at a text": lambda: token(exp="9999999999"),
    "expires at true": lambda: token(exp=True),
    "not valid yet": lambda: token(nbf=NOW + 600),
    "issued in the future": lambda: token(iat=NOW + 600),
    "a changed claim": lambda: ".".join([token().split(".")[0], token(sub=SUBJECT + "x").split(".")[1], token().split(".")[2]]),
    "no token": lambda: "hello",
    "two parts": lambda: "a.b",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_token_that_no_key_vouches_for_writes_nothing(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    given = REFUSED[what]()
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", given)
    store = opened(tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        store.put(b"x", "n")
    assert len(given) < 10 or given.rsplit(".", 1)[-1] not in str(caught.value) or given.endswith(".")
    assert given not in str(caught.value)
    assert given not in repr(caught.value.__cause__)
    assert not list(Path(store.url).glob("journal/**/*.json"))


def test_clocks_may_differ_by_a_minute_and_an_audience_may_be_one_of_several(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    now = int(time.time())
    for claims in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}, {"aud": ["x", "artifactstore"]}):
        identity._known.clear()
        monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", token(**claims))
        opened(tmp_path).put(repr(claims).encode(), "n")
    assert {one.identity for one in opened(tmp_path).log()} == {"oidc"}


def test_the_audience_of_an_issuer_may_be_named_and_its_end_counts(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
    text = keys.read_text()
    keys.write_text(text + 'audience = "acme"\n')
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", token())
    with pytest.raises(InvalidInputError, match="issued for 'artifactstore', expected the audience 'acme'"):
        opened(tmp_path).put(b"x", "n")
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", token(aud="acme"))
    opened(tmp_path).put(b"x", "n")
    keys.write_text(text + "until = 2020-01-01\n")
    identity._known.clear()
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", token())
    with pytest.raises(InvalidInputError, match="has expired"):
        opened(tmp_path).put(b"y", "n")


def test_without_keys_a_token_is_a_claim_and_an_identity_that_was_asked_for_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", token())
    with pytest.warns(UserWarning, match="is not verified, so the actor is recorded as claimed"):
        opened(tmp_path).put(b"x", "n")
    event = opened(tmp_path).log()[-1]
    assert (event.actor, event.identity, event.claims["run_id"]) == (SUBJECT, "claimed", "99")
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "oidc")
    with pytest.raises(InvalidInputError, match="no keys of an issuer"):
        opened(tmp_path).put(b"y", "n")
    monkeypatch.delenv("ARTIFACTSTORE_ID_TOKEN")
    with pytest.raises(InvalidInputError, match="has no token: looked for"):
        opened(tmp_path).put(b"y", "n")
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "root")
    with pytest.raises(InvalidInputError, match="expected oidc"):
        opened(tmp_path).put(b"y", "n")
    assert opened(tmp_path).artifact("n").digest, "reading needs no identity"


def test_a_token_may_be_in_a_file(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "token").write_text(token() + "\n")
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN_FILE", str(tmp_path / "token"))
    opened(tmp_path).put(b"x", "n")
    assert opened(tmp_path).log()[-1].identity == "oidc"
    for name in ("none", "binary", "."):
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN_FILE", str(tmp_path / name))
        with pytest.raises(InvalidInputError, match="cannot read the token of"):
            opened(tmp_path).put(b"y", "n")


def test_a_forked_process_keeps_the_identity(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text(token())
    store = opened(tmp_path)
    store.put(b"x", "n")
    (tmp_path / "token").write_text("gone")  # as one that has expired meanwhile
    child = os.fork()
    if not child:
        code = 1
        try:
            store.put(b"y", "n")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert [one.identity for one in opened(tmp_path).log() if one.fact == "versioned"] == ["oidc", "oidc"]


@pytest.mark.parametrize("claims", [5, [], {"run_id": 5}, {"a": {"b": "c"}}, None, "x"])
def test_claims_that_a_writer_made_up_in_another_form_stop_no_reader(tmp_path: Path, claims: Any):
    store = opened(tmp_path)
    store.put(b"x", "n")
    path = max(Path(store.url).glob("journal/*/*.json"))
    entry = json.loads(path.read_bytes())
    entry["txns"][0]["claims"] = claims
    raw = canonical_json(entry)
    assert parse_entry(raw, "k")["txns"][0]["actor"] == entry["txns"][0]["actor"]
    assert parse_txn(canonical_json(entry["txns"][0]))["txn"] == entry["txns"][0]["txn"]
    path.chmod(0o644)
    path.write_bytes(raw)
    event = opened(tmp_path).log()[-1]
    assert (event.claims, event.name) == ({}, "n")


class Provider(BaseHTTPRequestHandler):
    """The service that gives tokens to jobs of GitHub Actions."""

    calls: list[dict[str, Any]]
    answers: list[tuple[int, Any]]

    def do_GET(self) -> None:
        given = {name: one[0] for name, one in parse_qs(urlsplit(self.path).query).items()}
        self.calls.append({**given, "bearer": self.headers["Authorization"]})
        code, value = self.answers.pop(0) if self.answers else (200, None)
        body = json.dumps({"value": token(aud=given["audience"])} if value is None else value).encode()
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "http://localhost:9/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """Serve tokens, and yield the URL of the service."""
    Provider.calls, Provider.answers = [], []
    server = HTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Provider]]:
    with served() as url:
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", url)
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job")
        yield Provider


def test_github_gives_a_token_on_request(
    tmp_path: Path, keys: Path, provider: type[Provider], monkeypatch: pytest.MonkeyPatch, capfd
):
    opened(tmp_path).put(b"x", "n")
    assert (provider.calls, opened(tmp_path).log()[-1].identity) == ([], "os"), "nothing is requested unless it is asked for"
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "oidc")
    opened(tmp_path).artifact("n")
    assert provider.calls == [], "reading needs no identity"
    store = opened(tmp_path)
    store.put(b"y", "n")
    store.put(b"z", "n")
    opened(tmp_path).put(b"a", "n")
    assert provider.calls == [{"api-version": "2.0", "audience": "artifactstore", "bearer": "Bearer bearer-of-the-job"}]
    assert (opened(tmp_path).log()[-1].actor, opened(tmp_path).log()[-1].identity) == (SUBJECT, "oidc")
    assert b"bearer-of-the-job" not in stored_bytes(store)


@pytest.mark.parametrize(
    "case",
    [
        ((403, {"message": "no"}), "gives this job no token: it answers 403"),
        ((302, {}), "gives this job no token: it answers 302"),
        ((503, {}), "it answers 503"),
        ((200, {"value": ""}), "its answer has none"),
        ((200, ["x"]), "its answer has none"),
        ((200, {"value": "not a token"}), "not a JSON web token"),
    ],
)
def test_a_service_that_gives_no_token_is_an_error(
    tmp_path: Path, keys: Path, provider: type[Provider], monkeypatch: pytest.MonkeyPatch, case: tuple[tuple[int, Any], str]
):
    answer, words = case
    provider.answers = [answer] * 20
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "oidc")
    with pytest.raises((BackendError, InvalidInputError), match=words) as caught:
        opened(tmp_path).put(b"x", "n")
    assert "bearer-of-the-job" not in str(caught.value)
    assert not list((tmp_path / "store").glob("journal/**/*.json"))


def test_credentials_of_a_job_go_to_https_only(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "oidc")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job")
    for url in ("http://evil.example/token", "file:///etc/passwd", "ftp://x", "x"):
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", url)
        with pytest.raises(InvalidInputError, match="must be an https"):
            opened(tmp_path).put(b"x", "n")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:9/token")
    with pytest.raises(BackendError, match="cannot be reached"):
        opened(tmp_path).put(b"x", "n")


def test_a_job_approves_by_a_token_that_is_requested_for_the_approval(
    tmp_path: Path, keys: Path, provider: type[Provider], monkeypatch: pytest.MonkeyPatch, capfd
):
    store = opened(tmp_path)
    store.put(b"x", "n")
    monkeypatch.setenv("ARTIFACTSTORE_IDENTITY", "oidc")
    words = ["approve", "n:v1", "--store", store.url, "--role", "release", "--key", "oidc:release job", "-m", "run 9"]
    assert main(words) == 0, capfd.readouterr()
    assert [one["audience"].partition(":")[0] for one in provider.calls] == ["artifactstore", "artifactstore"]
    (found,) = opened(tmp_path).registry.approvals("n:v1")
    assert (found.status, found.identity, found.actor, found.name) == ("valid", "oidc", SUBJECT, "release job")
    text = keys.read_text()
    for more, status in (
        (f'actors = ["{SUBJECT}"]\n', "valid"),
        ('actors = ["alice"]\n', "unknown key"),
        ('audience = "x"\n', "valid"),
    ):
        keys.write_text(text + more)
        assert opened(tmp_path).registry.approvals("n:v1")[0].status == status, more
    keys.write_text(text.replace("jwks.json", "other.json"))
    (tmp_path / "other.json").write_text(json.dumps({"keys": [jwk("RS256", 1)]}))
    assert opened(tmp_path).registry.approvals("n:v1")[0].status == "unknown key"


def test_a_token_that_was_given_beforehand_signs_as_a_claim_and_is_not_recorded(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    store = opened(tmp_path)
    store.put(b"x", "n")
    given = token(name="release")
    with pytest.raises(InvalidInputError, match="this process has no token"):
        store.registry.approve("n:v1", reason="r", role="release", signer="oidc:")
    monkeypatch.setenv("ARTIFACTSTORE_ID_TOKEN", given)
    opened(tmp_path).registry.approve("n:v1", reason="r", role="release", signer="oidc:")
    (found,) = opened(tmp_path).registry.approvals("n:v1")
    assert (found.status, found.identity) == ("claimed", "oidc")
    raw = stored_bytes(store)
    for part in (given.split(".")[2], base64.b64encode(given.encode()).decode()):
        assert part.encode() not in raw
