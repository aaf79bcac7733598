"""The registry at scale: resolving an alias, promoting, folding with gates, the memory of approvals, expiring; beside MLflow's registry.

Folds are of entries as writers append them; no content is stored where none is read. Seconds are of processors where a part works
alone, since a busy machine stretches the clock.
"""

import argparse
import gc
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import machine, table, write_section

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.catalog.fold.state import State
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import format_time, new_id
from artifactstore.model.facts import CONFIG_KEY, Config

FACTS = 1_000_000
NAMES, VERSIONS = 100_000, 10
START = 1_700_000_000
TARGETS = {  # part → (what, the most, unit)
    "fold": ("folding with gates on ten aliases, beside without", 1.05, "x"),
    "memory": ("100,000 approvals and 10,000 gate versions", 100, "MB"),
    "expire": ("expire --dry-run over 1,000,000 versions", 10, "s"),
    "expire memory": ("its memory", 1000, "MB"),
    "warm": ("resolve an alias, warm", 5, "ms"),
    "cold": ("resolve an alias, a new process with a kept fold", 1, "s"),
    "promote": ("promote with ten conditions", 50, "ms"),
    "requests": ("its sequential requests beside those of an alias without a gate", 4, ""),
}


def digest(number: int) -> str:
    """Return a digest that stands for some content."""
    return "blake3:" + number.to_bytes(32, "big").hex()


def txn(head: int, facts: list[dict[str, Any]], actor: str = "ci") -> dict[str, Any]:
    """Return a transaction as an appender writes it."""
    return {
        "txn": new_id(), "birth": head, "base": head, "adoptable": True, "actor": actor, "identity": "os", "host": "h",
        "tool": "t", "time": format_time_of(head), "facts": facts,
    }  # fmt: skip


def format_time_of(seq: int) -> str:
    """Return the time of an entry."""
    return format_time(datetime.fromtimestamp(START + seq, UTC))


