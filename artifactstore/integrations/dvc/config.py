"""DVC's configuration: where its cache is, and its remotes. Read as DVC does, from its own files; nothing in it is run."""

import configparser
import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["Config", "Remote", "read_config"]

_REMOTE: Final = re.compile(r"""^'?remote\s+"(.+)"'?$""")
_LARGEST: Final = 2**20  # bytes of a file
_TRUE: Final = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote.

    Attributes:
        name: its name.
        url: a URL, or an absolute path.
        options: for fsspec's class: endpoint, credentials; never printed.
        why_not: why it cannot be read here; empty if it can.
    """

    name: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    why_not: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.url

    @property
    def shown(self) -> str:
        """Its URL without credentials."""
        if self.is_local:
            return self.url
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2] if parts.scheme not in {"abfs", "abfss", "az"} else parts.netloc
        return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one repository.

    Attributes:
        caches: folders of caches, the likeliest first.
        remotes: the default first.
    """

    caches: tuple[str, ...]
    remotes: tuple[Remote, ...]


def read_config(folder: Path, *, texts: Mapping[str, str], cache: str | None = None) -> Config:
    """Return the configuration of a repository.

    Args:
        folder: DVC's root, for relative paths.
        texts: the configuration of the repository itself, where it has no working tree.
        cache: a folder of the caller's, instead of the configured cache.
    """
    inner = folder / ".dvc"
    sections: dict[str, dict[str, str]] = {}
    for path in (_user_config(), inner / "config", inner / "config.local"):
        text = texts[path.name] if path.parent == inner and path.name in texts else _text(path)
        for name, values in _sections(text).items():
            sections.setdefault(name, {}).update(values)
    caches = [cache] if cache is not None else []
    if cache is None:
        given = sections.get("cache", {}).get("dir")
        caches = [_local(given, inner)] if given and "://" not in given else []
        caches.append(str(inner / "cache"))
    named = {match[1]: values for name, values in sections.items() if (match := _REMOTE.match(name)) is not None}
    first = sections.get("core", {}).get("remote", "")
    ordered = sorted(named, key=lambda name: name.lower() != first.lower())
    return Config(tuple(dict.fromkeys(caches)), tuple(_remote(name, named, inner) for name in ordered))


def _user_config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc" / "config"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _sections(text: str) -> dict[str, dict[str, str]]:
    """Return the sections of a file; DVC indents what is in them."""
    parser = configparser.RawConfigParser(
        strict=False,
        interpolation=None,
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=("#",),
        delimiters=("=",),
        default_section="\0",
        empty_lines_in_values=False,
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign] # its own way to keep the case
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error:
        return {}
    return {name: {key.lower(): _unquoted(value) for key, value in parser.items(name)} for name in parser.sections()}


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _local(path: str, inner: Path) -> str:
    """Return a path; relative ones are relative to the folder of the configuration."""
    whole = Path(path).expanduser()
    return os.path.normpath(whole if whole.is_absolute() else inner / whole)


def _remote(name: str, named: Mapping[str, Mapping[str, str]], inner: Path) -> Remote:
    values = named[name]
    url = values.get("url", "")
    for _ in range(8):  # one remote may be a folder of another one
        parts = urlsplit(url)
        if parts.scheme != "remote":
            break
        other = named.get(parts.netloc, {})
        values = {**other, **values}
        url = posixpath.join(other.get("url", ""), parts.path.lstrip("/"))
    scheme = urlsplit(url).scheme.lower() if "://" in url else ""
    if not url or scheme == "remote":
        return Remote(name, "", why_not="it has no url")
    if values.get("version_aware", "").lower() in _TRUE or values.get("worktree", "").lower() in _TRUE:
        return Remote(name, url, why_not="it keeps files by their names, as versions of a bucket")
    if not scheme:
        return Remote(name, _local(url, inner))
    if scheme == "file":
        return Remote(name, _local(urlsplit(url).path, inner))
    options = _OPTIONS.get(scheme)
    if options is None:
        return Remote(name, url, why_not=f"{scheme}:// cannot be read here")
    return Remote(name, _URLS.get(scheme, lambda one, _: one)(url, values), options(values))


def _s3(values: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    client: dict[str, Any] = {}
    for given, ours in (
        ("access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("session_token", "token"),
        ("profile", "profile"),
    ):
        if values.get(given):
            options[ours] = values[given]
    if values.get("endpointurl"):
        options["endpoint_url"] = values["endpointurl"]
    if values.get("region"):
        client["region_name"] = values["region"]
    if values.get("ssl_verify"):
        verify = values["ssl_verify"]
        client["verify"] = verify.lower() in _TRUE if verify.lower() in {"true", "false"} else verify
    if values.get("use_ssl", "true").lower() == "false":
        options["use_ssl"] = False
    if values.get("allow_anonymous_login", "").lower() in _TRUE:
        options["anon"] = True
    return {**options, **({"client_kwargs": client} if client else {})}


def _gs(values: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"project": values["projectname"]} if values.get("projectname") else {}
    if values.get("credentialpath"):
        found["token"] = os.path.expanduser(values["credentialpath"])  # noqa: PTH111 - a text for fsspec
    elif values.get("allow_anonymous_login", "").lower() in _TRUE:
        found["token"] = "anon"  # noqa: S105 - fsspec's word for none
    return {**found, **({"endpoint_url": values["endpointurl"]} if values.get("endpointurl") else {})}


def _azure(values: Mapping[str, str]) -> dict[str, Any]:
    names = ("connection_string", "sas_token", "account_name", "account_key", "tenant_id", "client_id", "client_secret")
    return {name: values[name] for name in names if values.get(name)}


def _ssh(values: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"username": values["user"]} if values.get("user") else {}
    found |= {"port": int(values["port"])} if values.get("port", "").isdigit() else {}
    found |= {"password": values["password"]} if values.get("password") else {}
    return {**found, **({"key_filename": os.path.expanduser(values["keyfile"])} if values.get("keyfile") else {})}  # noqa: PTH111 - as above


def _http(values: Mapping[str, str]) -> dict[str, Any]:
    if values.get("auth", "").lower() != "basic" or not values.get("user"):
        return {}
    import base64  # noqa: PLC0415 - few remotes ask for it

    word = base64.b64encode(f"{values['user']}:{values.get('password', '')}".encode()).decode()
    return {"client_kwargs": {"headers": {"Authorization": f"Basic {word}"}}}


_OPTIONS: Final[Mapping[str, Any]] = {
    "s3": _s3, "gs": _gs, "azure": _azure, "ssh": _ssh, "http": _http, "https": _http,
}  # fmt: skip
_URLS: Final[Mapping[str, Any]] = {
    "azure": lambda url, _: url.replace("azure://", "az://", 1),
    "ssh": lambda url, _: url.replace("ssh://", "sftp://", 1),
}
