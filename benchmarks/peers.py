"""This library beside other tools, on the same data in one run.

    python benchmarks/peers.py --folder DIR [--peers restic,borg,…] [--sets small,checkpoint,csv] [--repeat 3]
                               [--tools-venv DIR] [--check] [--write benchmarks/results.md]

Each tool puts v1, puts it again unchanged, puts v2 (its user's folder changed in place), and gets v2 into a fresh
folder. What is measured is written to `DIR/peers.json` after every tool, so that a run that was stopped goes on
where it was; `--fresh` measures again. README.md says what the figures do not say.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import data as datasets
from peer_tools import TOOLS, Tool, ToolError
from report import machine, table, write_section

OWN: Final = "artifactstore"
STEPS: Final = ("put v1", "again", "put v2", "get v2")
Results = dict[str, dict[str, dict[str, Any]]]  # set → tool → its figures


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: what was measured must be at most `factor` times something.

    Attributes:
        set: the data set.
        what: a step, or `stored v1` or `stored +v2`.
        factor: of what `of` says.
        of: a tool (the same figure of it), or `raw` or `changed` (bytes of the data).
    """

    set: str
    what: str
    factor: float
    of: str


TARGETS: Final = (
    *(Target("small", step, factor, "restic") for step, factor in zip(STEPS, (0.35, 0.5, 0.5, 0.8), strict=True)),
    Target("small", "stored v1", 1.01, "raw"),
    Target("small", "stored +v2", 1.1, "changed"),
    *(Target("checkpoint", step, factor, "restic") for step, factor in zip(STEPS, (0.5, 1.0, 0.5, 0.9), strict=True)),
    Target("checkpoint", "stored v1", 0.80, "raw"),
    Target("checkpoint", "stored +v2", 0.85, "changed"),
    *(Target("csv", step, factor, "borg") for step, factor in zip(STEPS, (0.4, 0.7, 0.5, 0.6), strict=True)),
    Target("csv", "stored v1", 0.95, "casync"),
    Target("csv", "stored +v2", 0.6, "casync"),
)


# -- measuring


def measure(tool: Tool, data: datasets.DataSet, target: Path) -> dict[str, Any]:
    """Run the four steps of one tool; `tool.root` holds nothing else."""
    work = tool.root / "data"
    shutil.copytree(data.v1, work)
    tool.start()
    found: dict[str, Any] = {"version": tool.version()}
    for step, label in zip(STEPS[:3], ("v1", "again", "v2"), strict=True):
        if label == "v2":
            datasets.update(work, data.v2)
        before = tool.stored()
        settle(work)
        took = tool.put(work, label)
        found[step] = {"seconds": took.seconds, "work": took.work, "peak": took.peak, "stored": tool.stored() - before}
    settle(tool.root)
    took = tool.get("v2", target)
    found["get v2"] = {"seconds": took.seconds, "work": took.work, "peak": took.peak}
    compare(data.v2, tool.arrived(target))
    return found


def settle(folder: Path) -> None:
    """Write back what earlier steps left, and read what the next one will read: the page cache is warm for everybody."""
    os.sync()
    for path in datasets.files_of(folder):
        if not (folder / path).is_symlink():
            with (folder / path).open("rb", buffering=0) as file:
                while file.read(2**22):
                    pass