def entries(count: int, *, gates: int = 0, moves: bool = True) -> Iterator[dict[str, Any]]:
    """Yield entries: versions of names, half of them measured, some aliased; with `gates` the first sets so many."""
    per = 100
    names = max(1, count // (per * VERSIONS) * 100)
    seq = 0
    if gates:
        rules = {"all": [{"metric": "auc", "is": ">= 0.5"}, {"run": "finished"}]}
        facts = [{"fact": "gated", "names": "team/*", "alias": f"gate{k}", "rules": rules} for k in range(gates)]
        seq += 1
        yield _entry(seq, facts, form=2)
    number = 0
    for _ in range(count // per):
        seq += 1
        facts = []
        while len(facts) < per:
            name, one = f"team/n{number % names}", digest(number)
            facts.append(
                {
                    "fact": "stored",
                    "digest": one,
                    "manifest": one[-32:],
                    "manifest_digest": one,
                    "size": 1000,
                    "files": 1,
                    "packs": [],
                }
            )
            facts.append({"fact": "versioned", "name": name, "digest": one, "kind": "model"})
            facts.append({"fact": "measured", "digest": one, "metrics": {"auc": number % 100 / 100}})
            if moves:
                facts.append({"fact": "aliased", "name": name, "alias": "staging", "digest": one})
            number += 1
        yield _entry(seq, facts[:per], form=2 if gates else 1)


def _entry(seq: int, facts: list[dict[str, Any]], *, form: int = 1) -> dict[str, Any]:
    return {
        "format": form, "seq": seq, "previous": "", "writer": "0" * 32, "time": format_time_of(seq),
        "txns": [txn(seq - 1, facts)],
    }  # fmt: skip


def fold(made: Iterator[dict[str, Any]]) -> tuple[State, float]:
    """Fold entries; return the state and the processor's seconds."""
    state, spent = State("0" * 32), 0.0
    gc.freeze()
    for entry in made:
        before = time.process_time()
        found = state.apply(entry)
        spent += time.process_time() - before
        assert found == [None], found
    return state, spent


def resident() -> float:
    """Return the resident memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def part_fold(facts: int) -> dict[str, float]:
    """Fold with and without gates, in alternating order: what comes second in a process is a little slower."""
    spent: dict[int, list[float]] = {0: [], 10: []}
    for number in range(4):
        for gates in ((0, 10), (10, 0))[number % 2]:
            gc.collect()
            spent[gates].append(fold(entries(facts, gates=gates))[1])
    plain, gated = (statistics.median(spent[gates]) for gates in (0, 10))
    return {"fold": gated / plain, "seconds": plain}


def part_memory(_facts: int) -> dict[str, float]:
    """Fold many approvals and gate versions, and look at what they take."""
    state = State("0" * 32)
    for entry in entries(1000):
        state.apply(entry)  # type: ignore[arg-type]
    gc.collect()
    before = resident()
    seq = state.head
    for start in range(0, 100_000, 100):
        seq += 1
        facts = [
            {"fact": "approved", "digest": digest(start + k), "verdict": "approved", "role": "qa", "name": f"team/n{k}:v1"}
            for k in range(100)
        ]
        state.apply(_entry(seq, facts))  # type: ignore[arg-type]
    rules = {"all": [{"metric": "auc", "is": ">= 0.9"}, {"approvals": 2, "role": "qa"}]}
    for start in range(0, 10_000, 100):
        seq += 1
        facts = [
            {"fact": "gated", "names": f"team{k}/*", "alias": "production", "rules": {"all": [dict(one) for one in rules["all"]]}}
            for k in range(start % 1000, start % 1000 + 100)
        ]
        state.apply(_entry(seq, facts, form=2))  # type: ignore[arg-type]
    gc.collect()
    return {"memory": resident() - before}


def part_expire(facts: int) -> dict[str, float]:
    """Plan the expiry of as many versions as there are facts."""
    from artifactstore.work.registry.retention import _plan  # noqa: PLC0415 - of this part alone

    state = State("0" * 32)
    per, names = 100, facts // 100
    number = seq = 0
    state.apply(_entry(1, [{"fact": "retained", "names": "*", "rules": {"keep_last": 5}}], form=2))  # type: ignore[arg-type]
    seq = 1
    while number < facts:
        seq += 1
        made = []
        for _ in range(per):
            one = digest(number)
            made.append(
                {
                    "fact": "stored",
                    "digest": one,
                    "manifest": one[-32:],
                    "manifest_digest": one,
                    "size": 1,
                    "files": 1,
                    "packs": [],
                }
            )
            made.append({"fact": "versioned", "name": f"sweep/n{number % names}", "digest": one, "kind": "data"})
            number += 1
        state.apply(_entry(seq, made, form=2))  # type: ignore[arg-type]
    gc.collect()
    before = time.process_time()
    chosen, _ = _plan(state, format_time_of(seq + 10))
    spent = time.process_time() - before
    assert len(chosen) == facts - 5 * names
    return {"expire": spent, "expire memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


def part_promote(_facts: int, place: Path) -> dict[str, float]:
    """Promote through ten conditions, and count what a gate adds."""
    shutil.rmtree(place, ignore_errors=True)
    store = artifactstore.create(place, cache=None)
    store.put({"rows": list(range(100))}, "data/train")
    store.put({"rows": list(range(200, 300))}, "data/test")
    rules = [
        {"metric": "auc", "is": ">= 0.5"}, {"metric": "auc", "is": ">= -1", "of": "production"}, {"run": "finished"},
        {"lineage": "complete"}, {"taint": "none"}, {"evaluated": "apart", "metric": "auc"}, {"format": "safe"},
        {"age": "<= 30"}, {"reads": "tracked"}, {"any": [{"metric": "auc", "is": "> 0"}, {"run": "finished"}]},
    ]  # fmt: skip
    for number in range(1, 22):
        with store.run("train", code=False) as run:
            run.get("data/train")
            run.put({"w": number}, "model", kind="model")
        with store.run("evaluate", code=False) as run:
            run.get(f"model:v{number}")
            run.get("data/test")
            run.measure(f"model:v{number}", {"auc": 0.9}, on="data/test")
    store.registry.gates({"names": "model", "alias": "production", "all": rules}, reason="x")
    spent = []
    for number in range(1, 21):
        before = time.process_time()
        store.promote(f"model:v{number}", "production", reason="x")
        spent.append(time.process_time() - before)
    found = {"promote": 1000 * statistics.median(spent)}
    counts = []
    for alias in ("staging", "production"):
        calls: list[str] = []
        with counted(calls):
            other = artifactstore.open(place, cache=None)
            other.names()
            calls.clear()
            other.promote("model:v21", alias, reason="x")
        counts.append(len(calls))
    found["requests"] = counts[1] - counts[0]
    return found


@contextmanager
def counted(calls: list[str]) -> Iterator[None]:
    """Note each request to a folder, as one to a bucket would be made."""
    verbs = ("read", "read_range", "read_ranges", "create", "write", "list", "size")
    real = {verb: getattr(LocalBackend, verb) for verb in verbs if hasattr(LocalBackend, verb)}

    def noting(verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **more: Any) -> Any:
            calls.append(verb)
            return call(*given, **more)

        return noted

    for verb, call in real.items():
        setattr(LocalBackend, verb, noting(verb, call))
    try:
        yield
    finally:
        for verb, call in real.items():
            setattr(LocalBackend, verb, call)


def part_resolve(facts: int, place: Path) -> dict[str, float]:
    """Resolve an alias in a large store: warm, and in a new process with a kept fold."""
    if not (place / "store.json").exists():
        _write_store(place, facts)
    warm = _resolved(place)
    return {"cold": min(_resolved(place)["first"] for _ in range(3)), "warm": warm["warm"]}


ASK = """
import sys, time
before = time.perf_counter()
import artifactstore
store = artifactstore.open(sys.argv[1], "r", cache=sys.argv[2])
store.artifact("team/n7:staging")
first = time.perf_counter() - before
spent = []
for _ in range(50):
    before = time.perf_counter()
    store.artifact("team/n7:staging")
    spent.append(time.perf_counter() - before)
print(first, 1000 * sorted(spent)[25])
"""


def _resolved(place: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(place), str(place) + ".cache"], capture_output=True, text=True, check=True
    )
    first, warm = map(float, done.stdout.split())
    return {"first": first, "warm": warm}


def _write_store(place: Path, facts: int) -> None:
    """Write a store with as many facts; its content is never read."""
    backend = LocalBackend(str(place))
    config = Config.new("0" * 32, "blake3", CHUNKERS, format_time_of(0))
    backend.write(CONFIG_KEY, config.raw)
    previous = Digest.of(config.raw, "blake3")
    for entry in entries(facts, gates=10):
        own = {key: entry[key] for key in ("writer", "time", "txns", "format")}
        raw = encode_entry(entry["seq"], previous, **own)
        backend.write(entry_key(entry["seq"]), raw)
        previous = Digest.of(raw, "blake3")


def part_mlflow(_facts: int, place: Path, python: str) -> dict[str, float]:
    """Register a version, set an alias, resolve it, a thousand times each, here and in MLflow's registry on SQLite."""
    shutil.rmtree(place, ignore_errors=True)
    found = {}
    store = artifactstore.create(place / "own", cache=None)
    steps: dict[str, Callable[[int], Any]] = {
        "register": lambda number: store.put(b"%d" % number, "model"),
        "set an alias": lambda number: store.alias(f"model:v{number + 1}", "champion"),
        "resolve": lambda _number: store.artifact("model:champion"),
    }
    for step, call in steps.items():
        before = time.perf_counter()
        for number in range(TIMES):
            call(number)
        found[step] = time.perf_counter() - before
    done = subprocess.run(
        [python, "-c", MLFLOW, str(place / "mlflow.db"), str(TIMES)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {**found, **{f"{step}, MLflow": spent for step, spent in json.loads(done.stdout.splitlines()[-1]).items()}}


TIMES = 1000
MLFLOW = """
import json, sys, time
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///" + sys.argv[1], registry_uri="sqlite:///" + sys.argv[1])
times = int(sys.argv[2])
client.create_registered_model("model")
found = {}
for step, call in {
    "register": lambda number: client.create_model_version("model", "file:///tmp/x"),
    "set an alias": lambda number: client.set_registered_model_alias("model", "champion", str(number + 1)),
    "resolve": lambda number: client.get_model_version_by_alias("model", "champion"),
}.items():
    before = time.perf_counter()
    for number in range(times):
        call(number)
    found[step] = time.perf_counter() - before
print(json.dumps(found))
"""


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "fold": part_fold, "memory": part_memory, "expire": part_expire, "resolve": part_resolve, "promote": part_promote,
    "mlflow": part_mlflow,
}  # fmt: skip
_ON_DISK = ("resolve", "promote", "mlflow")


def main() -> int:
    """Measure each part in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=FACTS)
    parser.add_argument("--tools-venv", type=Path, help="where MLflow is installed; without it that part is left out")
    parser.add_argument("--part", help="asked by this script itself, in a process of its own")
    parser.add_argument("--only", help="parts, by commas")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    if asked.part:
        place = [asked.folder / asked.part] if asked.part in _ON_DISK else []
        python = [str(asked.tools_venv / "bin/python")] if asked.part == "mlflow" else []
        print(json.dumps(PARTS[asked.part](asked.facts, *place, *python)))
        return 0
    results: dict[str, float] = {}
    wanted = asked.only.split(",") if asked.only else [part for part in PARTS if part != "mlflow" or asked.tools_venv is not None]
    for part in wanted:
        command = [sys.executable, __file__, "--folder", str(asked.folder), "--facts", str(asked.facts), "--part", part]
        command += ["--tools-venv", str(asked.tools_venv)] if asked.tools_venv is not None else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        results |= json.loads(done.stdout.splitlines()[-1])
    rows = [
        [what, f"{results[key]:.3g} {unit}", f"{most:g} {unit}"] for key, (what, most, unit) in TARGETS.items() if key in results
    ]
    missed = [TARGETS[key][0] for key in TARGETS if key in results and results[key] > TARGETS[key][1]]
    text = table(["", "measured", "target"], rows)
    text += "\n" + ("\n".join(f"- missed: {one}" for one in missed) or "All targets are met.") + "\n"
    if "register" in results:
        steps = ("register", "set an alias", "resolve")
        peers = [[one, f"{results[one]:.2f} s", f"{results[f'{one}, MLflow']:.2f} s"] for one in steps]
        text += f"\n{TIMES} times each:\n\n" + table(["", "artifactstore", "MLflow, SQLite"], peers)
    print(text)
    if asked.write:
        write_section(asked.write, "Registry", f"{machine()}.\n\n{text}")
    return 1 if missed and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
