"""What a registry wants to know of its user: basic authentication, or a bearer token of the server that it names."""

import json
import re
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from artifactstore.errors import BackendError
from artifactstore.integrations.oci.registry.connections import Body, Connections, origin_of
from artifactstore.integrations.oci.registry.credentials import Login

__all__ = ["Authorizer"]

_SCHEME: Final = re.compile(r"\s*,?\s*([A-Za-z][\w-]*)\s+(?=[A-Za-z_][\w-]*\s*=)", re.ASCII)
_PARAMETER: Final = re.compile(r'\s*,?\s*([A-Za-z_][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.ASCII)
_LARGEST: Final = 2**20  # bytes of a token server's reply
_LIFE: Final = 60.0  # seconds, where the server does not say
_MARGIN: Final = 5.0  # seconds before the end of a token's life at which it is not used any more
_CLIENT: Final = "artifactstore"
_SHORTEST: Final = 4  # characters: hiding shorter secrets would garble messages


class Authorizer:
    """The credentials of a user for one registry, as its server wants to see them. Safe for threads.

    Args:
        connections: to the token server.
        place: host and repository, for messages.
        login: of the user, or None.
        plain_http: whether they may be sent without TLS.
    """

    def __init__(self, connections: Connections, place: str, login: Login | None, *, plain_http: bool) -> None:
        self._connections = connections
        self._place = place
        self._login = login
        self._plain_http = plain_http
        self._lock = threading.Lock()
        self._basic = False
        self._tokens: dict[str, tuple[str, float]] = {}  # scope → token, end of its life
        self._secrets: set[str] = set(login.secrets if login is not None else ())

    def header(self, scope: str) -> str | None:
        """Return the header for a request, if what the server wants is known."""
        with self._lock:
            if self._basic and self._login is not None:
                return self._login.basic
            token, end = self._tokens.get(scope, ("", 0.0))
            return f"Bearer {token}" if token and time.monotonic() < end - _MARGIN else None

    def answer(self, challenges: Sequence[str], scope: str, refused: str | None) -> str | None:
        """Return the header that answers the challenges of a 401; None: there is none that was not `refused` already.

        Raises:
            BackendError: the token server fails, or would see the credentials without TLS.
        """
        with self._lock:
            for scheme, values in [pair for text in challenges for pair in _parse(text)]:
                if scheme == "bearer" and "realm" in values:
                    token, _ = self._tokens.get(scope, ("", 0.0))
                    if not token or f"Bearer {token}" == refused:
                        token, life = self._fetch(values, scope)
                        self._tokens[scope] = token, time.monotonic() + life
                        self._secrets.add(token)
                    return f"Bearer {token}"
                if scheme == "basic" and self._login is not None and self._login.basic != refused:
                    self._basic = True
                    return self._login.basic
        return None

    def hide(self, text: str) -> str:
        """Return a text from a server without what it may have repeated of the credentials."""
        with self._lock:
            secrets = sorted(self._secrets, key=len, reverse=True)
        for one in secrets:
            text = text.replace(one, "…") if len(one) >= _SHORTEST else text
        return text

    def advice(self) -> str:
        """Return what a refused user can do."""
        if self._login is None:
            return (
                f"no credentials for {self._place} are in docker's config.json: log in with `docker login` or `oras login` first"
            )
        return f"the credentials in docker's config.json do not allow this on {self._place}"

    def _fetch(self, values: dict[str, str], scope: str) -> tuple[str, float]:
        """Return a new token and its life in seconds."""
        realm = values["realm"]
        scheme, host, _ = origin_of(realm)
        if scheme == "http" and not self._plain_http:
            raise BackendError(
                f"the registry sends its users to a token server without TLS, http://{host}: credentials are not sent there"
            )
        service = [("service", values["service"])] if "service" in values else []
        headers = {"Accept": "application/json"}
        if self._login is not None and self._login.identity:
            asked = [("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", self._login.identity)]
            data = urlencode([*asked, *service, ("scope", scope)]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            reply = self._connections.send("POST", realm, headers, Body(len(data), lambda: [data]))
        else:
            if self._login is not None:
                headers["Authorization"] = self._login.basic
            query = urlencode([*service, *(("scope", one) for one in scope.split(" "))])
            reply = self._connections.send("GET", f"{realm}{'&' if urlsplit(realm).query else '?'}{query}", headers)
        with reply:
            if reply.status in {429, 500, 502, 503, 504}:
                raise BackendError(f"the token server {host} answers with {reply.status}", transient=True)
            if reply.status != 200:
                raise BackendError(f"the token server {host} refuses a token for {self._place} ({reply.status}): {self.advice()}")
            raw = reply.body(_LARGEST)
        try:
            found: Any = json.loads(raw)
            token = found.get("token") or found.get("access_token")
            life = float(found.get("expires_in") or _LIFE)
        except (ValueError, TypeError, AttributeError, RecursionError):
            token, life = None, 0.0
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise BackendError(f"the token server {host} does not answer with a token")
        return token, life


def _parse(text: str) -> list[tuple[str, dict[str, str]]]:
    """Parse a WWW-Authenticate header: schemes in lower case, each with its parameters."""
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while (scheme := _SCHEME.match(text, at)) is not None:
        at = scheme.end()
        values: dict[str, str] = {}
        while _SCHEME.match(text, at) is None and (one := _PARAMETER.match(text, at)) is not None:
            values[one[1].lower()] = re.sub(r"\\(.)", r"\1", one[2]) if one[2] is not None else one[3]
            at = one.end()
        found.append((scheme[1].lower(), values))
    return found
