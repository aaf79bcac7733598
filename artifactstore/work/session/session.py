"""An open store: its backend, journal, fold and caches; used by every module of this package.

Connects lazily: opening reads `store.json` only, and the first write creates it.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import Resolved, resolve
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import ALGORITHMS
from artifactstore.model.encoding import format_time, new_id
from artifactstore.model.facts import CONFIG_KEY, Config, parse_config
from artifactstore.model.reference import PinnedReference, Reference
from artifactstore.model.version import VERSION
from artifactstore.runtime.loading import LOADING
from artifactstore.runtime.local_files import may_write, write_gitignore
from artifactstore.runtime.remarks import remark
from artifactstore.work.session.as_of import is_first, state_at
from artifactstore.work.session.caches import FoldCache, LastHead
from artifactstore.work.session.core import Core, Watch, watch_in_notebook
from artifactstore.work.session.forgetting import forget_condemned
from artifactstore.work.session.fork import ScratchStore
from artifactstore.work.session.offline import OfflineFallback
from artifactstore.work.session.prepared import Batch, current_batch
from artifactstore.work.settings.settings import DEFAULT, author, cache_folder, find_url, secret_options

if TYPE_CHECKING:
    from artifactstore.content.manifests.manifest import Manifest
    from artifactstore.journal.snapshots import Snapshot
    from artifactstore.work.session.manifests import ManifestReader, Proves
    from artifactstore.work.session.mirrored import Mirrors

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """One open store for the threads of a process; picklable, and usable in a forked child."""

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        mode: str = "a",
        storage_options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = DEFAULT,
        single_writer: bool = False,
        fork: ScratchStore | None = None,
        mirrors: "Mirrors | None" = None,
    ) -> None:
        if not isinstance(mode, str) or mode not in {"a", "r"}:
            raise InvalidInputError(f"mode={mode!r}: expected 'a' to read and append, or 'r' to only read")
        where = find_url(url)
        if where.options and (storage_options is None or isinstance(storage_options, Mapping)):
            storage_options = {**where.options, **(storage_options or {})}
        self._asked = {"mode": mode, "storage_options": storage_options, "cache": cache, "single_writer": single_writer}
        self._embedded = where.is_default
        backend = connect(where.url, storage_options=storage_options, single_writer=single_writer)
        fork = fork or ScratchStore.of_environment()
        if fork is not None:
            backend = fork.over(backend)
            cache = None if cache is None else fork.cache
        self.url = backend.url
        self._url_given = self.url  # absolute: a pickle may be opened in another folder
        self.cache = cache_folder(cache)
        self._offline = OfflineFallback(backend, self.cache)
        self.backend = self._offline.backend
        self.view: State | None = None
        self.mirrors = mirrors
        self.watch: Watch = watch_in_notebook
        self._core: Core | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._reader: ManifestReader | None = None
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        options = self._asked["storage_options"]
        secrets = secret_options(options if isinstance(options, Mapping) else None)
        if secrets:
            raise InvalidInputError(
                f"cannot pickle this store: its storage_options hold secrets ({', '.join(secrets)}), which must not travel; "
                "pass them by the environment or by the cloud's own identity"
            )
        if self.view is not None:
            return _reopen_at, (self._url_given, self._asked, self.mirrors, self.view.head)
        return _reopen, (self._url_given, self._asked, self.mirrors)

    # -- the store itself

    def _connect(self) -> bool:
        """Read `store.json`, unless a thread has; return False if there is none."""
        with self._lock:
            if self._core is not None:
                return True  # shared by all threads: commits of one must be visible to the others
            config = self._config()
            if config is None:
                return False
            self._core = self._assemble(config)
            return True

    def _config(self) -> Config | None:
        raw: bytes | None = None
        try:
            raw = self.backend.read(CONFIG_KEY)
        except NotFoundError:
            if self.mirrors is None:
                return None
        except BackendError as error:
            kept = self._offline.load_config()
            if kept is None:
                raise
            self._offline.mark_unreachable(error, "which knows this store")
            raw = kept
        else:
            self._offline.save_config(raw)
        where = f"{self.url}/{CONFIG_KEY}"
        return parse_config(raw or b"", where) if self.mirrors is None else self.mirrors.config(self.backend, raw, where)

    def _assemble(self, config: Config) -> Core:
        kept = None if self.cache is None else FoldCache(self.cache, config.store)
        cached_backend = self._offline.over(self.backend, config.store)
        brief = self.cache is None or self.backend.url.startswith("memory://")
        heads = None if self.cache is None or brief else LastHead(self.cache, config.store, self.backend.url)
        opener = partial(_open_snapshot, self.backend, config)
        fold = partial(State, config.store)
        made: type[Journal] | Callable[..., Journal] = Journal if self.mirrors is None else self.mirrors.journal
        journal = made(self.backend, config, fold, kept, cached_backend, open_snapshot=opener, heads=heads)
        return Core(config, journal, self.cache, author(f"artifactstore {VERSION}"))

    def core(self) -> Core:
        """Return the store, for reading.

        Raises:
            NotFoundError: no store at this URL.
        """
        if self._pid != os.getpid():
            self._lock = threading.RLock()
        with self._lock:
            if self._core is not None and self._pid != os.getpid():
                # In a forked child, locks of the parent may be held forever by threads that do not exist here.
                self._core, self._pid = self._assemble(self._core.config), os.getpid()
            missing = self._core is None and not self._connect()
            if missing and self.backend.listable and any(True for _ in self.backend.list("journal/")) and not self._connect():
                from artifactstore.work.session.write_guard import lost_config  # noqa: PLC0415 - after damage only

                raise lost_config(self.url)
            if self._core is None:
                first = "the first put creates a store, `artifactstore init` an empty one"
                hint = f"expected {CONFIG_KEY} there" if self.backend.read_only else first
                if os.path.isfile(self.url):  # noqa: PTH113 - a URL, which may be anything
                    hint = f"it is a file; a bundle is read as zip://{self.url}, and `artifactstore import` adds it to a store"
                raise NotFoundError(f"no store at {self.url}: check the URL; {hint}")
            assert self._core is not None
            return self._core

    def check_writable(self) -> None:
        """Raise an error, before any work, if the store is read-only.

        Raises:
            RefusedError: opened with mode="r", a view of the past, or without write permission.
        """
        if self.view is not None:
            raise RefusedError(
                f"this is {self.url} as it was at entry {self.view.head}: the past cannot be changed; open the store without at()"
            )
        if self.backend.read_only:
            raise RefusedError(f"{self.url} is read-only: copy it to another location with `artifactstore sync` to write there")
        if self._asked["mode"] == "r":
            raise RefusedError(f"{self.url} was opened with mode='r': open it with mode='a' to write")
        if self._offline.offline:
            raise RefusedError(f"cannot write {self.url} while ARTIFACTSTORE_OFFLINE is set: unset it")
        if "://" not in self.url and os.path.isdir(self.url) and not may_write(self.url):  # noqa: PTH112
            raise RefusedError(f"this user cannot write {self.url}: ask its owner, or put into a store of your own")
        if self.mirrors is not None:
            self.mirrors.check_writable()

    def core_to_write(self, digest: str = ALGORITHMS[0]) -> Core:
        """Return the store, for writing; create it if there is none.

        Raises:
            RefusedError: the store is read-only.
            UnsupportedError: the backend lacks a guarantee that writes need.
        """
        self.check_writable()
        try:
            core = self.core()
        except NotFoundError:
            core = self.create(digest)
        from artifactstore.work.session.write_guard import check_write_guard  # noqa: PLC0415 - writers only

        check_write_guard(core)
        _ = core.appender  # who writes is settled before any work
        return core

    def create(self, digest: str) -> Core:
        """Create the store; if another process was first, use its store.

        Raises:
            InvalidInputError: the location is not empty, or the digest algorithm is unknown.
            AlreadyExistsError: a store with another algorithm exists.
        """
        if digest not in ALGORITHMS:
            raise InvalidInputError(f"digest={digest!r}: expected one of {', '.join(ALGORITHMS)}")
        if not self._connect():
            if self.backend.read_only:
                raise RefusedError(f"cannot make a store at {self.url}, which is read-only: make it elsewhere and copy it there")
            from artifactstore.work.session.write_guard import check_empty  # noqa: PLC0415 - writers only

            check_empty(self.backend, self.url, self._connect)
        if self._core is None:
            from artifactstore.content.codecs.chunker import CHUNKERS  # noqa: PLC0415 - only for a new store
            from artifactstore.work.session.write_guard import create_config  # noqa: PLC0415 - as above

            config = Config.new(new_id(), digest, CHUNKERS, format_time(datetime.now(UTC)))
            if create_config(self.backend, config, self._connect):
                if isinstance(self.backend, LocalBackend):
                    write_gitignore(self.backend.url)
                with self._lock:
                    self._core = self._core or self._assemble(config)
                if self._embedded:
                    remark(f"no store was named: using {self.url}")
        core = self.core()
        if core.config.digest != digest:
            raise AlreadyExistsError(
                f"the store at {self.url} has {core.config.digest} digests, not {digest}: choose another location"
            )
        return core

    @property
    def known_store(self) -> str | None:
        """The store's id, if it was there when this session was opened."""
        return None if self._core is None else self._core.config.store

    @property
    def connection_args(self) -> "tuple[str, Mapping[str, Any] | None, bool]":
        """How another connection is made: URL, storage options, whether it is the single writer."""
        return self._url_given, self._asked["storage_options"], self._asked["single_writer"]  # type: ignore[return-value]

    @property
    def cache_given(self) -> Any:
        """The cache folder as it was passed: another machine may have its own default."""
        return self._asked["cache"]

    @property
    def may_write(self) -> bool:
        """Whether it was opened for writing, and is not a view of the past."""
        return self._asked["mode"] != "r" and self.view is None and not self.backend.read_only

    # -- history

    @contextmanager
    def state(self, *, fresh: bool = True) -> Iterator[State]:
        """Yield the state: at the head, caught up in this call unless `fresh` is off, or as of the requested time."""
        core = self.core()
        if fresh and is_first(core.journal):
            core.journal.catch_up()
        with core.journal.lock:
            forget_condemned(core, self.cache)
            yield self.view if self.view is not None else core.journal.fold

    @contextmanager
    def query_state(self) -> Iterator[State]:
        """Yield the state for a query: at the head, or if the backend is unreachable, at the last entry known here.

        Raises:
            BackendError: it is unreachable, and nothing of it is cached.
        """
        journal = self.core().journal
        if is_first(journal) and (self._offline.reachable or not journal.use_cached_fold()):
            try:
                journal.catch_up()
            except BackendError as error:
                if not journal.use_cached_fold():
                    raise
                self._offline.mark_unreachable(error, f"as of entry {journal.head} of {journal.fold.header['time']}")
        with self.state(fresh=False) as state:
            yield state

    def at(self, moment: "int | str | datetime | date") -> "Session":
        """Return a view of this store as of an entry number, an aware datetime, or a date (the end of that day, UTC).

        Raises:
            InvalidInputError: a naive datetime, another type, an entry that does not exist.
        """
        core = self.core()
        view = state_at(core.journal, moment, partial(_open_snapshot, self.backend, core.config))
        past = Session.__new__(Session)
        past.__dict__.update(self.__dict__)
        past.view = view
        past._lock = threading.RLock()  # noqa: SLF001 - of the same class
        return past

    def resolve(self, ref: str, *, tainted: bool = False) -> Resolved:
        """Resolve a reference at the head, or at this session's time; own uncommitted puts are found by digest.

        A bare name is its newest version that is not tainted, with `tainted` the newest of all.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: the reference is malformed.
        """
        parsed = Reference.parse(ref)
        batch = self.batch()
        if batch is not None and parsed.name is None and (staged := batch.find(str(parsed))) is not None:
            return Resolved(staged, path=parsed.path)
        core = self._core
        if core is not None and self.backend.is_remote and self._pid == os.getpid():
            self._holding.read_ahead(core, self.view, parsed)
        with self.query_state() as state:
            found = resolve(state, parsed, tainted=tainted)
        if isinstance(ref, PinnedReference) and found.digest != ref.digest:
            raise NotFoundError(
                f"{ref} is {found.digest[:15]} in this store, and {ref.digest[:15]} in the one that it comes from"
            )
        return found

    def batch(self) -> Batch | None:
        """Return the batch of this context for this store, or None."""
        batch = current_batch.get()
        while batch is not None and batch.session is not self:
            batch = batch.outer
        return batch

    # -- manifests

    @property
    def _holding(self) -> "ManifestReader":
        if self._reader is None:
            with LOADING:
                from artifactstore.work.session.manifests import ManifestReader  # noqa: PLC0415 - lists of names need none

                self._reader = self._reader or ManifestReader(self.mirrors)
        return self._reader

    def with_manifest(
        self, digest: str, use: "Callable[[Manifest], T]", *, part: int | None = None, relied_on: bool = False
    ) -> T:
        """Call `use` with the manifest of an artifact, again if clean-up or repacking moved it meanwhile (docs/reference/protocol.md, rule 8).

        For `part` and `relied_on` see `ManifestReader.use`.

        Raises:
            NotFoundError: the artifact was removed.
            CorruptionError: an object is missing or damaged.
        """
        batch = self.batch()
        if batch is not None and (staged := batch.staged.get(digest)) is not None:
            return use(staged.manifest)
        return self._holding.use(self.core(), digest, use, part=part, relied_on=relied_on)

    def manifests(self, digest: str) -> "list[Manifest]":
        """Return all manifests of an artifact that can be read; see `ManifestReader.each`."""
        return self._holding.each(self.core(), digest)

    def holds(self, digest: str, *, read: bool = False, proves: "Proves | None" = None) -> bool:
        """Return True if an artifact is verifiably stored, so that it need not be stored again (decision 0031).

        For `read` and `proves` see `ManifestReader.holds`.
        """
        return self._holding.holds(self.core(), digest, read=read, proves=proves)


def _open_snapshot(backend: Backend, config: Config, snapshot: "Snapshot") -> tuple[State, str] | None:
    from artifactstore.maintenance.snapshot import open_snapshot  # noqa: PLC0415 - few stores have one

    return open_snapshot(backend, config.digest, snapshot)


def _reopen(url: str, asked: Mapping[str, Any], mirrors: "Mirrors | None") -> Session:
    return Session(url, **asked, mirrors=mirrors)


def _reopen_at(url: str, asked: Mapping[str, Any], mirrors: "Mirrors | None", moment: int) -> Session:
    return _reopen(url, asked, mirrors).at(moment)
