"""Manifests of an artifact: a ModelPack with a layer for each file, or an image with one layer; the same bytes each time."""

import hashlib
import json
import platform as machine
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.contents import Contents
from artifactstore.integrations.oci.registry.connections import Body
from artifactstore.integrations.oci.tar_stream import tar_blocks, tar_size
from artifactstore.runtime.records import dataclass

__all__ = ["LAYOUTS", "Blob", "Packed", "descriptor", "json_bytes", "of_bytes", "own_platform", "pack"]

LAYOUTS: Final = ("modelpack", "image")
_PLATFORM: Final = re.compile(r"([a-z0-9]+)/([a-z0-9_]+)(?:/(v\d+))?", re.ASCII)
_DEFAULT_PLATFORM: Final = "linux/amd64"
_MACHINES: Final = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that a registry or a layout keeps under their digest.

    Attributes:
        digest: `sha256:…`.
        body: the bytes.
    """

    digest: str
    body: Body


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact as a manifest.

    Attributes:
        manifest: its bytes.
        digest: of them.
        blobs: what it refers to, each once: config and layers.
        platform: of an image, else None.
        artifact_type: of a ModelPack, else None.
    """

    manifest: bytes
    digest: str
    blobs: list[Blob]
    platform: Mapping[str, str] | None = None
    artifact_type: str | None = None

    @property
    def descriptor(self) -> dict[str, Any]:
        """The descriptor of the manifest, without annotations."""
        found = descriptor(types.IMAGE_MANIFEST, self.digest, len(self.manifest))
        found |= {"artifactType": self.artifact_type} if self.artifact_type else {}
        return found | ({"platform": dict(self.platform)} if self.platform else {})


def pack(contents: Contents, layout: str, platform: str | None = None) -> Packed:
    """Return the manifest of an artifact, and what it refers to; an image is read once, for its digest.

    Raises:
        InvalidInputError: the layout or the platform is unknown.
    """
    if layout not in LAYOUTS:
        raise InvalidInputError(f"layout={layout!r}: expected one of {', '.join(LAYOUTS)}")
    if layout == "image":
        return _image(contents, platform or _DEFAULT_PLATFORM)
    if platform is not None:
        raise InvalidInputError("platform= is for layout='image': a ModelPack has none")
    return _model_pack(contents)


def _model_pack(contents: Contents) -> Packed:
    kind = contents.artifact.kind
    layers = []
    blobs: dict[str, Blob] = {}
    for file, hexes in zip(contents.files, contents.sha256, strict=True):
        notes = {types.FILE_PATH: file.path, types.TITLE: file.path}
        if file.executable:
            about = {"name": file.path, "mode": 0o755, "uid": 0, "gid": 0, "size": file.size}
            notes[types.FILE_METADATA] = json_bytes(about | {"mtime": "1970-01-01T00:00:00Z", "typeflag": ord("0")}).decode()
        layers.append(descriptor(types.layer_type(file.path, kind), f"sha256:{hexes}", file.size, notes))
        blobs.setdefault(hexes, Blob(f"sha256:{hexes}", Body(file.size, partial(contents.blocks, file))))
    if not layers:  # a manifest has a layer at least
        empty = of_bytes(types.EMPTY_BODY)
        layers.append(descriptor(types.EMPTY, empty.digest, empty.body.size))
        blobs[empty.digest] = empty
    about_it = {"createdAt": contents.artifact.time.isoformat().replace("+00:00", "Z")}
    if contents.artifact.name is not None:
        about_it |= {"name": contents.artifact.name, "version": f"v{contents.artifact.version}"}
    model_fs = {"type": "layers", "diffIds": [one["digest"] for one in layers]}
    config = of_bytes(json_bytes({"descriptor": about_it, "config": {}, "modelfs": model_fs}))
    described = descriptor(types.MODEL_CONFIG, config.digest, config.body.size)
    return _packed(contents, described, layers, [config, *blobs.values()], artifact_type=types.MODEL)


def _image(contents: Contents, platform: str) -> Packed:
    match = _PLATFORM.fullmatch(platform)
    if match is None:
        raise InvalidInputError(f"platform={platform!r}: expected OS/ARCHITECTURE such as {_DEFAULT_PLATFORM}")
    about = {"os": match[1], "architecture": match[2]} | ({"variant": match[3]} if match[3] else {})
    hasher = hashlib.sha256()
    for block in tar_blocks(contents):
        hasher.update(block)
    layer = Blob(f"sha256:{hasher.hexdigest()}", Body(tar_size(contents), partial(tar_blocks, contents)))
    config = of_bytes(json_bytes({**about, "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}))
    layers = [descriptor(types.IMAGE_LAYER, layer.digest, layer.body.size)]
    return _packed(
        contents, descriptor(types.IMAGE_CONFIG, config.digest, config.body.size), layers, [config, layer], platform=about
    )


def _packed(
    contents: Contents,
    config: Mapping[str, Any],
    layers: list[dict[str, Any]],
    blobs: list[Blob],
    *,
    platform: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
) -> Packed:
    artifact = contents.artifact
    notes = {types.DIGEST: artifact.digest, types.KIND: artifact.kind, types.URI: artifact.uri}
    notes |= {types.LISTING: contents.listing} if contents.listing else {}
    notes |= {types.SINGLE: "true"} if artifact.single else {}
    manifest = {
        "schemaVersion": 2,
        "mediaType": types.IMAGE_MANIFEST,
        **({"artifactType": artifact_type} if artifact_type else {}),
        "config": config,
        "layers": layers,
        "annotations": dict(sorted(notes.items())),
    }
    body = json_bytes(manifest)
    return Packed(body, of_bytes(body).digest, blobs, platform, artifact_type)


def descriptor(media_type: str, digest: str, size: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a descriptor."""
    found: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    return found | ({"annotations": dict(annotations)} if annotations else {})


def of_bytes(data: bytes) -> Blob:
    """Return a blob of bytes in memory."""
    return Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", Body(len(data), partial(_once, data)))


def _once(data: bytes) -> Iterable[bytes]:
    return (data,)


def json_bytes(value: Any) -> bytes:
    """Encode JSON: the same bytes for the same value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def own_platform() -> str:
    """Return the platform that is taken of several: Linux on this machine's processor."""
    return f"linux/{_MACHINES.get(machine.machine(), machine.machine())}"
