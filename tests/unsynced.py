"""Tests do not wait for the disk: what is synced, and in which order, is watched by `tests/backend/test_local.py`."""

import os
from typing import Any, Final

import pytest

__all__ = ["unsync"]

_UNIT: Final = 512  # of `st_blocks`


def unsync(patch: pytest.MonkeyPatch) -> None:
    """Let `os.fsync` return at once in this process.

    No test cuts the power; a process that is killed leaves to the others what it wrote. Only a file with holes is really
    synced: some file systems know its holes only then.
    """
    real = os.fsync

    def fsync(fd: Any) -> None:
        status = os.fstat(fd)  # refuses what is not open
        if getattr(status, "st_blocks", 0) * _UNIT < status.st_size:
            real(fd)

    patch.setattr(os, "fsync", fsync)
