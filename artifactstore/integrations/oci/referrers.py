"""What refers to a pushed manifest: statements of its lineage, its bill of materials, its signatures.

A registry lists them by their `subject`; where it does not, they are listed in an index under the tag `sha256-<hex>`, as the
distribution specification has it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from artifactstore.errors import ConflictError, FormatError, NotFoundError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.build import Blob, descriptor, json_bytes, of_bytes
from artifactstore.integrations.oci.registry.client import Registry
from artifactstore.runtime.records import dataclass
from artifactstore.store import Store

__all__ = ["Referrer", "publish", "referrers_of"]

_STATEMENT: Final = "application/vnd.in-toto+json"
_BOM: Final = "application/vnd.cyclonedx+json"
_SIGNATURE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_TRIES: Final = 5  # of an index that others write, too
_PREDICATE: Final = "in-toto.io/predicate-type"


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest with a subject.

    Attributes:
        artifact_type: of what it carries.
        manifest: its bytes.
        digest: of them.
        blobs: what it refers to.
    """

    artifact_type: str
    manifest: bytes
    digest: str
    blobs: list[Blob]

    @property
    def descriptor(self) -> dict[str, Any]:
        """How an index lists it."""
        return descriptor(types.IMAGE_MANIFEST, self.digest, len(self.manifest)) | {"artifactType": self.artifact_type}


def referrers_of(store: Store, artifact: Any, subject: Mapping[str, Any]) -> list[Referrer]:
    """Return what a store knows of an artifact, as referrers of its manifest; the same bytes until it knows more."""
    found = []
    about = {key: subject[key] for key in ("mediaType", "digest", "size")}
    for media_type, body, notes in _documents(store, artifact):
        blob, config = of_bytes(body), of_bytes(types.EMPTY_BODY)
        manifest = json_bytes(
            {
                "schemaVersion": 2,
                "mediaType": types.IMAGE_MANIFEST,
                "artifactType": media_type,
                "config": descriptor(types.EMPTY, config.digest, config.body.size),
                "layers": [descriptor(media_type, blob.digest, blob.body.size, notes)],
                "subject": about,
                "annotations": {types.DIGEST: artifact.digest},
            }
        )
        found.append(Referrer(media_type, manifest, of_bytes(manifest).digest, [config, blob]))
    return list({one.digest: one for one in found}.values())


def _documents(store: Store, artifact: Any) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Yield (media type, bytes, annotations) of each document."""
    lineage = store.lineage(artifact.ref)
    for statement in lineage.export("slsa") or ():
        yield _STATEMENT, json_bytes(statement), {types.TITLE: "provenance.intoto.json", _PREDICATE: statement["predicateType"]}
    yield _BOM, json_bytes(lineage.export("ml-bom")), {types.TITLE: "bom.cdx.json"}
    for event in store.log(ref=artifact.digest, fact="signed"):
        if event.outcome == "committed" and (bundle := event.fields.get("bundle")) is not None:
            yield _SIGNATURE, json_bytes(bundle), {types.TITLE: "model.sig"}


def publish(registry: Registry, subject: Mapping[str, Any], referrers: Sequence[Referrer]) -> None:
    """Write referrers whose blobs are in the registry, and see to it that they are listed.

    Raises:
        BackendError: the registry fails or refuses.
        ConflictError: others keep writing the index.
    """
    if not referrers:
        return
    listed = registry.referrers(subject["digest"])
    known = {one.get("digest") for one in listed or ()}
    own_list = listed is not None
    for one in referrers:
        if one.digest in known:
            continue
        if registry.manifest_digest(one.digest) is None or own_list:
            own_list = registry.put_manifest(one.digest, one.manifest, types.IMAGE_MANIFEST) or own_list
    if not own_list:
        _list_by_tag(registry, subject["digest"].replace(":", "-"), referrers)


def _list_by_tag(registry: Registry, tag: str, referrers: Sequence[Referrer]) -> None:
    """Add referrers to the index under a tag; written again if another writer replaced it meanwhile."""
    for _ in range(_TRIES):
        rows = _rows(registry, tag)
        have = {one.get("digest") for one in rows}
        lacking = [one.descriptor for one in referrers if one.digest not in have]
        if not lacking:
            return
        registry.put_manifest(
            tag, json_bytes({"schemaVersion": 2, "mediaType": types.INDEX, "manifests": [*rows, *lacking]}), types.INDEX
        )
    raise ConflictError(f"other clients keep replacing the index {tag} in {registry.address.place}: push again")


def _rows(registry: Registry, tag: str) -> list[Any]:
    try:
        body = registry.manifest(tag).body
    except NotFoundError:
        return []
    try:
        rows = json.loads(body)["manifests"]
    except (ValueError, KeyError, TypeError, RecursionError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
        raise FormatError(f"{registry.address.place}:{tag} is not an index, and the list of referrers has to be there: remove it")
    return rows
