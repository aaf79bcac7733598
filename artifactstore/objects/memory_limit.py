"""Memory limit: rejects what does not fit into memory before loading it, whether oversized by accident or by attack."""

import os
from typing import Final

from artifactstore.errors import UnsupportedError

__all__ = ["check_memory"]

_GROUP: Final = "/sys/fs/cgroup"


def check_memory(size: int, what: str, instead: str) -> None:
    """Refuse to load more than the free memory.

    Args:
        size: bytes needed at least.
        what: the thing to load, for the message.
        instead: the advice at the end of the message.

    Raises:
        UnsupportedError: it would not fit.
    """
    free = _free_memory()
    if free is not None and size > free:
        raise UnsupportedError(f"{what} takes {size / 1e9:,.1f} GB in memory, but only {free / 1e9:,.1f} GB are free: {instead}")


def _free_memory() -> int | None:
    """Return the bytes that a program may still allocate without swapping; None if the system does not report it."""
    found = [one for one in (_machine(), _container(), _process()) if one is not None]
    return max(0, min(found)) if found else None


def _machine() -> int | None:
    try:
        with open("/proc/meminfo", "rb") as file:  # noqa: PTH123 - called for every file that is read
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all of it: better than no bound
    except (AttributeError, OSError, ValueError):
        return None


def _container() -> int | None:
    """Return the bytes left under a container's limit (cgroups, version 2); the page cache counts as free."""
    try:
        with open(f"{_GROUP}/memory.max", "rb") as file:  # noqa: PTH123 - as above
            most = file.read().strip()
        if most == b"max":
            return None
        with open(f"{_GROUP}/memory.current", "rb") as file:  # noqa: PTH123
            used = int(file.read())
        with open(f"{_GROUP}/memory.stat", "rb") as file:  # noqa: PTH123
            used -= sum(int(line.split()[1]) for line in file if line.startswith((b"active_file ", b"inactive_file ")))
        return int(most) - used
    except (OSError, ValueError, IndexError):
        return None


def _process() -> int | None:
    """Return the bytes left under this process's own memory limit (`ulimit -v`)."""
    try:
        import resource  # noqa: PLC0415 - not on every system

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - as above
            return most - int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
