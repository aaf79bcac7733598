"""Many writers: commits a second over a link, and what an executor's workers add to one put.

    python benchmarks/writers.py [--writers 1,4,16,64,256] [--puts 10] [--executor] [--write benchmarks/results.md]

Each writer is a thread with a store of its own, in at most four processes; the store lies in a folder in memory behind 35 ms
a request. What a rule costs is told by the same run without it: `--plain` turns the inbox off, as before decision 66.
The executor's workers are processes with one connection of 4 MB/s each: the link is the limit, not the processor.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from report import machine, table, write_section

import artifactstore
from artifactstore.backend.base import Backend
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.journal.turns import Turns
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session import session as session_module
from artifactstore.work.session.offline import OfflineFallback
from artifactstore.work.session.session import Session

LATENCY: Final = 0.035  # seconds
PROCESSES: Final = 4
_BANDWIDTH: Final = 4e6  # bytes a second of a worker
_FILES, _SIZE = 64, 2**20


def _open(folder: str) -> tuple[Store, CountingBackend]:
    """Open a store over the link, with an appender of its own."""
    session = Session(folder, cache=None)
    counted = CountingBackend(LocalBackend(folder))
    link = LatencyBackend(counted, LATENCY)
    session._offline = OfflineFallback(link, session.cache)  # noqa: SLF001 - no URL has a link like this
    session.backend, session._core = link, None  # noqa: SLF001 - as above
    session._connect()  # noqa: SLF001 - as above
    return Store(session), counted


def _work(folder: str, count: int, puts: int, kind: str, ends: tuple[Any, Any]) -> None:
    """Run some writers in one process; `ends` are the barrier to start behind, and where the results go."""
    start, found = ends
    if kind == "plain":
        Turns.expected = property(lambda _self: False)  # type: ignore[method-assign,assignment]
        Turns.lose = lambda _self: None  # type: ignore[method-assign]
    stores = [_open(folder) for _ in range(count)]

    def each(act: Callable[[int, Store], None]) -> None:
        threads = [threading.Thread(target=act, args=(k, store)) for k, (store, _) in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    each(lambda k, store: store.put(f"{os.getpid()}-{k}".encode(), f"warm/{os.getpid()}-{k}"))
    for _, counted in stores:
        counted.reset()
    seconds: list[float] = []

    def write(k: int, store: Store) -> None:
        for i in range(puts):
            began = time.monotonic()
            if kind == "aliases" and k % 2:
                store.alias("base:v1", f"a{os.getpid()}-{k}-{i}")
            else:
                store.put(f"{os.getpid()}-{k}-{i}".encode(), f"sweep/{os.getpid()}-{k}")
            seconds.append(time.monotonic() - began)

    start.wait()
    began = time.monotonic()
    each(write)
    found.put((seconds, time.monotonic() - began, sum(counted.requests for _, counted in stores)))


def contend(writers: int, puts: int, kind: str) -> list[str]:
    """Let many writers commit at once; returns a row."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    try:
        artifactstore.open(folder).put(b"x", "base")
        context = multiprocessing.get_context("spawn")
        processes = min(PROCESSES, writers)
        start, found = context.Barrier(processes), context.Queue()
        running = [
            context.Process(target=_work, args=(folder, writers // processes, puts, kind, (start, found)))
            for _ in range(processes)
        ]
        for one in running:
            one.start()
        results = [found.get() for _ in running]
        for one in running:
            one.join()
    finally:
        shutil.rmtree(folder)
    seconds = sorted(one for some, _, _ in results for one in some)
    wall, requests = max(one for _, one, _ in results), sum(one for _, _, one in results)
    rate = len(seconds) / wall
    middle, slow = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    return [f"{writers}, {kind}", f"{rate:.1f}", f"{middle:.2f}", f"{slow:.2f}", f"{requests / len(seconds):.1f}"]


def _slow() -> None:
    """Give each worker of an executor a link of its own."""
    connect = session_module.connect

    def over_a_link(*args: Any, **options: Any) -> Backend:
        return LatencyBackend(connect(*args, **options), LATENCY, _BANDWIDTH, connections=1)

    session_module.connect = over_a_link  # type: ignore[assignment]


def by_workers(count: int, folder: Path) -> list[str]:
    """Put and get a folder by some workers; returns a row."""
    source, times = folder / "source", []
    if not source.exists():
        source.mkdir()
        draw = random.Random(3)
        for k in range(_FILES):
            (source / f"{k:03}").write_bytes(draw.randbytes(_SIZE))
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_slow) as workers:
        list(workers.map(abs, range(count * 4)))  # they start
        store = artifactstore.open(str(folder / f"store-{count}"), cache=None)
        for act in (
            lambda: store.put(source, "x", executor=workers),
            lambda: store.get("x", folder / f"got-{count}", executor=workers),
        ):
            began = time.monotonic()
            act()
            times.append(time.monotonic() - began)
    return [str(count), *(f"{one:.2f}" for one in times)]


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", default="1,4,16,64,256")
    parser.add_argument("--puts", type=int, default=10)
    parser.add_argument("--plain", default="1,64", help="writers that are measured without the inbox, too")
    parser.add_argument("--aliases", default="16", help="writers of which every second one moves aliases")
    parser.add_argument("--executor", action="store_true")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    rows = []
    for kind, wanted in (("inbox", args.writers), ("plain", args.plain), ("aliases", args.aliases)):
        for writers in filter(None, wanted.split(",")):
            rows.append(contend(int(writers), args.puts if kind != "plain" else max(2, args.puts // 4), kind))
            print(*rows[-1], flush=True)
    head = ["writers", "commits a second", "median, s", "99 %, s", "requests a commit"]
    text = f"Measured on {machine()}; artifactstore {artifactstore.__version__}; 35 ms a request.\n\n{table(head, rows)}"
    if args.executor:
        with tempfile.TemporaryDirectory() as folder:
            several = [by_workers(count, Path(folder)) for count in (1, 2, 3, 4)]
        first = several[0]
        head = ["workers", "put, s", "get, s", "put, x of one", "get, x of one"]
        shown = [[*row, f"{float(first[1]) / float(row[1]):.2f}", f"{float(first[2]) / float(row[2]):.2f}"] for row in several]
        text += f"\n\n64 MB in 64 files, 35 ms and 4 MB/s a worker:\n\n{table(head, shown)}"
    print(text)
    if args.write:
        write_section(args.write, "Many writers", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
