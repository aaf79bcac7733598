"""From a URL to a backend.

A local folder or memory imports no library of a network; drivers are imported on demand.
"""

import difflib
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.local.driver import file_path
from artifactstore.backend.registry import SCHEMES, driver_for, registered
from artifactstore.errors import InvalidInputError
from artifactstore.model.redaction import Redactor
from artifactstore.runtime.loading import LOADING

__all__ = ["connect", "local_folder", "refuse_mistyped_url"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.ASCII | re.DOTALL)  # two letters or more: `C:` is a drive
_FILE: Final = frozenset({"file", "local"})
_NEAR: Final = _FILE | {"", "memory", "zip"}  # no network, so no locks for loading its libraries
_OURS: Final = sorted(scheme for scheme in SCHEMES if scheme)
_MISTYPED: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/?(?!/).*", re.ASCII | re.DOTALL)


def connect(
    url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None, single_writer: bool = False
) -> Backend:
    """Return the backend for a URL or a local path; touches neither network nor disk, and creates nothing.

    Args:
        url: a path (`~` and relative ones too), `file://`, `memory://name`, `s3://bucket/prefix`, `zip://file.zip`, or another URL
            that `docs/reference/backends.md` lists.
        storage_options: options of fsspec's class for the scheme: endpoint, credentials. Never part of any message.
        single_writer: the caller promises that nothing else writes, so `create` may work where exclusiveness is not available.

    Raises:
        InvalidInputError: not a URL of a store, or a URL that contains a password.
        UnsupportedError: a scheme whose library is not installed.
    """
    if not isinstance(single_writer, bool):
        raise InvalidInputError(
            f"single_writer= must be True or False, got {single_writer!r}; True promises that nothing else ever writes"
        )
    text = _text(url)
    options = _options(storage_options)
    match = _SCHEME.fullmatch(text)
    scheme, rest = ("", text) if match is None else (match[1].lower(), match[2])
    _refuse_secrets(scheme, rest)
    if scheme in _NEAR:
        driver = driver_for(scheme)
        assert driver is not None  # one of our own
        return driver.connect(scheme, rest, options, single_writer=single_writer)
    with LOADING:
        from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415 - folders do not need it

        driver = driver_for(scheme)
        if driver is None:
            return RetryingBackend(_fsspec(scheme, text, options, single_writer=single_writer))
        found = driver.connect(scheme, rest, options, single_writer=single_writer)
        return RetryingBackend(found) if driver.network else found


def local_folder(url: str) -> str | None:
    """Return the local path of a `file://` or `local://` URL, None for other URLs.

    Raises:
        InvalidInputError: it names a host, or the path is not absolute.
    """
    match = _SCHEME.fullmatch(url)
    return file_path(match[1].lower(), match[2]) if match is not None and match[1].lower() in _FILE else None


def refuse_mistyped_url(text: str) -> None:
    """Refuse a path that is a URL with a missing slash: `s3:/bucket`.

    Raises:
        InvalidInputError: it is such a path, and no such folder exists.
    """
    match = _MISTYPED.fullmatch(text)
    if match is None or match[1].lower() not in {*_OURS, *registered()}:
        return
    if not os.path.exists(text):  # noqa: PTH110 - any failure means that it does not exist
        # The text after the scheme is not shown: it may contain a password.
        raise InvalidInputError(
            f"this URL begins with {match[1]}: but lacks the two slashes: expected {match[1].lower()}://…, "
            f"or ./{match[1]}:… for a folder of that name"
        )


def _fsspec(scheme: str, url: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    """Connect by a filesystem of fsspec that has no driver."""
    from artifactstore.backend.remote.fsspec_backend import FsspecBackend  # noqa: PLC0415
    from artifactstore.backend.remote.fsspec_client import known_schemes  # noqa: PLC0415

    if Redactor().text(url) != url:
        raise InvalidInputError(
            f"this {scheme}:// URL contains what looks like a token, which would end up in logs: pass it as storage_options={{…}}, or "
            "set it in the environment"
        )
    known = known_schemes()
    if scheme not in known:
        ours = sorted({*_OURS, *registered()})
        near = difflib.get_close_matches(scheme, sorted({*ours, *known}), n=3)
        hint = f"did you mean {' or '.join(f'{one}://' for one in near)}?" if near else f"supported are {', '.join(ours)}"
        raise InvalidInputError(f"the scheme {scheme}:// is not supported; {hint}")
    return FsspecBackend(url, options, single_writer=single_writer)


def _text(url: Any) -> str:
    if isinstance(url, os.PathLike):
        url = os.fspath(url)
    if not isinstance(url, str):
        raise InvalidInputError(f"a store's URL must be a str or a path, not {type(url).__name__}")
    if not url.strip():
        raise InvalidInputError("the store's URL is empty: pass a folder or a URL such as s3://bucket/prefix")
    if "\0" in url:
        raise InvalidInputError("the store's URL must not contain a NUL character")
    if "::" in re.sub(r"\[[0-9A-Fa-f:.%]*\]", "", url) and "://" in url:  # an IPv6 address has '::', too
        raise InvalidInputError("URLs chained with '::' are not supported for a store: pass the URL of the store itself")
    refuse_mistyped_url(url)
    return url


def _options(storage_options: Any) -> dict[str, Any]:
    if storage_options is None:
        return {}
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        raise InvalidInputError("storage_options must be a dict whose keys are option names")
    return dict(storage_options)


def _refuse_secrets(scheme: str, rest: str) -> None:
    # None of these messages repeats the text after the scheme: it contains what must not be shown.
    authority = rest.split("/", 1)[0]
    if scheme not in {*_FILE, ""} and ":" in authority.rpartition("@")[0]:
        raise InvalidInputError(
            f"this {scheme}:// URL contains a password, which would end up in logs: leave user and password out and pass "
            "them as storage_options={…}, or set them in the environment"
        )
