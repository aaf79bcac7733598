"""Fork-safe lazy loading: a fork never happens while something is being loaded.

A child that is forked while another thread imports a module, or runs a one-time initialization, waits for that thread for
ever: it does not exist in the child. So forks wait until nothing is being loaded.
"""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["LOADING", "gc_paused", "numpy"]

LOADING: Final = threading.RLock()  # held during a heavy load

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOADING.acquire, after_in_parent=LOADING.release, after_in_child=LOADING.release)


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
    """Return NumPy, imported on first use: text needs none of it."""
    with LOADING:
        if sys.modules.get("numpy", sys) is None:
            del sys.modules["numpy"]
        import numpy as np  # noqa: PLC0415 - text needs none of this
    return np
