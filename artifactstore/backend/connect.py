"""From a URL to a backend: the only module that knows which schemes exist.

A local folder or memory imports nothing beyond this room; network backends are imported on demand.
"""

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from artifactstore.backend.base import Backend, check_key, check_location, split_bucket
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.model.redaction import Redactor
from artifactstore.runtime.loading import LOADING

__all__ = ["connect", "local_folder", "refuse_mistyped"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.ASCII | re.DOTALL)  # two letters or more: `C:` is a drive
_FILE: Final = frozenset({"file", "local"})
_S3: Final = frozenset({"s3", "s3a"})
_AZURE: Final = frozenset({"abfss", "abfs", "az"})
_GCS: Final = frozenset({"gs", "gcs"})
_SFTP: Final = frozenset({"sftp", "ssh"})
_WEB: Final = frozenset({"http", "https"})
_OURS: Final = sorted({*_FILE, *_S3, *_AZURE, *_GCS, *_SFTP, *_WEB, "memory", "zip"})
_MISTYPED: Final = re.compile(rf"({'|'.join(_OURS)}):/?(?!/).*", re.ASCII | re.DOTALL | re.IGNORECASE)


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
            f"single_writer must be True or False, not {single_writer!r}; True promises that nothing else ever writes"
        )
    text = _text(url)
    options = _options(storage_options)
    match = _SCHEME.fullmatch(text)
    if match is None:
        _refuse_options(options, "a folder")
        return LocalBackend(text, single_writer=single_writer)
    scheme, rest = match[1].lower(), match[2]
    _refuse_secrets(scheme, rest)
    if scheme in _FILE:
        _refuse_options(options, "a folder")
        return LocalBackend(_file_path(scheme, rest), single_writer=single_writer)
    if scheme == "memory":
        _refuse_options(options, "memory://")
        return MemoryBackend(f"memory://{_segments(scheme, rest)}")
    if scheme == "zip":
        _refuse_options(options, "a zip file")
        return _zip(rest)
    with LOADING:
        return _network_backend(scheme, rest, text, options, single_writer=single_writer)


def local_folder(url: str) -> str | None:
    """Return the local path of a `file://` or `local://` URL, None for other URLs.

    Raises:
        InvalidInputError: it names a host, or the path is not absolute.
    """
    match = _SCHEME.fullmatch(url)
    return _file_path(match[1].lower(), match[2]) if match is not None and match[1].lower() in _FILE else None


def refuse_mistyped(text: str) -> None:
    """Refuse a path that is a URL with a missing slash: `s3:/bucket`.

    Raises:
        InvalidInputError: it is such a path, and no such folder exists.
    """
    match = _MISTYPED.fullmatch(text)
    if match is not None and not os.path.exists(text):  # noqa: PTH110 - any failure means that it does not exist
        # The text after the scheme is not shown: it may contain a password.
        raise InvalidInputError(
            f"this URL begins with {match[1]}: but lacks the two slashes: expected {match[1].lower()}://…, "
            f"or ./{match[1]}:… for a folder of that name"
        )


