"""Room in memory: what would not fit is refused before it is tried, whether somebody made it so on purpose or not."""

import os

from artifactstore.errors import UnsupportedError

__all__ = ["check_room"]


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
