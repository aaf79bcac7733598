"""URIs of artifacts: `artifactstore+s3://bucket/ml?endpoint=…#churn/model:production`, the store and a reference in one text.

Tools that know nothing of stores carry them: model registries, manifests of Kubernetes, pointer files. No secret is ever in one.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from artifactstore.errors import InvalidInputError

__all__ = ["PREFIX", "ArtifactUri", "make_uri", "parse_uri"]

PREFIX: Final = "artifactstore+"
SCHEMES: Final = ("file", "memory", "s3", "abfss", "abfs", "az", "gs", "gcs", "sftp", "http", "https", "zip")
_FORM: Final = re.compile(r"artifactstore\+([A-Za-z0-9]+):(//?)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.ASCII | re.DOTALL)
_PLAIN: Final = "/:@!$&'()*+,;=~"  # what a path may hold as it is
_OTHER_NAMES: Final = {"s3a": "s3", "ssh": "sftp", "local": "file"}
_EXPECTED: Final = "expected artifactstore+s3://bucket/prefix#name:alias, artifactstore+file:///folder#name"


class ArtifactUri(NamedTuple):
    """A parsed URI.

    Attributes:
        url: of the store, or the path of its folder.
        options: storage options that it says: the endpoint.
        ref: the reference, or None.
        store: the URI without the reference.
    """

    url: str
    options: Mapping[str, Any]
    ref: str | None
    store: str


def parse_uri(text: str) -> ArtifactUri | None:
    """Parse a URI; None for a text that is none.

    Raises:
        InvalidInputError: it is one, and wrong.
    """
    if text[: len(PREFIX)].lower() != PREFIX:
        return None
    match = _FORM.fullmatch(text[: len(PREFIX)].lower() + text[len(PREFIX) :])
    scheme = "" if match is None else match[1].lower()
    if match is None or scheme not in SCHEMES or (match[2] == "/" and scheme != "file"):
        raise InvalidInputError(f"{_shown(text)!r} is not the URI of an artifact: {_EXPECTED}; schemes are {', '.join(SCHEMES)}")
    rest = unquote(match[3])
    if scheme == "file":
        path = f"/{rest}" if match[2] == "/" else rest.removeprefix("localhost")
        if not path.startswith("/"):
            raise InvalidInputError(f"{_shown(text)!r} must have an absolute path and no host: artifactstore+file:///folder#name")
        url = path[1:] if os.name == "nt" and re.match(r"/[A-Za-z]:", path) else path
    else:
        url = f"{scheme}://{rest}"
    ref = None if match[5] is None else unquote(match[5])
    if ref == "":
        raise InvalidInputError(f"{_shown(text)!r} ends with '#', and no reference follows: {_EXPECTED}")
    return ArtifactUri(url, _options(match[4]), ref, text.partition("#")[0])


def _options(query: str | None) -> Mapping[str, Any]:
    options: dict[str, Any] = {}
    for key, value in parse_qsl(query or "", keep_blank_values=True):
        if key != "endpoint" or options or not value:
            raise InvalidInputError(
                f"the URI of an artifact has no {key!r}: only endpoint=URL may follow the '?', once; credentials belong into the environment"
            )
        if "@" in urlsplit(value).netloc:
            raise InvalidInputError("the endpoint of this URI contains a user or a password: set credentials in the environment")
        options["endpoint_url"] = value
    return options


def _shown(text: str) -> str:
    """Return a URI for a message: without what may be a password."""
    return re.sub(r"//[^/@#]*@", "//…@", text)[:200]


def make_uri(url: str, ref: str, options: Mapping[str, Any] | None = None) -> str:
    """Return the URI of an artifact.

    Args:
        url: of its store, or the path of its folder.
        ref: the reference.
        options: the storage options that the store was opened with; only an endpoint without credentials is taken over.
    """
    scheme, sign, rest = url.partition("://")
    if not sign:
        path = url.replace(os.sep, "/")
        scheme, rest = "file", path if path.startswith("/") else f"/{path}"
    else:
        scheme = _OTHER_NAMES.get(scheme.lower(), scheme.lower())
    inner = (options or {}).get("client_kwargs")
    endpoint = (options or {}).get("endpoint_url") or (inner.get("endpoint_url") if isinstance(inner, Mapping) else None)
    query = ""
    if isinstance(endpoint, str) and endpoint and "@" not in urlsplit(endpoint).netloc:
        query = f"?endpoint={quote(endpoint, safe=_PLAIN)}"
    return f"{PREFIX}{scheme}://{quote(rest, safe=_PLAIN)}{query}#{quote(ref, safe=_PLAIN)}"
