"""What things cost as a store grows: histories of 1,000 to 1,000,000 entries, the same calls in each.

    python benchmarks/growth.py --folder DIR [--entries 1000,10000,100000,1000000] [--write benchmarks/results.md]

The histories are those of `newcomer.py`. Asked are processes of their own: one that stays open (put and get of 1 kB, resolving a
name), one that starts with what an earlier one has kept, and one that knows nothing of the store.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import newcomer
from report import machine, own_process, table, write_section

import artifactstore

CALLS: Final = 200
STARTS: Final = 5


def main() -> int:
    """Make the stores where they are not there, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--entries", default="1000,10000,100000,1000000")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--part", help="asked by this script itself, in a process of its own: PART:ENTRIES")
    asked = parser.parse_args()
    if asked.part:
        part, _, count = asked.part.partition(":")
        print(json.dumps(PARTS[part](asked.folder / f"newcomer-{count}")))
        return 0
    rows = []
    for count in map(int, asked.entries.split(",")):
        place = asked.folder / f"newcomer-{count}"
        newcomer.make(place, count)
        if not (place / "published").exists():
            own_process(f"publish:{count}")
        found = own_process(f"warm:{count}")
        for part in ("kept", "nothing"):
            found[part] = statistics.median(own_process(f"{part}:{count}")["s"] for _ in range(STARTS))
        rows.append([f"{count:,}", *(f"{1000 * value:.2f}" for value in found.values())])
    head = [
        "entries",
        "put of 1 kB",
        "get of 1 kB",
        "resolve",
        "open and resolve, with what was kept",
        "open and resolve, knowing nothing",
    ]
    text = (
        f"{machine()}. Milliseconds, medians of {CALLS} calls in one process, and of {STARTS} processes.\n\n{table(head, rows)}"
    )
    print(text)
    if asked.write:
        write_section(asked.write, "As a store grows", text)
    return 0


def warm(place: Path) -> dict[str, float]:
    """Put, get and resolve in a process that stays open."""
    store = artifactstore.open(place / "store", cache=place / "cache")
    store.put(b"x", "growth/first")

    def median(call: Callable[[int], Any]) -> float:
        took = []
        for number in range(CALLS):
            begin = time.perf_counter()
            call(number)
            took.append(time.perf_counter() - begin)
        return statistics.median(took)

    return {
        "put": median(lambda number: store.put(os.urandom(1000), f"growth/{number % 20}")),
        "get": median(lambda number: store.get(f"growth/{number % 20}")),
        "resolve": median(lambda number: store.artifact(f"growth/{number % 20}").digest),
    }


def kept(place: Path) -> dict[str, float]:
    """Open and resolve with the cache of an earlier process; the modules that this loads are in the time."""
    return _opened(place, place / "cache")


def nothing(place: Path) -> dict[str, float]:
    """Open and resolve without any cache."""
    return _opened(place, None)


def _opened(place: Path, cache: Path | None) -> dict[str, float]:
    begin = time.perf_counter()
    artifactstore.open(place / "store", cache=cache).artifact("one/more")
    return {"s": time.perf_counter() - begin}


PARTS: Final[dict[str, Callable[[Path], dict[str, float]]]] = {
    "publish": newcomer.publish,
    "warm": warm,
    "kept": kept,
    "nothing": nothing,
}

if __name__ == "__main__":
    sys.exit(main())
