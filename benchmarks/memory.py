"""Peak memory of put and get by the command, above what importing the library takes.

    python benchmarks/memory.py --folder DIR [--gigabytes 10] [--files 1000000] [--check] [--write benchmarks/results.md]

One large incompressible file and one folder of many small ones; small by default, so that anybody can run it. What
was measured stays in `DIR/memory.json`, so that a run that was stopped goes on; `--fresh` measures again.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from peer_tools import ArtifactStore, ToolError, run
from report import machine, table, write_section

LARGE_LIMIT: Final = 600  # MB above the imports for 10 GB in or out
MANY_LIMIT: Final = 1000  # MB above the imports for 1 M files
_IMPORTS: Final = "import artifactstore.store, artifactstore.model.schema, pyarrow.parquet, pyfastcdc, zstandard, sqlite3, typer"


def large(folder: Path, gigabytes: float) -> None:
    """Write one file that neither shrinks nor repeats."""
    draw, left = random.Random(0), int(gigabytes * 1e9)
    folder.mkdir(parents=True)
    with (folder / "large.bin").open("wb") as file:
        while left:
            left -= file.write(draw.randbytes(min(left, 2**24)))


def many(folder: Path, count: int) -> None:
    """Write files of 100 different bytes each, 1,000 a folder."""
    draw = random.Random(1)
    for i in range(count):
        if i % 1000 == 0:
            (folder / f"{i // 1000:05d}").mkdir(parents=True)
        (folder / f"{i // 1000:05d}" / f"{i % 1000:03d}.bin").write_bytes(draw.randbytes(100))


def measure(folder: Path, make: Callable[[Path], None]) -> dict[str, Any]:
    """Put, put again, get; returns seconds and peaks in bytes."""
    root, target = folder / "memory", folder / "memory-got"
    for old in (root, target):
        shutil.rmtree(old, ignore_errors=True)
    root.mkdir(parents=True)
    tool = ArtifactStore(root, None)
    try:
        make(root / "data")
        tool.start()
        found: dict[str, Any] = {}
        for step in ("put", "again"):
            os.sync()
            took = tool.put(root / "data", step)
            found[step] = {"seconds": took.seconds, "peak": took.peak}
        os.sync()
        took = tool.get("again", target)
        found["get"] = {"seconds": took.seconds, "peak": took.peak}
        differ = subprocess.run(
            ["diff", "-r", "-q", str(root / "data"), str(target)], capture_output=True, text=True, check=False
        )
        if differ.returncode:
            raise ToolError(f"what came back differs: {differ.stdout[:500]}")
        return found
    finally:
        for old in (root, target):
            shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: three times --gigabytes")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of the large file (10 for the record)")
    parser.add_argument("--files", type=int, default=10_000, help="small files (1,000,000 for the record)")
    parser.add_argument("--fresh", action="store_true", help="measure again")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a limit is exceeded")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Memory` of this file")
    args = parser.parse_args()
    folder: Path = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    where, kept = machine(), folder / "memory.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not args.fresh else {}
    base = min(run([sys.executable, "-c", _IMPORTS], cwd=folder).peak for _ in range(3))
    cases: list[tuple[str, Callable[[Path], None], int]] = [
        (f"one file of {args.gigabytes:g} GB", lambda path: large(path, args.gigabytes), LARGE_LIMIT),
        (f"{args.files:,} files", lambda path: many(path, args.files), MANY_LIMIT),
    ]
    rows, missed = [], 0
    for name, make, limit in cases:
        if name not in known:
            known[name] = measure(folder, make)
            kept.write_text(json.dumps(known, indent=1))
        for step, found in known[name].items():
            above = (found["peak"] - base) / 1e6
            missed += above > limit
            verdict = "met" if above <= limit else "**missed**"
            rows.append([name, step, f"{found['seconds']:.1f} s", f"{above:.0f} MB", f"≤ {limit} MB: {verdict}"])
    text = f"The imports alone: {base / 1e6:.0f} MB.\n\n" + table(["what", "step", "time", "peak above", "limit"], rows)
    print(text)
    if args.write:
        write_section(args.write, "Memory", f"{where}.\n\n{text}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
