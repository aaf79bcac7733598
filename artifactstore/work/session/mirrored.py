"""Mirrors of an open store: what is damaged or missing here is read from a copy of the same store, checked as always.

A mirror is asked for bytes, never whether something exists: where the journal ends, only the store itself says
(docs/reference/protocol.md, rule 2). Healing is what `repair` does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.mirrored import MirroredBackend
from artifactstore.catalog.fold.state import State
from artifactstore.errors import ArtifactStoreError, CorruptionError, FormatError
from artifactstore.journal.chain import entry_key, previous_of
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY, Config, parse_config
from artifactstore.runtime.remarks import remark

__all__ = ["MirroredJournal", "Mirrors"]

_KEY: Final = re.compile(r"(packs|manifests|facts)/[0-9a-f]{2}/([0-9a-f]{32})\.[a-z]+", re.ASCII)


class Mirrors:
    """The mirrors of one session.

    Args:
        sessions: open copies of the store.

    Attributes:
        saved: key of each object that a mirror supplied → URL of the mirror.
    """

    def __init__(self, sessions: Sequence[Any] = ()) -> None:
        self.sessions = tuple(sessions)
        self.saved: dict[str, str] = {}
        self._journal: Journal | None = None
        self._damage: str | None = None  # what keeps the store from being written to

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_journal": None}  # another process opens its own

    @property
    def backends(self) -> list[Backend]:
        """Their backends, in order of preference."""
        return [one.backend for one in self.sessions]

    def over(self, backend: Backend) -> Backend:
        """Return a backend that reads diverted objects from the mirrors."""
        return MirroredBackend(backend, self.backends, self.note, self._freed)

    def _freed(self, key: str) -> bool:
        """Return whether an entry has condemned a manifest or pack: no mirror must be asked for it."""
        match = _KEY.fullmatch(key)
        if match is None or match[1] == "facts" or self._journal is None:
            return False
        self._journal.catch_up()
        with self._journal.lock:
            fold = self._journal.fold
            return match[2] in (fold.condemned_packs if match[1] == "packs" else fold.condemned_manifests)

    def journal(
        self, backend: Backend, config: Config, make_fold: Any, keeper: Any, cached_backend: Backend, **more: Any
    ) -> "MirroredJournal":
        """Return the journal of the store."""
        made = MirroredJournal(backend, config, make_fold, keeper, self.over(cached_backend), **more)
        made.mirrors, self._journal = self, made
        return made

    def plain(self, backend: Backend, journal: Journal) -> Journal:
        """Return the journal as the backend alone has it: for checks, which no mirror must answer."""
        return Journal(backend, journal.config, lambda: State(journal.config.store))

    def divert(self, backend: Backend, location: str | None) -> bool:
        """Read the object at a location from the next mirror from now on; False if none is left."""
        match = _KEY.match(location or "")
        return match is not None and isinstance(backend, MirroredBackend) and backend.divert(match[0])

    def note(self, backend: Backend) -> None:
        """Warn, once, of each object that was read from a mirror."""
        if not isinstance(backend, MirroredBackend) or not backend.diverted:
            return
        new = {key: url for key in list(backend.diverted) if key not in self.saved and (url := backend.source(key)) is not None}
        self._warn(new, backend.url)

    def _warn(self, new: Mapping[str, str], url: str) -> None:
        if new:
            self.saved.update(new)
            some = ", ".join(list(new)[:3]) + (f" and {len(new) - 3} more" if len(new) > 3 else "")
            text = f"{some} in {url} cannot be read and came from the mirror {', '.join(sorted({*new.values()}))}"
            remark(f"{text}: run `artifactstore repair`")

    # -- the history

    def config(self, backend: Backend, raw: bytes | None, where: str) -> Config | None:
        """Parse `store.json`; if it is missing or damaged, use a mirror's if the first entry here vouches for it.

        Raises:
            FormatError: it is damaged, and no mirror has it.
        """
        try:
            if raw is not None:
                return parse_config(raw, where)
        except FormatError as error:
            if (found := self._config(backend, str(error))) is not None:
                return found
            raise
        return self._config(backend, f"{where} is missing")

    def _config(self, backend: Backend, damage: str) -> Config | None:
        for one in self.sessions:
            config: Config = one.core().config
            try:
                vouched = previous_of(backend.read(entry_key(1))) == str(Digest.of(config.raw, config.digest))
            except ArtifactStoreError:
                return None
            if vouched:
                self._damage = damage
                self._warn({CONFIG_KEY: one.backend.url}, backend.url)
                return config
        return None

    def mend(self, backend: Backend, error: ArtifactStoreError) -> Mapping[str, bytes] | None:
        """Return the entries and facts files that the mirrors have and the chain vouches for, instead of damaged ones; else None."""
        from artifactstore.maintenance.repair.history import mend_history  # noqa: PLC0415 - only after damage
        from artifactstore.maintenance.repair.history_sources import CopyHistory, SegmentHistory  # noqa: PLC0415 - as above

        found = mend_history(backend, [*map(CopyHistory, self.backends), SegmentHistory(backend)], dry_run=True)
        if found.lost or not found.bytes:
            return None
        self._damage = str(error)
        self._warn({one.key: one.source for one in found.restored}, backend.url)
        return found.bytes

    def check_writable(self) -> None:
        """Refuse to write to a store whose history is read with the help of a mirror.

        Raises:
            CorruptionError: names the damage.
        """
        if self._damage is not None:
            raise CorruptionError(f"{self._damage}. A mirror helps to read; run `artifactstore repair` before writing")

    def repaired(self, journal: Journal) -> None:
        """Forget the damage, and read from the store again: it was repaired."""
        self._damage = None
        self.saved.clear()
        for name in ("backend", "cached_backend"):
            if isinstance(backend := getattr(journal, name), _Patched):
                setattr(journal, name, backend.inner)
        if isinstance(journal.cached_backend, MirroredBackend):
            journal.cached_backend.diverted.clear()


class MirroredJournal(Journal):
    """A journal whose damaged entries are read from mirrors."""

    mirrors: Mirrors

    def catch_up(self, *, confirm: bool = False, taken: int = 0) -> int:
        """Read every entry up to the head; what is damaged comes from a mirror, if the chain vouches for it.

        Raises:
            As `Journal.catch_up`.
        """
        try:
            return super().catch_up(confirm=confirm, taken=taken)
        except (CorruptionError, FormatError) as error:
            inner = self.backend.inner if isinstance(self.backend, _Patched) else self.backend
            patches = self.mirrors.mend(inner, error)
            if patches is None:
                raise
            with self.lock:
                self.backend, self.cached_backend = _Patched(inner, patches), _Patched(self.cached_backend, patches)
                self._cold = True
                if CONFIG_KEY in patches:
                    self.config = parse_config(patches[CONFIG_KEY], CONFIG_KEY)
                self._start(self._make_fold(), Digest.of(self.config.raw, self.config.digest))
                return super().catch_up(confirm=confirm, taken=taken)


class _Patched(Wrapper):
    """A backend some of whose objects are replaced in memory.

    Args:
        inner: the backend.
        patches: key → bytes.
    """

    def __init__(self, inner: Backend, patches: Mapping[str, bytes]) -> None:
        super().__init__(inner)
        self._patches = patches

    def read(self, key: str) -> bytes:
        """Return an object, or what replaces it."""
        return self._patches[key] if key in self._patches else self.inner.read(key)

    def read_large(self, key: str) -> bytes:
        """Return a large object."""
        return self.inner.read_large(key)

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Read an object into the caller's buffers."""
        self.inner.read_into(key, wanted)
