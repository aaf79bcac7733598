"""How put and get of each data set become faster with the number of cores: 1, 2, 4 … all of them.

    python benchmarks/cores.py --folder DIR [--sets small,checkpoint,csv] [--repeat 3] [--scale 1.0] [--check]
                               [--write benchmarks/results.md]

Each command is bound to the first n cores; the rounds alternate between the numbers of cores, and the best clock counts.
With `--check` two cores must be 1.7 times as fast as one.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import data as datasets
from peer_tools import ArtifactStore
from peers import settle
from report import keep_memory, machine, table, write_section

LEAST: Final = 1.7
Best = dict[tuple[str, int], float]


def counts() -> list[int]:
    """Return 1, 2, 4 … and the number of cores that this process may use."""
    most = len(os.sched_getaffinity(0))
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


def measure(args: argparse.Namespace, name: str, cores: int, best: Best) -> None:
    """Put and get one data set with some cores."""
    data = datasets.load(name, args.folder)
    root = args.folder / "run" / f"cores-{name}-{len(list((args.folder / 'run').glob('cores-*')))}"
    target = root / "got"
    root.mkdir(parents=True)
    tool, every = ArtifactStore(root, None), os.sched_getaffinity(0)
    tool.start()
    for step in ("put", "get"):
        settle(data.v1 if step == "put" else root)
        os.sched_setaffinity(0, sorted(every)[:cores])  # children inherit it
        try:
            took = tool.put(data.v1, "v1") if step == "put" else tool.get("v1", target)
        finally:
            os.sched_setaffinity(0, every)
        key = (f"{name}, {step}", cores)
        best[key] = min(best.get(key, took.seconds), took.seconds)
    if data.files < datasets.FEW:
        shutil.rmtree(target)
        shutil.rmtree(root / "store")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(datasets.SETS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--check", action="store_true", help="exit code 1 if two cores are not 1.7 times as fast as one")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Cores` of this file")
    args = parser.parse_args()
    args.folder = args.folder.absolute()
    if not hasattr(os, "sched_setaffinity"):
        parser.error("this system cannot bind a process to cores")
    names, numbers, best = args.sets.split(","), counts(), Best()
    for name in names:
        datasets.make(name, args.folder, scale=args.scale)
    shutil.rmtree(args.folder / "run", ignore_errors=True)
    (args.folder / "run").mkdir(parents=True)
    kept = keep_memory()
    for _ in range(args.repeat):
        for name in names:
            for cores in numbers:
                measure(args, name, cores, best)
    kept.close()
    shutil.rmtree(args.folder / "run")
    rows, missed = [], 0
    for what in dict.fromkeys(what for what, _ in best):
        alone = best[what, 1]
        cells = [f"{best[what, cores]:.2f} ({alone / best[what, cores]:.2f} x)" for cores in numbers]
        slow = 2 in numbers and alone / best[what, 2] < LEAST
        missed += slow
        rows.append([what, *cells, ("**missed**" if slow else "met") if 2 in numbers else ""])
    text = table(["step", *(f"{cores} cores" if cores > 1 else "1 core" for cores in numbers), f"two ≥ {LEAST} x one"], rows)
    print(text)
    if args.write:
        about = f"{machine()}; best of {args.repeat}. Seconds by the clock, and how many times as fast as one core.\n\n"
        write_section(args.write, "Cores", about + text)
    return int(args.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
