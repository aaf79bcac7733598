"""The dataset: one name in a store, loaded and saved by Kedro's catalog."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

from kedro.io import AbstractDataset, DatasetError

from artifactstore.errors import InvalidInputError
from artifactstore.integrations.pipelines import made_below, opened, options_for
from artifactstore.model.reference import Reference
from artifactstore.store import Store
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.secrets import without_credentials
from artifactstore.work.tracking.current_run import detached

__all__ = ["ArtifactDataset", "announced"]

_REMEMBERED: Final = 64  # loads whose artifact is known by the object that they returned


class _Announced:
    """Whether a hook has announced the load that this thread is about to do: the node's run will record it."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._series = 0

    def __bool__(self) -> bool:
        return getattr(self._here, "series", None) == self._series

    def begin(self) -> None:
        """Announce a load."""
        self._here.series = self._series

    def end(self) -> None:
        """End it."""
        self._here.series = None

    def forget(self) -> None:
        """End all of them, in all threads: a load that fails has no end of its own."""
        self._series += 1


announced: Final = _Announced()


class ArtifactDataset(AbstractDataset[Any, Any]):  # type: ignore[misc] # Kedro has no types here
    """A name in a store as a dataset of Kedro: each save is its next version, a load reads the newest one, or the one that is pinned.

    Within a session, nodes load what that session has saved, whatever others put meanwhile.

    Args:
        name: the name in the store, such as `churn/model`. With a selector (`churn/model:production`, `…@blake3:ab12…`) or a
            path in the artifact it is one reference, which is only loaded.
        version: the number or the alias of the version to load; saves make the next version all the same. Kedro passes its own
            `Version` for `versioned: true`, whose `load` (`--load-versions model:v3`) is meant likewise.
        store: the store's URL, or an open store; by default what `artifactstore.open()` opens.
        load_args: options of `Store.get`, such as `trust`, `columns` or `mmap`.
        credentials: options of the store's backend, from `credentials.yml`; the environment is the better place.
        metadata: a JSON object, recorded with each version; other plugins of Kedro may read it, too.
        **options: options of `Store.put`, such as `kind`, `format`, `tags`, `aliases`.

    Raises:
        InvalidInputError: the name is no reference, or the version is invalid.
    """

    def __init__(
        self,
        name: str,
        version: Any = None,
        store: str | Store | None = None,
        *,
        load_args: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._name, self._pinned, self._path = _chosen(name, version)
        self._store = store
        self._load_args = dict(load_args or {})
        self._credentials = dict(credentials or {})
        self.metadata = metadata
        self._options = options
        self.session: str | None = None  # id of the run of the Kedro session, which workers get with the dataset
        self.made_from: tuple[str, ...] = ()  # datasets that its node's inputs were made from, where these are no artifacts
        self._forget()

    def _forget(self) -> None:
        self.run: Any = None  # the open run of the node that saves it
        self.newest: Any = None  # the artifact that was loaded or saved last
        self._loaded: OrderedDict[int, Any] = OrderedDict()  # id of the object → its artifact
        self._lock = threading.Lock()

    @property
    def store(self) -> Store:
        """The store."""
        if isinstance(self._store, Store):
            return self._store
        return opened(self._store, self._credentials)

    @property
    def ref(self) -> str:
        """The reference that a load reads now."""
        if self._pinned is not None:
            return self._pinned
        assert self._name is not None  # what has no name is pinned
        mine = None if self.session is None else made_below(self.store, self._name, self.session)
        return mine or f"{self._name}:latest"

    def load(self) -> Any:
        """Read the artifact; every byte is verified."""
        store, wanted = self.store, self.ref
        found = store.artifact(wanted)
        if self._pinned is not None:  # an alias of a tainted version is refused, whichever version it means
            check_taint(store._session, wanted, store._session.resolve(wanted))  # noqa: SLF001 - what `get` does with a reference
        ref = found.ref if self._path is None else f"{found.ref}/{self._path}"
        # While a hook has announced the load, the node's run, which has not begun yet, will record what was loaded.
        with detached() if announced else nullcontext():
            value = store.get(ref, **self._load_args)
        with self._lock:
            self.newest = found
            self._loaded[id(value)] = found
            self._loaded.move_to_end(id(value))
            while len(self._loaded) > _REMEMBERED:
                self._loaded.popitem(last=False)
        return value

    def save(self, data: Any) -> None:
        """Put the next version: an output of the node's run, or of the current run.

        Raises:
            DatasetError: the name has a selector, and such a reference never changes.
        """
        if self._name is None:
            raise DatasetError(f"{self._pinned} never changes: to save, the dataset needs a name without a selector")
        run = self.run if self.run is not None and self.run.status is None else None
        put = self.store.put if run is None else run.put
        made = put(data, self._name, metadata=self.metadata, **options_for(data, self._options))
        with self._lock:
            self.newest = made

    def artifact_of(self, value: Any) -> Any:
        """Return the artifact that a load returned as this object; the newest one where that is unknown, as behind a cache."""
        with self._lock:
            return self._loaded.get(id(value), self.newest)

    def _exists(self) -> bool:
        return self.store.exists(self.ref)

    def _release(self) -> None:
        with self._lock:
            self._loaded.clear()

    def _describe(self) -> dict[str, Any]:
        url = self._store.url if isinstance(self._store, Store) else self._store
        about = {"name": self._name or self._pinned, "version": self._pinned if self._name else None, "path": self._path}
        return {**about, "store": None if url is None else without_credentials(url), **self._options}

    def __getstate__(self) -> dict[str, Any]:
        own = {"run", "newest", "_loaded", "_lock"}
        return {key: value for key, value in self.__dict__.items() if key not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def _chosen(name: str, version: Any) -> tuple[str | None, str | None, str | None]:
    """Return the name to save, or None; the reference of the only version that is loaded, or None for the newest; a path in it.

    Raises:
        InvalidInputError: the version is neither a number nor an alias, or the name has one already.
    """
    if isinstance(version, tuple):  # Kedro's own (load, save)
        version = version[0]
    reference = Reference.parse(name)
    is_name = reference.name is not None and ":" not in name and "@" not in name
    if version is None:
        whole = str(replace(reference, path=None))
        return (reference.name, None, None) if is_name else (None, whole, reference.path)
    if not is_name:
        raise InvalidInputError(f"name={name!r} and version={version!r}: expected one of both to choose the version")
    if isinstance(version, bool) or not isinstance(version, int | str) or version == "":
        raise InvalidInputError(f"version={version!r}: expected the number of a version, or an alias")
    text = str(version)
    pinned = Reference.parse(f"{reference.name}:{f'v{text}' if text.isdigit() else text}")
    return reference.name, str(pinned), None
