"""On one S3 server: this library beside the floor, boto3's TransferManager, s3fs, obstore, DVC and restic, in one run.

    python benchmarks/on_s3.py --folder DIR --tools-venv TOOLS [--sets random,small] [--tools floor,boto3,…] [--repeat 1]
                               [--tls] [--scale 1.0] [--write benchmarks/results.md]

The server is SeaweedFS, a program of the tools' venv (README.md says how to make it), on loopback ports of this
machine: it shares the cores with what is measured, and requests take no time on the way. With `--tls` it speaks nothing else. Each tool puts
v1 into an empty prefix, and gets it into a fresh folder; what came back is compared. All run as programs, their start included.
The floor moves the same content by the client of this library, encoded and hashed, and keeps no records. `cores` is how busy the
machine was with client and server, without what its host took for others (`steal` in /proc/stat).
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from link import source_of
from peer_tools import Took, ToolError, run
from report import machine, table, write_section

import artifactstore

BUCKET: Final = "bench"
KEYS: Final = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(folder: Path) -> list[str]:
    """Make a certificate of this machine for itself; return what makes SeaweedFS use it."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return [f"-s3.key.file={folder / 'key.pem'}", f"-s3.cert.file={folder / 'cert.pem'}"]


@contextmanager
def server(python: Path, folder: Path, *, weed: Path | None = None, more: Sequence[str] = (), tls: bool = False) -> Iterator[str]:
    """Run SeaweedFS over an empty folder, with a bucket that `python` makes; gives its URL."""
    (folder / "data").mkdir(parents=True)
    identity = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    config = {"identities": [{"name": "b", "credentials": [identity], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
    (folder / "s3.json").write_text(json.dumps(config))
    port = free_port()
    listening = [f"-s3.port={port}", f"-s3.port.grpc={free_port()}"]
    for part in ("master", "volume", "filer"):
        listening += [f"-{part}.port={free_port()}", f"-{part}.port.grpc={free_port()}"]
    command = [weed or python.with_name("weed"), f"-logdir={folder}", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-dir={folder / 'data'}", *listening, "-filer", "-s3", f"-s3.config={folder / 's3.json'}"]
    trusted = {"AWS_CA_BUNDLE": str(folder / "cert.pem")} if tls else {}
    command += certificate(folder) if tls else []
    command += ["-s3.port.lance=0", "-s3.port.iceberg=0", "-master.telemetry=false", "-volume.max=20", *more]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http{'s' * tls}://127.0.0.1:{port}"
    make = f"import boto3; boto3.client('s3', endpoint_url={url!r}).create_bucket(Bucket={BUCKET!r})"
    try:
        for _ in range(60):
            if not subprocess.run(
                [python, "-c", make], check=False, stderr=subprocess.DEVNULL, env={**os.environ, **KEYS, **trusted}
            ).returncode:
                break
            time.sleep(0.5)
        yield url
    finally:
        process.kill()  # what it keeps is thrown away; asked to end, it takes half a minute
        process.wait()


class Client:
    """One tool: its commands; `python` is that of the tools' venv."""

    name: ClassVar[str]
    settings: ClassVar[str]

    def __init__(self, python: Path, home: Path, url: str) -> None:
        self.python = python
        self.home = home
        self.url = url
        home.mkdir(parents=True)
        self.env = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
        self.env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "AWS_ENDPOINT_URL": url, **KEYS}
        if url.startswith("https:"):
            bundle = str(home.parent / "server" / "cert.pem")
            self.env |= {"AWS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}

    def start(self) -> None:
        """Prepare what is not timed."""

    def put(self, folder: Path) -> Took:
        """Store a folder."""
        raise NotImplementedError

    def get(self, target: Path) -> Took:
        """Bring it back into a folder that isn't there."""
        raise NotImplementedError

    def _python(self, code: str, *arguments: object) -> Took:
        return run([str(self.python), "-c", code, *map(str, arguments)], cwd=self.home, env=self.env)


class Boto3(Client):
    """boto3's TransferManager, 10 threads (its default), one object a file."""

    name = "boto3"
    settings = "`TransferManager` with its defaults (10 threads, parts of 8 MB), one object a file; checks nothing at a get"
    _BEGIN: ClassVar[str] = (
        "import boto3, os, sys; from pathlib import Path; from boto3.s3.transfer import create_transfer_manager, TransferConfig;"
        "from botocore.config import Config; c = boto3.client('s3', config=Config(max_pool_connections=10));"
        "top = Path(sys.argv[1]); m = create_transfer_manager(c, TransferConfig())\n"
    )

    def put(self, folder: Path) -> Took:
        code = "with m: [m.upload(str(p), 'bench', 'boto3/' + str(p.relative_to(top))) for p in top.rglob('*') if p.is_file()]"
        return self._python(self._BEGIN + code, folder)

    def get(self, target: Path) -> Took:
        code = (
            "pages = c.get_paginator('list_objects_v2').paginate(Bucket='bench', Prefix='boto3/')\n"
            "with m:\n"
            "  for page in pages:\n"
            "    for one in page['Contents']:\n"
            "      to = top / one['Key'][6:]; to.parent.mkdir(parents=True, exist_ok=True); m.download('bench', one['Key'], str(to))\n"
        )
        return self._python(self._BEGIN + code, target)


class S3fs(Client):
    """s3fs, recursive put and get."""

    name = "s3fs"
    settings = "`put` and `get`, recursive, with the defaults; one object a file; checks nothing at a get"

    def put(self, folder: Path) -> Took:
        code = "import s3fs, sys; s3fs.S3FileSystem().put(sys.argv[1] + '/', 'bench/s3fs/', recursive=True)"
        return self._python(code, folder)

    def get(self, target: Path) -> Took:
        code = "import s3fs, sys; s3fs.S3FileSystem().get('bench/s3fs/', sys.argv[1] + '/', recursive=True)"
        return self._python(code, target)


class Obstore(Client):
    """obstore: object_store of Rust; a thread pool over its own calls, as it has no recursive ones."""

    name = "obstore"
    settings = "`put` and `get` of each file from 10 threads; one object a file; checks nothing at a get"
    _BEGIN: ClassVar[str] = (
        "import os, sys, obstore; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor; from obstore.store import S3Store;"
        "top = Path(sys.argv[1]); s = S3Store('bench', prefix='obstore', endpoint=os.environ['AWS_ENDPOINT_URL'], client_options={'allow_http': True});"
        "pool = ThreadPoolExecutor(10)\n"
    )

    def put(self, folder: Path) -> Took:
        code = "list(pool.map(lambda p: obstore.put(s, str(p.relative_to(top)), p), [p for p in top.rglob('*') if p.is_file()]))"
        return self._python(self._BEGIN + code, folder)

    def get(self, target: Path) -> Took:
        code = (
            "def load(key):\n"
            "  to = top / key; to.parent.mkdir(parents=True, exist_ok=True)\n"
            "  with to.open('wb') as f: [f.write(part) for part in obstore.get(s, key).stream(2**23)]\n"
            "list(pool.map(load, [one['path'] for page in obstore.list(s) for one in page]))\n"
        )
        return self._python(self._BEGIN + code, target)


class Dvc(Client):
    """DVC: `add` and `push`, then `pull` into an empty cache."""

    name = "dvc"
    settings = "`dvc add` and `dvc push`; `dvc pull` with an empty cache; no git, links are copies, telemetry off"

    def _dvc(self, *arguments: str, cwd: Path) -> Took:
        return run([str(self.python.with_name("dvc")), *arguments], cwd=cwd, env=self.env)

    def _init(self, folder: Path) -> None:
        self.env |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.home / "site")}
        folder.mkdir(parents=True, exist_ok=True)
        for command in (
            ("init", "--no-scm", "--quiet"),
            ("config", "cache.type", "copy"),
            ("remote", "add", "--default", "there", f"s3://{BUCKET}/dvc"),
            ("remote", "modify", "there", "endpointurl", self.url),
        ):
            self._dvc(*command, cwd=folder)

    def start(self) -> None:
        self._init(self.home)

    def put(self, folder: Path) -> Took:
        shutil.copytree(folder, self.home / "data")
        added = self._dvc("add", "--quiet", "data", cwd=self.home)
        pushed = self._dvc("push", "--quiet", cwd=self.home)
        return Took(added.seconds + pushed.seconds, added.work + pushed.work, max(added.peak, pushed.peak))

    def get(self, target: Path) -> Took:
        fresh = self.home / "fresh"
        self._init(fresh)
        shutil.copyfile(self.home / "data.dvc", fresh / "data.dvc")
        took = self._dvc("pull", "--quiet", cwd=fresh)
        (fresh / "data").rename(target)
        return took


class Restic(Client):
    """restic: encrypts always, compresses, packs of 16 MiB."""

    name = "restic"
    settings = "defaults: encryption (always), zstd, 5 connections"

    def _restic(self, *arguments: str, cwd: Path) -> Took:
        trusted = ["--cacert", self.env["AWS_CA_BUNDLE"]] if "AWS_CA_BUNDLE" in self.env else []
        return run(["restic", *trusted, *arguments], cwd=cwd, env=self.env)

    def start(self) -> None:
        self.env |= {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": f"s3:{self.url}/{BUCKET}/restic"}
        self._restic("init", "--quiet", "--repository-version", "2", cwd=self.home)

    def put(self, folder: Path) -> Took:
        return self._restic("backup", "--quiet", ".", cwd=folder)

    def get(self, target: Path) -> Took:
        return self._restic("restore", "--quiet", "--target", str(target), "latest", cwd=self.home)


class ArtifactStore(Client):
    """This library, by its command."""

    name = "artifactstore"
    settings = "defaults; its cache folder begins empty and is emptied before the get; checks all that it gets"

    def _own(self, *arguments: str) -> Took:
        self.env["ARTIFACTSTORE_CACHE"] = str(self.home / "artifactstore")
        self.env["ARTIFACTSTORE_URL"] = f"s3://{BUCKET}/artifactstore"
        return run([sys.executable, "-m", "artifactstore", *arguments], cwd=self.home, env=self.env)

    def start(self) -> None:
        self._own("init", f"s3://{BUCKET}/artifactstore")

    def put(self, folder: Path) -> Took:
        return self._own("put", str(folder), "data", "--json")

    def get(self, target: Path) -> Took:
        shutil.rmtree(self.home / "artifactstore", ignore_errors=True)
        return self._own("get", "data", str(target), "--json")


class Floor(Client):
    """The floor's program, with the same client as this library."""

    name = "floor"
    settings = "`floor_program.py`: packs by this library's client, as many at once; hashed, encoded, no records"

    def _floor(self, *arguments: str) -> Took:
        return run([sys.executable, str(Path(__file__).with_name("floor_program.py")), *arguments], cwd=self.home, env=self.env)

    def put(self, folder: Path) -> Took:
        return self._floor("put", str(folder), f"s3://{BUCKET}/floor")

    def get(self, target: Path) -> Took:
        return self._floor("get", f"s3://{BUCKET}/floor", str(target))


CLIENTS: Final[dict[str, type[Client]]] = {one.name: one for one in (Boto3, S3fs, Obstore, Dvc, Restic, Floor, ArtifactStore)}
Done = tuple[Took, float]  # what a step took, and how busy the cores were


def counted(call: Callable[[], Took]) -> Done:
    """Run a step; return what it took, and the share of the cores that were busy, without what the host took."""
    before = _ticks()
    took = call()
    busy, total = (after - one for after, one in zip(_ticks(), before, strict=True))
    return took, busy / max(total, 1)


def _ticks() -> tuple[int, int]:
    """Return the time of all cores since their start, in ticks: busy, and all but stolen."""
    user, nice, system, idle, waiting, irq, soft = map(int, Path("/proc/stat").read_text().split()[1:8])
    busy = user + nice + system + irq + soft
    return busy, busy + idle + waiting


def measure(name: str, python: Path, scratch: Path, source: Path, *, tls: bool) -> tuple[Done, Done]:
    """Put and get with one tool on a server of its own.

    Raises:
        ToolError: it failed, or what came back differs.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with server(python, scratch / "server", tls=tls) as url:
            client = CLIENTS[name](python, scratch / "home", url)
            client.start()
            os.sync()
            put = counted(lambda: client.put(source))
            os.sync()
            get = counted(lambda: client.get(scratch / "got"))
        if subprocess.run(["diff", "-rq", source, scratch / "got"], check=False, stdout=subprocess.DEVNULL).returncode:
            raise ToolError(f"{name}: what came back differs")
        return put, get
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def rows(found: dict[str, tuple[Done, Done]]) -> Iterator[Sequence[str]]:
    """Yield a line of the table for each tool: seconds, ratios to this library's."""
    own = found.get("artifactstore")
    for name, both in found.items():
        ratios = [
            f"{took.seconds / mine.seconds:.2f}" if own else "" for (took, _), (mine, _) in zip(both, own or both, strict=True)
        ]
        times = [f"{took.seconds:.2f}" for took, _ in both]
        work = [f"{took.work:.1f}" for took, _ in both]
        yield [
            name,
            *times,
            *ratios,
            *work,
            *(f"{busy:.0%}" for _, busy in both),
            f"{max(took.peak for took, _ in both) / 1e6:.0f}",
        ]


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tools-venv", type=Path, required=True)
    parser.add_argument("--sets", default="random,small")
    parser.add_argument("--tools", default=",".join(CLIENTS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--tls", action="store_true", help="the server speaks TLS only")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    python = args.tools_venv.absolute() / "bin" / "python"
    texts = []
    for name in args.sets.split(","):
        source = source_of(name, args.folder, args.scale)
        found: dict[str, tuple[Done, Done]] = {}
        for _ in range(args.repeat):
            for tool in args.tools.split(","):
                try:
                    runs = [
                        measure(tool, python, args.folder / "on-s3", source, tls=args.tls),
                        *([found[tool]] if tool in found else []),
                    ]
                except ToolError as error:
                    print(f"{tool} is left out: {error}", file=sys.stderr)
                    continue
                best = [min(took, key=lambda one: one[0].seconds) for took in zip(*runs, strict=True)]
                found[tool] = (best[0], best[1])
        head = [
            "tool",
            "put s",
            "get s",
            "put ÷ own",
            "get ÷ own",
            "put CPU s",
            "get CPU s",
            "cores, put",
            "cores, get",
            "peak MB",
        ]
        texts.append(f"`{name}`:\n\n{table(head, list(rows(found)))}")
    notes = "\n".join(f"- {name}: {one.settings}" for name, one in CLIENTS.items() if name in args.tools.split(","))
    text = f"Measured on {machine()}; artifactstore {artifactstore.__version__}.\n\n{notes}\n\n" + "\n\n".join(texts)
    print(text)
    if args.write:
        write_section(args.write, f"On one S3 server{', over TLS' * args.tls}", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
