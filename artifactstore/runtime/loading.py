"""Fork-safe lazy loading: a fork never happens while something is being loaded.

A child that is forked while another thread imports a module, or runs a one-time initialization, waits for that thread for
ever: it does not exist in the child. So forks wait until nothing is being loaded.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

__all__ = ["LOADING", "arrow", "gc_paused", "load_arrow_alone", "numpy", "numpy_pays"]

LOADING: Final = threading.RLock()  # held during a heavy load
_ALONE: Final[list[bool]] = []  # not empty: Arrow is imported without NumPy
_PAYS: Final = 1024  # numbers from which on a loaded NumPy takes less time than a loop
_LOAD_PAYS: Final = 40_000  # the same, with the time to load it
_BLAS: Final = "OPENBLAS_NUM_THREADS"  # read once, when NumPy's OpenBLAS is loaded

_PATIENCE: Final = 10.0  # seconds that a fork waits for imports; then the module itself may be what forks


def _is_importing() -> bool:
    """Return whether any thread is importing a module of this package; its import lock would never be released in a child."""
    for name, module in list(sys.modules.items()):
        if name.startswith("artifactstore.") and getattr(getattr(module, "__spec__", None), "_initializing", False):
            return True
    return False


def _before_fork() -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        LOADING.acquire()
        if not _is_importing() or time.monotonic() > end:
            return
        LOADING.release()  # what is imported may need it
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=LOADING.release, after_in_child=LOADING.release)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector while many permanent objects are created: traversing them repeatedly doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def numpy() -> Any:
    """Return NumPy, imported on first use: text needs none of it.

    In a process that runs one command, without the threads of its linear algebra: nothing here uses them, and at their start they
    spin for 0.07 s of a processor each.
    """
    with LOADING:
        alone = bool(_ALONE) and "numpy" not in sys.modules and _BLAS not in os.environ
        if alone:
            os.environ[_BLAS] = "1"
        try:
            import numpy as np  # noqa: PLC0415 - text needs none of this
        finally:
            if alone:
                del os.environ[_BLAS]  # what this process starts decides for itself
    return np


def numpy_pays(count: int) -> bool:
    """Return whether NumPy handles so many numbers faster than a loop, which needs about a third of a microsecond for each."""
    return count >= (_PAYS if "numpy" in sys.modules else _LOAD_PAYS)


def arrow(module: str = "") -> Any:
    """Return Arrow, or a module of it, imported on first use (0.2 s); after `load_arrow_alone` without NumPy, unless that is loaded.

    Args:
        module: such as `parquet`.
    """
    name = f"pyarrow.{module}" if module else "pyarrow"
    with LOADING:
        if not _ALONE or name in sys.modules or "numpy" in sys.modules:
            return import_module(name)
        # Arrow also loads cloudpickle where it is installed, for functions of its users.
        absent = [one for one in ("numpy", "cloudpickle") if one not in sys.modules]
        for one in absent:
            sys.modules[one] = None  # type: ignore[assignment] # "cannot be imported", to the import system
        try:
            return import_module(name)
        finally:
            for one in absent:
                del sys.modules[one]


def load_arrow_alone() -> None:
    """Let Arrow be imported without NumPy, which is half of a small command's time (0.09 s).

    Arrow works without it since version 18, but what it has not found when it was imported it never finds: `to_numpy` fails then.
    So it is for a process that runs one command and nothing else, and a command that compares numbers loads NumPy first.
    """
    _ALONE.append(True)