def _network_backend(scheme: str, rest: str, text: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    """Import and connect a network backend."""
    if scheme in _S3:
        return _s3(_segments(scheme, rest), options, single_writer=single_writer)
    if scheme in _AZURE:
        return _azure(scheme, rest, options, single_writer=single_writer)
    if scheme in _GCS:
        return _gcs(_segments(scheme, rest), options, single_writer=single_writer)
    if scheme in _SFTP:
        return _sftp(scheme, rest, options, single_writer=single_writer)
    if scheme in _WEB:
        return _web(scheme, rest, options)
    return _other(scheme, text, options, single_writer=single_writer)


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
    refuse_mistyped(url)
    return url


def _options(storage_options: Any) -> dict[str, Any]:
    if storage_options is None:
        return {}
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        raise InvalidInputError("storage_options must be a dict whose keys are option names")
    return dict(storage_options)


def _refuse_options(options: Mapping[str, Any], place: str) -> None:
    if options:
        raise InvalidInputError(f"{place} does not accept storage_options; leave out {', '.join(sorted(options))}")


def _refuse_secrets(scheme: str, rest: str) -> None:
    # None of these messages repeats the text after the scheme: it contains what must not be shown.
    authority = rest.split("/", 1)[0]
    if scheme not in _FILE and ":" in authority.rpartition("@")[0]:
        raise InvalidInputError(
            f"this {scheme}:// URL contains a password, which would end up in logs: leave user and password out and pass "
            "them as storage_options={…}, or set them in the environment"
        )
    if scheme in _S3 | _GCS and ("?" in rest or "@" in rest):
        raise InvalidInputError(
            f"a store's {scheme}:// URL must be a bucket and a prefix, without '?' and '@': pass everything else as storage_options={{…}}"
        )


def _file_path(scheme: str, rest: str) -> str:
    if scheme == "local":
        return rest
    host, slash, path = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise InvalidInputError(
            f"file://{rest} must not name a host, and its path must be absolute; expected file:///folder, as pathlib's as_uri() gives"
        )
    path = unquote(path)
    return path if re.match(r"[A-Za-z]:[\\/]", path) and os.name == "nt" else f"/{path}"


def _segments(scheme: str, rest: str) -> str:
    """Check what follows `scheme://` and return it without trailing slashes."""
    path = rest.rstrip("/")
    if not path and scheme == "memory":
        return ""
    bucket, prefix = split_bucket(path) if scheme in _S3 else path.partition("/")[::2]
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


def _need(scheme: str, module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UnsupportedError(f"{scheme}:// needs {module}: pip install 'artifactstore-ml[{extra}]'")


def _zip(rest: str) -> Backend:
    if not rest.strip("/"):
        raise InvalidInputError(
            "zip:// must be followed by the path of a zip file: zip:///folder/store.zip, or zip://store.zip in the current folder"
        )
    from artifactstore.backend.readonly.zip import ZipBackend  # noqa: PLC0415 - only needed here

    return ZipBackend(rest)


def _s3(path: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    _need("s3", "s3fs", "s3")
    # Imported here because a local store must not load fsspec.
    from artifactstore.backend.s3.backend import S3Backend  # noqa: PLC0415
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    _check_endpoint(options, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return RetryingBackend(S3Backend(f"s3://{path}", options, single_writer=single_writer))


def _check_endpoint(options: Mapping[str, Any], *variables: str) -> None:
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


def _gcs(path: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    _need("gs", "gcsfs", "gcs")
    from artifactstore.backend.gcs.backend import GcsBackend  # noqa: PLC0415 - as for S3
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    _check_endpoint(options)
    return RetryingBackend(GcsBackend(f"gs://{path}", options, single_writer=single_writer))


def _sftp(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    from artifactstore.backend.sftp.ssh import parse_sftp_url  # noqa: PLC0415 - only needed here

    place = parse_sftp_url(scheme, rest, options)
    _need(scheme, "paramiko", "sftp")
    from artifactstore.backend.sftp.backend import SftpBackend  # noqa: PLC0415
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    return RetryingBackend(SftpBackend(place, options, single_writer=single_writer))


def _web(scheme: str, rest: str, options: dict[str, Any]) -> Backend:
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
    _need(scheme, "aiohttp", "http")
    from artifactstore.backend.readonly.http import HttpBackend  # noqa: PLC0415 - as for S3
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    return RetryingBackend(HttpBackend(f"{scheme}://{rest.rstrip('/')}", options))


def _azure(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    from artifactstore.backend.azure.urls import parse_azure_url  # noqa: PLC0415 - only needed here

    place = parse_azure_url(scheme, rest, options, os.environ)
    _need(scheme, "adlfs", "azure")
    from artifactstore.backend.azure.backend import AzureBackend  # noqa: PLC0415
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    return RetryingBackend(AzureBackend(place, options, single_writer=single_writer))


def _other(scheme: str, url: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    from artifactstore.backend.remote.fsspec_backend import RemoteBackend, known_schemes  # noqa: PLC0415
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    if Redactor().text(url) != url:
        raise InvalidInputError(
            f"this {scheme}:// URL contains what looks like a token, which would end up in logs: pass it as storage_options={{…}}, or "
            "set it in the environment"
        )
    known = known_schemes()
    if scheme not in known:
        near = difflib.get_close_matches(scheme, sorted({*_OURS, *known}), n=3)
        hint = f"did you mean {' or '.join(f'{one}://' for one in near)}?" if near else f"supported are {', '.join(_OURS)}"
        raise InvalidInputError(f"the scheme {scheme}:// is not supported; {hint}")
    return RetryingBackend(RemoteBackend(url, options, single_writer=single_writer))
