"""Tokens of OpenID Connect that a CI system gives to a job: where they are, and how one is requested for an audience.

A token is never shown, stored or passed on: errors speak of where it was looked for.
"""

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.runtime.redirects import without_redirects

__all__ = ["SOURCES", "can_request", "given_token", "request_token"]

_GIVEN: Final = "ARTIFACTSTORE_ID_TOKEN"  # GitLab: the name of an entry of `id_tokens`
_FILE: Final = "ARTIFACTSTORE_ID_TOKEN_FILE"  # Kubernetes: a projected token, which is renewed
_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"  # GitHub, with `permissions: id-token: write`
_BEARER: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
SOURCES: Final = f"${_GIVEN}, ${_FILE}, and GitHub's ${_URL} (permissions: id-token: write)"
_LARGEST: Final = 64 * 1024  # bytes of a token, or of the answer that has one
_SECONDS: Final = 20.0
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def can_request() -> bool:
    """Return whether this is a job of GitHub Actions that may request tokens."""
    return bool(os.environ.get(_URL) and os.environ.get(_BEARER))


def given_token() -> str | None:
    """Return the token that was given to this process, in a variable or a file; None if there is none.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    if text := os.environ.get(_GIVEN, "").strip():
        return text
    path = os.environ.get(_FILE, "").strip()
    if not path:
        return None
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_LARGEST + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or error if isinstance(error, OSError) else "it is not a token"
        raise InvalidInputError(f"cannot read the token of ${_FILE}, {path}: {why}") from None


def request_token(audience: str) -> str:
    """Request a token for an audience from GitHub Actions.

    Raises:
        InvalidInputError: this is no job that may request one.
        BackendError: the service did not answer with a token.
    """
    if not can_request():
        raise InvalidInputError(f"no token can be requested here: neither of ${_URL} and ${_BEARER} may be empty")
    url = os.environ[_URL]
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise InvalidInputError(f"${_URL} must be an https:// URL: the job's credentials are sent to it")
    import http.client  # noqa: PLC0415 - few processes request a token
    import urllib.request  # noqa: PLC0415 - as above

    joined = f"{url}{'&' if parts.query else '?'}audience={quote(audience, safe='')}"
    call = urllib.request.Request(  # noqa: S310 - its scheme was checked
        joined, headers={"Authorization": f"Bearer {os.environ[_BEARER]}", "Accept": "application/json"}
    )
    try:
        with without_redirects().open(call, timeout=_SECONDS) as answer:
            found: Any = json.loads(answer.read(_LARGEST + 1))
    except urllib.request.HTTPError as error:
        error.close()  # it has the connection
        transient = error.code in {408, 429} or error.code >= 500
        raise BackendError(f"{parts.hostname} gives this job no token: it answers {error.code}", transient=transient) from None
    except (OSError, http.client.HTTPException) as error:
        name = type(getattr(error, "reason", error)).__name__
        raise BackendError(
            f"{parts.hostname}, which gives tokens to this job, cannot be reached ({name})", transient=True
        ) from None
    except ValueError:
        found = None
    token = found.get("value") if isinstance(found, dict) else None
    if not isinstance(token, str) or not token:
        raise BackendError(f"{parts.hostname} gives this job no token: its answer has none")
    return token
