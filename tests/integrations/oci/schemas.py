"""What the published JSON schemas of the OCI image specification 1.1 and of ModelPack 1 demand, as one schema each (2020-12)."""

from typing import Any

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MEDIA_TYPE = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$"}
_DIGEST = {"type": "string", "pattern": "^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"}
_TEXTS = {"type": "object", "patternProperties": {".{1,}": {"type": "string"}}}
_LIST = {"type": "array", "items": {"type": "string"}}
_TIME = {"type": "string", "format": "date-time"}
_DESCRIPTOR: dict[str, Any] = {
    "type": "object",
    "required": ["mediaType", "size", "digest"],
    "properties": {
        "mediaType": _MEDIA_TYPE,
        "size": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "digest": _DIGEST,
        "urls": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "data": {"type": "string"},
        "artifactType": _MEDIA_TYPE,
        "annotations": _TEXTS,
        "platform": {
            "type": "object",
            "required": ["architecture", "os"],
            "properties": {"architecture": {"type": "string"}, "os": {"type": "string"}, "variant": {"type": "string"}},
        },
    },
}
_VERSION = {"type": "integer", "minimum": 2, "maximum": 2}

MANIFEST: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "required": ["schemaVersion", "config", "layers"],
    "properties": {
        "schemaVersion": _VERSION,
        "mediaType": _MEDIA_TYPE,
        "artifactType": _MEDIA_TYPE,
        "config": _DESCRIPTOR,
        "subject": _DESCRIPTOR,
        "layers": {"type": "array", "minItems": 1, "items": _DESCRIPTOR},
        "annotations": _TEXTS,
    },
}
INDEX: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "required": ["schemaVersion", "manifests"],
    "properties": {
        "schemaVersion": _VERSION,
        "mediaType": _MEDIA_TYPE,
        "artifactType": _MEDIA_TYPE,
        "subject": _DESCRIPTOR,
        "manifests": {"type": "array", "items": _DESCRIPTOR},
        "annotations": _TEXTS,
    },
}
LAYOUT: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "required": ["imageLayoutVersion"],
    "properties": {"imageLayoutVersion": {"type": "string", "enum": ["1.0.0"]}},
}
IMAGE_CONFIG: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "required": ["architecture", "os", "rootfs"],
    "properties": {
        "created": _TIME,
        "architecture": {"type": "string"},
        "os": {"type": "string"},
        "variant": {"type": "string"},
        "config": {"type": "object"},
        "rootfs": {
            "type": "object",
            "required": ["diff_ids", "type"],
            "properties": {"type": {"type": "string", "enum": ["layers"]}, "diff_ids": _LIST},
        },
        "history": {"type": "array", "items": {"type": "object"}},
    },
}
MODEL_CONFIG: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "additionalProperties": False,
    "required": ["descriptor", "config", "modelfs"],
    "properties": {
        "descriptor": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "createdAt": _TIME,
                "authors": _LIST,
                "family": {"type": "string"},
                "name": {"type": "string", "minLength": 1},
                "docURL": {"type": "string"},
                "sourceURL": {"type": "string"},
                "datasetsURL": _LIST,
                "version": {"type": "string"},
                "revision": {"type": "string"},
                "vendor": {"type": "string"},
                "licenses": _LIST,
                "title": {"type": "string"},
                "description": {"type": "string"},
            },
        },
        "config": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                key: {"type": "string"} for key in ("architecture", "format", "paramSize", "precision", "quantization")
            },
        },
        "modelfs": {
            "type": "object",
            "additionalProperties": False,
            "required": ["type", "diffIds"],
            "properties": {
                "type": {"type": "string", "enum": ["layers"]},
                "diffIds": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            },
        },
    },
}
# The layers that ModelPack's specification names; `raw` since its version 1.
MODEL_LAYER = r"^application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar|tar\+gzip|tar\+zstd)$"
