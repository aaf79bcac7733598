"""Peak memory of put, put again, get, open, verify and a dossier (of the large file) by the command, above what importing the library takes.

    python benchmarks/memory.py --folder DIR [--gigabytes 10] [--files 1000000] [--check] [--write benchmarks/results.md]
    python benchmarks/memory.py --folder DIR --only very,sparse [--very-many 5000000] [--sparse 200]

One large incompressible file and one folder of many small ones; small by default, so that anybody can run it. By
`--only very,sparse`, five million small files (as many inodes three times) and one sparse file of 200 GB (10 MB of disk). What
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
DOSSIER_LIMIT: Final = 300  # MB above the imports for a dossier of 10 GB
VERY_LIMIT: Final = 1400  # MB above the imports for 5 M files, and for a sparse file of 200 GB: 1.5 GB with the imports
_OPEN: Final = """
import sys, artifactstore
store = artifactstore.open(sys.argv[1])
files = store.artifact("data").files
with store.open_file("data", files[len(files) // 2].path) as file:
    file.read(1000)
"""
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


def sparse(folder: Path, gigabytes: float) -> None:
    """Write one file that is a hole but for a megabyte at each tenth of it."""
    draw, size = random.Random(2), int(gigabytes * 1e9)
    folder.mkdir(parents=True)
    with (folder / "sparse.img").open("wb") as file:
        file.truncate(size)
        for tenth in range(10):
            file.seek(size * tenth // 10)
            file.write(draw.randbytes(min(10**6, size // 10)))


def measure(folder: Path, make: Callable[[Path], None], *, dossier: bool) -> dict[str, Any]:
    """Put, put again, get …; returns seconds and peaks in bytes."""
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
        # To compare 200 GB of zeros takes longer than all the rest; each get checks the digest.
        if max(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= 2**35:
            command = ["diff", "-r", "-q", str(root / "data"), str(target)]
            differ = subprocess.run(command, capture_output=True, text=True, check=False)
            if differ.returncode:
                raise ToolError(f"what came back differs: {differ.stdout[:500]}")
        shutil.rmtree(target)  # a dossier is as large
        commands = {
            "open": [sys.executable, "-c", _OPEN, str(tool.store)],
            "verify": [str(tool.program()), "verify", "--store", str(tool.store)],
        }
        if dossier:
            target_zip = str(root / "dossier.zip")
            export = [str(tool.program()), "export", "data", "--as", "dossier", "--to", target_zip, "--store", str(tool.store)]
            commands["dossier"] = export
        for step, command in commands.items():
            took = run(command, cwd=root, env=tool.env)
            found[step] = {"seconds": took.seconds, "peak": took.peak}
        return found
    finally:
        for old in (root, target):
            shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: three times --gigabytes")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of the large file (10 for the record)")
    parser.add_argument("--files", type=int, default=10_000, help="small files (1,000,000 for the record)")
    parser.add_argument("--very-many", type=int, default=5_000_000, help="small files of the case `very`")
    parser.add_argument("--sparse", type=float, default=200, help="gigabytes of the sparse file")
    parser.add_argument("--only", default="large,many", help="which cases: large, many, very, sparse")
    parser.add_argument("--fresh", action="store_true", help="measure again")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a limit is exceeded")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Memory` of this file")
    args = parser.parse_args()
    folder: Path = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    where, kept = machine(), folder / "memory.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not args.fresh else {}
    base = min(run([sys.executable, "-c", _IMPORTS], cwd=folder).peak for _ in range(3))
    cases: dict[str, tuple[str, Callable[[Path], None], int]] = {
        "large": (f"one file of {args.gigabytes:g} GB", lambda path: large(path, args.gigabytes), LARGE_LIMIT),
        "many": (f"{args.files:,} files", lambda path: many(path, args.files), MANY_LIMIT),
        "very": (f"{args.very_many:,} files", lambda path: many(path, args.very_many), VERY_LIMIT),
        "sparse": (f"one sparse file of {args.sparse:g} GB", lambda path: sparse(path, args.sparse), VERY_LIMIT),
    }
    rows, missed = [], 0
    for name, make, limit in (cases[one] for one in args.only.split(",")):
        if name not in known:
            known[name] = measure(folder, make, dossier=limit == LARGE_LIMIT)
            kept.write_text(json.dumps(known, indent=1))
        for step, found in known[name].items():
            above = (found["peak"] - base) / 1e6
            most = DOSSIER_LIMIT if step == "dossier" else limit
            missed += above > most
            verdict = "met" if above <= most else "**missed**"
            rows.append([name, step, f"{found['seconds']:.1f} s", f"{above:.0f} MB", f"≤ {most} MB: {verdict}"])
    text = f"The imports alone: {base / 1e6:.0f} MB.\n\n" + table(["what", "step", "time", "peak above", "limit"], rows)
    print(text)
    if args.write:
        write_section(args.write, "Memory", f"{where}.\n\n{text}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
