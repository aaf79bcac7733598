"""A program whose child processes read for its runs: by each way to start one, with each life and each end that one can have.

Prints as JSON what each run should have used and what is recorded; see `test_children`.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import artifactstore
from artifactstore import Store

WAYS: Final = ("os.fork", "fork", "forkserver", "spawn", "subprocess")
ENDS: Final = ("returns", "exits", "is killed", "raises")


def serve(url: str, folder: str) -> None:
    """Read what is asked for, and end as it is asked for."""
    store = artifactstore.open(url, cache=None)
    with Path(folder, "in").open() as commands, Path(folder, "out").open("w") as answers:
        for line in commands:
            word = line.strip()
            if word in ENDS:
                end(word)
                return
            store.get(word)
            answers.write("done\n")
            answers.flush()


def end(how: str) -> None:
    if how == "exits":
        os._exit(0)
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises":
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of this process
        raise RuntimeError("as it was asked to")


def read(url: str, name: str) -> int:
    """Be the work of a pool."""
    artifactstore.open(url, cache=None).get(name)
    return os.getpid()


def read_with(run: Any, name: str) -> None:
    """Be a forked process that has the run itself in hand."""
    run.get(name)
    run.log(seen=1.0)


class Worker:
    """A child process that reads what it is told to."""

    def __init__(self, way: str, url: str, folder: Path) -> None:
        folder.mkdir()
        for name in ("in", "out"):
            os.mkfifo(folder / name)
        self._wait: Callable[[], Any]
        if way == "os.fork":
            pid = os.fork()
            if not pid:
                try:
                    serve(url, str(folder))
                finally:
                    os._exit(0)
            self._wait = lambda: os.waitpid(pid, 0)
        elif way == "subprocess":
            code = f"from tests.work.children import serve; serve({url!r}, {str(folder)!r})"
            self._wait = subprocess.Popen([sys.executable, "-c", code]).wait
        else:
            process = multiprocessing.get_context(way).Process(target=serve, args=(url, str(folder)))  # type: ignore[attr-defined]
            process.start()
            self._wait = process.join
        self._commands, self._answers = (folder / "in").open("w"), (folder / "out").open()

    def read(self, name: str) -> None:
        self._commands.write(name + "\n")
        self._commands.flush()
        assert self._answers.readline() == "done\n"

    def end(self, how: str) -> None:
        self._commands.write(how + "\n")
        self._commands.close()
        self._answers.close()
        self._wait()


class Scene:
    """A store, its runs, and what each of them should have used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, str(folder / "store")
        self.store: Store = artifactstore.create(self.url, cache=None)
        self.wanted: dict[str, set[str]] = {}
        self._names = (f"in/{n}" for n in count())
        self._workers = count()
        with self.store.batch():
            for n in range(120):
                self.store.put({"n": n}, f"in/{n}")

    def worker(self, way: str) -> Worker:
        return Worker(way, self.url, self.folder / f"worker-{next(self._workers)}")

    @contextmanager
    def run(self, name: str) -> Iterator[Any]:
        with self.store.run(name, code=False) as run:
            yield run

    def name(self, run: str | None) -> str:
        """Return what is to be read for a run, or for none."""
        name = next(self._names)
        if run is not None:
            self.wanted.setdefault(run, set()).add(name)
        return name

    def used(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        with self.store._session.state() as state:
            for run, row in state.runs.items():
                names = [one["name"] for one in state.edges.get(run, ()) if one["fact"] == "used" and "name" in one]
                assert len(names) == len({*names})
                if names:
                    found[row["name"]] = {*names}
        return found


def lives(scene: Scene, way: str, ends: tuple[str, str]) -> None:
    """Let one worker be born before all runs and one inside of the first, and both live on behind the second's end."""
    first, second = f"{way}, first, {ends}", f"{way}, second, {ends}"
    before = scene.worker(way)
    before.read(scene.name(None))
    with scene.run(first):
        before.read(scene.name(first))
        inside = scene.worker(way)
        inside.read(scene.name(first))
    inside.read(scene.name(None))
    before.read(scene.name(None))
    with scene.run(second):
        inside.read(scene.name(second))
        before.read(scene.name(second))
        inside.end(ends[0])
    before.read(scene.name(None))
    before.end(ends[1])


def pools(scene: Scene) -> None:
    """Let pools be terminated, executors be shut down, and both live longer than a run."""
    for way in ("fork", "forkserver"):
        context: Any = multiprocessing.get_context(way)
        first, second = f"pools by {way}, first", f"pools by {way}, second"
        with scene.run(first), context.Pool(2) as pool:
            pool.starmap(read, [(scene.url, scene.name(first)) for _ in range(3)], chunksize=1)
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            for name in (first + " executor", None, second):
                with scene.run(name) if name else scene.store.batch():
                    executor.submit(read, scene.url, scene.name(name)).result()


def loky(scene: Scene) -> None:
    """Let joblib's workers, which are used again, read for one run after the other."""
    from joblib import Parallel, delayed

    pids: list[int] = []
    for name in ("loky, first", None, "loky, second"):
        with scene.run(name) if name else scene.store.batch():
            pids += Parallel(n_jobs=2)(delayed(read)(scene.url, scene.name(name)) for _ in range(2))
    assert os.getpid() not in pids
    assert len({*pids}) < len(pids)


def nested(scene: Scene) -> None:
    """Let the innermost run count, and that of the thread which forks where several go on."""
    worker = scene.worker("fork")
    with scene.run("outer"):
        worker.read(scene.name("outer"))
        with scene.run("inner"):
            worker.read(scene.name("inner"))
            worker.read(scene.name("inner"))
        worker.read(scene.name("outer"))
    together, done = threading.Barrier(3), threading.Barrier(3)

    def work(name: str) -> None:
        with scene.run(name):
            together.wait()
            own = scene.worker("os.fork")
            own.read(scene.name(name))
            done.wait()
            own.end("exits")

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    together.wait()
    worker.read(scene.name(None))  # warns: it cannot be told for which
    done.wait()
    for thread in threads:
        thread.join()
    worker.end("exits")


def handed(scene: Scene) -> None:
    """Let forked processes use the run itself, and one that begins a run of its own have children."""
    with scene.run("in hand") as run:
        process = multiprocessing.get_context("fork").Process(target=read_with, args=(run, scene.name("in hand")))
        process.start()
        process.join()
    assert scene.store.runs("in hand")[-1].metrics == {"seen": 1.0}
    name, deep = scene.name("in between"), scene.name("in between")
    with scene.run("above"):
        if not (pid := os.fork()):
            with scene.run("in between"):
                own = scene.worker("subprocess")
                own.read(name)
                read(scene.url, deep)
                own.end("exits")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    assert scene.store.runs("in between")[-1].parent == scene.store.runs("above")[-1].id


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    multiprocessing.set_forkserver_preload(["tests.work.children"])
    scene = Scene(folder)
    for way in WAYS:
        lives(scene, way, ("is killed", "exits"))
        if "fork" in way:  # the others take long to start
            lives(scene, way, ("raises", "returns"))
    for part in (pools, loky, nested, handed):
        part(scene)
    told = {"wanted": scene.wanted, "used": scene.used(), "environment": os.environ.get("ARTIFACTSTORE_RUN")}
    print(json.dumps(told, default=sorted))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
