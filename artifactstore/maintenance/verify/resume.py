"""What an interrupted run of `verify` has read, so that the next one goes on behind it.

A file in the cache: one line for the run, one for each sound pack with its size and time of change. A pack that has changed since
is read again, and so are all after a week. Any failure to read it counts as no record.
"""

import json
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.base import Stored
from artifactstore.runtime.local_files import read_own

__all__ = ["NOTHING", "Resume"]

_WEEK: Final = timedelta(days=7)


class Resume:
    """The record of one kind of run on one store.

    Args:
        path: its file, or None to keep no record.
        about: what must be equal for a run to be continued: level, fraction.

    Attributes:
        seed: of the sample.
        begun: when the interrupted run began; None if this one is new.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._about = dict(about or {})
        self._fd = -1
        self._done: dict[str, tuple[int, str, int]] = {}
        self.seed = random.getrandbits(64)
        self.begun: str | None = None
        if path is not None:
            with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                self._load(read_own(path).split(b"\n"))

    def _load(self, lines: list[bytes]) -> None:
        header = json.loads(lines[0])
        begun = datetime.fromisoformat(header["begun"])
        if header["about"] != self._about or not timedelta(0) <= datetime.now(UTC) - begun < _WEEK:
            return
        self.seed, self.begun = int(header["seed"]), str(header["begun"])
        for line in lines[1:]:
            with suppress(ValueError, TypeError, RecursionError):  # the last line of a killed process
                pack, size, modified, frames = json.loads(line)
                self._done[str(pack)] = (int(size), str(modified), int(frames))

    def frames(self, pack: str, now: Stored | None) -> int | None:
        """Return how many frames a pack has that was read and has not changed since, else None."""
        found = self._done.get(pack)
        same = found is not None and now is not None and now.modified is not None
        return found[2] if same and found[:2] == (now.size, now.modified.isoformat()) else None  # type: ignore[index,union-attr]

    def note(self, pack: str, now: Stored | None, frames: int) -> None:
        """Record a sound pack."""
        if self._path is None or now is None or now.modified is None:
            return
        with suppress(OSError):
            if self._fd < 0:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_APPEND if self.begun is not None else os.O_TRUNC
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
                if self.begun is None:
                    header = {"about": self._about, "seed": self.seed, "begun": datetime.now(UTC).isoformat()}
                    os.write(self._fd, json.dumps(header).encode() + b"\n")
            os.write(self._fd, json.dumps([pack, now.size, now.modified.isoformat(), frames]).encode() + b"\n")

    def finish(self) -> None:
        """Forget the run: it has come to its end."""
        self.close()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


NOTHING: Final = Resume(None)
