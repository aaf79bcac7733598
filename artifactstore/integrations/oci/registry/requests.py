"""Requests to one registry: credentials, redirects, and what each status means; tried again where that helps."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

from artifactstore.backend.errors import ThrottledError, retry_after_seconds
from artifactstore.backend.wrappers.retry_policy import retry_seconds
from artifactstore.backend.wrappers.retrying import Retrier
from artifactstore.errors import BackendError, NotFoundError
from artifactstore.integrations.oci.registry.address import Address
from artifactstore.integrations.oci.registry.challenges import Authorizer
from artifactstore.integrations.oci.registry.connections import Body, Connections, Reply, origin_of
from artifactstore.integrations.oci.registry.credentials import login_for

__all__ = ["Requests", "TooLargeError", "joined", "marked"]

_LARGEST_ERROR: Final = 64 * 1024
_REDIRECTS: Final = 5
_ANSWERS: Final = 2  # to challenges: a token may run out between two requests
_BUSY: Final = frozenset({429, 503})
_BROKEN: Final = frozenset({408, 425, 500, 502, 504})
_T = TypeVar("_T")


class TooLargeError(BackendError):
    """The server, or a proxy before it, takes no body of this size."""


class _MuchLaterError(BackendError):
    """The server asks for a pause that is longer than any retry here: it is not waited for, though a retry would help."""


class Requests:
    """Requests to the registry of an address. Safe for threads.

    Args:
        address: of a repository.
        plain_http: without TLS.
        scope: the rights that are asked for: `pull` or `pull,push`.

    Attributes:
        base: the beginning of each URL.
        retrier: counts failures.
    """

    def __init__(self, address: Address, *, plain_http: bool, scope: str) -> None:
        self._address = address
        self.base = f"{'http' if plain_http else 'https'}://{address.server}/v2/"
        self._origin = origin_of(self.base)
        self._plain_http = plain_http
        self._connections = Connections()
        self._authorizer = Authorizer(self._connections, address.place, login_for(address), plain_http=plain_http)
        self._scope = f"repository:{address.repository}:{scope}"
        self.retrier = Retrier(self.base)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def retried(self, call: Callable[[], _T]) -> _T:
        """Make a call, again after transient failures."""
        with marked():
            return self.retrier.retried(call)

    def is_elsewhere(self, reply: Reply) -> bool:
        """Return whether another server than the registry replied."""
        return origin_of(reply.url) != self._origin

    def check_scheme(self, url: str) -> None:
        """Refuse to leave TLS.

        Raises:
            BackendError: the URL has none, and the registry has.
        """
        if origin_of(url)[0] == "http" and not self._plain_http:
            raise BackendError(
                f"{self._address.host} sends its users to a server without TLS, {urlsplit(url).netloc}: it is not followed"
            )

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None, *, more_scope: str = "") -> Reply:
        """Send a request; answer a challenge, and follow redirects of what has no body. Credentials go to the registry alone."""
        scope = f"{self._scope} {more_scope}".strip()
        answer: str | None = None
        answers = redirects = 0
        while True:
            own = origin_of(url) == self._origin
            known = (answer or self._authorizer.header(scope)) if own else None
            reply = self._connections.send(method, url, {**headers, "Authorization": known} if known else headers, body)
            if reply.status == 401 and own and reply.challenges and answers < _ANSWERS:
                with reply:
                    answer = self._authorizer.answer(reply.challenges, scope, known)
                answers += 1
                if answer is None:
                    return reply
            elif reply.status in {301, 302, 303, 307, 308} and "location" in reply.headers and body is None:
                with reply:
                    redirects += 1
                    if redirects > _REDIRECTS:
                        raise BackendError(f"{self._address.host} redirects {method} {urlsplit(url).path} in a circle")
                    url = joined(url, reply.headers["location"])
                    self.check_scheme(url)
            else:
                return reply

    def check(self, reply: Reply, what: str, *accepted: int) -> None:
        """Raise what a status means, unless it is one of the accepted.

        Raises:
            NotFoundError: 404.
            BackendError: any other.
        """
        status = reply.status
        if status in accepted:
            return
        codes = self._authorizer.hide(_errors(reply))
        text = f"{self._address.host} answers with {status}{codes} for {what}"
        if status == 404 and len(accepted) == 1:
            raise NotFoundError(f"no {what}{codes}: check the repository and the tag, and whether these credentials may read it")
        if status in _BUSY:
            pause = retry_after_seconds(reply.headers.get("retry-after"))
            if pause is not None and pause > retry_seconds():
                raise _MuchLaterError(f"{text}; it asks for a pause of {pause:,.0f} s: try again then")
            raise ThrottledError(text, retry_after=pause)
        if status in {401, 403}:
            raise BackendError(f"{text}; {self._authorizer.advice()}")
        if status == 413:
            raise TooLargeError(f"{text}: its body is too large for the registry, or for a proxy before it")
        if 300 <= status < 400:
            raise BackendError(f"{text}: a redirect that cannot be followed")
        if status == 400 and not self._plain_http:
            text += "; if it speaks no TLS, pass plain_http=True"
        raise BackendError(
            text, transient=status in _BROKEN or status in {404, 416}
        )  # an upload that the server forgot is begun again


@contextmanager
def marked() -> Iterator[None]:
    """Let the caller know that a retry may help, where none was made here."""
    try:
        yield
    except _MuchLaterError as error:
        error.transient = True
        raise


def joined(url: str, place: str) -> str:
    """Return where a Location leads.

    Raises:
        BackendError: nowhere.
    """
    try:
        return urljoin(url, place)
    except ValueError:
        raise BackendError("the registry answers with an address that is not one of HTTP: it cannot be followed") from None


def _errors(reply: Reply) -> str:
    """Return the registry's own words for an error, such as ` (NAME_UNKNOWN: repository name not known)`, or ""."""
    try:
        rows: Sequence[Any] = json.loads(reply.body(_LARGEST_ERROR))["errors"]
        texts = [f"{one['code']}: {one.get('message') or ''}".rstrip(": ") for one in rows[:3]]
    except (BackendError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return re.sub(r"\s+", " ", f" ({'; '.join(texts):.300})") if texts else ""
