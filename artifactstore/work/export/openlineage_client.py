"""Sends OpenLineage events to a server over HTTP, in order."""

from collections.abc import Mapping, Sequence
from typing import IO, Any, Final
from urllib.parse import urlsplit

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION
from artifactstore.runtime.redirects import without_redirects

__all__ = ["endpoint_of", "is_disabled", "send"]

_PATH: Final = "/api/v1/lineage"
_SECONDS: Final = 30  # for one event
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_disabled(env: Mapping[str, str]) -> bool:
    """Return True if the environment forbids sending."""
    return env.get("OPENLINEAGE_DISABLED", "").strip().lower() in {"true", "1"}


def endpoint_of(url: str) -> str:
    """Return the endpoint of a server, without secrets that a message must not show.

    Raises:
        InvalidInputError: not the URL of a server, or a URL with a password.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise InvalidInputError(f"{url[:200]!r} is not the URL of an OpenLineage server: expected https://host[:port][/prefix]")
    if "@" in parts.netloc:
        raise InvalidInputError(
            f"the URL of the OpenLineage server at {parts.hostname} holds a password: set $OPENLINEAGE_API_KEY instead"
        )
    if parts.query or parts.fragment:
        raise InvalidInputError(f"the URL of the OpenLineage server at {parts.hostname} has a query: pass only its address")
    base = f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"
    return base if base.endswith(_PATH) else base + _PATH


def send(url: str, events: Sequence[Mapping[str, Any]], key: str | None = None) -> int:
    """Post events in order; return their number.

    Args:
        url: what `endpoint_of` returned.
        events: the events.
        key: an API key, sent as a bearer token, never to a redirect.

    Raises:
        BackendError: the server is unreachable or rejects an event; the events before it were accepted.
    """
    import urllib.error  # noqa: PLC0415 - loads the whole of http, only where something is sent
    import urllib.request  # noqa: PLC0415

    opener = without_redirects()
    headers = {"Content-Type": "application/json", "User-Agent": f"artifactstore/{VERSION}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    for number, event in enumerate(events):
        request = urllib.request.Request(url, canonical_json(event), headers, method="POST")  # noqa: S310 - http, checked above
        done = f"{number} of {len(events)} events were sent; sending all again does no harm"
        try:
            with opener.open(request, timeout=_SECONDS) as reply:
                reply.read()
        except urllib.error.HTTPError as error:
            why = f"{error.code} {error.reason}{_error_body(error)}"
            if 300 <= error.code < 400:
                why += "; pass the address that it redirects to"
            elif error.code in {401, 403}:
                why += "; check $OPENLINEAGE_API_KEY"
            raise BackendError(
                f"{url} did not accept an event: {why} ({done})".replace(key or "\0", "***"), transient=error.code in _AGAIN
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise BackendError(
                f"{url} is unreachable: {reason}; check the address and the network, then send again ({done})", transient=True
            ) from error
    return len(events)


def _error_body(error: IO[bytes]) -> str:
    """Return the server's error text, shortened."""
    try:
        with error:  # it has the connection
            text = error.read(300).decode(errors="replace").strip()
    except OSError:
        return ""
    return f": {' '.join(text.split())}" if text else ""
