"""Room in memory: what would not fit is refused before it is tried, whether somebody made it so on purpose or not."""

import os
from typing import Final

from artifactstore.errors import UnsupportedError

__all__ = ["check_room"]

_GROUP: Final = "/sys/fs/cgroup"


def check_room(size: int, what: str, instead: str) -> None:
    """Refuse to load what is larger than the memory that is free.

    Args:
        size: bytes that it takes at least.
        what: for the message.
        instead: what to do.

    Raises:
        UnsupportedError: it would not fit.
    """
    free = _free()
    if free is not None and size > free:
        raise UnsupportedError(f"{what} takes {size / 1e9:,.1f} GB in memory, and {free / 1e9:,.1f} GB are free here: {instead}")


def _free() -> int | None:
    """Return the bytes that a program may still take without others being pushed out; None where the system does not tell."""
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
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all that there is: better than no bound
    except (AttributeError, OSError, ValueError):
        return None


def _container() -> int | None:
    """Return what a container's limit leaves (cgroups, version 2): files that are kept in memory give way."""
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
    """Return what this process's own limit of memory leaves (`ulimit -v`)."""
    try:
        import resource  # noqa: PLC0415 - not on every system

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - as above
            return most - int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
