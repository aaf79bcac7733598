"""Soak a store: processes at everything at once, some killed; then nothing committed is lost, and nothing is left over.

    python -m tests.soak.soak URL --processes 8 --seconds 3600 [--seed 7]

Of each version that a worker was told of, the content must come back; what was being done when a worker was killed may have
happened or not, as a whole.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import artifactstore
from artifactstore import NotFoundError, Store
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from tests.soak.worker import content

FILES, THREADS = 12, 8  # that a process may have more at its end than when it was warm: connections and pools
MEMORY = 250  # MB likewise


@dataclass
class Expected:
    """What the ledgers say.

    Attributes:
        sure: (name, version) → seed of what must come back.
        removed: (name, version) that must not.
        either: what a kill left undecided: names whose next version may exist, and versions that may be removed.
        done: how often what was done.
        failed: what went wrong in a worker.
        ends: the last lines of workers that came to their end.
    """

    sure: dict[tuple[str, int], int] = field(default_factory=dict)
    removed: set[tuple[str, int]] = field(default_factory=set)
    either: set[tuple[str, int]] = field(default_factory=set)
    batches: list[tuple[Sequence[str], Sequence[int]]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    ends: list[Mapping[str, Any]] = field(default_factory=list)

    def read(self, ledger: Path) -> None:
        """Add a worker's ledger."""
        pending: Mapping[str, Any] = {}
        for line in ledger.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # it was killed while it wrote this line: what it was doing is in the line before
            what = row["what"]
            if what.startswith("try"):
                self._undecided(pending)
                pending = row
                continue
            pending = {}
            if what == "done put":
                self.sure[row["name"], row["version"]] = row["seed"]
            elif what == "done batch":
                self.batches.append((row["names"], row["seeds"]))
            elif what == "done remove":
                self.sure.pop((row["name"], row["version"]), None)
                self.removed.add((row["name"], row["version"]))
            elif what == "failed":
                self.failed.append(f"{ledger.name}: {row['error']}\n{row['where']}")
            elif what == "end":
                self.ends.append(row)
                self.done.update(row["done"])
        self._undecided(pending)

    def _undecided(self, row: Mapping[str, Any]) -> None:
        if row.get("what") == "try remove":
            self.either.add((row["name"], row["version"]))


def soak(url: str, *, processes: int, seconds: float, seed: int, folder: Path, kills: bool = True) -> Expected:
    """Run the workers; kill one now and then and start another in its place; return what the ledgers say."""
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.soak.worker", url]
    start, made, workers = time.monotonic(), 0, {}

    def begin(number: int) -> "subprocess.Popen[bytes]":
        nonlocal made
        made += 1
        left = max(1.0, seconds - (time.monotonic() - start))
        words = [str(folder / f"{number}-{made}.jsonl"), f"{number}{made}", str(chance.randrange(10**9)), str(left)]
        return subprocess.Popen([*command, *words], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)

    for number in range(processes):
        workers[number] = begin(number)
    while (left := seconds - (time.monotonic() - start)) > 0:
        time.sleep(min(left, chance.uniform(1, 4)))
        if kills and left > 6:
            number = chance.randrange(1, processes)  # the first lives to the end, so that leaks show
            os.kill(workers[number].pid, signal.SIGKILL)
            workers[number].communicate()
            workers[number] = begin(number)
    for one in workers.values():
        one.communicate(timeout=120)
    found = Expected()
    for ledger in sorted(folder.glob("*.jsonl")):
        found.read(ledger)
    return found


def faults(store: Store, expected: Expected, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a store after a soak, and with the processes that came to their end."""
    yield from expected.failed
    for (name, version), seed in sorted(expected.sure.items()):
        try:
            got = Path(store.get(f"{name}:v{version}", folder / f"{name.replace('/', '-')}-{version}"))
        except NotFoundError as error:
            if (name, version) not in expected.either:
                yield f"lost: {name}:v{version} (seed {seed}): {error}"
            continue
        found = {str(path.relative_to(got)): path.read_bytes() for path in got.rglob("*") if path.is_file()}
        if found != content(seed):
            yield f"changed: {name}:v{version} (seed {seed})"
    for name, version in sorted(expected.removed):
        if store.exists(f"{name}:v{version}"):
            yield f"came back: {name}:v{version}"
    for number, (names, _) in enumerate(expected.batches):
        missing = [name for name in names if name not in store]
        if missing:
            yield f"batch {number} lacks {', '.join(missing)}"
    for level in ("quick", "full"):
        report = store.verify(level=level)
        if not report.ok:
            yield f"verify {level}: {report}"
    yield from _left_over(store)
    for row in expected.ends:
        before, after = row["before"], row["after"]
        for what, more in (("files", FILES), ("threads", THREADS), ("memory", MEMORY)):
            if before is not None and after[what] > before[what] + more:
                yield f"a process ended with {after[what]} {what}, and had {before[what]} when it was warm"


def _left_over(store: Store) -> Iterator[str]:
    """Yield objects that nothing needs and that a clean-up without grace leaves, and needed ones that lack."""
    store.maintenance.gc(grace=timedelta(0))
    core = store._session.core()
    core.journal.catch_up()
    again = store.maintenance.gc(grace=timedelta(0), dry_run=True)
    if again.manifests or again.packs or again.litter:
        yield f"a clean-up left {again}"
    state = core.journal.fold
    holders = {holder for holders in state.holders.values() for holder in holders}
    packs = {pack for holder in holders for pack in state.manifests[holder][2]}
    wanted = {manifest_key(one) for one in holders} | {pack_key(one) for one in packs}
    there = {one.key for prefix in ("manifests/", "packs/") for one in core.backend.list(prefix)}
    there = {key for key in there if ".tmp-" not in key}
    yield from (f"{key} is missing" for key in sorted(wanted - there))
    yield from (f"{key} is left over" for key in sorted(there - wanted))


def main() -> int:
    """Soak a new store at a URL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    store = artifactstore.create(asked.url, cache=None)
    with tempfile.TemporaryDirectory() as folder:
        expected = soak(asked.url, processes=asked.processes, seconds=asked.seconds, seed=asked.seed, folder=Path(folder))
        print(
            f"{len(expected.sure)} versions expected, {len(expected.removed)} removed; of workers that ended: {dict(expected.done)}"
        )
        found = list(faults(store, expected, Path(folder)))
    for one in found:
        print(one)
    print(f"head: {store.head}; {len(found)} faults")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
