"""Who may: docker's config.json, basic and bearer authentication, TLS; secrets go to one server, and into no message."""

import base64
import datetime as dt
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError
from artifactstore.integrations import oci
from artifactstore.integrations.oci.registry.address import Address
from artifactstore.integrations.oci.registry.challenges import _parse
from artifactstore.integrations.oci.registry.credentials import Login, login_for
from artifactstore.store import Store
from tests.integrations.oci.conftest import write
from tests.servers.docker_registry import bcrypt_line, docker_registry
from tests.servers.oci import MemoryRegistry, memory_registry
from tests.servers.place import free_port

SECRET = "correct-horse-battery"
BASIC = base64.b64encode(f"ada:{SECRET}".encode()).decode()


def configure(tmp_path: Path, **config: Any) -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker/config.json").write_text(json.dumps(config))


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    path = tmp_path / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nread server\necho "$1 $server" >> {tmp_path}/asked\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Any:
    return store.put(write(tmp_path / "source", {"a": b"a", "b/c": b"c"}), "a")


@pytest.fixture(params=["basic", "bearer"])
def guarded(request: pytest.FixtureRequest, registry: MemoryRegistry) -> MemoryRegistry:
    registry.login, registry.bearer = f"ada:{SECRET}", request.param == "bearer"
    return registry


def test_those_who_have_logged_in_may_push_and_pull(
    store: Store, other: Store, tmp_path: Path, made: Any, guarded: MemoryRegistry
) -> None:
    for entry in ({"auth": BASIC}, {"username": "ada", "password": SECRET}):
        for name in (guarded.host, f"https://{guarded.host}", f"{guarded.host}/team", f"https://{guarded.host}/v1/"):
            configure(tmp_path, auths={name: entry, "elsewhere:5000": {"auth": base64.b64encode(b"eve:no").decode()}})
            oci.push(store, "a", f"{guarded.host}/team/x", plain_http=True)
            assert oci.pull(other, f"{guarded.host}/team/x", "b", plain_http=True).digest == made.digest


def test_others_may_not_and_are_told_what_to_do(store: Store, tmp_path: Path, made: Any, guarded: MemoryRegistry) -> None:
    del made
    with pytest.raises(BackendError, match="log in with `docker login`") as caught:
        oci.push(store, "a", f"{guarded.host}/x", plain_http=True)
    assert not caught.value.transient
    configure(tmp_path, auths={guarded.host: {"username": "ada", "password": "wrong-password-1"}})
    for act in (
        lambda: oci.push(store, "a", f"{guarded.host}/x", plain_http=True),
        lambda: oci.pull(store, f"{guarded.host}/x", "b", plain_http=True),
    ):
        with pytest.raises(BackendError, match="do not allow this") as caught:
            act()
        text = repr(caught.value) + str(caught.value) + str(caught.value.__cause__)
        assert "wrong-password-1" not in text
        assert base64.b64encode(b"ada:wrong-password-1").decode() not in text


def test_a_token_that_has_run_out_is_asked_for_again(store: Store, tmp_path: Path, made: Any, registry: MemoryRegistry) -> None:
    del made
    registry.login, registry.bearer = f"ada:{SECRET}", True
    configure(tmp_path, auths={registry.host: {"auth": BASIC}})
    count = [0]

    def forget(handler: Any) -> bool:
        count[0] += 1
        if count[0] % 11 == 0:
            registry.tokens.clear()
        return bool(handler is None)

    registry.override = forget
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert 1 < registry.asked("GET", "/token") < 20


