"""A real Dask cluster of processes does a put and a get; one of its workers is killed in the middle of each."""

from pathlib import Path

import pytest

from tests.servers.place import SERVERS
from tests.work.beside import run_beside

PYTHON = SERVERS / "dask" / "bin" / "python"  # has distributed, and nothing that the tests have

_PROGRAM = """
import logging, os, random, signal, sys, threading, time
from pathlib import Path

import artifactstore
from artifactstore.work.put import distribute as put_distribute
from artifactstore.work.get import distribute as get_distribute
from distributed import Client, LocalCluster


def slow(dask_worker):
    from artifactstore.backend.local.backend import LocalBackend
    write, read = LocalBackend.write, LocalBackend.read_ranges
    LocalBackend.write = lambda self, key, data: (time.sleep(0.05), write(self, key, data))[1]
    LocalBackend.read_ranges = lambda self, key, ranges: (time.sleep(0.05), read(self, key, ranges))[1]


def main(folder):
    put_distribute._LEAST = get_distribute._LEAST = 200_000
    source, draw = folder / "source", random.Random(1)
    source.mkdir()
    for k in range(60):
        (source / f"{k:03}").write_bytes(draw.randbytes(200_000))
    expected = artifactstore.create(str(folder / "alone")).put(source, "x").digest
    store = artifactstore.create(str(folder / "store"))
    store.put(b"1", "first")
    with LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            client.run(slow)
            for act in ("put", "get"):
                pids = client.run(os.getpid)
                victim = sorted(pids.values())[0]
                def kill():
                    while True:
                        done = any((folder / "store" / "packs").rglob("*.pack")) if act == "put" else any(folder.glob(".*partial*/*"))
                        if done:
                            break
                        time.sleep(0.005)
                    os.kill(victim, signal.SIGKILL)
                killer = threading.Thread(target=kill, daemon=True)
                killer.start()
                executor = client.get_executor()
                if act == "put":
                    made = store.put(source, "x", executor=executor)
                    assert made.digest == expected, made.digest
                else:
                    store.get("x", folder / "got", executor=executor)
                killer.join(20)
                assert not killer.is_alive(), f"nobody was killed in the {act}"
    for path in source.iterdir():
        assert (folder / "got" / path.name).read_bytes() == path.read_bytes()
    assert store.verify(level="full").ok
    print("done")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no Dask beside the tests: see .ci/run")
def test_a_cluster_puts_and_gets_though_a_worker_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    work = tmp_path / "work"
    work.mkdir()
    printed = run_beside([str(PYTHON), str(program), str(work)], work)
    assert "done" in printed
