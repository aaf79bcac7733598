"""Small things in one warm process: put and get of 1 kB, resolving a name, opening a store; beside SQLite with synchronous=FULL.

    python benchmarks/small.py --folder DIR [--count 1000] [--check] [--write benchmarks/results.md]

SQLite inserts a row of 1 kB and commits it, and selects it by its key. A put here makes content, manifest and journal entry durable,
each in a file of its own: three syncs of files and those of their folders, where SQLite has one file with a journal beside it.
`create` is what a put cannot leave out of that: the three files, written, synced and linked, by plain calls. All take turns.
"""

import argparse
import hashlib
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from report import machine, table, write_section

import artifactstore

SIZE: Final = 1000  # bytes
BLOCK: Final = 20  # calls of one before those of the next
TARGETS: Final = {"put": 5e-3, "get": 1e-4, "resolve": 1e-4}  # seconds, of the median


def main() -> int:
    """Take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    folder: Path = asked.folder / f"small-{os.getpid()}"
    folder.mkdir(parents=True)
    took: dict[str, list[float]] = {}
    steps = _steps(folder)
    for start in range(0, asked.count, BLOCK):
        for name, call in steps.items():
            for number in range(start, start + BLOCK):
                begin = time.perf_counter()
                call(number)
                took.setdefault(name, []).append(time.perf_counter() - begin)
    rows, missed = [], []
    for name, all_ in took.items():
        median, worst = statistics.median(all_), sorted(all_)[int(len(all_) * 0.99)]
        peer = took.get({"put": "SQLite insert", "get": "SQLite select", "resolve": "SQLite select"}.get(name, ""))
        beside = f"{median / statistics.median(peer):.2f}" if peer else ""
        rows.append([name, f"{median * 1e3:.3f}", f"{worst * 1e3:.3f}", beside])
        if median > TARGETS.get(name, 1):
            missed.append(f"{name} takes {median * 1e3:.3g} ms, and {TARGETS[name] * 1e3:g} were promised")
    text = f"{machine()}. {asked.count} of each, {SIZE} bytes.\n\n"
    text += table(["call", "p50, ms", "p99, ms", "median beside SQLite"], rows)
    text += "\n" + ("\n".join(f"- missed: {line}" for line in missed) or "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "Small things", text)
    return 1 if missed and asked.check else 0


def _steps(folder: Path) -> dict[str, Callable[[int], object]]:
    store = artifactstore.open(folder / "store", cache=None)
    store.put(_content(-1), "warm")
    base = sqlite3.connect(folder / "base.sqlite", isolation_level=None)
    base.execute("pragma synchronous=full")
    base.execute("create table content (name text primary key, value blob)")
    plain = folder / "plain"
    plain.mkdir()
    return {
        "put": lambda number: store.put(_content(number), f"name/{number % 50}"),
        "three files, synced": lambda number: _three(plain, number),
        "SQLite insert": lambda number: base.execute("insert into content values (?, ?)", (f"name/{number}", _content(number))),
        "get": lambda number: store.get(f"name/{number % 50}" if number >= 50 else "warm"),
        "SQLite select": lambda number: base.execute("select value from content where name = ?", (f"name/{number}",)).fetchone(),
        "resolve": lambda number: store.artifact(f"name/{number % 50}" if number >= 50 else "warm").digest,
        "open": lambda _: artifactstore.open(folder / "store", cache=None),
    }


def _content(number: int) -> bytes:
    return (hashlib.sha512(b"%d" % number).digest() * 16)[:SIZE]


def _three(folder: Path, number: int) -> None:
    for kind in ("pack", "manifest", "entry"):
        path = folder / f"{kind}-{number}"
        with path.with_suffix(".tmp").open("wb") as file:
            file.write(_content(number))
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".tmp").rename(path)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