def test_one_token_serves_many_requests(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    store.put(write(tmp_path / "many", {str(k): bytes([k]) for k in range(40)}), "a")
    registry.login, registry.bearer = f"ada:{SECRET}", True
    configure(tmp_path, auths={registry.host: {"auth": BASIC}})
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert registry.asked("GET", "/token") == 1


def test_an_identity_token_is_traded_in(store: Store, tmp_path: Path, made: Any, registry: MemoryRegistry) -> None:
    del made
    registry.login, registry.bearer = f"<token>:{SECRET}", True
    configure(tmp_path, auths={registry.host: {"auth": base64.b64encode(b"ada:").decode(), "identitytoken": SECRET}})
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert registry.asked("POST", "/token") >= 1


def test_credential_helpers_are_asked(
    store: Store, tmp_path: Path, made: Any, guarded: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    del made
    answer = f"""echo '{{"Username": "ada", "Secret": "{SECRET}"}}'"""
    for config in ({"credHelpers": {guarded.host: "mine"}, "credsStore": "other"}, {"credsStore": "mine"}):
        helper(tmp_path, monkeypatch, "mine", answer)
        configure(tmp_path, **config)
        oci.push(store, "a", f"{guarded.host}/x", plain_http=True)
    assert (tmp_path / "asked").read_text() == f"get {guarded.host}\n" * 2


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo credentials not found in native keychain; exit 1", None),
        (f"echo {SECRET}; exit 1", BackendError),
        (f"echo not json {SECRET}", BackendError),
        (f"""echo '{{"Secret": "{SECRET}"}}'""", BackendError),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: type[ArtifactStoreError] | None
) -> None:
    helper(tmp_path, monkeypatch, "mine", script)
    configure(tmp_path, credsStore="mine")
    if error is None:
        assert login_for(Address.parse("r.example/x")) is None
        return
    with pytest.raises(error, match="docker-credential-mine") as caught:
        login_for(Address.parse("r.example/x"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["not json " + SECRET, "[]", '{"auths": [1]}', '{"auths": {"r.example": {"auth": "%%%"}}}', '{"auths": {"r.example": {"auth": 5}}}',
     '{"auths": {"r.example": {"username": 5, "password": "x"}}}', '{"credsStore": "../../bin/sh"}', '{"credsStore": "missing"}', "[" * 100_000],
)  # fmt: skip
def test_a_config_that_docker_did_not_write_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"config\.json") as caught:
        login_for(Address.parse("r.example/x"))
    assert SECRET not in str(caught.value)


def test_the_closest_credentials_are_taken(tmp_path: Path) -> None:
    def login(user: str) -> dict[str, str]:
        return {"username": user, "password": "p"}

    hub = "https://index.docker.io/v1/"
    configure(
        tmp_path,
        auths={
            "r.example": login("host"),
            "r.example/a": login("a"),
            "r.example/a/b": login("b"),
            hub: login("hub"),
            "empty.example": {},
        },
    )
    for place, user in (
        ("r.example/x", "host"),
        ("r.example/a/x", "a"),
        ("r.example/a/b", "b"),
        ("r.example/ab", "host"),
        ("docker.io/x/y", "hub"),
    ):
        found = login_for(Address.parse(place))
        assert found is not None
        assert found.user == user
    for place in ("empty.example/x", "r.example.evil.example/x", "r.example:5000/x"):
        assert login_for(Address.parse(place)) is None
    assert "p" not in repr(Login("ada", "p"))


def test_credentials_go_to_no_token_server_without_tls(store: Store, made: Any, tmp_path: Path, trusted: ssl.SSLContext) -> None:
    """The registry speaks TLS; the token server that it names does not."""
    del made
    with memory_registry() as elsewhere, memory_registry() as registry, tls_proxy(registry, trusted) as host:
        registry.login, registry.bearer, registry.realm = f"ada:{SECRET}", True, f"http://{elsewhere.host}/token"
        configure(tmp_path, auths={host: {"auth": BASIC}})
        with pytest.raises(BackendError, match="without TLS"):
            oci.push(store, "a", f"{host}/x")
        assert elsewhere.requests == []
        registry.login = ""
        registry.override = lambda handler: handler.answer(307, Location=f"http://{elsewhere.host}/v2/") or True
        with pytest.raises(BackendError, match="without TLS"):
            oci.pull(store, f"{host}/x", "b")
        assert elsewhere.requests == []


def test_a_registry_with_tls(
    store: Store, other: Store, made: Any, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory_registry() as registry, tls_proxy(registry, trusted) as host:
        oci.push(store, "a", f"{host}/x")
        assert oci.pull(other, f"{host}/x", "b").digest == made.digest
        with pytest.raises(BackendError, match=r"speaks no TLS.*plain_http=True"):
            oci.push(store, "a", f"{registry.host}/x")
        with pytest.raises(BackendError):
            oci.push(store, "a", f"{host}/x", plain_http=True)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(BackendError, match=r"not trusted.*SSL_CERT_FILE") as caught:
            oci.push(store, "a", f"{host}/x")
        assert not caught.value.transient


def test_where_no_registry_is_is_found_out_soon(store: Store, made: Any) -> None:
    del made
    with pytest.raises(BackendError, match="cannot HEAD") as caught:
        oci.push(store, "a", f"127.0.0.1:{free_port()}/x", plain_http=True)
    assert caught.value.transient


def test_a_proxy_is_used_except_for_this_machine(
    store: Store, made: Any, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    del made
    monkeypatch.setenv("http_proxy", f"http://ada:{SECRET}@{registry.host}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    registry.override = lambda handler: handler.path.startswith("http://r.example") and (handler.answer(404) or True)
    with pytest.raises(ArtifactStoreError) as caught:
        oci.pull(store, "r.example/x", "b", plain_http=True)
    assert SECRET not in str(caught.value)
    ((_, path, headers),) = registry.requests
    assert path == "http://r.example/v2/x/manifests/latest"
    assert headers["Proxy-Authorization"] == f"Basic {BASIC}"
    registry.requests.clear()
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert not [path for _, path, _ in registry.requests if "://" in path.partition("?")[0]]
    monkeypatch.setenv("no_proxy", "r.example")
    before = len(registry.requests)
    with pytest.raises(BackendError):
        oci.pull(store, "r.example/x", "b", plain_http=True)
    assert len(registry.requests) == before


@pytest.mark.parametrize(
    ("text", "host", "repository", "wanted"),
    [
        ("r.example/x", "r.example", "x", "latest"),
        ("r.example:5000/a/b:v1.0", "r.example:5000", "a/b", "v1.0"),
        ("oci://localhost/a__b.c-d:T_g", "localhost", "a__b.c-d", "T_g"),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest"),
        ("[::1]:5000/x", "[::1]:5000", "x", "latest"),
        ("r.example/x@sha256:" + "a" * 64, "r.example", "x", "sha256:" + "a" * 64),
        ("r.example/x:v1@sha256:" + "a" * 64, "r.example", "x", "sha256:" + "a" * 64),
    ],
)
def test_addresses_are_read(text: str, host: str, repository: str, wanted: str) -> None:
    found = Address.parse(text)
    assert (found.host, found.repository, found.wanted) == (host, repository, wanted)


@pytest.mark.parametrize(
    "text",
    ["", "x", "x/y", "/x", "r.example", "r.example/", "r.example/X", "r.example/x:a b", "https://r.example/x",
     "ada:" + SECRET + "@r.example/x", "r.example/x@sha256:abc", "r.example/x@sha512:" + "a" * 128, "r.example/../x", "r.example/x//y",
     "r.example/x?y=1", "r.example/x#y", "r.example/" + "x" * 250, "r.example/x:" + "t" * 129, "r.example\n/x", "r.example/x\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Address.parse(text)
    assert SECRET not in str(caught.value)


def test_debians_registry_with_a_file_of_users(
    store: Store, other: Store, tmp_path: Path, made: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with docker_registry(tmp_path_factory.mktemp("guarded"), bcrypt_line("ada", SECRET)) as host:
        with pytest.raises(BackendError, match="log in with"):
            oci.push(store, "a", f"{host}/x", plain_http=True)
        configure(tmp_path, auths={host: {"auth": BASIC}})
        first = oci.push(store, "a", f"{host}/x", plain_http=True)
        again = oci.push(store, "a", f"{host}/x", plain_http=True)
        assert (first.sent, again.sent) == (first.blobs, 0)
        assert oci.pull(other, first.pinned, "b", plain_http=True).digest == made.digest


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        (
            'bearer realm=a , service = "b\\"c", BASIC realm="d"',
            [("bearer", {"realm": "a", "service": 'b"c'}), ("basic", {"realm": "d"})],
        ),
        ("Negotiate", []),
        ('Bearer realm="never ends', [("bearer", {})]),
        ("", []),
        (", ,=,", []),
        ("Basic " + "a=" * 50_000, [("basic", {"a": "a=" * 49_999})]),
    ],
)
def test_challenges_are_read(text: str, found: Any) -> None:
    assert _parse(text) == found


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"<html>", "does not answer with a token"),
        (b"{}", "does not answer with a token"),
        (b"[]", "does not answer with a token"),
        (b'{"token": 5}', "does not answer with a token"),
        (b'{"token": "a\\r\\nX-Evil: 1"}', "does not answer with a token"),
        (b'{"token": "t", "expires_in": "soon"}', "does not answer with a token"),
        (b"[" * 100_000, "does not answer with a token"),
    ],
)
def test_a_token_server_that_gives_none_is_named(
    store: Store, made: Any, registry: MemoryRegistry, answer: bytes, word: str
) -> None:
    del made
    registry.login, registry.bearer = f"ada:{SECRET}", True
    registry.override = lambda handler: handler.path.startswith("/token") and (handler.answer(200, answer) or True)
    with pytest.raises(BackendError, match=word):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)


@pytest.mark.parametrize("realm", ["token", "file:///etc/passwd", "http://ada:pw@x/", "http://[", ""])
def test_a_token_server_that_is_none_is_refused(store: Store, made: Any, registry: MemoryRegistry, realm: str) -> None:
    del made
    registry.login, registry.bearer, registry.realm = f"ada:{SECRET}", True, realm or " "
    with pytest.raises(BackendError):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)


# -- TLS


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS; its certificate is trusted by `$SSL_CERT_FILE`."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


class tls_proxy:  # noqa: N801 - used as a function
    """Put TLS before a registry, for as long as the block lasts; gives its host."""

    def __init__(self, registry: MemoryRegistry, context: ssl.SSLContext) -> None:
        import http.server

        from tests.servers.oci import _Handler

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Secure", (_Handler,), {"registry": registry}))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # failed handshakes are what is tested

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"localhost:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
