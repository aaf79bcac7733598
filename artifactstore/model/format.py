"""Version number of the store format that this library writes, and the highest that it reads."""

import json
from typing import Final

from artifactstore.errors import FormatError

__all__ = ["FORMAT", "check_format"]

FORMAT: Final = 1  # the store format that this version writes, and the highest that it reads


def check_format(raw: bytes, what: str) -> None:
    """Refuse bytes that a newer version wrote, whatever else is wrong with them.

    Raises:
        FormatError: their `format` is newer than this version supports.
    """
    try:
        found = json.loads(raw).get("format")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(found, int) and found > FORMAT:
        raise FormatError(f"{what} has store format {found}, this version reads up to {FORMAT}: upgrade artifactstore")
