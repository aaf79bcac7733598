"""This library beside the floor: what a put or a get cannot leave out, done by the same C code, in one run.

    python benchmarks/floor.py --folder DIR [--sets small,checkpoint,csv,objects,commands] [--peers cp,restic,borg,casync]
                               [--repeat 3] [--scale 1.0] [--check] [--write benchmarks/results.md]
    python benchmarks/floor.py --folder DIR --sets million --peers restic    # 1 M files of 1 kB: 30 GB, half an hour
    python benchmarks/floor.py --folder DIR --sets large                     # a sparse file of 100 GB: 60 GB

The floor (`floor_program.py`, `floor_objects.py`) reads, hashes, encodes by the same codecs, writes packs of the same size, syncs
and renames, by two threads, its start included; it keeps no records, no names, no journal, and cuts nothing. A line of its own says
what cutting into chunks and storing each once add. Floor, library and peers take turns, so that noise hits all. The clock counts
by the median, seconds of processors by the least, since noise only adds.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import data as datasets
from floor_sets import MADE, copy_sparse
from peer_tools import TOOLS, ArtifactStore, Restic, Took, Tool, ToolError, run, size_of
from peers import compare, settle
from report import keep_memory, machine, table, write_section

STEPS: Final = ("put v1", "again", "put v2", "get v2")
# How many times the floor is allowed: per set and step.
TARGETS: Final = {
    "small": dict.fromkeys(STEPS, 1.25),
    "million": dict.fromkeys(STEPS, 1.25),
    "large": dict.fromkeys(STEPS, 1.25),
    "checkpoint": dict.fromkeys(STEPS, 1.25),
    "csv": {**dict.fromkeys(STEPS, 1.25), "put v1": 1.4, "put v2": 1.4},
}
OBJECT_TARGET: Final = 1.3
COMMAND_TARGET: Final = 1.3
FLOOR: Final = "floor"
CHUNKS: Final = "floor, cut into chunks"
OWN: Final = "artifactstore"
GIT: Final = {"--help": ["--version"], "ls": ["log", "--oneline"], "put, unchanged": ["add", "."]}
RESTIC: Final = {"--help": ["version"], "ls": ["snapshots"], "put, unchanged": ["backup", "--quiet", "."]}
Figures = dict[tuple[str, str], list[Took]]  # (what, who) → one a repeat
STORED: Final[dict[tuple[str, str], int]] = {}  # (what, who) → bytes that a put added, the last time


# -- folders


class Floor:
    """The floor's program, as a tool."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.options = options
        self.env = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if key in os.environ}

    def start(self) -> None:
        """Make nothing."""

    def _run(self, *arguments: str) -> Took:
        script = str(Path(__file__).with_name("floor_program.py"))
        return run([sys.executable, script, *arguments], cwd=self.root, env=self.env)

    def put(self, folder: Path, _label: str) -> Took:
        """Store a folder."""
        return self._run("put", str(folder), str(self.root / "store"), *self.options)

    def get(self, _label: str, target: Path) -> Took:
        """Bring the last version back."""
        return self._run("get", str(self.root / "store"), str(target))


def tools(peers: Sequence[str]) -> dict[str, Callable[[Path], Any]]:
    """Return who is measured, each made for a folder."""
    others = {name: partial(TOOLS[name], venv=None) for name in peers if name in TOOLS}
    return {FLOOR: Floor, CHUNKS: lambda root: Floor(root, "--chunks"), OWN: lambda root: ArtifactStore(root, None), **others}


def folders(args: argparse.Namespace, name: str, figures: Figures) -> None:
    """Measure one repeat of a data set."""
    data = datasets.load(name, args.folder)
    for number, (who, make) in enumerate(tools(args.peers).items()):
        root = args.folder / "run" / f"{name}-{number}-{len(figures.get((f'{name}, again', who), ()))}"
        root.mkdir(parents=True)
        try:
            measure(make(root), data, who, figures)
        except ToolError as error:
            print(f"{who} on {name}: {error}", file=sys.stderr)
        if data.files < datasets.FEW:
            shutil.rmtree(root)


