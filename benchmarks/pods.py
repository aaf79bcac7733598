"""Starts of pods on one node: the first with a model, further ones, and the first after one has ended.

    python benchmarks/pods.py --folder DIR [--gigabytes 10] [--link] [--check] [--write benchmarks/results.md]

With `--link`, the first start fetches over eight connections of 8 MB/s and 30 ms a round trip, and further ones have the link too.
Each start is a process of its own, `artifactstore-kserve`, with the node's cache in the same folder. How a pod gets the files
depends on the file system of that folder: clones on XFS and btrfs, hard links on ext4. Takes three times the size as scratch space.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from report import machine, table, write_section

import artifactstore

FILES = 5
SMALL = 200
TARGET = 2.0  # seconds of a further start, whatever the size
PROGRAM = "from artifactstore.integrations.kserve.command import run; run()"
BANDWIDTH, CONNECTIONS, LATENCY = 8e6, 8, 0.03  # bytes a second of a connection; seconds
SHARE, BUSY = 0.8, 0.9  # of the link, or of the cores
OVER_LINK = f"""
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session import session
real = session.connect
session.connect = lambda *a, **k: LatencyBackend(real(*a, **k), {LATENCY}, {BANDWIDTH}, connections={CONNECTIONS})
"""


def main() -> int:
    """Make the store, start pods, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--link", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    folder: Path = asked.folder / "pods"
    shutil.rmtree(folder, ignore_errors=True)
    uri = _make(folder, int(asked.gigabytes * 1e9))
    os.environ["ARTIFACTSTORE_CACHE"] = str(folder / "cache")
    program = OVER_LINK * asked.link + PROGRAM
    found = {"the first": _start(program, folder, uri, 1)}
    found |= {f"another, {number}": _start(program, folder, uri, number) for number in (2, 3, 4)}
    shutil.rmtree(folder / "pod1")
    found["after a pod has ended"] = _start(program, folder, uri, 5)
    found["another after that"] = _start(program, folder, uri, 6)
    os.environ["ARTIFACTSTORE_KSERVE_SHARE"] = "nothing"
    found["another, nothing shared"] = _start(program, folder, uri, 7)
    rows = [[what, f"{seconds:.2f}", f"{work:.2f}"] for what, (seconds, work) in found.items()]
    size = f"{asked.gigabytes:g} GB in {FILES} files and {SMALL} small ones"
    text = f"{machine()}. {size}.\n\n{table(['start', 's', 's of processors'], rows)}"
    missed = [
        f"{what} ({TARGET:g} s)"
        for what, (seconds, _) in found.items()
        if "another, " in what and what[-1].isdigit() and seconds > TARGET
    ]
    if asked.link:
        content = asked.gigabytes * 1e9
        seconds, work = found["the first"]
        share, busy = content / seconds / (BANDWIDTH * CONNECTIONS), work / seconds / (os.cpu_count() or 1)
        text += f"\nThe first start used {share:.1%} of {CONNECTIONS} connections of {BANDWIDTH / 1e6:g} MB/s, {busy:.0%} of the cores.\n"
        if share < SHARE and busy < BUSY:
            missed.append(f"the first ({SHARE:.0%} of the link)")
    text += "\n" + (f"- missed: {', '.join(missed)}" if missed else "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "Starts of pods with a cache on the node" + ", over a link" * asked.link, text)
    shutil.rmtree(folder)
    return 1 if missed and asked.check else 0


def _make(folder: Path, size: int) -> str:
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(FILES):
        with (source / f"model-{number}.bin").open("wb") as file:
            left = size // FILES
            while left > 0:
                left -= file.write(os.urandom(min(left, 2**24)))
    for number in range(SMALL):
        (source / f"token-{number}").write_bytes(os.urandom(20_000))
    made = artifactstore.open(folder / "store", cache=None).put(source, "model", kind="model")
    shutil.rmtree(source)
    return str(made.uri)


def _start(program: str, folder: Path, uri: str, number: int) -> tuple[float, float]:
    """Start a pod; return seconds by the clock, and of processors."""
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", program, uri, str(folder / f"pod{number}")], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
