"""Requests of the standard library that follow no redirect: it would take their credentials to another host."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

__all__ = ["without_redirects"]


def without_redirects() -> "OpenerDirector":
    """Return what opens requests; an answer that redirects is an `HTTPError`."""
    import urllib.request  # noqa: PLC0415 - loads the whole of http, only where something is sent

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        """Follows no redirect, which would also turn a POST into a GET."""

        def redirect_request(self, *_: object) -> None:
            return None

    return urllib.request.build_opener(NoRedirects)
