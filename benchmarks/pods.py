"""Starts of pods on one node: the first with a model, further ones, and the first after one has ended.

    python benchmarks/pods.py --folder DIR [--gigabytes 10] [--check] [--write benchmarks/results.md]

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


def main() -> int:
    """Make the store, start pods, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    folder: Path = asked.folder / "pods"
    shutil.rmtree(folder, ignore_errors=True)
    uri = _make(folder, int(asked.gigabytes * 1e9))
    os.environ["ARTIFACTSTORE_CACHE"] = str(folder / "cache")
    found = {"the first": _start(folder, uri, 1)}
    found |= {f"another, {number}": _start(folder, uri, number) for number in (2, 3, 4)}
    shutil.rmtree(folder / "pod1")
    found["after a pod has ended"] = _start(folder, uri, 5)
    found["another after that"] = _start(folder, uri, 6)
    os.environ["ARTIFACTSTORE_KSERVE_SHARE"] = "nothing"
    found["another, nothing shared"] = _start(folder, uri, 7)
    rows = [[what, f"{seconds:.2f}", f"{work:.2f}"] for what, (seconds, work) in found.items()]
    size = f"{asked.gigabytes:g} GB in {FILES} files and {SMALL} small ones"
    text = f"{machine()}. {size}.\n\n{table(['start', 's', 's of processors'], rows)}"
    missed = [what for what, (seconds, _) in found.items() if "another, " in what and what[-1].isdigit() and seconds > TARGET]
    text += "\n" + (f"- missed: {', '.join(missed)}: {TARGET:g} s were promised" if missed else "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "Starts of pods with a cache on the node", text)
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


def _start(folder: Path, uri: str, number: int) -> tuple[float, float]:
    """Start a pod; return seconds by the clock, and of processors."""
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, uri, str(folder / f"pod{number}")], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
