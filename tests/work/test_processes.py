"""One store, opened once, in forked and spawned children, many threads, running loops, and a process that ends or is stopped.

Each scene is a program of its own: where it hangs, its stacks are printed and the test fails.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import artifactstore
from artifactstore.content.read.partial_folder import is_partial
from tests.warm import Warm

SECONDS = 60  # until a scene counts as hung: far more than it takes
BEGIN = f"import faulthandler; faulthandler.dump_traceback_later({SECONDS}, exit=True)\n"


@pytest.fixture(params=["folder", "s3", "azure"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind: one without a loop, one with s3fs's, one with adlfs's."""
    if request.param == "folder":
        return str(tmp_path / "store")
    place: str = request.getfixturevalue(f"{request.param}_url")
    return place


def start(tmp_path: Path, script: str, *arguments: str) -> "subprocess.Popen[str]":
    path = tmp_path / "scene.py"
    path.write_text(BEGIN + textwrap.dedent(script))
    command = [sys.executable, "-W", "ignore", str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for a scene and all of its children."""
    try:
        return process.communicate(timeout=SECONDS + 20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def warm(tmp_path: Path, script: str, *arguments: str) -> Warm:
    """Start a scene where all that it imports is loaded."""
    path = tmp_path / "scene.py"
    path.write_text(BEGIN + "import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script))
    return Warm(str(path), *arguments)


def play_warm(tmp_path: Path, script: str, *arguments: str) -> None:
    """Run a scene where all that it imports is loaded."""
    process = warm(tmp_path, script, *arguments)
    assert process.wait(SECONDS + 20) == 0, process.errors[-4000:]
    assert "Traceback" not in process.errors, process.errors[-4000:]


def play(tmp_path: Path, script: str, *arguments: str) -> str:
    """Run a scene; returns what it printed."""
    process = start(tmp_path, script, *arguments)
    out, err = ended(process)
    assert process.returncode == 0, err[-4000:]
    assert "Traceback" not in err, err[-4000:]
    return out


def names_of(url: str) -> dict[str, int]:
    store = artifactstore.open(url)
    assert store.verify(level="full").ok
    return {one.name: one.versions for one in store.names()}


FORK = """
    import os, signal, sys
    import artifactstore
    store = artifactstore.open(sys.argv[1])
    store.put({"n": -1}, "before")
    children = []
    for n in range(4):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            assert store.get("before") == {"n": -1}
            store.put({"n": n}, f"child/{n}")
            store.put({"n": n}, "shared")
            os._exit(0)
        children.append(pid)
    store.put({"n": 9}, "shared")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert all(store.get(f"child/{n}") == {"n": n} for n in range(4))
"""


@pytest.mark.slow
def test_forked_children_use_the_store_that_their_parent_opened(url, tmp_path: Path):
    play_warm(tmp_path, FORK, url)
    assert names_of(url) == {"before": 1, **{f"child/{n}": 1 for n in range(4)}, "shared": 5}


FORK_AMID = """
    import os, signal, sys, threading
    import artifactstore
    store = artifactstore.open(sys.argv[1])
    store.put({"n": 0}, "before")
    stop = threading.Event()

    def busy(n):
        k = 0
        while not stop.is_set():
            store.put({"n": n, "k": k}, f"thread/{n}")
            store.get("before")
            k += 1

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for n in range(6):  # the first while much is being loaded
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            assert store.get("before") == {"n": 0}
            store.put({"child": n}, f"child/{n}")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
"""


@pytest.mark.slow
def test_a_fork_while_threads_are_amid_a_put_harms_neither_side(url, tmp_path: Path):
    play(tmp_path, FORK_AMID, url)
    assert {f"child/{n}" for n in range(6)} <= names_of(url).keys()


POOL = """
    import functools, multiprocessing, sys
    import artifactstore

    def work(store, n):
        assert store.get("before") == {"n": 0}
        return store.put({"n": n}, f"made/{n}").version

    if __name__ == "__main__":
        store = artifactstore.open(sys.argv[1])
        store.put({"n": 0}, "before")
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            assert pool.map(functools.partial(work, store), range(6), chunksize=1) == [1] * 6
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_all_kinds_get_the_store_as_an_argument(url, tmp_path: Path, method):
    (play_warm if method == "fork" else play)(tmp_path, POOL, url, method)
    assert len(names_of(url)) == 7


EXECUTOR = """
    import sys
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import artifactstore

    store = artifactstore.open(sys.argv[1])

    def work(n):
        return store.put({"n": n}, f"made/{n}").version

    if __name__ == "__main__":
        with ThreadPoolExecutor(32) as threads:
            assert list(threads.map(work, range(64))) == [1] * 64
            assert list(threads.map(lambda n: store.get(f"made/{n}")["n"], range(64))) == list(range(64))
        with ProcessPoolExecutor(3) as processes:
            assert list(processes.map(work, range(64, 70))) == [1] * 6
"""


@pytest.mark.slow
def test_many_threads_and_then_processes_share_a_store(url, tmp_path: Path):
    play_warm(tmp_path, EXECUTOR, url)
    assert len(names_of(url)) == 70


LOOPS = """
    import asyncio, sys, threading
    import artifactstore

    store = artifactstore.open(sys.argv[1])

    async def cell(n):
        made = store.put({"n": n}, f"cell/{n}")  # straight, as in a notebook, whose loop runs
        assert store.get(made.ref) == {"n": n}

    async def tasks():
        await asyncio.gather(*(cell(n) for n in range(3)))
        made = await asyncio.gather(*(asyncio.to_thread(store.put, {"n": n}, f"task/{n}") for n in range(12)))
        assert [await asyncio.to_thread(store.get, one.ref) for one in made] == [{"n": n} for n in range(12)]

    asyncio.run(tasks())
    asyncio.run(tasks())  # a new loop; the first is closed

    loop = asyncio.new_event_loop()  # like a kernel: one loop for ever, cells are sent into it
    kernel = threading.Thread(target=loop.run_forever)
    kernel.start()
    for n in range(3, 6):
        asyncio.run_coroutine_threadsafe(cell(n), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    kernel.join()
    loop.close()
"""


@pytest.mark.slow
def test_running_loops_are_no_obstacle(url, tmp_path: Path):
    play_warm(tmp_path, LOOPS, url)
    assert names_of(url) == {f"{what}/{n}": 1 for what, count in (("cell", 6), ("task", 12)) for n in range(count)}


END = """
    import atexit, sys, threading, time
    import artifactstore

    store = artifactstore.open(sys.argv[1])
    store.put(b"x" * 300_000, "bytes")
    reader = store.open_file("bytes")
    assert reader.read(10) == b"x" * 10
    atexit.register(lambda: store.put({"last": True}, "atexit"))

    def busy():
        n = 0
        while True:
            store.put({"n": n}, "daemon")
            n += 1

    def late():
        time.sleep(1)
        store.put(b"y" * 300_000, "late")

    threading.Thread(target=busy, daemon=True).start()
    threading.Thread(target=late).start()  # goes on when the main thread has ended
    time.sleep(0.5)
"""


@pytest.mark.slow
def test_a_process_ends_though_a_reader_is_open_and_a_daemon_puts(url, tmp_path: Path):
    process = start(tmp_path, END, url)
    _, err = ended(process)
    assert process.returncode == 0, err[-4000:]
    assert "Timeout" not in err, err[-4000:]
    assert "bytes" in names_of(url)
    if not url.startswith("abfs"):  # Azure's own client needs an executor, which Python has closed by then
        assert "Traceback" not in err, err[-4000:]
        assert {"atexit", "late"} <= names_of(url).keys()


# -- stopped from outside


PUT = """
    import sys
    import artifactstore
    store = artifactstore.open(sys.argv[1])
    store.put({"n": 1}, "before")
    print("go", flush=True)
    while True:
        store.put(sys.argv[2], "large", rehash=True) if sys.argv[3] == "put" else store.get("large", to=sys.argv[2], overwrite=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["put", "get"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_stopped_amid_a_transfer_it_ends_and_nothing_is_half_there(url, tmp_path: Path, what, number):
    source = tmp_path / "large.bin"
    source.write_bytes(random.Random(1).randbytes(20 * 2**20))
    target = tmp_path / "got"
    if what == "get":
        artifactstore.open(url).put(source, "large")
    arguments = (url, str(source if what == "put" else target), what)
    if number == signal.SIGINT:  # an interpreter's own end belongs to it
        process = start(tmp_path, PUT, *arguments)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(0.3)
        process.send_signal(number)
        _, err = ended(process)
        code = process.returncode
    else:
        scene = warm(tmp_path, PUT, *arguments)
        scene.until("go\n")
        time.sleep(0.3)
        os.kill(scene.pid, number)
        code, err = scene.wait(SECONDS + 20), scene.errors
    assert code in {-number, 1}, err[-3000:]
    assert err.count("Traceback") <= (3 if number == signal.SIGINT else 0), err[-6000:]
    assert "KeyboardInterrupt" in err or number == signal.SIGTERM
    assert "before" in names_of(url)
    if target.exists():
        assert {path.name for path in target.iterdir() if not is_partial(path.name)} <= {"large.bin"}
        artifactstore.open(url).get("large", to=target, overwrite=True)
        assert {path.name for path in target.iterdir()} == {"large.bin"}, "what a process left that was ended is cleared"
    assert artifactstore.open(url).put(source, "large").digest
    assert artifactstore.open(url).get("large", to=tmp_path / "after")
    assert (tmp_path / "after/large.bin").read_bytes() == source.read_bytes()
    assert os.getpid()


@pytest.mark.slow
def test_threads_whose_first_put_makes_the_store_see_one_store(tmp_path: Path):
    for n in range(5):
        store = artifactstore.open(tmp_path / f"store{n}")
        start_together = threading.Barrier(16)

        def work(k: int, store=store, together=start_together):
            together.wait()
            return store.put({"k": k}, f"name/{k}").version

        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(work, range(16))) == [1] * 16