def measure(tool: Any, data: datasets.DataSet, who: str, figures: Figures) -> None:
    """Measure the steps of one tool."""
    name, sparse = data.name, data.name == "large"
    work, target = tool.root / "data", tool.root / "got"
    (copy_sparse if sparse else shutil.copytree)(data.v1, work)
    tool.start()
    for step, label in zip(STEPS[:3], ("v1", "again", "v2"), strict=True):
        if label == "v2" and not sparse:
            datasets.update(work, data.v2)
        elif label == "v2":
            shutil.rmtree(work)
            copy_sparse(data.v2, work)
        begin(work, sparse=sparse)
        before = size_of(tool.root / "store")
        took = tool.put(work, label)
        figures.setdefault((f"{name}, {step}", who), []).append(took)
        STORED[f"{name}, {step}", who] = size_of(tool.root / "store") - before
    if sparse and who not in {FLOOR, CHUNKS, OWN}:
        return  # not every tool restores holes as holes, and a disk may have no room for their zeros
    begin(tool.root, sparse=sparse)
    figures.setdefault((f"{name}, get v2", who), []).append(tool.get("v2", target))
    if not sparse:
        compare(data.v2, tool.arrived(target) if isinstance(tool, Tool) else target)


def begin(folder: Path, *, sparse: bool) -> None:
    """Let every step begin alike; what is larger than memory cannot be in the page cache."""
    if sparse:
        os.sync()
    else:
        settle(folder)


# -- commands, cold


def commands(args: argparse.Namespace, figures: Figures) -> None:
    """Measure commands in a small store, beside the import of Arrow's library alone."""
    root = args.folder / "run" / "floor"
    shutil.rmtree(root, ignore_errors=True)
    (root / "data").mkdir(parents=True)
    (root / "data" / "small").write_bytes(os.urandom(1000))
    tool = ArtifactStore(root, None)
    tool.start()
    tool.put(root / "data", "v1")
    program, store = tool.program() or "", ["--store", str(root / "store")]
    asked = {
        "--help": ["--help"],
        "ls": ["ls", *store],
        "get of 1 kB": ["get", "data", str(root / "got"), *store],
        "put, unchanged": ["put", str(root / "data"), "data", *store],
    }
    others = [*command_peers(args.peers, root)]
    for _ in range(7):
        for what, words in asked.items():
            shutil.rmtree(root / "got", ignore_errors=True)
            took = run([sys.executable, "-c", "import pyarrow.lib"], cwd=root, env=tool.env)
            figures.setdefault((f"command, {what}", FLOOR), []).append(took)
            figures.setdefault((f"command, {what}", OWN), []).append(run([program, *words], cwd=root, env=tool.env))
        for who, what, command, env in others:
            took = run(command, cwd=root / "data", env=env)
            figures.setdefault((f"command, {what}", who), []).append(took)
    shutil.rmtree(root, ignore_errors=True)


