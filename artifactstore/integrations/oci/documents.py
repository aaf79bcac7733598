"""Manifests and indexes that others wrote: read with suspicion, before anything else is asked for."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from artifactstore.errors import FormatError, InvalidInputError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.registry.address import DIGEST
from artifactstore.runtime.records import dataclass

__all__ = ["Document", "Entry", "choose", "read"]

_LARGEST: Final = 2**63 - 1
_ATTESTATION: Final = "vnd.docker.reference.type"
_OTHER_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A descriptor.

    Attributes:
        media_type: of what it describes.
        digest: `sha256:…`.
        size: in bytes.
        annotations: texts.
        platform: `os/architecture` of an entry of an index, or "".
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index.

    Attributes:
        is_index: whether its entries are manifests.
        media_type: of a manifest: what its `artifactType` or its config says it is.
        config_type: the media type of its config, or "".
        entries: layers of a manifest, manifests of an index.
        annotations: texts.
    """

    is_index: bool
    media_type: str
    config_type: str
    entries: list[Entry]
    annotations: Mapping[str, str]


def read(body: bytes, media_type: str, what: str) -> Document:
    """Parse a manifest.

    Args:
        body: its bytes.
        media_type: as the registry names it, which counts where the manifest itself names none.
        what: it is, for messages.

    Raises:
        FormatError: it is not a manifest or an index that can be read.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not a manifest: {type(error).__name__} in its JSON") from error
    if not isinstance(found, dict):
        _refuse(what, "it is not a JSON object")
    if found.get("schemaVersion") == 1 or "fsLayers" in found:
        _refuse(what, "docker's schema 1 is not read: push it again with a client of today")
    own = _text(found.get("mediaType")) or media_type
    is_index = own in types.INDEXES or (own not in types.MANIFESTS and "manifests" in found)
    rows = found.get("manifests" if is_index else "layers")
    if not isinstance(rows, list) or ("manifests" in found and "layers" in found):
        _refuse(what, f"it has no list of {'manifests' if is_index else 'layers'}, or two kinds of lists")
    entries = [_entry(one, what) for one in rows]
    sizes = {one.digest: one.size for one in entries}
    if odd := [one.digest for one in entries if sizes[one.digest] != one.size]:
        _refuse(what, f"{odd[0]} has two sizes in it")
    config = found.get("config")
    config_type = _text(config.get("mediaType")) if isinstance(config, dict) else ""
    sort = _text(found.get("artifactType")) or config_type
    return Document(is_index, sort, config_type, entries, _texts(found.get("annotations"), what))


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _entry(row: Any, what: str) -> Entry:
    if not isinstance(row, dict):
        _refuse(what, "a descriptor is not a JSON object")
    media_type, digest, size = row.get("mediaType"), row.get("digest"), row.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        _refuse(what, "a descriptor lacks its media type or digest")
    if not DIGEST.fullmatch(digest):
        if _OTHER_DIGEST.fullmatch(digest) and not digest.startswith("sha256:"):
            _refuse(what, f"it uses {digest.partition(':')[0]} digests, and only sha256 is read")
        _refuse(what, f"{digest[:100]!r} is not a digest")
    if type(size) is not int or not 0 <= size <= _LARGEST:
        _refuse(what, f"the size of {digest} is {str(size)[:40]}")
    about = row.get("platform")
    platform = f"{about.get('os')}/{about.get('architecture')}" if isinstance(about, dict) else ""
    return Entry(media_type, digest, size, _texts(row.get("annotations"), what), platform)


def _texts(found: Any, what: str) -> Mapping[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _refuse(what, "its annotations are not texts")
    return found


def _refuse(what: str, why: str) -> NoReturn:
    raise FormatError(f"{what} cannot be read: {why}")


def choose(index: Document, platform: str | None, own: str, what: str) -> Entry:
    """Return the manifest of an index that is meant: the only one, or the one for a platform.

    Args:
        index: the index.
        platform: that was asked for, or None.
        own: the platform that is taken if several have one.
        what: the index is, for messages.

    Raises:
        InvalidInputError: several could be meant, or none is for the platform.
        FormatError: it has no manifest.
    """
    rows = [one for one in index.entries if _ATTESTATION not in one.annotations and one.platform != "unknown/unknown"]
    if not rows:
        raise FormatError(f"{what} is an index without manifests")
    if len(rows) == 1 and (platform is None or not rows[0].platform):
        return rows[0]
    wanted = platform or own
    fitting = [one for one in rows if one.platform == wanted or (platform and platform.startswith(f"{one.platform}/"))]
    if len({one.digest for one in fitting}) == 1:
        return fitting[0]
    several = ", ".join(f"{one.platform or 'no platform'} {one.digest}" for one in (fitting or rows)[:5])
    raise InvalidInputError(
        f"{what} has {len(rows)} manifests, and {len(fitting)} for {wanted}: pull one by its digest: {several}"
    )
