"""Text comparison: the changed lines, in the form of `diff -u` and `git apply`; for notebooks, the source of their cells."""

import difflib
import json
from typing import Final

__all__ = ["LARGEST", "count", "patch"]

LARGEST: Final = 2**20  # max bytes of a file compared by lines
_NO_END: Final = "\\ No newline at end of file\n"


def patch(path: str, old: bytes | None, new: bytes | None) -> str | None:
    """Return a unified diff with three lines of context; None for files that are not text, or too large.

    Args:
        path: name of the file on both sides.
        old: its bytes before, None if it did not exist.
        new: its bytes now, None if it does not exist.
    """
    before, after = _lines(path, old), _lines(path, new)
    if before is None or after is None:
        return None
    names = (f"a/{path}" if old is not None else "/dev/null", f"b/{path}" if new is not None else "/dev/null")
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_END}" for line in difflib.unified_diff(before, after, *names))


def count(text: str) -> tuple[int, int]:
    """Return how many lines a patch of one file adds and removes."""
    lines = text.splitlines()[2:]
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)


def _lines(path: str, data: bytes | None) -> list[str] | None:
    if data is None:
        return []
    if len(data) > LARGEST or b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if path.endswith(".ipynb"):
        text = _cells(text) or text
    return [f"{line}\n" for line in text.split("\n")[:-1]] + [last for last in text.split("\n")[-1:] if last]


def _cells(text: str) -> str | None:
    """Return the source of a notebook's cells, without outputs and counters, which differ at each run."""
    try:
        parts = []
        for cell in json.loads(text)["cells"]:
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            parts.append(
                f"# %% {'' if cell['cell_type'] == 'code' else '[' + cell['cell_type'] + ']'}".rstrip() + f"\n{source}\n"
            )
        return "\n".join(parts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
