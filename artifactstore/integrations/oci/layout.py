"""Export: an image layout, a folder as skopeo, oras, containerd and Kubernetes read it; complete, or not there."""

import hashlib
import os
from pathlib import Path
from typing import Any

from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.build import Blob, Packed, json_bytes, pack
from artifactstore.integrations.oci.contents import Contents
from artifactstore.model.reference import Referable, as_reference
from artifactstore.runtime.atomic_files import staged
from artifactstore.store import Store

__all__ = ["export"]


def export(
    store: Store, ref: str | Referable, to: str | os.PathLike[str], *, layout: str = "modelpack", platform: str | None = None
) -> Path:
    """Write an artifact as an OCI image layout; the same bytes for the same version each time.

    Args:
        store: the store.
        ref: a reference to a whole artifact.
        to: a folder that does not exist, or is empty.
        layout: `modelpack`: a layer for each file, as it is; `image`: one layer with everything below `/models`, for KServe's
            `oci://` and Kubernetes' image volumes.
        platform: of an image; by default `linux/amd64`.

    Returns:
        The folder.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: the layout or the platform is unknown, or the reference names a path in an artifact.
        AlreadyExistsError: the folder has something in it.
        CorruptionError: the artifact's bytes do not match their digest; nothing is written.
        BackendError: the store cannot be reached, or the folder cannot be written.
    """
    target = Path(os.path.abspath(Path(to).expanduser()))  # noqa: PTH100 - `resolve` follows links
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise AlreadyExistsError(f"{target} exists and is not a folder: choose another name")
    if target.is_dir() and any(target.iterdir()):
        raise AlreadyExistsError(f"{target} is not empty: an image layout gets a folder of its own")
    if not target.parent.is_dir():
        raise InvalidInputError(f"the folder {target.parent} does not exist: make it first")
    contents = Contents(store, as_reference(ref))
    packed = pack(contents, layout, platform)
    with staged(target) as part:
        _write(part, packed, _name(contents.artifact))
        if target.is_dir():
            target.rmdir()
        part.rename(target)
    return target


def _write(folder: Path, packed: Packed, name: str) -> None:
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in packed.blobs:
        _write_blob(blobs / blob.digest.removeprefix("sha256:"), blob)
    (blobs / packed.digest.removeprefix("sha256:")).write_bytes(packed.manifest)
    entry = packed.descriptor | {"annotations": {types.REF_NAME: name}}
    (folder / "oci-layout").write_bytes(json_bytes({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(json_bytes({"schemaVersion": 2, "mediaType": types.INDEX, "manifests": [entry]}))


def _write_blob(path: Path, blob: Blob) -> None:
    hasher = hashlib.sha256()
    with path.open("xb") as file:
        for block in blob.body.blocks():
            hasher.update(block)
            file.write(block)
    if f"sha256:{hasher.hexdigest()}" != blob.digest:
        raise CorruptionError(
            f"the store has other bytes than {blob.digest}: `artifactstore verify --level full` finds them", digest=blob.digest
        )


def _name(artifact: Any) -> str:
    """Return the name of a manifest in its layout: `v3`, or a digest as a tag can have it."""
    return f"v{artifact.version}" if artifact.version is not None else artifact.digest.replace(":", "-")[:128]
