"""Processes of MPI do a put and a get: `MPIPoolExecutor`, and `MPICommExecutor` among the processes that `mpiexec` started."""

from pathlib import Path

import pytest

from tests.servers.place import SERVERS
from tests.work.beside import run_beside

PYTHON = SERVERS / "mpi" / "bin" / "python"  # has mpi4py and MPICH, and nothing that the tests have

_PROGRAM = """
import os, random, sys
from pathlib import Path

import artifactstore
from artifactstore.work.get import distribute as get_distribute
from artifactstore.work.put import distribute as put_distribute
from mpi4py import MPI
from mpi4py.futures import MPICommExecutor, MPIPoolExecutor


def put_and_get(executor, folder):
    put_distribute._LEAST = get_distribute._LEAST = 200_000
    source, draw = folder / "source", random.Random(1)
    source.mkdir()
    for k in range(12):
        (source / f"{k:03}").write_bytes(draw.randbytes(200_000))
    expected = artifactstore.create(str(folder / "alone"), cache=None).put(source, "x").digest
    store = artifactstore.create(str(folder / "store"), cache=None)
    store.put(b"1", "first")
    assert store.put(source, "x", executor=executor).digest == expected
    store.get("x", folder / "got", executor=executor)
    for path in source.iterdir():
        assert (folder / "got" / path.name).read_bytes() == path.read_bytes()
    pids = {*executor.map(worker, range(20))}
    assert os.getpid() not in pids and pids, pids
    assert store.verify(level="full").ok
    print("done by", len(pids))


def worker(_):
    return os.getpid()


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] == "pool":
        with MPIPoolExecutor() as executor:
            put_and_get(executor, folder)
    else:
        with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
            if executor is not None:
                put_and_get(executor, folder)
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no mpi4py beside the tests: see .ci/run")
@pytest.mark.parametrize("how", ["pool", "comm"])
def test_processes_of_mpi_put_and_get(tmp_path: Path, how: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    work = tmp_path / "work"
    work.mkdir()
    module = ["-m", "mpi4py.futures"] if how == "pool" else []
    printed = run_beside([str(PYTHON.with_name("mpiexec")), "-n", "3", str(PYTHON), *module, str(program), how, str(work)], work)
    assert "done by" in printed
