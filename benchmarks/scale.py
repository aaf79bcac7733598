"""Lineage at scale: a journal of many runs, and the questions asked of it; beside SQLite's recursive queries and networkx.

The store's entries and segments are written as the library writes them; no content is: lineage never opens any.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from report import machine, own_process, table, write_section

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.catalog.fold.state import State
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.journal.chain import encode_entry, entry_key, join
from artifactstore.journal.segments import LONGEST, seal
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY, Config
from artifactstore.runtime.loading import gc_paused

ACTORS = ("ana", "ben", "ci")
STEPS = ("prepare", "features", "train", "evaluate", "score")
TARGETS = {  # seconds, and GB
    "open and names": 2, "up": 0.1, "down": 0.1, "find metrics": 0.02, "find uses": 0.2, "find run": 0.2, "catch up": 0.003, "peak": 1.5,
    "log": 2,
}  # fmt: skip
TEAMS = 400
KINDS = 3  # of each output of each step: 20,000 names in all
START = 1_700_000_000
MANY = 1000  # nodes from which the peers are compared with
FOLDED = 50_000  # entries that are folded beside a parser


def main() -> int:
    """Make the store where it is not there, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=300_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--part", help="asked by this script itself, in a process of its own")
    asked = parser.parse_args()
    place = asked.folder / f"scale-{asked.runs}"
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        make(place, asked.runs)
    if asked.part:
        print(json.dumps({**PARTS, "again": ask_again, "nothing": lambda where: _questions(where, None)}[asked.part](place)))
        return 0
    found = {part: answers for part in PARTS if (answers := own_process(part))}
    text = _report(place, found)
    missed = [
        f"{what} of {part}: {found[part][what]:.3g}, and {most:g} was promised"
        for part in ("cold", "kept", "first", "next")
        for what, most in TARGETS.items()
        if found[part].get(what, 0) > most and (part, what) != ("cold", "open and names")  # who wants that has a snapshot
    ]
    for what, peer, most in (("up", "sqlite", 0.5), ("down", "sqlite", 0.5), ("up", "networkx", 1.0), ("down", "networkx", 1.0)):
        many = found.get(peer, {}).get(f"{what} nodes", 0)  # of a few nodes the question itself takes longer than the walk
        if many >= MANY and (ratio := found["kept"][what] / found[peer][what]) > most:
            missed.append(f"{what} of kept beside {peer}: {ratio:.2f}, and {most:g} was promised")
    text += "\n" + ("\n".join(f"- missed: {line}" for line in missed) or "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "Lineage at scale", f"{machine()}.\n\n{text}")
    return 1 if missed and asked.check else 0


# -- making it


def make(place: Path, runs: int) -> None:
    """Write a store of that many runs: three entries, six to seven edges and three to four new artifacts each."""
    backend = LocalBackend(place / "store")
    config = Config.new(f"{runs:032x}", "blake3", CHUNKERS, "2026-01-01T00:00:00.000000Z")
    backend.create(CONFIG_KEY, config.raw)
    previous = Digest.of(config.raw, "blake3")
    waiting: list[tuple[int, bytes]] = []
    seq, edges = 0, []
    for facts in _transactions(runs, edges):
        seq += 1
        raw = encode_entry(seq, previous, writer=f"{1:032x}", time=_time(seq), txns=[_txn(seq, facts)])
        previous = Digest.of(raw, "blake3")
        waiting.append((seq, raw))
        if len(waiting) == LONGEST:
            seal(backend, iter(waiting), previous)
            backend.create(entry_key(seq), raw)
            waiting = []
    if len(waiting) > 1:
        seal(backend, iter(waiting[:-1]), Digest.of(waiting[-2][1], "blake3"))
    for number, raw in waiting[-2:]:
        backend.create(entry_key(number), raw)
    with sqlite3.connect(place / "graph.sqlite") as graph:
        graph.execute("create table edge (before integer, after integer)")
        graph.executemany("insert into edge values (?, ?)", edges)
        graph.execute("create index down on edge (before, after)")
        graph.execute("create index up on edge (after, before)")
    (place / "done").write_text(json.dumps({"entries": seq, "runs": runs, "edges": len(edges)}))


def _time(seq: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(START + 10 * seq))


def _txn(seq: int, facts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "txn": f"{seq:032x}",
        "birth": seq - 1,
        "base": seq - 1,
        "adoptable": True,
        "actor": ACTORS[seq % 3],
        "identity": "os",
        "host": f"node{seq % 50}",
        "tool": "artifactstore 0.1.0",
        "time": _time(seq),
        "facts": facts,
    }


def _digest(number: int) -> str:
    return str(Digest.of(b"%d" % number, "blake3"))


def _transactions(runs: int, edges: list[tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the facts of each transaction; a node of the graph is an artifact's number, or minus a run's."""
    dice = random.Random(7)
    codes: list[int] = []
    latest: list[Made] = []
    teams: dict[int, list[Made]] = {}
    models: dict[int, list[Made]] = {}
    versions: dict[str, int] = {}
    artifact = 0

    def stored(kind: str, name: str | None) -> tuple[int, list[dict[str, Any]]]:
        nonlocal artifact
        artifact += 1
        digest = _digest(artifact)
        pack = f"{artifact // 4:032x}"
        facts: list[dict[str, Any]] = [
            {
                "fact": "stored",
                "digest": digest,
                "manifest": f"{artifact:032x}",
                "manifest_digest": _digest(-artifact),
                "size": dice.randrange(10_000_000),
                "files": 1 + artifact % 5,
                "packs": [pack],
            },
            {"fact": "versioned", "name": name, "digest": digest, "kind": kind},
        ]
        return artifact, facts

    for number in range(1, runs + 1):
        run = f"{number:032x}"
        step = STEPS[number // TEAMS % len(STEPS)]
        team = number % TEAMS
        mine = teams.setdefault(team, [])
        yield [
            {
                "fact": "started",
                "run": run,
                "name": step,
                "params": {"depth": number % 12, "rate": 0.1},
                "command": ["python", f"{step}.py"],
            }
        ]
        facts: list[dict[str, Any]] = []
        if number % 100 == 1:
            code, made = stored("code", None)
            codes.append(code)
            facts += made
        used = [(codes[-1], None, None, "code"), (codes[max(0, len(codes) - 1 - number % 3)], None, None, "environment")]
        sources = _sources(step, number, mine, models.get(team, []), latest)
        for source in sources:
            used += [(one, name, version, None) for one, name, version in source[:2]]
        for one, name, version, role in used:
            fact: dict[str, Any] = {"fact": "used", "run": run, "digest": _digest(one)}
            fact |= {key: value for key, value in (("name", name), ("version", version), ("role", role)) if value is not None}
            if role == "code":
                fact["code"] = {
                    "kind": "git",
                    "commit": f"{one:040x}",
                    "tree": f"{one + 1:040x}",
                    "branch": "main",
                    "dirty": one % 7 == 0,
                }
            facts.append(fact)
            edges.append((one, -number))
        for k in range(3 + (number % 3 == 0)):
            name = f"team{team}/{step}/{k}-{number // TEAMS // len(STEPS) % KINDS}"
            kind = "model" if step == "train" and k == 0 else "data"
            one, made = stored(kind, name)
            versions[name] = versions.get(name, 0) + 1
            facts += made
            facts.append({"fact": "produced", "run": run, "digest": _digest(one), "name": name})
            edges.append((-number, one))
            latest.append((one, name, versions[name]))
            mine.append(latest[-1])
            if kind == "model":
                models.setdefault(team, []).append(latest[-1])
                facts.append({"fact": "measured", "digest": _digest(one), "metrics": {"auc": round(dice.random(), 4)}})
        del latest[:-50], mine[:-50]
        yield facts
        yield [{"fact": "finished", "run": run, "status": "finished", "seconds": 12.5}]


Made = tuple[int, str, int]  # artifact, name, version


def _sources(step: str, number: int, mine: list[Made], models: list[Made], latest: list[Made]) -> list[list[Made]]:
    """Return what a run reads: data comes from elsewhere, models are trained on from the one before."""
    if step == "prepare":
        return []
    if step == "train":
        return [mine[-2:], models[-1:], latest[-1:] if number % 500 == 3 else []]
    return [mine[-1 - number % 2 :]]


# -- asking


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e6
    return 0.0


def _timed(call: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(repeat):
        begun = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - begun)
    return best, result


def _questions(place: Path, cache: Path | None) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    begun = time.perf_counter()
    store = artifactstore.open(place / "store", cache=cache)
    names = store.names()
    answers["open and names"] = time.perf_counter() - begun
    answers["names"] = len(names)
    runs = json.loads((place / "done").read_text())["runs"]
    (last,) = store.find(run=f"{_last_train(runs):032x}", kind="model")
    begun = time.perf_counter()
    view = store.lineage(last.ref).upstream()
    answers["first upstream"] = time.perf_counter() - begun
    answers["up"], view = _timed(lambda: store.lineage(last.ref).upstream())
    answers["up nodes"] = len(view)
    oldest = store.find(run=f"{_first(runs):032x}")[-1].digest
    answers["depth"] = max(node.depth for node in view)
    answers["down"], view = _timed(lambda: store.lineage(oldest).downstream())
    answers["down nodes"] = len(view)
    answers["find metrics"], rows = _timed(lambda: store.find(kind="model", metrics={"auc": ">= 0.999"}))
    answers["found"] = len(rows)
    answers["find uses"], rows = _timed(lambda: store.find(kind="model", uses=last.ref))
    answers["find run"], rows = _timed(lambda: store.find(run="train", kind="model", name="team2/*", metrics={"auc": "> 0.5"}))
    answers["found run"] = len(rows)
    begun = time.perf_counter()
    store.names("team1/")
    answers["warm names"] = time.perf_counter() - begun
    answers["peak"] = _peak()
    return answers


def _last_train(runs: int) -> int:
    """Return the number of the last run that trained: what it made lies deepest."""
    return next(number for number in range(runs, 0, -1) if STEPS[number // TEAMS % len(STEPS)] == "train")


def _first(runs: int) -> int:
    """Return the number of the first run of the same team."""
    return _last_train(runs) % TEAMS or TEAMS


def ask_cold(place: Path) -> dict[str, Any]:
    """Ask a store that nothing is known of, and that has no snapshot."""
    for path in [*place.glob("store/segments/fold-*"), *place.glob("store/segments/folds/*")]:
        path.unlink()
    return _questions(place, None)


def ask_first(place: Path) -> dict[str, Any]:
    """Ask a store that nothing is known of and that has a snapshot; written here by a process of its own."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "artifactstore", "snapshot", "--json", "--store", str(place / "store")]
    environment = {**os.environ, "ARTIFACTSTORE_CACHE": str(place / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    written, size = time.perf_counter() - begun, json.loads(done.stdout)["size"]
    runs = json.loads((place / "done").read_text())["runs"]
    command = [sys.executable, __file__, "--folder", str(place.parent), "--runs", str(runs), "--part", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "snapshot": written, "snapshot size": size / 1e9}


def ask_kept(place: Path) -> dict[str, Any]:
    """Ask with what an earlier process has kept."""
    cache = place / "cache"
    store = artifactstore.open(place / "store", cache=cache)
    store.names()
    store.log(limit=1)  # keeps the index of the audit trail
    runs = json.loads((place / "done").read_text())["runs"]
    command = [sys.executable, __file__, "--folder", str(place.parent), "--runs", str(runs), "--part", "again"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ask_again(place: Path) -> dict[str, Any]:
    """Ask as a later process does."""
    begun = time.perf_counter()
    found = artifactstore.open(place / "store", cache=place / "cache").log(actor=ACTORS[2], fact="produced", limit=20)
    log = time.perf_counter() - begun
    assert len(found) == 20
    return {**_questions(place, place / "cache"), "log": log}


def ask_fold(place: Path) -> dict[str, Any]:
    """Check and fold entries alone, beside a JSON parser on the same bytes: orjson's, where it is installed."""
    try:
        from orjson import loads  # noqa: PLC0415 - no part of the library
    except ImportError:
        from json import loads  # noqa: PLC0415
    journal = artifactstore.open(place / "store", cache=None)._session.core().journal  # noqa: SLF001 - its entries
    many = min(FOLDED, json.loads((place / "done").read_text())["entries"])
    journal.fold.header["head"] = many
    raws = [raw for _, raw in journal.raw_entries(1, many)]
    first = Digest.of(journal.config.raw, "blake3")

    def fold() -> State:
        state, previous = State(), first
        for seq, raw in enumerate(raws, 1):
            state.apply(join(raw, seq, previous))
            previous = Digest.of(raw, "blake3")
        return state

    with gc_paused():
        parsed, _ = _timed(lambda: deque(map(loads, raws), maxlen=0))
        folded, state = _timed(fold)
    assert state.head == len(raws)
    return {"fold entry": folded / len(raws), "fold times": folded / parsed, "peak": _peak()}


def ask_next(place: Path) -> dict[str, Any]:
    """Catch up on one entry, in a copy of the store's end."""
    there = place / "next"
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(place / "store", there)
    shutil.copytree(place / "cache", place / "next-cache", dirs_exist_ok=True)
    reader, writer = (artifactstore.open(there, cache=place / "next-cache") for _ in range(2))
    reader.names()
    times = []
    for n in range(12):
        writer.put(b"%d" % n, "another")
        begun = time.perf_counter()
        reader._session.core().journal.catch_up()  # noqa: SLF001 - that step alone
        times.append(time.perf_counter() - begun)
    shutil.rmtree(there)
    shutil.rmtree(place / "next-cache")
    return {"catch up": sorted(times)[len(times) // 2], "worst": max(times), "peak": _peak()}


def ask_sqlite(place: Path) -> dict[str, Any]:
    """Ask SQLite's recursive queries the same."""
    graph = sqlite3.connect(place / "graph.sqlite")
    runs = json.loads((place / "done").read_text())["runs"]
    text = "with recursive found(n) as (values(?) union select {there} from edge join found on {here} = n) select count(*) from found"
    (one,) = graph.execute("select after from edge where before = ? order by after limit 1", (-_last_train(runs),)).fetchone()
    up, (nodes,) = _timed(lambda: graph.execute(text.format(there="before", here="after"), (one,)).fetchone())
    (oldest,) = graph.execute("select after from edge where before = ? order by after desc limit 1", (-_first(runs),)).fetchone()
    down, (below,) = _timed(lambda: graph.execute(text.format(there="after", here="before"), (oldest,)).fetchone())
    return {"up": up, "up nodes": nodes - 1, "down": down, "down nodes": below - 1, "peak": _peak()}


def ask_networkx(place: Path) -> dict[str, Any]:
    """Ask networkx the same."""
    try:
        import networkx as nx  # noqa: PLC0415 - the peer, in its own process
    except ImportError:
        print("networkx is not installed, and left out: pip install networkx", file=sys.stderr)
        return {}

    begun = time.perf_counter()
    graph = nx.DiGraph()
    graph.add_edges_from(sqlite3.connect(place / "graph.sqlite").execute("select before, after from edge"))
    load = time.perf_counter() - begun
    runs = json.loads((place / "done").read_text())["runs"]
    one = min(graph.successors(-_last_train(runs)))
    up, nodes = _timed(lambda: nx.ancestors(graph, one))
    oldest = max(graph.successors(-_first(runs)))
    down, below = _timed(lambda: nx.descendants(graph, oldest))
    return {"open and names": load, "up": up, "up nodes": len(nodes), "down": down, "down nodes": len(below), "peak": _peak()}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "cold": ask_cold,
    "kept": ask_kept,
    "first": ask_first,
    "next": ask_next,
    "fold": ask_fold,
    "sqlite": ask_sqlite,
    "networkx": ask_networkx,
}


def _report(place: Path, found: dict[str, dict[str, Any]]) -> str:
    about = json.loads((place / "done").read_text())
    rows = []
    for what, unit in (
        ("open and names", "s"),
        ("first upstream", "ms"),
        ("up", "ms"),
        ("down", "ms"),
        ("find metrics", "ms"),
        ("find uses", "ms"),
        ("find run", "ms"),
        ("warm names", "ms"),
        ("catch up", "ms"),
        ("log", "ms"),
        ("fold entry", "ms"),
        ("fold times", "x a JSON parser"),
        ("snapshot", "s"),
        ("snapshot size", "GB"),
        ("peak", "GB"),
    ):
        factor = 1000 if unit == "ms" else 1
        rows.append(
            [f"{what} ({unit})", *(f"{answers[what] * factor:.3g}" if what in answers else "" for answers in found.values())]
        )
    rows.append(
        [
            "nodes up, down",
            *(
                f"{answers['up nodes']:,}, {answers['down nodes']:,}" if "up nodes" in answers else ""
                for answers in found.values()
            ),
        ]
    )
    return f"{about['runs']:,} runs, {about['edges']:,} edges, {about['entries']:,} entries\n\n" + table(["", *found], rows)


if __name__ == "__main__":
    sys.exit(main())
