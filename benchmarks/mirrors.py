"""Reading with a mirror and without, and `verify --level frames` beside `cat` of the packs: times, requests and their ratios.

python benchmarks/mirrors.py [MEGABYTES]
"""

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import artifactstore
from artifactstore.store import Store

TIMES = 7


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    home = Path(tempfile.mkdtemp())
    try:
        store = artifactstore.open(home / "store", cache=None)
        noise = random.Random(1)
        for number in range(max(1, size // 64)):
            store.put(noise.randbytes(64 * 2**20), f"n{number}")
        names = [one.name for one in store.names()]
        store.maintenance.sync(home / "copy")
        plain = artifactstore.open(home / "store", cache=None)
        mirrored = artifactstore.open(home / "store", cache=None, mirrors=[home / "copy"])
        both = alternating(lambda: read(plain, names), lambda: read(mirrored, names))
        print(f"read {size} MB: without {both[0]:.3f} s, with a mirror {both[1]:.3f} s, ratio {both[1] / both[0]:.3f}")
        packs = sorted(map(str, (home / "store").glob("packs/*/*")))
        total = sum(Path(one).stat().st_size for one in packs) / 1e6
        verify, cat = alternating(
            lambda: plain.verify(level="frames"),
            lambda: subprocess.run(["cat", *packs], check=True, stdout=subprocess.DEVNULL),
        )
        piped = median(lambda: subprocess.run(f"cat {' '.join(packs)} | cat > /dev/null", shell=True, check=True))
        print(
            f"frames of {total:.0f} MB: verify {total / verify:.0f} MB/s, cat {total / cat:.0f} MB/s, cat | cat {total / piped:.0f} MB/s,"
        )
        print(f"ratio to cat {cat / verify:.2f}, to cat | cat {piped / verify:.2f}")
    finally:
        shutil.rmtree(home)


def read(store: Store, names: list[str]) -> None:
    for name in names:
        store.get(name)


def alternating(*calls: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each call, run in turn so that other load hits all alike."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(TIMES):
        for times, call in zip(found, calls, strict=True):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in found]


def median(call: Callable[[], Any]) -> float:
    return alternating(call)[0]


if __name__ == "__main__":
    main()
