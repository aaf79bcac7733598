"""What stays must be readable: a clean-up stops where it is not, before anything is condemned.

Facts name the packs of each manifest, so safety does not rest on reading them. But where an earlier manifest of the same artifact
goes, the current one must be good, since readers fall back to the earlier one; and a store whose manifests cannot be read
must not lose anything else. So all current manifests of such artifacts are read, and of the others up to a number, chosen at random.
"""

import random
from itertools import chain
from typing import Final

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import is_large, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, NotFoundError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.gc.live import live_digests
from artifactstore.maintenance.gc.plan import Plan, needed_holders
from artifactstore.model.digest import Digest
from artifactstore.runtime.threads import Pool

__all__ = ["check_kept"]

_SAMPLE: Final = 2000  # manifests
_AT_ONCE: Final = 16


def check_kept(journal: Journal, state: State, plan: Plan) -> None:
    """Read manifests that stay.

    Raises:
        CorruptionError: one is missing or damaged; nothing was condemned.
    """
    replaced = {digest for digest in plan.replaced if any(one in plan.manifests for one in state.holders.get(digest, ()))}
    live = live_digests(state, plan.by_runs)
    others = [digest for digest in live if digest not in replaced and state.alive(digest)]
    some = others if len(others) <= _SAMPLE else random.sample(others, _SAMPLE)
    wanted = [(digest, digest in replaced) for digest in chain(replaced, some)]

    def check(one: tuple[str, bool]) -> str | None:
        return _fault(journal, state, *one)

    with Pool(max(1, min(_AT_ONCE, journal.backend.concurrency)), "artifactstore-look") as pool:
        found = map(check, wanted) if journal.backend.concurrency < 2 else pool.map(check, wanted)
        for (digest, _), fault in zip(wanted, found, strict=True):
            if fault is not None:
                raise CorruptionError(
                    f"{fault}, and {digest} needs it: nothing was condemned or deleted. Restore it from a copy of the store, or remove "
                    "the artifact",
                    digest=digest,
                    location=manifest_key(str(_readable(state, digest))),
                )


def _readable(state: State, digest: str) -> str | None:
    """Return the manifest that readers of an artifact will use; None if bytes of each are known to be lost: then all of them stay."""
    return next((one for one in reversed(needed_holders(state, state.holders[digest])) if one not in state.damaged), None)


def _fault(journal: Journal, state: State, digest: str, whole: bool) -> str | None:  # noqa: FBT001 - mapped over
    """Return what is wrong with the manifest that readers of an artifact will use, or None.

    Args:
        journal: the store's.
        state: its fold.
        digest: of the artifact.
        whole: decode it too, and compare it with the journal.
    """
    manifest = _readable(state, digest)
    if manifest is None:
        return None
    key, (_, expected, packs), fact = manifest_key(manifest), state.manifests[manifest], state.stored.get(digest, {})
    read = journal.backend.read_large if is_large(int(fact.get("files", 0)), int(fact.get("size", 0))) else journal.backend.read
    try:
        raw = read(key)
    except NotFoundError:
        return f"{key} is missing"
    if str(Digest.of(raw, journal.config.digest)) != expected:
        return f"{key} does not match its digest in the journal"
    if not whole:
        return None
    try:
        decoded = decode(raw, key, algorithm=journal.config.digest)
    except ArtifactStoreError as error:
        if isinstance(error, BackendError):
            raise
        return str(error)
    if decoded.digest != digest:
        return f"{key} is the manifest of {decoded.digest}"
    return f"{key} uses packs that its journal entry does not list" if set(decoded.packs) - set(packs) else None
