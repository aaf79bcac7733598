"""Where an artifact is: the newest of its manifests that can be read, here or in a copy."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.maintenance.repair.chunks import Copy, read_manifest

__all__ = ["Layout", "find_layout"]


@dataclass(slots=True)
class Layout:
    """Where an artifact is.

    Attributes:
        manifest: its files and extents; None if none can be read.
        holder: the manifest's id here, or None if it was read from a copy.
        source: where it was read from.
        faults: what is wrong with the holders before it, the current one first: key → why.
    """

    manifest: Manifest | None = None
    holder: str | None = None
    source: str = ""
    faults: dict[str, str] = field(default_factory=dict)


def find_layout(
    backend: Backend,
    copies: Sequence[Copy],
    digest: str,
    holders: Sequence[str],
    expected: Mapping[str, str],
    *,
    packs: Mapping[str, Collection[str]],
    create: Callable[[str, bytes, str, str, str], bool],
) -> Layout:
    """Find an artifact's manifest.

    Args:
        backend: the store's.
        copies: copies of the store.
        digest: of the artifact.
        holders: ids of its manifests, the current one last.
        expected: id → the digest of the manifest.
        packs: id → the packs that its fact lists.
        create: called as `ContentRepair._create` with the current manifest, if it is missing here and a copy has it.
    """
    made = Layout()
    for holder in reversed(holders):
        made.manifest, _, why = read_manifest(backend, holder, expected[holder], digest)
        if made.manifest is not None:
            made.source = manifest_key(holder)
            if set(made.manifest.packs) <= set(packs[holder]):
                made.holder = holder
            else:  # clean-up goes by the fact: it would take packs that this manifest needs
                made.faults[manifest_key(holder)] = "uses packs that its fact does not list"
            return made
        made.faults[manifest_key(holder)] = why
    for copy in copies:
        for holder in reversed(holders):
            made.manifest, raw, _ = read_manifest(copy.backend, holder, expected[holder], digest)
            if made.manifest is not None and raw is not None:
                made.source = copy.backend.url
                missing = not made.faults[manifest_key(holder)] and holder == holders[-1]
                if missing and create(manifest_key(holder), raw, copy.backend.url, holder, "condemned_manifests"):
                    made.holder = holder
                return made
        state = copy.state
        for holder in reversed(state.holders.get(digest, ())) if state is not None else ():
            made.manifest = read_manifest(copy.backend, holder, state.manifests[holder][1], digest)[0]  # type: ignore[union-attr]
            if made.manifest is not None:
                made.source = copy.backend.url
                return made
    return made
