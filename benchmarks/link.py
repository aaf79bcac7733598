"""Over a link: how much of eight connections a put and a get use, and how many requests they take.

    python benchmarks/link.py --folder DIR [--sets random,checkpoint,small] [--scale 1.0] [--check] [--write benchmarks/results.md]

The store lies in memory behind a link of 30 ms a round trip and 100 MB/s a connection, eight of them. A step of 1 GB keeps
the promise if its content goes as fast as four fifths of the eight connections would carry it as it is, or if it keeps both
processor cores busy. What moves is less than the content where it shrinks, so that share of the link is told, too.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import data as datasets
import numpy as np
from report import keep_memory, machine, table, write_section

import artifactstore
from artifactstore.backend.base import Buffer
from artifactstore.backend.memory import MemoryBackend
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session.offline import OfflineFallback
from artifactstore.work.session.session import Session

LATENCY: Final = 0.03  # seconds
BANDWIDTH: Final = 100e6  # bytes a second of one connection
CONNECTIONS: Final = 8
SHARE: Final = 0.8  # of the link
BUSY: Final = 0.9  # of both cores
_ROOM: Final = 40 * 2**20  # bytes: more than a pack has


@dataclass(frozen=True, slots=True)
class Step:
    """What one step took.

    Attributes:
        what: set and step.
        seconds: by the clock.
        work: seconds of processors, of all threads and the kernel.
        content: bytes that were put or got.
        moved: bytes over the link.
        requests: how many.
        limit: the most requests allowed, or None.
        large: whether the link or the cores should be the limit.
    """

    what: str
    seconds: float
    work: float
    content: int
    moved: int
    requests: int
    limit: int | None
    large: bool

    @property
    def share(self) -> float:
        """Share of the link's bandwidth that was used."""
        return self.moved / self.seconds / (BANDWIDTH * CONNECTIONS)

    @property
    def rate(self) -> float:
        """Content a second, as a share of the link's bandwidth."""
        return self.content / self.seconds / (BANDWIDTH * CONNECTIONS)

    @property
    def busy(self) -> float:
        """Share of two cores that was used."""
        return self.work / self.seconds / 2

    @property
    def met(self) -> bool:
        """Whether it keeps the promise."""
        fast = not self.large or self.rate >= SHARE or self.busy >= BUSY
        return fast and (self.limit is None or self.requests <= self.limit)


class Far(MemoryBackend):
    """Copies a pack once as it comes and once as it goes, as any client does; its memory is another machine's, so it stays warm."""

    _rooms: ClassVar[list[np.ndarray[Any, np.dtype[np.uint8]]]] = []

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._packs: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {}

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object."""
        if not isinstance(data, memoryview):
            super().write(key, data)
            return
        super().write(key, b"")
        room = self._rooms.pop() if self._rooms else np.ones(_ROOM, np.uint8)
        self._packs[key] = room[: len(data)]
        np.copyto(self._packs[key], np.frombuffer(data, np.uint8))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges."""
        if key not in self._packs:
            return super().read_ranges(key, ranges)
        return [bytes(self._packs[key][offset : offset + length]) for offset, length in ranges]

    def delete(self, key: str) -> None:
        """Remove an object; its memory is used again."""
        super().delete(key)
        if key in self._packs:
            self._rooms.append(self._packs.pop(key).base)


def measure(name: str, source: Path, target: Path, *, cached: bool, limit: int | None) -> list[Step]:
    """Put a folder over the link, and get it back."""
    shutil.rmtree(target.parent / "cache", ignore_errors=True)
    cache = str(target.parent / "cache") if cached else None
    url = f"memory://{uuid.uuid4().hex}"
    session = Session(url, cache=cache)
    counted = CountingBackend(Far(url))
    link = LatencyBackend(counted, LATENCY, BANDWIDTH, connections=limit)
    session._offline = OfflineFallback(link, session.cache)  # noqa: SLF001 - memory itself gets no cache
    session.backend = link
    session.create("blake3")
    store = Store(session)
    store.put(b"x", "warm")
    steps = []
    content = sum(one.stat().st_size for one in source.rglob("*") if one.is_file())
    most = 40 if name == "small" else None

    def step(what: str, call: Callable[[], Any]) -> None:
        counted.reset()
        started, work = time.perf_counter(), sum(os.times()[:4])
        call()
        seconds, work = time.perf_counter() - started, sum(os.times()[:4]) - work
        moved = counted.bytes_read + counted.bytes_written
        steps.append(Step(f"{name}: {what}", seconds, work, content, moved, counted.requests, most, name != "small"))

    step("put", lambda: store.put(source, "data"))
    shutil.rmtree(target, ignore_errors=True)
    step("get", lambda: store.get("data", to=target))
    if subprocess.run(["diff", "-rq", source, target], check=False).returncode:
        raise SystemExit(f"{name}: what came back differs")
    shutil.rmtree(target)
    for item in list(counted.list("")):
        counted.delete(item.key)  # memory is shared by all that this process measures
    return steps


def make_random(folder: Path, scale: float) -> Path:
    """Make a file of 1 GB that neither shrinks nor repeats."""
    made = folder / "data" / "random"
    if not made.exists():
        made.mkdir(parents=True)
        draw = random.Random(2)
        with (made / "large.bin").open("wb") as file:
            for _ in range(int(1000 * scale)):
                file.write(draw.randbytes(10**6))
    return made


def source_of(name: str, folder: Path, scale: float) -> Path:
    """Make the data of a set; returns its folder."""
    if name == "random":
        return make_random(folder, scale)
    datasets.make(name, folder, scale=scale)
    return datasets.load(name, folder).v1


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sets", default="random,checkpoint,small")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--no-cache", action="store_true", help="open the store with cache=None")
    parser.add_argument("--connections", type=int, help="never more requests at a time; by default as many as the library makes")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    steps: list[Step] = []
    kept = keep_memory()
    for name in args.sets.split(","):
        source = source_of(name, args.folder, args.scale)
        runs = [
            measure(name, source, args.folder / "got", cached=not args.no_cache, limit=args.connections)
            for _ in range(args.repeat)
        ]
        steps += [min(several, key=lambda one: one.seconds) for several in zip(*runs, strict=True)]
    kept.close()
    rows = [
        [
            one.what,
            f"{one.seconds:.2f}",
            f"{one.work:.2f}",
            f"{one.moved / 1e6:.0f}",
            f"{one.rate:.0%}",
            f"{one.share:.0%}",
            f"{one.busy:.0%}",
            str(one.requests),
            "met" if one.met else "**missed**",
        ]
        for one in steps
    ]
    head = [
        "step",
        "seconds",
        "of processors",
        "MB moved",
        "content, of 8 connections",
        "moved, of 8 connections",
        "of 2 cores",
        "requests",
        "",
    ]
    text = f"Measured on {machine()}; artifactstore {artifactstore.__version__}.\n\n{table(head, rows)}"
    print(text)
    if args.write:
        write_section(args.write, "Over a link", text)
    return int(args.check and not all(one.met for one in steps))


if __name__ == "__main__":
    sys.exit(main())