def command_peers(peers: Sequence[str], root: Path) -> Iterator[tuple[str, str, list[str], dict[str, str]]]:
    """Yield who, what, command and environment of other tools' nearest commands, each over the same small folder."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_AUTHOR_NAME": "a",
        "GIT_COMMITTER_NAME": "a",
        "EMAIL": "a@example.org",
    }
    if "git" in peers:
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "small"]):
            run(["git", *words], cwd=root / "data", env=env)
        yield from (("git", what, ["git", *words], env) for what, words in GIT.items())
    if "restic" in peers:
        tool = Restic(root / "restic", None)
        tool.start()
        tool.put(root / "data", "v1")
        yield from (("restic", what, ["restic", *words], tool.env) for what, words in RESTIC.items())


# -- objects


def objects(args: argparse.Namespace, figures: Figures) -> None:
    """Measure objects in another process, warm."""
    script = str(Path(__file__).with_name("floor_objects.py"))
    root = args.folder / "run" / "floor"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    env = {**os.environ, "ARTIFACTSTORE_CACHE": str(root / "cache")}
    command = [sys.executable, script, "--folder", str(root), "--scale", str(args.scale)]
    if args.only:
        command += ["--only", args.only]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    for what, who, seconds, work in json.loads(done.stdout.splitlines()[-1]):
        figures.setdefault((what, who), []).append(Took(seconds, work, 0))
    shutil.rmtree(root, ignore_errors=True)


def target_of(what: str) -> tuple[float, str]:
    """Return how many times is allowed, and of whom."""
    kind, _, step = what.partition(", ")
    if kind in TARGETS:
        # Without chunks a second version is stored whole.
        return TARGETS[kind][step], CHUNKS if step == "put v2" else FLOOR
    if kind == "command":
        return COMMAND_TARGET, FLOOR
    if kind == "200 small things":  # SQLite keeps no history: no floor, but a measure
        return math.inf, FLOOR
    if kind.startswith("wide table"):
        return 1.5, FLOOR
    return (1.1 if kind.startswith("table") else OBJECT_TARGET), FLOOR


def tell(figures: Figures) -> tuple[str, int]:
    """Return the table, and how many targets are missed by the seconds of processors."""
    rows, missed = [], 0
    for what in dict.fromkeys(what for what, _ in figures):
        own = figures[what, OWN]
        limit, of = target_of(what)
        cells = []
        for who in (FLOOR, CHUNKS, OWN):
            took = figures.get((what, who))
            cells.append(f"{_clock(took):.3f} / {_work(took):.3f}" if took else "")
        other = figures[what, of]
        clock, work = _clock(own) / max(_clock(other), 1e-9), _work(own) / max(_work(other), 1e-9)
        missed += work > limit
        verdict = ["met" if ratio <= limit else "**missed**" for ratio in (clock, work)]
        beside = " (cut)" if of == CHUNKS else ""
        rows.append(
            [
                what,
                *cells,
                f"{clock:.2f} / {work:.2f}{beside}",
                f"{limit:g}" if limit < math.inf else "",
                " / ".join(dict.fromkeys(verdict)) if limit < math.inf else "",
            ]
        )
    head = ["step", "floor: clock / processors", "floor with chunks", "artifactstore", "ratio", "target", ""]
    return table(head, rows), missed


def tell_peers(figures: Figures, peers: Sequence[str]) -> str:
    """Return the table beside other tools: seconds by the clock, how many times as long as this library, and what was stored."""
    rows = []
    for what in dict.fromkeys(what for what, who in figures if who in peers):
        own = figures[what, OWN]
        row = [what]
        for who in (OWN, *peers):
            took = figures.get((what, who))
            times = f" ({_clock(took) / _clock(own):.2f} x)" if took and who != OWN else ""
            kept = f", {STORED[what, who] / 1e6:,.1f} MB" if (what, who) in STORED and "again" not in what else ""
            row.append(f"{_clock(took):.2f}{times}{kept}, peak {max(one.peak for one in took) / 1e6:.0f}" if took else "")
        rows.append(row)
    return table(["step", OWN, *peers], rows)


def _clock(took: list[Took]) -> float:
    return statistics.median(one.seconds for one in took)


def _work(took: list[Took]) -> float:
    return min(one.work for one in took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: some 30 GB at full size")
    parser.add_argument("--sets", default="small,checkpoint,csv,objects,commands", help="also: million, large")
    parser.add_argument("--peers", default="", help="tools to measure beside, such as cp,restic,borg,casync; git for commands")
    parser.add_argument("--only", help="of the objects, those whose name contains this")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="smaller data for a trial run")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a target is missed by the seconds of processors")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Beside the floor` of this file")
    args = parser.parse_args()
    args.folder, args.peers = args.folder.absolute(), [one for one in args.peers.split(",") if one]
    shutil.rmtree(args.folder / "run", ignore_errors=True)
    figures: Figures = {}
    names = args.sets.split(",")
    for name in names:
        if name in MADE:
            MADE[name](args.folder, args.scale)
        elif name not in {"objects", "commands"}:
            parser.error(f"no such set: {name}")
    kept = keep_memory()
    for repeat in range(args.repeat):
        for name in names:
            print(f"{name}, {repeat + 1} of {args.repeat}", file=sys.stderr)
            if name == "objects":
                objects(args, figures)
            elif name == "commands":
                commands(args, figures)
            else:
                folders(args, name, figures)
    kept.close()
    shutil.rmtree(args.folder / "run", ignore_errors=True)
    text, missed = tell(figures)
    about = (
        f"{machine()}; {args.repeat} repeats. Seconds: the median by the clock / the least of the processors, all threads and the "
        "kernel. Ratios are of the floor, at a second version of the floor that cuts into chunks: without chunks it is stored whole.\n\n"
    )
    if args.peers:
        text += (
            "\nBeside other tools, in the same run: median seconds, and how many times as long as this library; bytes that a put added "
            f"(10⁶); the peak of memory (10⁶).\n\n{tell_peers(figures, args.peers)}"
        )
    print(text)
    if args.write:
        only = "" if args.sets == parser.get_default("sets") else f": {args.sets}"
        write_section(args.write, f"Beside the floor{only}", about + text)
    return int(args.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