def compare(source: Path, got: Path) -> None:
    """Check that a get brought back the same files with the same bytes.

    Raises:
        ToolError: it did not.
    """
    done = subprocess.run(["diff", "-r", "-q", str(source), str(got)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"what came back differs: {(done.stdout or done.stderr)[:500]}")


def run_all(args: argparse.Namespace, tools: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """Measure what `peers.json` doesn't have yet."""
    kept = args.folder / "peers.json"
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    state.setdefault("runs", {})
    if args.fresh:
        state["runs"] = {k: v for k, v in state["runs"].items() if k.split("/")[0] not in sets or k.split("/")[1] not in tools}
    state["machine"] = machine()
    for name in sets:
        # In another process: this one needs no numpy.
        script = str(Path(__file__).with_name("data.py"))
        command = [sys.executable, script, "--folder", str(args.folder), "--sets", name, "--scale", str(args.scale)]
        subprocess.run(command, check=True)
    for repeat in range(args.repeat):
        for name in sets:
            for tool in tools:
                key = f"{name}/{tool}/{args.scale:g}/{repeat}"
                if key in state["runs"]:
                    print(f"{key}: measured before", file=sys.stderr)
                    continue
                found = run_one(args, TOOLS[tool], datasets.load(name, args.folder))
                if found is not None:
                    state["runs"][key] = found
                    kept.write_text(json.dumps(state, indent=1))
                    print(f"{key}: " + ", ".join(f"{s} {found[s]['seconds']:.2f} s" for s in STEPS), file=sys.stderr)
    return state


def run_one(args: argparse.Namespace, kind: type[Tool], data: datasets.DataSet) -> dict[str, Any] | None:
    """Measure one tool in a fresh folder; None where it failed, which is said."""
    root, target = args.folder / "run" / kind.name, args.folder / "run" / "got"
    for old in (root, target):
        shutil.rmtree(old, ignore_errors=True)
    root.mkdir(parents=True)
    tool = kind(root, args.tools_venv)
    try:
        return measure(tool, data, target)
    except ToolError as error:
        print(f"{kind.name} on {data.name}: {error}", file=sys.stderr)
        return None
    finally:
        for old in (root, target):
            shutil.rmtree(old, ignore_errors=True)


def best(runs: dict[str, dict[str, Any]], sets: Sequence[str], scale: float) -> Results:
    """Take the best of each figure's repeats: noise only ever adds."""
    results: Results = {name: {} for name in sets}
    for key, found in runs.items():
        name, tool, of_scale, _ = key.split("/")
        if name not in results or of_scale != f"{scale:g}":
            continue
        flat = {step: found[step]["seconds"] for step in STEPS}
        flat |= {"stored v1": found["put v1"]["stored"], "stored +v2": found["put v2"]["stored"]}
        flat |= {f"work {step}": found[step]["work"] for step in STEPS}
        flat |= {"peak put": found["put v1"]["peak"], "peak get": found["get v2"]["peak"]}
        before = results[name].setdefault(tool, {"version": found["version"], "repeats": 0, **flat})
        before["repeats"] += 1
        before |= {figure: min(before[figure], value) for figure, value in flat.items()}
    return results


# -- telling


def tell(results: Results, sets: dict[str, datasets.DataSet]) -> str:
    """Lay out the figures, a table for each data set."""
    parts = []
    for name, by_tool in results.items():
        data = sets[name]
        text = f"### {name}: {data.files} files, {data.raw / 1e6:.1f} MB; v2 changes {data.changed / 1e6:.3f} MB\n\n"
        text += (
            "Seconds, and in brackets how many times as long as this library takes; seconds of processors; megabytes (10⁶).\n\n"
        )
        head = [
            "tool",
            *STEPS,
            "processors, same steps",
            "stored v1",
            "stored +v2",
            "peak of put v1",
            "peak of get v2",
            "best of",
        ]
        own = by_tool.get(OWN)
        rows = []
        for tool in [t for t in TOOLS if t in by_tool]:
            found = by_tool[tool]
            ratios = [f" ({found[s] / own[s]:.1f} x)" if own and tool != OWN else "" for s in STEPS]
            row = [found["version"], *(f"{found[s]:.2f}{r}" for s, r in zip(STEPS, ratios, strict=True))]
            row.append(" / ".join(f"{found[f'work {step}']:.2f}" for step in STEPS))
            row += [f"{found['stored v1'] / 1e6:.1f}", f"{found['stored +v2'] / 1e6:.3f}"]
            row += [f"{found['peak put'] / 1e6:.0f}", f"{found['peak get'] / 1e6:.0f}", str(found["repeats"])]
            rows.append(row)
        parts.append(text + table(head, rows))
    return "\n".join(parts)


def check(results: Results, sets: dict[str, datasets.DataSet]) -> tuple[str, int]:
    """Compare with the targets; returns (a table, how many are missed)."""
    rows, missed = [], 0
    for target in TARGETS:
        by_tool = results.get(target.set, {})
        raw = {"raw": sets[target.set].raw, "changed": sets[target.set].changed} if target.set in sets else {}
        own = by_tool.get(OWN, {}).get(target.what)
        other = raw.get(target.of) or by_tool.get(target.of, {}).get(target.what)
        if own is None or not other:
            continue
        ratio = own / other
        missed += ratio > target.factor
        unit = f"{own:.2f} s" if target.what in STEPS else f"{own / 1e6:.3f} MB"
        verdict = "met" if ratio <= target.factor else "**missed**"
        rows.append([target.set, target.what, f"≤ {target.factor} of {target.of}", f"{ratio:.3f}", unit, verdict])
    return table(["set", "figure", "target", "measured", "which is", ""], rows), missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: some 12 GB at full size")
    parser.add_argument("--peers", default=",".join(TOOLS), help="which tools; default all that are installed")
    parser.add_argument("--sets", default=",".join(datasets.SETS), help="which data; default all")
    parser.add_argument("--repeat", type=int, default=1, help="the best of so many runs counts")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller data for a trial run")
    parser.add_argument("--tools-venv", type=Path, help="venv with dvc and mlflow")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured of these tools and sets")
    parser.add_argument("--check", action="store_true", help="compare with the targets; exit code 1 if one is missed")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `Peers` of this file")
    args = parser.parse_args()
    args.folder = args.folder.absolute()
    args.tools_venv = args.tools_venv.absolute() if args.tools_venv else None
    names = args.sets.split(",")
    tools = []
    for name in args.peers.split(","):
        if name not in TOOLS:
            parser.error(f"no such tool: {name}; known are {', '.join(TOOLS)}")
        if TOOLS[name](args.folder / "run" / "probe", args.tools_venv).program() is None:
            print(f"{name} is not installed: {TOOLS[name].install}", file=sys.stderr)
        else:
            tools.append(name)
    state = run_all(args, tools, names)
    sets = {name: datasets.load(name, args.folder) for name in names}
    results = best(state["runs"], names, args.scale)
    text = tell(results, sets)
    targets, missed = check(results, sets)
    print(text)
    if args.check:
        print(targets)
    if args.write:
        said = "\n".join(f"- {name}: {TOOLS[name].settings}" for name in tools)
        write_section(args.write, "Peers", f"{state['machine']}.\n\nSettings:\n\n{said}\n\n{text}\n### Targets\n\n{targets}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
