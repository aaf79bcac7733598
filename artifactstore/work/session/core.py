"""State of an existing store: its journal, fold and caches."""

from collections.abc import Callable
from dataclasses import dataclass, field

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.hooks import HookIndex
from artifactstore.content.packs.footers import Footers
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.model.facts import Config
from artifactstore.work.session.caches import CheckedManifests, Manifests

__all__ = ["Core", "Watch"]

Watch = Callable[[str, int], Callable[[int], None]]  # (operation, bytes in all) → called with the number of bytes done


@dataclass(slots=True)
class Core:
    """State of an existing store, one per process.

    `cached_backend` is its backend behind the local cache: for reading immutable objects.
    """

    backend: Backend
    config: Config
    journal: Journal
    appender: Appender
    stats: StatCache
    cached_backend: Backend
    footers: Footers
    checked: CheckedManifests
    manifests: Manifests = field(default_factory=Manifests)
    hooks: HookIndex = field(default_factory=HookIndex)
    probed: bool = False

    @property
    def algorithm(self) -> str:
        """The store's digest algorithm."""
        return self.config.digest
