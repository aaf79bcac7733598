"""S3 over TLS, where Amazon is told a CRC32C of what is large, instead of an MD5 that takes longer than all else."""

import base64
import datetime as dt
import hashlib
import io
import ipaddress
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import artifactstore
from artifactstore.backend import buffers
from artifactstore.backend.s3 import checksums
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.errors import BackendError

LARGE = bytes(range(256)) * 8192  # 2 MiB


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as RFC 3720 defines it."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901
        table.append(byte)
    found = 0xFFFFFFFF
    for byte in data:
        found = found >> 8 ^ table[(found ^ byte) & 0xFF]
    return found ^ 0xFFFFFFFF


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


class Puts(list[dict[str, str]]):
    """The headers of each PUT.

    Attributes:
        verbs: of all requests, in order.
        reply: changes the headers of a reply.
        body: changes the body of a PUT.
    """

    def __init__(self) -> None:
        super().__init__()
        self.verbs: list[str] = []
        self.reply: Callable[[str, list[tuple[str, str]]], list[tuple[str, str]]] = lambda _verb, headers: headers
        self.body: Callable[[bytes], bytes] | None = None


@pytest.fixture
def puts(s3_url, tmp_path, monkeypatch) -> Iterator[Puts]:
    """The headers of each PUT that reaches moto through TLS, where the environment leads."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    seen = Puts()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ, start_response):
        verb = environ["REQUEST_METHOD"]
        seen.verbs.append(verb)
        if verb == "PUT":
            seen.append({name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")})
            if seen.body is not None:
                environ["wsgi.input"] = io.BytesIO(seen.body(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
        return moto(environ, lambda status, headers, *more: start_response(status, seen.reply(verb, list(headers)), *more))

    certificate, private = make_certificate(tmp_path)
    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=(str(certificate), str(private)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def amazon(puts: Puts, monkeypatch: pytest.MonkeyPatch) -> Puts:
    """The same, taken for Amazon's own."""
    monkeypatch.setattr(checksums, "_CHECKING", ("127.0.0.1",))
    return puts


@pytest.mark.slow
def test_any_server_gets_the_md5_that_all_of_them_know(s3_url, puts):
    S3Backend(s3_url).write("packs/one", LARGE)
    (headers,) = puts
    assert headers["CONTENT_MD5"] == base64.b64encode(hashlib.md5(LARGE).digest()).decode()
    assert "X_AMZ_CHECKSUM_CRC32C" not in headers
    assert headers["X_AMZ_CONTENT_SHA256"] == "UNSIGNED-PAYLOAD"


def test_amazon_gets_a_crc_of_what_is_large_and_the_body_is_hashed_no_more(s3_url, amazon, monkeypatch):
    monkeypatch.setattr(checksums, "content_md5", lambda data: pytest.fail(f"an MD5 of {len(data)} bytes"))
    S3Backend(s3_url).write("packs/one", memoryview(b"123456789" * 200_000))
    (headers,) = amazon
    assert headers["X_AMZ_CHECKSUM_CRC32C"] == base64.b64encode(crc32c(b"123456789" * 200_000).to_bytes(4, "big")).decode()
    assert headers["X_AMZ_SDK_CHECKSUM_ALGORITHM"] == "CRC32C"
    assert "CONTENT_MD5" not in headers
    assert headers["X_AMZ_CONTENT_SHA256"] == "UNSIGNED-PAYLOAD"


def test_a_known_sum_is_the_one_of_the_standard():
    """The check value of CRC-32C in RFC 3720, B.4, and of the catalogue of CRCs."""
    assert buffers.content_crc32c(b"123456789") == "4waSgw=="
    assert buffers.content_crc32c(bytes(32)) == "ipE2qg=="


def test_what_is_small_gets_an_md5_there_too(s3_url, amazon):
    S3Backend(s3_url).create("journal/one", b"small")
    (headers,) = amazon
    assert headers["CONTENT_MD5"]
    assert "X_AMZ_CHECKSUM_CRC32C" not in headers


@pytest.mark.parametrize(
    "url",
    [
        "http://s3.eu-central-1.amazonaws.com",
        "https://s3.example.com",
        "https://amazonaws.com.example.com",
        "https://minio:9000",
        "https://s3-outposts.eu-central-1.amazonaws.com",
    ],
)
def test_no_other_server_is_taken_for_amazon(url):
    assert not checksums.checks_crc(url)
    assert checksums.checks_crc("https://s3.eu-central-1.amazonaws.com")
    assert checksums.checks_crc("https://s3.cn-north-1.amazonaws.com.cn")


def test_without_the_fast_crc_it_is_the_md5(monkeypatch):
    library = pytest.importorskip("google_crc32c")
    monkeypatch.setattr(library, "implementation", "python")
    assert list(checksums.checksum_of(LARGE, crc=True)) == ["ContentMD5"]
    monkeypatch.delattr(library, "implementation")  # a library that does not say how it is made, and none at all
    assert list(checksums.checksum_of(LARGE, crc=True)) == ["ContentMD5"]


def without_sum(_verb: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() != "x-amz-checksum-crc32c"]


def test_a_yes_without_the_sum_is_looked_into_once(s3_url, amazon):
    """As behind a proxy that lets only some headers through: then it is the MD5 from there on."""
    amazon.reply = without_sum
    backend = S3Backend(s3_url)
    for name in ("one", "two", "three"):
        backend.write(f"packs/{name}", LARGE)
    assert amazon.verbs == ["PUT", "GET", "PUT", "PUT"]
    assert ["CONTENT_MD5" in headers for headers in amazon] == [False, True, True]


def test_what_arrived_damaged_under_such_a_yes_is_told(s3_url, amazon):
    amazon.body = lambda body: bytes(len(body))
    # As a server says that counts what it stores.
    amazon.reply = lambda verb, headers: [
        *without_sum(verb, headers),
        *([("x-amz-checksum-crc32c", "AAAAAA==")] if verb == "PUT" else []),
    ]
    with pytest.raises(BackendError, match="the object has other bytes"):
        S3Backend(s3_url).write("packs/one", LARGE)


def test_a_store_works_there(s3_url, amazon, tmp_path):
    (tmp_path / "large.bin").write_bytes(LARGE * 4)
    noise = random.Random(4).randbytes(3 * 2**20)
    (tmp_path / "large.bin").write_bytes(noise)
    store = artifactstore.open(s3_url, cache=None)
    store.put(tmp_path / "large.bin", "large")
    assert sum("X_AMZ_CHECKSUM_CRC32C" in headers for headers in amazon) == 1
    assert (store.get("large", to=tmp_path / "back") / "large.bin").read_bytes() == noise
