"""Loading on first use: a fork never happens while something is being loaded."""

import os
import signal
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
