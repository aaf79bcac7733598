"""Checks of URLs that are a bucket and a prefix, and of endpoints."""

import os
import re
from collections.abc import Mapping
from typing import Any

from artifactstore.backend.base import check_key, check_location, split_bucket
from artifactstore.errors import InvalidInputError

__all__ = ["bucket_path", "check_endpoint"]


def bucket_path(scheme: str, rest: str, *, access_points: bool = False) -> str:
    """Check what follows `scheme://` and return it without trailing slashes.

    Args:
        scheme: for the message.
        rest: of the URL.
        access_points: whether the bucket may be the ARN of an access point.

    Raises:
        InvalidInputError: it is not a bucket and a prefix.
    """
    if scheme != "memory" and ("?" in rest or "@" in rest):
        raise InvalidInputError(
            f"a store's {scheme}:// URL must be a bucket and a prefix, without '?' and '@': pass everything else as storage_options={{…}}"
        )
    path = rest.rstrip("/")
    if not path and scheme == "memory":
        return ""
    bucket, prefix = split_bucket(path) if access_points else path.partition("/")[::2]
    try:
        if not bucket.startswith("arn:"):
            check_key(bucket)
        if prefix or path != bucket:
            check_location(prefix)
    except InvalidInputError as error:
        wanted = "a name" if scheme == "memory" else "a bucket"
        raise InvalidInputError(
            f"{scheme}://{path}: expected {wanted} of letters, digits, '.', '_' and '-', and after it a prefix of segments between "
            "slashes, none of them empty, '.' or '..', without backslashes, ?, # and *"
        ) from error
    return path


def check_endpoint(options: Mapping[str, Any], *variables: str) -> None:
    """Refuse an endpoint without `http://` or `https://`: the libraries only report that something is not valid.

    Raises:
        InvalidInputError: the endpoint has no scheme.
    """
    inner = options.get("client_kwargs")
    endpoints = {"storage_options: endpoint_url": options.get("endpoint_url")}
    if isinstance(inner, Mapping):
        endpoints["storage_options: client_kwargs.endpoint_url"] = inner.get("endpoint_url")
    for name, value in {**endpoints, **{name: os.environ.get(name) for name in variables}}.items():
        if value is not None and value != "" and not re.match(r"https?://[^/]", str(value), re.IGNORECASE):
            raise InvalidInputError(f"{name} must begin with http:// or https:// and name a host, such as http://127.0.0.1:9000")
