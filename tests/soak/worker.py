"""One process of a soak: random work on a shared store until its time is over, with a ledger of what it was told.

    python -m tests.soak.worker URL LEDGER NUMBER SEED SECONDS

The ledger has a line before each call (`try`) and one after it (`done`), so that whoever reads it after a kill knows what must
be there, what must not, and what may be either. The last line (`end`) tells whether anything of the process was left over.
"""

import gc as garbage
import json
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import artifactstore
from artifactstore import ConflictError, NotFoundError, RefusedError, Store

NAMES: Final = 4  # of each process
SHARED: Final = ("shared/a", "shared/b")  # that all processes put
WARM: Final = 0.25  # share of the time after which a process has opened what it needs


def content(seed: int) -> dict[str, bytes]:
    """Return the files of an artifact: many share parts with those of other seeds, some are all equal."""
    chance = random.Random(seed)
    found = {}
    for number in range(chance.choice((1, 1, 2, 5))):
        parts = [random.Random(chance.randrange(12)).randbytes(chance.choice((50, 3_000, 120_000))) for _ in range(3)]
        found[f"d{number % 2}/f{number}"] = b"".join(parts) + (b"%d" % seed if chance.random() < 0.7 else b"")
    return found


class Worker:
    """Does random work, and notes it.

    Attributes:
        own: name → number → seed, of the versions that it put and did not remove.
        done: how often it did what.
    """

    def __init__(self, url: str, ledger: Path, number: int, seed: int) -> None:
        self.url, self.number, self.chance = url, number, random.Random(seed)
        self.ledger = ledger.open("a", encoding="utf-8")
        self.folder = ledger.with_suffix(f".{os.getpid()}")
        self.own: dict[str, dict[int, int]] = {}
        self.done: Counter[str] = Counter()
        self.cache = None if self.chance.random() < 0.5 else ledger.parent / "cache"  # that processes share
        self.store = artifactstore.open(url, cache=self.cache)

    def note(self, what: str, **more: Any) -> None:
        self.ledger.write(json.dumps({"what": what, **more}) + "\n")
        self.ledger.flush()

    def name(self) -> str:
        return f"p{self.number}/n{self.chance.randrange(NAMES)}"

    def one(self) -> tuple[str, int, int] | None:
        """Return name, number and seed of a version of its own."""
        name = self.name()
        versions = self.own.get(name)
        if not versions:
            return None
        number = self.chance.choice(sorted(versions))
        return name, number, versions[number]

    def source(self, seed: int) -> Path:
        """Write the files of a seed into a new folder."""
        folder = self.folder / str(self.chance.randrange(10**9))
        for path, data in content(seed).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    # -- what it does

    def put(self) -> None:
        name, seed = self.name(), self.chance.randrange(60)
        self.note("try put", name=name, seed=seed)
        made = self.store.put(self.source(seed), name)
        self.note("done put", name=name, seed=seed, version=made.version)
        assert made.version is not None
        self.own.setdefault(name, {})[made.version] = seed

    def put_shared(self) -> None:
        self.store.put(self.source(self.chance.randrange(60)), self.chance.choice(SHARED))

    def batch(self) -> None:
        names, seeds = [f"p{self.number}/b{one}" for one in range(3)], [self.chance.randrange(60) for _ in range(3)]
        self.note("try batch", names=names, seeds=seeds)
        with self.store.batch():
            for name, seed in zip(names, seeds, strict=True):
                self.store.put(self.source(seed), name)
        self.note("done batch", names=names, seeds=seeds)

    def get(self) -> None:
        if (one := self.one()) is not None:
            name, number, seed = one
            self.check(self.store, name, number, seed)

    def check(self, store: Store, name: str, number: int, seed: int) -> None:
        folder = store.get(f"{name}:v{number}", self.folder / f"got-{self.chance.randrange(10**9)}")
        found = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
        assert found == content(seed), f"{name}:v{number} is not what was put (seed {seed})"

    def get_shared(self) -> None:
        self.store.get(self.chance.choice(SHARED), self.folder / f"got-{self.chance.randrange(10**9)}")

    def alias(self) -> None:
        if (one := self.one()) is not None:
            name, number, _ = one
            self.note("try alias", name=name, version=number)
            self.store.alias(f"{name}:v{number}", "best")
            self.note("done alias", name=name, version=number)

    def remove(self) -> None:
        one = self.one()
        if one is None or len(self.own[one[0]]) < 2:
            return
        name, number, _ = one
        self.note("try remove", name=name, version=number)
        try:
            self.store.registry.remove(f"{name}:v{number}", reason="soak")
        except RefusedError:  # an alias means it
            self.note("kept", name=name, version=number)
            return
        self.note("done remove", name=name, version=number)
        del self.own[name][number]

    def run(self) -> None:
        one = self.one()
        if one is None:
            return
        with self.store.run("soak", code=False) as run:
            run.use(f"{one[0]}:v{one[1]}")
            run.put({"of": one[0], "number": self.chance.randrange(5)}, f"p{self.number}/made")
            run.measure(f"{one[0]}:v{one[1]}", {"size": self.chance.random()})

    def clean_up(self) -> None:
        self.store.maintenance.gc(grace=timedelta(0))

    def repack(self) -> None:
        self.store.maintenance.repack(below=0.9)

    def verify(self) -> None:
        report = self.store.verify()
        assert report.ok, str(report)

    def reopen(self) -> None:
        self.store = artifactstore.open(self.url, cache=self.cache)

    def look(self) -> None:
        """Ask what people ask of a history."""
        if (one := self.one()) is not None:
            name, number, _ = one
            assert any(row.version == number and not row.removed for row in self.store.versions(name))
            assert self.store.log(name=name)
            self.store.lineage(f"{name}:v{number}").upstream()

    def copy(self) -> None:
        """Copy the whole store, and look whether the copy has what was put before."""
        one, target = self.one(), self.folder / f"copy-{self.chance.randrange(10**9)}"
        self.store.maintenance.sync(str(target))
        if one is not None:
            self.check(artifactstore.open(target, "r", cache=None), *one)

    def work(self, seconds: float) -> None:
        """Work until the time is over."""
        calls: dict[str, tuple[int, Callable[[], None]]] = {
            "put": (30, self.put), "get": (25, self.get), "put shared": (10, self.put_shared), "get shared": (8, self.get_shared),
            "batch": (4, self.batch), "alias": (8, self.alias), "remove": (12, self.remove), "run": (5, self.run),
            "gc": (4, self.clean_up), "repack": (3, self.repack), "verify": (1, self.verify), "reopen": (1, self.reopen),
            "look": (5, self.look), "copy": (1, self.copy),
        }  # fmt: skip
        weights = [weight for weight, _ in calls.values()]
        start, before = time.monotonic(), None
        while (passed := time.monotonic() - start) < seconds:
            if before is None and passed > seconds * WARM:
                before = left_over()
            what = self.chance.choices(list(calls), weights)[0]
            try:
                calls[what][1]()
            except ConflictError as error:
                # Robbed by clean-up too often, or repacked by two at once: nothing was committed, and the call says so.
                self.note("conflict", of=what, error=str(error)[:300])
                what = f"{what}: conflict"
            except NotFoundError:
                if "shared" not in what:
                    raise
            self.done[what] += 1
        self.note("end", before=before, after=left_over(), done=dict(self.done))


def left_over() -> dict[str, int]:
    """Return the open files, the threads and the memory (MB at most) of this process."""
    garbage.collect()
    return {
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Work, and note what goes wrong."""
    url, ledger, number, seed, seconds = sys.argv[1:]
    worker = Worker(url, Path(ledger), int(number), int(seed))
    try:
        worker.work(float(seconds))
    except BaseException as error:
        import traceback

        worker.note("failed", error=repr(error)[:500], where=traceback.format_exc()[-4000:])
        raise


if __name__ == "__main__":
    main()
