"""Push: an artifact into a registry; what is there already is not sent."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.build import Blob, pack
from artifactstore.integrations.oci.contents import Contents
from artifactstore.integrations.oci.referrers import Referrer, publish, referrers_of
from artifactstore.integrations.oci.registry.address import Address
from artifactstore.integrations.oci.registry.client import LARGEST_MANIFEST, Registry
from artifactstore.integrations.oci.registry.connections import Body
from artifactstore.model.reference import Referable, as_reference
from artifactstore.runtime.records import dataclass
from artifactstore.runtime.threads import Pool
from artifactstore.store import Store

__all__ = ["Pushed", "push"]

_WORKERS: Final = 4


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push has done.

    Attributes:
        target: where to, with the tag.
        digest: of the manifest.
        pinned: an address that always means it.
        blobs: how many the manifest, and what refers to it, consist of.
        sent: how many of them were sent.
        sent_bytes: their bytes.
        referrers: what refers to the manifest: its kind and the digest of each.
    """

    target: str
    digest: str
    pinned: str
    blobs: int
    sent: int
    sent_bytes: int
    referrers: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        found = {name: getattr(self, name) for name in ("target", "digest", "pinned", "blobs", "sent", "sent_bytes")}
        return found | {"referrers": [dict(one) for one in self.referrers]}


def push(
    store: Store,
    ref: str | Referable,
    target: str,
    *,
    layout: str = "modelpack",
    platform: str | None = None,
    plain_http: bool = False,
    referrers: bool = True,
) -> Pushed:
    """Push an artifact to a registry; blobs that the registry has are not sent.

    Args:
        store: the store.
        ref: a reference to a whole artifact.
        target: `HOST[:PORT]/REPO[:TAG]`; the tag is `latest` by default, and is moved last.
        layout: `modelpack` or `image`, see `export`.
        platform: of an image.
        plain_http: without TLS.
        referrers: whether to attach its lineage (SLSA statements), its bill of materials, and its signatures.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: the address, the layout or the platform is invalid, or it has too many files for a manifest.
        CorruptionError: the store's bytes, or the registry's, do not match their digest.
        BackendError: the store or the registry cannot be reached, or refuses.
    """
    address = Address.parse(target)
    if address.tag is None or address.digest is not None:
        raise InvalidInputError(f"{target!r} names a digest, which is what a push results in: pass HOST/REPO:TAG")
    contents = Contents(store, as_reference(ref))
    packed = pack(contents, layout, platform)
    if len(packed.manifest) > LARGEST_MANIFEST:
        raise InvalidInputError(
            f"{len(contents.files):,} files make a manifest of {len(packed.manifest):,} bytes, and registries take {LARGEST_MANIFEST:,}: "
            "pass layout='image', which has one layer for all files"
        )
    attached: list[Referrer] = referrers_of(store, contents.artifact, packed.descriptor) if referrers else []
    blobs = list({one.digest: one for one in chain(packed.blobs, *(one.blobs for one in attached))}.values())
    registry = Registry(address, plain_http=plain_http, writing=True)
    try:
        source = _source(contents.artifact, address)
        with Pool(_WORKERS, "artifactstore-push") as pool:
            sizes = [*pool.map(partial(_send, registry, source), blobs)]
        if registry.manifest_digest(address.wanted) != packed.digest:
            registry.put_manifest(address.wanted, packed.manifest, types.IMAGE_MANIFEST)
        publish(registry, packed.descriptor, attached)
    finally:
        registry.close()
    sent = [one for one in sizes if one is not None]
    return Pushed(
        str(address),
        packed.digest,
        f"{address.place}@{packed.digest}",
        len(blobs),
        len(sent),
        sum(sent),
        [{"type": one.artifact_type, "digest": one.digest} for one in attached],
    )


def _source(artifact: Any, address: Address) -> str | None:
    """Return another repository of the same registry that the artifact was pulled from: its blobs need not be sent again."""
    place = artifact.metadata.get("oci.repository")
    host, _, repository = place.partition("/") if isinstance(place, str) else ("", "", "")
    return repository if host == address.host and repository and repository != address.repository else None


def _send(registry: Registry, source: str | None, blob: Blob) -> int | None:
    """Send a blob unless it is there; return the bytes sent, None for none.

    Raises:
        CorruptionError: the store has other bytes; nothing is complete in the registry.
    """
    if registry.has_blob(blob.digest, blob.body.size):
        return None
    sent = registry.upload(blob.digest, Body(blob.body.size, partial(_checked, blob)), source)
    return blob.body.size if sent else None


def _checked(blob: Blob) -> Iterator[bytes]:
    """Yield a blob's bytes; the last block only if all are what the digest says."""
    hasher, held = hashlib.sha256(), b""
    for block in blob.body.blocks():
        hasher.update(block)
        if held:
            yield held
        held = block
    if f"sha256:{hasher.hexdigest()}" != blob.digest:
        raise CorruptionError(
            f"the store has other bytes than {blob.digest}: `artifactstore verify --level full` finds them", digest=blob.digest
        )
    if held:
        yield held
