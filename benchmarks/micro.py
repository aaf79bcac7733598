"""The parts alone: hash, cut, codec, pack, manifest, append, put and get of 1 kB, opening a long history, start-up, an empty run.

    python benchmarks/micro.py --folder DIR [--only hash,cut,…] [--check] [--write benchmarks/results.md]

Each prints the best and the median of n, and stands beside something known: a copy in memory, zlib, JSON, a synced file.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from data import bf16, rows_of
from peer_tools import ArtifactStore, run
from report import machine, table, write_section

import artifactstore
from artifactstore.content.codecs.chunker import CHUNKERS, HEAD, Cutter, choose_rule
from artifactstore.content.codecs.codec import Encoder, decode
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import decode as decode_manifest
from artifactstore.content.manifests.parquet import encode as encode_manifest
from artifactstore.content.packs.pack import OpenPack
from artifactstore.model.digest import hash_bytes
from artifactstore.model.facts import Fact
from artifactstore.work.session.core import Core
from artifactstore.work.session.session import Session

SIZE: Final = 32 * 2**20  # bytes of each buffer: more than the caches of a processor
ENTRIES: Final = 100_000
FILES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        what: what was done.
        times: seconds of each repeat.
        size: bytes that were done in that time, or 0.
        beside: how it compares with something known.
        target: seconds that it must not exceed, or None.
    """

    what: str
    times: Sequence[float]
    size: int = 0
    beside: str = ""
    target: float | None = None

    @property
    def best(self) -> float:
        """Seconds of the best repeat: noise only ever adds."""
        return min(self.times)

    def cells(self) -> list[str]:
        """Lay the figure out as cells of the table."""
        rate = f"{self.size / self.best / 1e6:,.0f} MB/s" if self.size else ""
        verdict = "" if self.target is None else f"≤ {_seconds(self.target)}: {'met' if self.met else '**missed**'}"
        times = [_seconds(self.best), _seconds(statistics.median(self.times)), str(len(self.times))]
        return [self.what, *times, rate, self.beside, verdict]

    @property
    def met(self) -> bool:
        """Whether the target, if there is one, is met."""
        return self.target is None or self.best <= self.target


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 0.001 else f"{value * 1e6:.0f} µs"


def timed(work: Callable[[], object], n: int = 7) -> list[float]:
    """Time a call n times, after once for warming up."""
    work()
    return [_once(work) for _ in range(n)]


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def times_as_long(row: Sequence[float], other: Sequence[float], name: str) -> str:
    return f"{min(row) / min(other):.2g} of {name}"


def copy_of(data: bytes) -> list[float]:
    """Time a copy into memory that is there already: what the memory itself takes."""
    target = np.zeros(len(data), np.uint8)
    return timed(lambda: np.copyto(target, np.frombuffer(data, np.uint8)))


