"""State of an existing store: its journal, fold and caches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.hooks import HookIndex
from artifactstore.content.packs.footers import Footers
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.model.facts import Config
from artifactstore.work.session.caches import CheckedManifests, Manifests

__all__ = ["Core", "Watch"]

Watch = Callable[..., Callable[..., None]]  # (operation, bytes in all[, files in all]) → called with (bytes done[, files done])


@dataclass(slots=True)
class Core:
    """State of an existing store, one per process."""

    config: Config
    journal: Journal
    appender: Appender
    stats: StatCache
    footers: Footers
    checked: CheckedManifests
    manifests: Manifests = field(default_factory=Manifests)
    hooks: HookIndex = field(default_factory=HookIndex)
    probed: bool = False
    trail: Any = None  # the index of the audit trail, once it was asked for

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
