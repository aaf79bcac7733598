"""Loading on first use: a fork never happens while something is being loaded."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import artifactstore.runtime.loading

_SLOW = """
import threading
from tests.runtime import test_loading
test_loading.BEGUN.set()
test_loading.GO.wait(20)
"""
BEGUN, GO = threading.Event(), threading.Event()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_can_import_what_another_thread_was_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_one.py").write_text(_SLOW)
    package = sys.modules["artifactstore.runtime"]
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importing = threading.Thread(target=__import__, args=("artifactstore.runtime.slow_one",))
    importing.start()
    assert BEGUN.wait(20)
    assert artifactstore.runtime.loading._is_importing()
    threading.Timer(0.1, GO.set).start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(15)
            __import__("artifactstore.runtime.slow_one")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    importing.join()
    del sys.modules["artifactstore.runtime.slow_one"]


def _alone(body: str, **variables: str) -> list[str]:
    """Run a program in a process that runs one command, and return what it prints."""
    begin = "import os, sys\nfrom artifactstore.runtime import loading\nloading.load_arrow_alone()\n"
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"} | variables
    done = subprocess.run([sys.executable, "-c", begin + body], capture_output=True, text=True, check=True, env=env)
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("asked", [None, "2"])
def test_a_command_loads_numpy_without_threads_and_leaves_its_children_alone(asked: str | None):
    variables = {} if asked is None else {"OPENBLAS_NUM_THREADS": asked}
    threads, left = _alone(
        "loading.numpy(); print(len(os.listdir('/proc/self/task')), os.environ.get('OPENBLAS_NUM_THREADS'))", **variables
    )
    assert left == str(asked), "a process that a command starts decides for itself"
    assert asked is not None or threads == "1"


def test_numpy_pays_later_where_it_must_be_loaded_first():
    before, after = _alone("print(loading.numpy_pays(5000)); loading.numpy(); print(loading.numpy_pays(5000))")
    assert (before, after) == ("False", "True")
