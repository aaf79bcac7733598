"""Warnings that point to the line of the caller's program, however deep in this package they arise."""

import sys
import warnings
from typing import Final

__all__ = ["remark"]

# What may be between the caller and this package: context managers, decorators, threads.
_BETWEEN: Final = frozenset({"artifactstore", "contextlib", "functools", "concurrent", "threading", "weakref", "asyncio"})


def remark(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn with a text, at the line outside of this package that led here; in a thread of this package at its beginning."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - as `warnings` does
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
