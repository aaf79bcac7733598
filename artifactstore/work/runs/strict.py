"""Strict runs: their programs read from the store alone, and their code is that of a commit."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

from artifactstore.model.facts import Fact
from artifactstore.work.runs.captured import Capture
from artifactstore.work.tracking.outside_reads import OutsideReads
from artifactstore.work.tracking.watched_programs import WatchedPrograms

__all__ = ["Strict"]

_SHOWN: Final = 20  # files that a message names


class Strict:
    """Watches the programs that a run starts with its `environment`, in its `with` block.

    Attributes:
        seen: what is recorded of the reads, after the block.
    """

    def __init__(self, capture: Capture, reads: OutsideReads) -> None:
        self._capture = capture
        self._reads = reads
        self._programs = WatchedPrograms(reads)
        self.seen: Fact | None = None

    def __enter__(self) -> Self:
        self._programs.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._programs.__exit__(kind, error, where)
        self.seen = self._capture.outside_reads(self._reads)
        if self._programs.direct:  # else the program itself was not watched, and what is known is as partial as of any run
            self.seen["reads_seen"] = "strict"

    def know(self, paths: Iterable[str]) -> None:
        """Let files, written from the store by this process, be no reads around it."""
        self._reads.known.update(paths)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a program needs to be watched."""
        return dict(self._programs.environment)

    @property
    def notes(self) -> list[str]:
        """What could not be checked, in words."""
        found = []
        if self._capture.changed() is None:
            found.append("the code is in no git repository, so no commit has it; what was found of it is stored")
        if not self._programs.direct:
            found.append(
                "the program is none of Python, or one without its environment (-I, -E, -S): its own reads were not seen"
            )
        return found

    def changes(self) -> str | None:
        """Return, in words, which files are not those of the last commit; None if all are, or there is no repository."""
        changed = self._capture.changed()
        return f"the code is not that of a commit: {_listed(changed)}; commit them" if changed else None

    def broken(self) -> list[str]:
        """Return what does not hold, in words; nothing if the run was as strict as can be seen."""
        rows: list[dict[str, Any]] = (self.seen or {}).get("around", [])
        more = int((self.seen or {}).get("around_more", 0))
        found = [text] if (text := self.changes()) is not None else []
        if rows or more:
            paths = [str(one["path"]) + (" (stored with the code)" if one.get("stored") else "") for one in rows]
            found.append(
                f"{len(rows) + more} files were read around the store: {_listed(paths, more)}; put them, and pass --in or read "
                "them through the store"
            )
        return found


def _listed(paths: list[str], more: int = 0) -> str:
    rest = len(paths[_SHOWN:]) + more
    return ", ".join(paths[:_SHOWN]) + (f" and {rest} more" if rest else "")
