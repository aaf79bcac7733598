"""URLs of read-only stores: a zip file, a folder on a web server."""

import re
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, refuse_options, require
from artifactstore.errors import InvalidInputError

__all__ = ["WEB", "ZIP"]


def _connect_zip(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:  # noqa: ARG001 - never written
    refuse_options(options, "a zip file")
    if not rest.strip("/"):
        raise InvalidInputError(
            "zip:// must be followed by the path of a zip file: zip:///folder/store.zip, or zip://store.zip in the current folder"
        )
    from artifactstore.backend.readonly.zip import ZipBackend  # noqa: PLC0415 - only needed here

    return ZipBackend(rest)


def _connect_web(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:  # noqa: ARG001 - never written
    host, _, path = rest.partition("/")
    if not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", host, re.ASCII):
        raise InvalidInputError(
            f"this {scheme}:// URL has no host; expected {scheme}://host/folder, and credentials as storage_options"
        )
    if re.search(r"[?#\s\\]", path):
        # Text after a '?' may be a signature, so none of it is repeated.
        raise InvalidInputError(
            f"a store's {scheme}:// URL must be a folder, without '?' and '#': pass what the server requires as "
            "storage_options={'headers': {…}}"
        )
    require(scheme, "aiohttp", "http")
    from artifactstore.backend.readonly.http import HttpBackend  # noqa: PLC0415 - loads fsspec

    return HttpBackend(f"{scheme}://{rest.rstrip('/')}", options)


ZIP: Final = BackendDriver("zip", _connect_zip, network=False)
WEB: Final = BackendDriver("web", _connect_web)
