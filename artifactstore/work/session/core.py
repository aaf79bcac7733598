"""State of an existing store: its journal, fold and caches."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.journal.journal import Journal
from artifactstore.model.actor import Actor
from artifactstore.model.facts import Config
from artifactstore.runtime.loading import LOADING
from artifactstore.work.session.caches import CheckedManifests, Manifests

if TYPE_CHECKING:
    from artifactstore.content.manifests.hooks import HookIndex
    from artifactstore.content.packs.footers import Footers
    from artifactstore.content.write.stat_cache import StatCache
    from artifactstore.journal.append import Appender
    from artifactstore.maintenance.extend import Publisher

__all__ = ["Core", "Watch", "watch_in_notebook"]

T = TypeVar("T")
Watch = Callable[..., Callable[..., None]]  # (operation, bytes in all[, files in all]) → called with (bytes done[, files done])


def watch_in_notebook(what: str, total: int, files: int = 0) -> Callable[..., None]:
    """Watch an operation: in a notebook's kernel one that takes long is shown; a script stays quiet."""
    if "IPython" not in sys.modules:
        return _unseen
    from artifactstore.display.progress import in_notebook, is_long, notebook  # noqa: PLC0415 - only in notebooks

    return in_notebook(what, total, files) if is_long(total, files) and notebook() is not None else _unseen


def _unseen(_size: int, _files: int = 0) -> None:
    """Show nothing."""


class Core:
    """State of an existing store, one per process. The parts that only writers and readers of content need are loaded on access.

    Args:
        config: `store.json`.
        journal: the journal.
        cache: the cache folder, or None.
        author: returns the actor of what it appends.

    Attributes:
        checked: the manifests that this machine has written or verified.
        manifests: decoded manifests.
        probed: whether the backend was found to be writable.
        forgotten: the entry up to which the caches have forgotten what is condemned, once it is known.
        trail: the index of the audit trail, once it was asked for.
    """

    def __init__(self, config: Config, journal: Journal, cache: Path | None, author: Callable[[], Actor]) -> None:
        self.config = config
        self.journal = journal
        self.checked = CheckedManifests(cache, config.store, journal.backend.url)
        self.manifests = Manifests()
        self.probed = False
        self.forgotten: int | None = None
        self.trail: Any = None
        self._cache = cache
        self._author = author
        self._parts: dict[str, Any] = {}

    def _part(self, name: str, make: Callable[[], T]) -> T:
        """Return a part, made by the first thread that asks for it."""
        if name not in self._parts:
            with LOADING:  # no fork happens meanwhile
                if name not in self._parts:
                    self._parts[name] = make()
        part: T = self._parts[name]
        return part

    @property
    def appender(self) -> "Appender":
        """The loop that appends for all threads."""

        def make() -> "Appender":
            from artifactstore.journal.append import Appender  # noqa: PLC0415 - writers only

            return Appender(self.journal, self._author())

        return self._part("appender", make)

    def seal(self) -> None:
        """Seal a segment if enough entries were appended, and publish what the fold has gained since the last snapshot."""
        sealed = self.journal.seal()
        if sealed is None:
            return

        def make() -> "Publisher":
            from artifactstore.maintenance.extend import Publisher  # noqa: PLC0415 - few processes seal

            return Publisher(self.journal, self.appender)

        self._part("publisher", make).extend(sealed)

    @property
    def stats(self) -> "StatCache":
        """The digests of local files, by their stat."""

        def make() -> "StatCache":
            from artifactstore.content.write.stat_cache import StatCache  # noqa: PLC0415 - as above

            return StatCache(self._cache, self.config.digest)

        return self._part("stats", make)

    @property
    def footers(self) -> "Footers":
        """The footers of packs."""

        def make() -> "Footers":
            from artifactstore.content.packs.footers import Footers  # noqa: PLC0415 - as above

            return Footers(self.backend)

        return self._part("footers", make)

    @property
    def hooks(self) -> "HookIndex":
        """The index of chunks that new content may share."""

        def make() -> "HookIndex":
            from artifactstore.content.manifests.hooks import HookIndex  # noqa: PLC0415 - as above

            return HookIndex()

        return self._part("hooks", make)

    @property
    def backend(self) -> Backend:
        """The store's backend: for writing, for what changes, and for checks, which a cache must not answer."""
        return self.journal.backend

    @property
    def cached_backend(self) -> Backend:
        """The same backend behind the local cache: for reading immutable objects."""
        return self.journal.cached_backend

    @property
    def algorithm(self) -> str:
        """The store's digest algorithm."""
        return self.config.digest
