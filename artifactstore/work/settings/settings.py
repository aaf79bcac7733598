"""Settings: the URL of the store, the cache folder, the actor. The environment is read here only."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from artifactstore.backend.connect import refuse_mistyped_url
from artifactstore.backend.remote.secrets import secret_names
from artifactstore.backend.wrappers.range_cache import configure_cache_limit
from artifactstore.errors import InvalidInputError
from artifactstore.model.actor import Actor
from artifactstore.model.reference import names_relative_to
from artifactstore.runtime.local_files import is_own, may_write
from artifactstore.runtime.remarks import remark
from artifactstore.work.settings.configuration import absolute, configuration, user_folder
from artifactstore.work.settings.paths import local_path

__all__ = [
    "DEFAULT",
    "TAG",
    "TAGGED",
    "Location",
    "actor_without_token",
    "author",
    "cache_folder",
    "find_url",
    "name_prefix",
    "rescue_folder",
    "secret_options",
]

TAG: Final = "CACHEDIR.TAG"  # marks a cache for backups, and for put (bford.info/cachedir)
TAGGED: Final = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n# The cache of artifactstore: derived, may be deleted at any time.\n"
)
DEFAULT: Final = "default"  # of `cache=`: the user's cache folder


class Location(NamedTuple):
    """Where a store is.

    Attributes:
        url: its URL, or the path of its folder.
        is_default: whether nothing names a store, so that it is the one in the user's data folder.
        options: storage options that the configuration has for it.
        origin: what names it, in words.
    """

    url: str
    is_default: bool
    options: Mapping[str, str] = MappingProxyType({})
    origin: str = "the argument"


def find_url(url: Any) -> Location:
    """Return where the store is that a call or the configuration means.

    In this order: the argument, `$ARTIFACTSTORE_URL`, `url` of the configuration files (a relative path in one is relative to that
    file), a local store in the user's data folder. A word that a configuration file has under `[stores]` means that store.

    Raises:
        InvalidInputError: the URL is empty, or a file cannot be read.
    """
    if url is not None:
        text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
        if not isinstance(text, str) or not text or "\0" in text or (not text.isascii() and not _encodable(text)):
            raise InvalidInputError(
                f"{str(url)[:200]!r} is not the URL of a store: expected a folder, s3://bucket/prefix, memory://name"
            )
        if isinstance(url, str) and (chosen := _named(text, "the argument")) is not None:
            return chosen
        refuse_mistyped_url(text)
        return Location(text if "://" in text else str(local_path(text, "url")), is_default=False)
    if text := os.environ.get("ARTIFACTSTORE_URL", ""):
        return _named(text, "$ARTIFACTSTORE_URL") or Location(text, is_default=False, origin="$ARTIFACTSTORE_URL")
    try:
        Path.cwd()
    except OSError as error:
        raise InvalidInputError("the current folder is gone: change to another, or pass the URL of the store") from error
    configured = configuration(needed=True)
    found = configured.values.get("url")
    if found is not None and found.value:
        named = configured.stores.get(found.value)
        if named is not None:
            return Location(named.url, is_default=False, options=named.options, origin=found.origin)
        if (uri := _named(found.value, found.origin)) is not None:
            return uri
        return Location(absolute(found.value, Path(found.origin)), is_default=False, origin=found.origin)
    try:
        return Location(str(Path(user_folder("data")) / "store"), is_default=True, origin="the default")
    except RuntimeError as error:
        raise InvalidInputError(
            "no store is named, and this user has no home folder for one: set ARTIFACTSTORE_URL, or pass the URL of the store"
        ) from error


def _named(text: str, origin: str) -> Location | None:
    """Return the store that a URI or a name of the configuration means, or None; a path or another URL never is one."""
    if text[:14].lower() == "artifactstore+":
        from artifactstore.work.settings.uri import parse_uri  # noqa: PLC0415 - few stores are named by one

        uri = parse_uri(text)
        assert uri is not None  # it begins like one
        if uri.ref is not None:
            raise InvalidInputError(
                f"this is the URI of an artifact: {uri.store!r} is the store to open, and {uri.ref!r} the reference in it"
            )
        return Location(uri.url, is_default=False, options=uri.options, origin=origin)
    if any(sign in text for sign in "/\\:") or text.startswith((".", "~")):
        return None
    found = configuration().stores.get(text)
    return (
        None
        if found is None
        else Location(found.url, is_default=False, options=found.options, origin=f"{origin}, {found.origin}")
    )


def rescue_folder() -> Path | None:
    """Return the folder for objects whose put has failed; None if `$ARTIFACTSTORE_RESCUE` is empty, which turns it off.

    By default it is in the user's data folder, or for a user without one in that for temporary files.
    """
    text = os.environ.get("ARTIFACTSTORE_RESCUE")
    if text == "":
        return None
    if text is not None:
        return Path(text).expanduser().absolute()
    try:
        return Path(user_folder("data")) / "rescue"
    except RuntimeError:
        import tempfile  # noqa: PLC0415 - in few containers

        return Path(tempfile.gettempdir()) / f"artifactstore-rescue-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cache_folder(cache: Any) -> Path | None:
    """Return the cache folder, or None for no cache.

    A folder that other users can write, that cannot be made or for which this user has no home gives one warning and no cache.
    A folder that was filled by root or by this user and is read-only (in a container image) is read.

    `DEFAULT` means `$ARTIFACTSTORE_CACHE`, else `cache` of the configuration, else the user's cache folder; empty means no cache.
    """
    if cache is None:
        return None
    configure_cache_limit(configuration().get("cache_bytes"))
    if cache == DEFAULT:
        text = os.environ.get("ARTIFACTSTORE_CACHE")
        text = configuration().get("cache") if text is None else text
        if text == "":
            return None
        try:
            folder = Path(text or user_folder("cache")).expanduser()
        except RuntimeError:
            _without_cache("this user has no home folder")
            return None
    else:
        folder = local_path(cache, "cache")
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        st = folder.stat()
        writable = may_write(folder)
        filled = writable or any(True for _ in folder.iterdir())
    except OSError as error:
        _without_cache(f"cannot write the cache folder {folder} ({error.strerror or error})")
        return None
    if not is_own(st):
        _without_cache(
            f"other users can write the cache folder {folder}, so its contents cannot be trusted (its owner: chmod go-w)"
        )
        return None
    if not filled:
        _without_cache(f"cannot write the cache folder {folder}")
        return None
    tag = folder / TAG
    if not tag.exists():
        with suppress(OSError):
            tag.write_bytes(TAGGED)
    return folder


def _without_cache(why: str) -> None:
    remark(f"{why}: working without a cache; set ARTIFACTSTORE_CACHE to a folder of your own, or to the empty string")


def author(tool: str) -> Callable[[], Actor]:
    """Return what gives the actor, by the settings of this moment.

    It is `$ARTIFACTSTORE_ACTOR`, or `actor` of the configuration (claimed), else the system's user or `uid:<number>`; or, if it
    must be known by `oidc`, or a token was given to this process, the subject of the token. That is asked for by the first call,
    which raises `InvalidInputError` if there is no token that the keys vouch for.
    """
    other = actor_without_token(tool)
    wanted = os.environ.get("ARTIFACTSTORE_IDENTITY", "").strip() or (configuration().get("identity") or "").strip()
    if not wanted and not any(map(os.environ.get, ("ARTIFACTSTORE_ID_TOKEN", "ARTIFACTSTORE_ID_TOKEN_FILE"))):
        return lambda: other
    from artifactstore.work.settings.identity import stated_actor  # noqa: PLC0415 - jobs of a CI system

    return partial(stated_actor, wanted or None, other)


def actor_without_token(tool: str) -> Actor:
    """Return the actor as a variable, the configuration or the system names it."""
    claimed = os.environ.get("ARTIFACTSTORE_ACTOR", "").strip() or (configuration().get("actor") or "").strip()
    if claimed:
        return Actor(claimed, "claimed", _host(), tool)
    return Actor(_os_user(), "os", _host(), tool)


def name_prefix() -> str | None:
    """Return what `./` stands for at the beginning of a name: `$ARTIFACTSTORE_PREFIX`, else `prefix` of the configuration."""
    return os.environ.get("ARTIFACTSTORE_PREFIX") or configuration().get("prefix")


names_relative_to(name_prefix)


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket  # noqa: PLC0415 - Windows

    return socket.gethostname()


def _os_user() -> str:
    # getpass asks the environment first, which any process can set: that would be a claim, not knowledge.
    if hasattr(os, "getuid"):
        import pwd  # noqa: PLC0415 - not on Windows

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return f"uid:{os.getuid()}"
    import getpass  # noqa: PLC0415 - only if the system has no name for the user

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def secret_options(options: Mapping[str, Any] | None) -> list[str]:
    """Return the storage options that are, or may hold, secrets; nested ones dotted."""
    return secret_names(options or {})
