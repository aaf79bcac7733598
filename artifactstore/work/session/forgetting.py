"""Forgetting: what a clean-up has condemned leaves the caches of this machine at the next look at the store.

A cache knows content, never whether it still exists; without this, what was removed for good would stay on the disks of all
who have read it. Each machine notes up to which entry it has forgotten.
"""

from contextlib import suppress
from pathlib import Path

from artifactstore.catalog.fold.state import State
from artifactstore.runtime.local_files import read_own
from artifactstore.work.session.core import Core

__all__ = ["forget_condemned"]


def forget_condemned(core: Core, cache: Path | None) -> None:
    """Drop from the caches what entries have condemned since the last time; the journal's lock is held.

    Trees in use by a living process stay until it has ended.
    """
    state: State = core.journal.fold
    last = int(state.header["condemned"])
    if core.forgotten is None:
        core.forgotten = _noted(cache, state.header["store"]) if last else 0
    if last > core.forgotten:
        _forget(core, cache, state, core.forgotten, last)


def _forget(core: Core, cache: Path | None, state: State, since: int, last: int) -> None:
    from artifactstore.backend.wrappers.caching import evict  # noqa: PLC0415 - few processes are the first after a clean-up
    from artifactstore.content.manifests.manifest import manifest_key  # noqa: PLC0415 - as above
    from artifactstore.content.packs.pack import pack_key  # noqa: PLC0415 - as above
    from artifactstore.content.read.tree_cache import TreeCache  # noqa: PLC0415 - as above
    from artifactstore.runtime.atomic_files import replace_whole  # noqa: PLC0415 - as above

    manifests = [one for one, seq in state.condemned_manifests.items() if seq > since]
    packs = [one for one, seq in state.condemned_packs.items() if seq > since]
    core.manifests.drop(manifests)
    if core.cached_backend is not core.backend:
        for key in (*map(manifest_key, manifests), *map(pack_key, packs)):
            evict(core.cached_backend, key)
    whole = True
    if cache is not None:
        gone = {state.manifests[one][0] for one in manifests if one in state.manifests}
        whole = TreeCache(cache).forget({digest for digest in gone if not state.alive(digest)})
    core.forgotten = last
    if whole and cache is not None:
        with suppress(OSError):
            path = _path(cache, state.header["store"])
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_whole(path, str(last).encode())


def _path(cache: Path, store: str) -> Path:
    return cache / "stores" / store / "forgotten"


def _noted(cache: Path | None, store: str) -> int:
    try:
        return int(read_own(_path(cache, store))) if cache is not None else 0
    except (OSError, ValueError):
        return 0
