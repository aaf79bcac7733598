"""Loading what is loaded on first use, in such a way that a fork never falls into the midst of it.

A child that is forked while another thread imports a module, or builds what is built once, waits for that thread for
ever: it doesn't exist in the child. So forks wait until nothing is being loaded.
"""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["LOADING", "no_collecting", "numpy"]

LOADING: Final = threading.RLock()  # held while something heavy is loaded

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOADING.acquire, after_in_parent=LOADING.release, after_in_child=LOADING.release)


@contextmanager
def no_collecting() -> Iterator[None]:
    """Pause the garbage collector while much is made that stays: walking the new objects again and again doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def numpy() -> Any:
    """Return NumPy, which text needs none of and a command keeps out until somebody needs it."""
    with LOADING:
        if sys.modules.get("numpy", sys) is None:
            del sys.modules["numpy"]
        import numpy as np  # noqa: PLC0415 - text needs none of this
    return np