def buffers() -> dict[str, bytes]:
    """Return 32 MiB of each kind of content."""
    text = "".join(row for _, rows in rows_of(800_000) for row in rows).encode()[:SIZE]
    return {"bf16": bf16(SIZE // 2, 0), "text": text, "random": np.random.default_rng(0).bytes(SIZE)}


# -- the parts


def measure_hash(folder: Path) -> Iterator[Row]:
    data = buffers()["random"]
    copy = copy_of(data)
    sha = timed(lambda: hash_bytes(data, "sha256"), 3)
    yield Row("copy in memory", copy, SIZE)
    for algorithm in ("blake3", "sha256"):
        times = timed(lambda name=algorithm: hash_bytes(data, name)) if algorithm == "blake3" else sha
        yield Row(f"hash, {algorithm}", times, SIZE, times_as_long(times, copy, "a copy"))
    if shutil.which("b3sum"):
        path = folder / "hash.bin"
        path.write_bytes(data)
        yield Row("b3sum --num-threads 1, with its start", _programs(["b3sum", "--num-threads", "1", str(path)], folder), SIZE)
        path.unlink()


def measure_cut(_folder: Path) -> Iterator[Row]:
    for kind, data in buffers().items():
        rule = "tensors" if kind == "bf16" else choose_rule(data[:HEAD], len(data), lambda at, size, d=data: d[at : at + size])[0]
        times = timed(lambda r=rule, d=data: Cutter(CHUNKERS[r]).cut(memoryview(d), 0, last=True))
        hashing = timed(lambda d=data: hash_bytes(d, "blake3"), 3)
        yield Row(f"cut, {kind} by the rule {rule}", times, SIZE, times_as_long(times, hashing, "blake3"))


def measure_codec(_folder: Path) -> Iterator[Row]:
    for kind, data in buffers().items():
        size = CHUNKERS[{"bf16": "tensors", "text": "rows"}.get(kind, "bytes")][1]
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        packed: list[tuple[int, bytes | memoryview]] = []

        def encode(chunks: list[bytes] = chunks, packed: list[tuple[int, bytes | memoryview]] = packed) -> None:
            encoder = Encoder()
            packed[:] = [encoder.encode(chunk) for chunk in chunks]

        times = timed(encode, 5)
        deflate = timed(lambda c=chunks: [zlib.compress(chunk, 1) for chunk in c], 1)
        share = sum(len(stored) for _, stored in packed) / SIZE
        yield Row(f"encode, {kind}, to {share:.3f}", times, SIZE, times_as_long(times, deflate, "zlib 1"))
        times = timed(lambda c=chunks, p=packed: [decode(k, s, len(one), "") for one, (k, s) in zip(c, p, strict=True)], 5)
        yield Row(f"decode, {kind}", times, SIZE)


def measure_pack(_folder: Path) -> Iterator[Row]:
    data = buffers()["random"]
    copy = copy_of(data)
    chunks = [data[at : at + 2**16] for at in range(0, SIZE, 2**16)]
    digests = [hash_bytes(chunk, "blake3") for chunk in chunks]

    def pack() -> None:
        one = OpenPack()
        for digest, chunk in zip(digests, chunks, strict=True):
            one.add(digest, len(chunk), 0, chunk)
        one.seal()

    times = timed(pack)
    yield Row("fill and seal a pack of 512 frames", times, SIZE, times_as_long(times, copy, "a copy"))


def measure_manifest(_folder: Path) -> Iterator[Row]:
    raw = np.random.default_rng(0).bytes(32 * FILES)
    manifest = Manifest("blake3", packs=[f"{i:032x}" for i in range(64)])
    for i in range(FILES):
        digest = raw[32 * i : 32 * i + 32]
        manifest.chunks.add(digest, 100, pack=i % 64, offset=100 * (i // 64), stored=100, codec=0)
        manifest.close_file(f"{i // 1000:04d}/{i:07d}.bin", 100, digest, executable=False)
    content, digest_ = manifest.identify()
    yield Row("identity of 1 M files", timed(manifest.identify, 3))
    listed = [[path, 100, digest.hex()] for path, digest in zip(manifest.paths, manifest.digests, strict=True)]
    text = json.dumps(listed)
    dumps, loads = timed(lambda: json.dumps(listed), 1), timed(lambda: json.loads(text), 1)
    encoded = encode_manifest(manifest, content, digest_)
    times = timed(lambda: encode_manifest(manifest, content, digest_), 3)
    name = f"manifest of 1 M files, encode, {len(encoded) / FILES:.1f} bytes a file"
    yield Row(name, times, beside=times_as_long(times, dumps, "json.dumps of path, size, digest"))
    times = timed(lambda: decode_manifest(encoded, "manifest", algorithm="blake3"), 3)
    yield Row("manifest of 1 M files, decode and check", times, beside=times_as_long(times, loads, "json.loads of these"))


# -- the history


def commit(core: Core, facts: list[Fact]) -> None:
    head = core.journal.head
    core.appender.commit(facts, birth=head, alive_at=head, refuse=lambda void: RuntimeError(str(void)))


def measure_append(folder: Path) -> Iterator[Row]:
    place = folder / "append"
    shutil.rmtree(place, ignore_errors=True)
    core = Session(place / "store", cache=None).core_to_write()
    (place / "plain").mkdir()
    numbers = iter(range(10**9))

    def fact() -> list[Fact]:
        return [{"fact": "started", "run": f"run-{next(numbers)}", "name": "benchmark"}]

    def synced() -> None:
        with (place / "plain" / str(next(numbers))).open("wb") as file:
            file.write(b"x" * 600)
            file.flush()
            os.fsync(file.fileno())

    def crowd() -> None:
        threads = [threading.Thread(target=lambda: [commit(core, fact()) for _ in range(20)]) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    plain = timed(synced, 200)
    times = timed(lambda: commit(core, fact()), 200)
    yield Row("append, one after the other, local", times, beside=times_as_long(times, plain, "a synced file"))
    times = [one / 320 for one in timed(crowd, 3)]
    yield Row("append, 16 threads at once, each", times, beside=f"{1 / min(times):,.0f} transactions/s")
    shutil.rmtree(place)


def measure_small(folder: Path) -> Iterator[Row]:
    place = folder / "small"
    shutil.rmtree(place, ignore_errors=True)
    store = artifactstore.open(place / "store", cache=place / "cache")
    draw = np.random.default_rng(0)
    times = timed(lambda: store.put(draw.bytes(1000), "benchmark/object"), 200)
    yield Row("put of 1 kB in process, local", times, target=0.005)
    times = timed(lambda: store.get("benchmark/object"), 500)
    yield Row("get of 1 kB in process, local", times, target=0.001)
    shutil.rmtree(place)


def long_history(folder: Path) -> Path:
    """Make a store with 100,000 entries, each a put under one of 5,000 names; kept for the next time.

    In memory first: 100,000 syncs would take minutes.
    """
    place = folder / f"history-{ENTRIES}"
    if (place / "done").exists():
        return place / "store"
    shutil.rmtree(place, ignore_errors=True)
    core = Session("memory://benchmark-history", cache=None).core_to_write()
    for i in range(ENTRIES):
        digest = f"blake3:{hash_bytes(str(i).encode(), 'blake3').hex()}"
        stored: Fact = {"fact": "stored", "digest": digest, "manifest": f"{i:032x}", "manifest_digest": digest}
        stored |= {"size": 1000, "files": 1, "packs": []}
        versioned: Fact = {"fact": "versioned", "name": f"team-{i % 50}/model-{i % 5000}", "digest": digest, "kind": "model"}
        commit(core, [stored, versioned])
        if core.journal.head % 64 == 0:  # as every put does
            core.journal.seal()
    for item in core.backend.list(""):
        path = place / "store" / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(core.backend.read(item.key))
    (place / "done").touch()
    return place / "store"


_OPEN: Final = """
import sys, time
import artifactstore.opening
cache = sys.argv[2] or None
start = time.perf_counter()
count = len(artifactstore.opening.open(sys.argv[1], 'r', cache=cache).names())
print(time.perf_counter() - start)
assert count == 5000, count
"""


def measure_open(folder: Path) -> Iterator[Row]:
    store = long_history(folder)
    cache = folder / "history-cache"
    shutil.rmtree(cache, ignore_errors=True)

    def opened(cache: str) -> float:
        command = [sys.executable, "-c", _OPEN, str(store), cache]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    opened("")  # the page cache is warm
    yield Row("open and names(), 100 k entries, from segments, no cache", [opened("") for _ in range(3)])
    yield Row("the same, keeping the fold for the next process", [opened(str(cache))])
    times = [opened(str(cache)) for _ in range(7)]
    yield Row("open and names(), 100 k entries, kept fold", times, target=0.5)
    shutil.rmtree(cache)


def measure_start(folder: Path) -> Iterator[Row]:
    root = folder / "start"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    tool = ArtifactStore(root, None)
    (root / "one.bin").write_bytes(os.urandom(1000))
    program, store = tool.program() or "artifactstore", str(root / "store")
    bare = _programs([sys.executable, "-c", "pass"], root)
    yield Row("python -c pass", bare)
    help_ = _programs([program, "--help"], root, tool.env)
    yield Row("artifactstore --help", help_, beside=times_as_long(help_, bare, "python -c pass"), target=0.25)
    times = _programs([program, "put", str(root / "one.bin"), "one", "--store", store], root, tool.env)
    yield Row("put of 1 kB by the command, nothing new", times, beside=times_as_long(times, bare, "python -c pass"))
    target = root / "got"
    times = []
    for _ in range(10):
        shutil.rmtree(target, ignore_errors=True)
        times.append(run([program, "get", "one", str(target), "--store", store], cwd=root, env=tool.env).seconds)
    yield Row("get of 1 kB by the command", times, beside=times_as_long(times, bare, "python -c pass"), target=0.6)
    shutil.rmtree(root)


_RUNS: Final = """
import sys, time, artifactstore
store = artifactstore.open(sys.argv[1])
for _ in range(6):
    start = time.perf_counter()
    with store.run("empty"):
        pass
    print(time.perf_counter() - start)
"""


def measure_run(folder: Path) -> Iterator[Row]:
    """A run in which nothing happens, started in a repository of 2,000 files, of which one has changed."""
    root = folder / "run"
    shutil.rmtree(root, ignore_errors=True)
    for number in range(2000):
        path = root / f"repository/part{number % 40}/module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x = {number}\n" * 20)
    repository, store = root / "repository", str(root / "store")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        run([*git, *words], cwd=repository)
    (repository / "part1/module1.py").write_text("x = 0\n")
    time.sleep(3)  # what has just changed is looked at again and again
    command = [sys.executable, "-W", "ignore", "-c", _RUNS, store]
    artifactstore.open(store).put(b"x", "x")
    said = [subprocess.check_output(command, cwd=repository, text=True) for _ in range(11)][1:]
    rounds = [[float(line) for line in text.split()] for text in said]
    yield Row("an empty run, 2,000 files, dirty, the first of a process", [one[0] for one in rounds], target=0.3)
    yield Row("the same, its later ones", [seconds for one in rounds for seconds in one[1:]], target=0.03)
    shutil.rmtree(root)


def _programs(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> list[float]:
    run(command, cwd=cwd, env=env)
    return [run(command, cwd=cwd, env=env).seconds for _ in range(10)]


PARTS: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    "hash": measure_hash,
    "cut": measure_cut,
    "codec": measure_codec,
    "pack": measure_pack,
    "manifest": measure_manifest,
    "append": measure_append,
    "small": measure_small,
    "open": measure_open,
    "start": measure_start,
    "run": measure_run,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: 1 GB; the long history is kept there")
    parser.add_argument("--only", default=",".join(PARTS), help="which parts; default all")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a target is missed")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Parts` of this file")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    where, rows = machine(), []
    for name in args.only.split(","):
        for row in PARTS[name](args.folder.absolute()):
            rows.append(row)
            print("  ".join(cell for cell in row.cells() if cell), file=sys.stderr)
    text = table(["part", "best", "median", "n", "rate", "beside", "target"], [row.cells() for row in rows])
    print(text)
    if args.write:
        write_section(args.write, "Parts", f"{where}.\n\n{text}")
    return 1 if args.check and not all(row.met for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
