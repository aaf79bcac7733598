"""Media types and annotations of OCI, ModelPack and this library, and which kind of layer a file becomes."""

import re
from pathlib import PurePosixPath
from typing import Final

__all__ = [
    "DIGEST",
    "EMPTY",
    "EMPTY_BODY",
    "FILE_METADATA",
    "FILE_PATH",
    "IMAGE_CONFIG",
    "IMAGE_LAYER",
    "IMAGE_MANIFEST",
    "INDEX",
    "INDEXES",
    "KIND",
    "LISTING",
    "MANIFESTS",
    "MODEL",
    "MODEL_CONFIG",
    "REF_NAME",
    "SINGLE",
    "TITLE",
    "UNPACK",
    "URI",
    "layer_type",
]

IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFESTS: Final = frozenset({IMAGE_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})
INDEXES: Final = frozenset({INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})
EMPTY: Final = "application/vnd.oci.empty.v1+json"
EMPTY_BODY: Final = b"{}"

MODEL: Final = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"

TITLE: Final = "org.opencontainers.image.title"
REF_NAME: Final = "org.opencontainers.image.ref.name"
FILE_PATH: Final = "org.cncf.model.filepath"
FILE_METADATA: Final = "org.cncf.model.file.metadata+json"
UNPACK: Final = "io.deis.oras.content.unpack"

DIGEST: Final = "artifactstore.digest"
KIND: Final = "artifactstore.kind"
LISTING: Final = "artifactstore.listing"
SINGLE: Final = "artifactstore.single"
URI: Final = "artifactstore.uri"

_DOCUMENTS: Final = re.compile(
    r"(?i)(readme|licen[cs]e|notice|copying|changelog|model_?card|authors|citation)(\..*)?|.*\.(md|rst|pdf|adoc)"
)
_CODE: Final = frozenset(
    {".py", ".ipynb", ".sh", ".r", ".jl", ".cpp", ".cc", ".c", ".h", ".cu", ".java", ".go", ".rs", ".js", ".ts"}
)
_CONFIGS: Final = frozenset({".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".txt", ".jinja", ".xml", ".properties"})
_NAMED_CONFIGS: Final = frozenset({"MLmodel", "tokenizer.model", "spiece.model", "vocab.txt", "merges.txt"})
_DATA: Final = frozenset({"data", "dataset", "features", "table"})


def layer_type(path: str, kind: str) -> str:
    """Return the media type of a file's layer, by its name and the kind of its artifact."""
    name = PurePosixPath(path)
    ending = name.suffix.lower()
    if _DOCUMENTS.fullmatch(name.name):
        sort = "doc"
    elif ending in _CODE or kind == "code":
        sort = "code"
    elif kind in _DATA:
        sort = "dataset"
    elif ending in _CONFIGS or name.name in _NAMED_CONFIGS:
        sort = "weight.config"
    else:
        sort = "weight"
    return f"application/vnd.cncf.model.{sort}.v1.raw"
