"""The history of a store for whoever deletes by its word: folded from the entries by this machine, never from a snapshot of others.

A snapshot of the fold is vouched for by a fact, and a fact may be false: then what a reader is shown is wrong, and what a
clean-up deletes is lost (docs/reference/protocol.md, rule 10).
"""

from functools import partial
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.model.facts import Config
from artifactstore.work.session.caches import FoldCache
from artifactstore.work.session.session import Session

__all__ = ["own_history"]

_LONG: Final = 10_000  # entries: a shorter journal is read as a whole each time, so that damage anywhere in it is found


class _OwnFolds:
    """Folds that this machine has made from entries alone, between processes."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._cache = FoldCache(folder, f"{config.store}/own")

    def load(self) -> tuple[State, str] | None:
        """Return the cached fold of a long journal."""
        found = self._cache.load()
        return found if found is not None and found[0].head >= _LONG else None

    def is_due(self, fold: Any, saved: int) -> bool:
        """Return whether to save the fold again."""
        return bool(fold.head >= _LONG) and self._cache.is_due(fold, saved)

    def save(self, fold: Any, digest: str) -> None:
        """Save the fold of a long journal."""
        if fold.head >= _LONG:
            self._cache.save(fold, digest)

    def see(self, entry: Any) -> None:
        """Note nothing: completions read another list of names."""

    def note(self, fold: Any) -> None:
        """Write nothing."""


def own_history(session: Session) -> tuple[Journal, Appender]:
    """Return a journal of a store whose fold comes from entries alone, and what appends to it; both are the caller's."""
    core = session.core()
    folds = None if session.cache is None else _OwnFolds(session.cache, core.config)
    journal = Journal(core.backend, core.config, partial(State, core.config.store), folds, core.cached_backend)
    return journal, Appender(journal, core.appender.author)
