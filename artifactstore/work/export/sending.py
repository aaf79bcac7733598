"""Sending OpenLineage events to a server over HTTP, one after another."""

from collections.abc import Mapping, Sequence
from typing import IO, Any, Final
from urllib.parse import urlsplit

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION

__all__ = ["endpoint_of", "is_disabled", "send"]

_PATH: Final = "/api/v1/lineage"
_SECONDS: Final = 30  # for one event
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_disabled(env: Mapping[str, str]) -> bool:
    """Tell whether the environment forbids to send anything."""
    return env.get("OPENLINEAGE_DISABLED", "").strip().lower() in {"true", "1"}


def endpoint_of(url: str) -> str:
    """Return where a server takes events, without what a message must not show.

    Raises:
        InvalidInputError: no URL of a server, or one with a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise InvalidInputError(f"{url[:200]!r} is no URL of an OpenLineage server: https://host[:port][/prefix] is needed")
    if "@" in parts.netloc:
        raise InvalidInputError(
            f"the URL of the OpenLineage server at {parts.hostname} holds a password: give $OPENLINEAGE_API_KEY instead"
        )
    if parts.query or parts.fragment:
        raise InvalidInputError(f"the URL of the OpenLineage server at {parts.hostname} has a query: give only its address")
    base = f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"
    return base if base.endswith(_PATH) else base + _PATH


def send(url: str, events: Sequence[Mapping[str, Any]], key: str | None = None) -> int:
    """Post events in their order; returns how many.

    Args:
        url: what `endpoint_of` returned.
        events: what is sent.
        key: an API key, sent as a bearer token, never followed to another address.

    Raises:
        BackendError: the server can't be reached or does not take one; what came before it was taken.
    """
    import urllib.error  # noqa: PLC0415 - loads the whole of http, only where something is sent
    import urllib.request  # noqa: PLC0415

    class Strict(urllib.request.HTTPRedirectHandler):
        """Follows no redirect: it would turn the event into a plain look, and carry the key elsewhere."""

        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Strict)
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
            why = f"{error.code} {error.reason}{_said(error)}"
            if 300 <= error.code < 400:
                why += "; give the address that it leads to"
            elif error.code in {401, 403}:
                why += "; check $OPENLINEAGE_API_KEY"
            raise BackendError(
                f"{url} did not take an event: {why} ({done})".replace(key or "\0", "***"), transient=error.code in _AGAIN
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise BackendError(
                f"{url} can't be reached: {reason}; check the address and the network, then send again ({done})", transient=True
            ) from error
    return len(events)


def _said(error: IO[bytes]) -> str:
    """Return what a server says of an error, cut short."""
    try:
        text = error.read(300).decode(errors="replace").strip()
    except OSError:
        return ""
    return f": {' '.join(text.split())}" if text else ""
