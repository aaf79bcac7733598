"""Loading what is loaded on first use, in such a way that a fork never falls into the midst of it.

A child that is forked while another thread imports a module, or builds what is built once, waits for that thread for
ever: it doesn't exist in the child. So forks wait until nothing is being loaded.
"""

import os
import threading
from typing import Final

__all__ = ["LOADING"]

LOADING: Final = threading.RLock()  # held while something heavy is loaded

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOADING.acquire, after_in_parent=LOADING.release, after_in_child=LOADING.release)
