"""What a client of S3 costs over TLS: seconds of processors a GB for packs that go and come, beside boto3.

    python benchmarks/tls.py --folder DIR [--packs 32] [--repeat 3] [--check] [--write benchmarks/results.md]

The server is a process of its own, on this machine: it takes what comes, says its MD5, and gives random bytes. So the clock
tells of both together; the client's processors are counted alone. Amazon's own endpoints get a CRC32C from this library, and
any other server an MD5 (decision 29): both are measured.
"""

import argparse
import hashlib
import http.server
import os
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import boto3
from report import machine, table, write_section

from artifactstore.backend.s3 import checksums
from artifactstore.backend.s3.backend import S3Backend

PACK: Final = 16 * 2**20  # bytes
PART: Final = 8 * 2**20  # bytes that are got at a time
THREADS: Final = 8
BUCKET: Final = "bucket"
NOISE: Final = os.urandom(PACK)


class Handler(http.server.BaseHTTPRequestHandler):
    """An S3 server that keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Take a body, and say what came."""
        digest = hashlib.md5(usedforsecurity=False)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):  # with the checksum behind it
            while size := int(self.rfile.readline(), 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, 2**20))
                left -= len(piece)
                digest.update(piece)
        told = {"ETag": f'"{digest.hexdigest()}"'}
        if crc := self.headers.get("x-amz-checksum-crc32c"):
            told["x-amz-checksum-crc32c"] = crc
        self._say(200, told, b"")

    def do_GET(self) -> None:
        """Give a range."""
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = memoryview(NOISE)[int(first) : int(last) + 1]
        self._say(206, {"ETag": '"1"', "Content-Range": f"bytes {first}-{last}/{PACK}"}, part)

    def _say(self, status: int, headers: dict[str, str], body: bytes | memoryview) -> None:
        self.send_response(status)
        for name, value in {**headers, "x-amz-request-id": "1", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class calls it
        """Say nothing."""


def serve(certificate: Path, key: Path, port: Any) -> None:
    """Serve for ever, in a process of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port.put(server.server_address[1])
    server.serve_forever()


def certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine that signs itself, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@dataclass(frozen=True, slots=True)
class Step:
    """What one client took for one way.

    Attributes:
        client: which.
        way: `put` or `get`.
        work: seconds of processors a GB, of the client's process.
        clock: seconds a GB.
    """

    client: str
    way: str
    work: float
    clock: float


def measure(client: str, way: str, call: Callable[[int], object], packs: int, repeat: int) -> Step:
    """Let threads call for each pack; the best of several."""
    call(0)
    found = []
    for _ in range(repeat):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda number: call(number) and None, range(packs)))
        clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append(Step(client, way, work / (packs * PACK) * 1e9, clock / (packs * PACK) * 1e9))
    return min(found, key=lambda one: one.work)


def steps(packs: int, repeat: int) -> list[Step]:
    """Measure all clients, one after the other in one process."""
    pack, ranges = memoryview(NOISE), [(start, PART) for start in range(0, PACK, PART)]
    amazon = checksums._CHECKING  # noqa: SLF001 - the server takes Amazon's part
    found = []
    for client, hosts in (("artifactstore, as to Amazon", ("127.0.0.1",)), ("artifactstore, as to others", amazon)):
        checksums._CHECKING = hosts  # noqa: SLF001
        backend = S3Backend(f"s3://{BUCKET}/p")
        found.append(measure(client, "put", lambda n, b=backend: b.write(f"packs/{n}", pack), packs, repeat))
    checksums._CHECKING = amazon  # noqa: SLF001
    found.append(measure("artifactstore", "get", lambda n: backend.read_ranges(f"packs/{n}", ranges), packs, repeat))

    plain = boto3.client("s3")
    found.append(measure("boto3", "put", lambda n: plain.put_object(Bucket=BUCKET, Key=f"p/{n}", Body=NOISE), packs, repeat))

    def get(number: int) -> None:
        for start, size in ranges:
            plain.get_object(Bucket=BUCKET, Key=f"p/{number}", Range=f"bytes={start}-{start + size - 1}")["Body"].read()

    found.append(measure("boto3", "get", get, packs, repeat))
    return found


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--packs", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="nothing is promised here, so nothing fails")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    certificate, key = certify(args.folder / "tls")
    context = get_context("spawn")
    port = context.Queue()
    server = context.Process(target=serve, args=(certificate, key, port), daemon=True)
    server.start()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"https://127.0.0.1:{port.get()}",
        "AWS_CA_BUNDLE": str(certificate),
    }
    found = steps(args.packs, args.repeat)
    server.terminate()
    base = {one.way: one.work for one in found if one.client == "boto3"}
    rows = [[one.client, one.way, f"{one.work:.2f}", f"{one.clock:.2f}", f"{one.work / base[one.way]:.2f}"] for one in found]
    head = ["client", "way", "seconds of processors a GB", "seconds a GB", "processors, times boto3's"]
    text = (
        f"Measured on {machine()}.\n\n{args.packs} packs of {PACK // 2**20} MiB, {THREADS} threads, "
        f"got in ranges of {PART // 2**20} MiB.\n\n{table(head, rows)}"
    )
    print(text)
    if args.write:
        write_section(args.write, "A client of S3 over TLS", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
