"""SSH connections: host, user, keys, and the check that the server is the expected one.

Uses what `ssh` uses: `~/.ssh/config`, the agent, the keys in `~/.ssh`, `known_hosts`. A server with an unknown key
is an error that explains what to do, never a prompt and never ignored.
"""

import base64
import getpass
import hashlib
import logging
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from artifactstore.backend.errors import UnreachableError
from artifactstore.errors import BackendError, InvalidInputError

__all__ = ["OPTIONS", "SftpLocation", "connect", "parse_sftp_url"]

OPTIONS: Final = frozenset({
    "username", "password", "key_filename", "passphrase", "port", "known_hosts", "auto_add", "timeout", "allow_agent", "look_for_keys",
    "compress", "ssh_config",
})  # fmt: skip
_AUTHORITY: Final = re.compile(
    r"(?:(?P<user>[^@/:\s]+)@)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::(?P<port>\d{1,5}))?", re.ASCII
)
_FORM: Final = "sftp://user@host/folder (user and :port may be left out; /~/folder is relative to the user's home)"
_TIMEOUT: Final = 15.0  # seconds, for each step of connecting
_LOG: Final = "artifactstore.sftp"
_KNOWN: Final = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True, slots=True)
class SftpLocation:
    """Parts of an SFTP URL.

    Attributes:
        url: in canonical form.
        host: a name or an address, or an alias of `~/.ssh/config`.
        port: None where not given.
        user: None where not given.
        folder: absolute, or relative to the user's home.
    """

    url: str
    host: str
    port: int | None
    user: str | None
    folder: str


def parse_sftp_url(scheme: str, rest: str, options: Mapping[str, Any]) -> SftpLocation:
    """Parse an SFTP URL.

    Args:
        scheme: sftp or ssh.
        rest: what follows `://`.
        options: the caller's `storage_options`.

    Raises:
        InvalidInputError: not a valid location for a store, or an unknown option.
    """
    authority, _, path = rest.partition("/")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise InvalidInputError(f"this {scheme}:// URL has no host; expected {_FORM}")
    if unknown := sorted(options.keys() - OPTIONS):
        raise InvalidInputError(
            f"storage_options for {scheme}:// must not contain {', '.join(unknown)}; expected {', '.join(sorted(OPTIONS))}"
        )
    path = re.sub("/+", "/", path).strip("/")
    parts = path.split("/")
    if not path or path == "~" or any(part in {".", ".."} or re.search(r"[\x00-\x1f]", part) for part in parts):
        raise InvalidInputError(f"{scheme}://{authority}/{path} has no folder for a store; expected {_FORM}")
    folder = "/".join(parts[1:]) if parts[0] == "~" else f"/{path}"
    user = unquote(match["user"]) if match["user"] else None
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 2**16:
        raise InvalidInputError(f"{scheme}://{authority}/{path}: {port} is not a valid port")
    return SftpLocation(f"sftp://{authority}/{path}", match["host"].strip("[]"), port, user, folder)


@dataclass(frozen=True, slots=True)
class _Target:
    """The address to connect to, after applying `~/.ssh/config`."""

    host: str
    port: int
    user: str
    keys: Any
    proxy: str | None
    known: tuple[str, ...]


def connect(location: SftpLocation, options: Mapping[str, Any]) -> Any:
    """Return a paramiko client that is connected and logged in.

    Raises:
        BackendError: no connection (an `UnreachableError`), an unknown server or a changed host key, or the login failed.
    """
    import paramiko  # noqa: PLC0415 - loaded by the first request

    logging.getLogger(_LOG).addHandler(logging.NullHandler())  # else paramiko prints what is raised as an error here
    target = _target(location, options, paramiko)
    client = paramiko.SSHClient()
    client.set_log_channel(_LOG)
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy() if options.get("auto_add") else _refusing(paramiko)())
    for name in target.known:
        path = os.path.expanduser(name)  # noqa: PTH111
        if os.path.exists(path):  # noqa: PTH110
            client.load_system_host_keys(path)
    timeout = float(options.get("timeout") or _TIMEOUT)
    try:
        client.connect(
            target.host,
            target.port,
            target.user,
            password=options.get("password"),
            passphrase=options.get("passphrase"),
            key_filename=target.keys,
            sock=paramiko.ProxyCommand(target.proxy) if target.proxy else None,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            channel_timeout=timeout,
            allow_agent=options.get("allow_agent", True),
            look_for_keys=options.get("look_for_keys", True),
            compress=bool(options.get("compress")),
        )
    except Exception as error:  # noqa: BLE001 - it raises what sockets, keys and agents raise
        transport = client.get_transport()
        # Then the server is up and its key is verified: what failed is the login.
        met = transport is not None and transport.is_active() and transport.initial_kex_done
        client.close()
        failure = _connect_error(error, location, target, paramiko, met=met)
    else:
        client.get_transport().set_keepalive(30)
        return client
    raise failure  # outside the handler: paramiko's text may contain secrets


def _target(location: SftpLocation, options: Mapping[str, Any], paramiko: Any) -> _Target:
    found: Mapping[str, Any] = {}
    config = options.get("ssh_config", "~/.ssh/config")
    path = os.path.expanduser(config) if config else ""  # noqa: PTH111
    if path and os.path.exists(path):  # noqa: PTH110
        try:
            found = paramiko.SSHConfig.from_path(path).lookup(location.host)
        except Exception as error:
            raise InvalidInputError(
                f"cannot read {path} ({type(error).__name__}): fix it, or pass storage_options={{'ssh_config': None}}"
            ) from error
    elif path and "ssh_config" in options:
        raise InvalidInputError(f"{path} does not exist: ssh_config must be the path of a file such as ~/.ssh/config")
    host = str(found.get("hostname", location.host))
    port = location.port or int(options.get("port") or found.get("port") or 22)
    user = str(location.user or options.get("username") or found.get("user") or getpass.getuser())
    proxy = found.get("proxycommand")
    if not proxy and found.get("proxyjump", "none") != "none":
        proxy = f"ssh -W {host}:{port} {found['proxyjump']}"
    known = options.get("known_hosts") or found.get("userknownhostsfile", "").split() or _KNOWN
    keys = options.get("key_filename") or [key for key in found.get("identityfile", []) if os.path.exists(key)] or None  # noqa: PTH110
    return _Target(host, port, user, keys, proxy, (known,) if isinstance(known, str) else tuple(known))


class _UnknownHost(Exception):  # noqa: N818 - internal
    """The server's key is not in any `known_hosts`."""

    def __init__(self, name: str, kind: str, raw: bytes) -> None:
        super().__init__(name)
        self.text = f"{kind} {_fingerprint(raw)}"


def _refusing(paramiko: Any) -> Any:
    class Refusing(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        """Reports the unknown key."""

        def missing_host_key(self, client: Any, hostname: str, key: Any) -> NoReturn:
            del client
            raise _UnknownHost(hostname, key.get_name(), key.asbytes())

    return Refusing


def _fingerprint(raw: bytes) -> str:
    return f"SHA256:{base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip('=')}"


def _connect_error(error: Exception, location: SftpLocation, target: _Target, paramiko: Any, *, met: bool) -> BackendError:
    where = f"{target.host}:{target.port}"
    port = "" if target.port == 22 else f"-p {target.port} "
    if isinstance(error, _UnknownHost):
        return BackendError(
            f"{location.url}: the server's key is not in known_hosts ({error.text}). Check the key with the server's operator, then add "
            f"it: `ssh-keyscan {port}{target.host} >> ~/.ssh/known_hosts`; or pass storage_options={{'known_hosts': FILE}}, or "
            "{'auto_add': True} to trust any server"
        )
    if isinstance(error, paramiko.BadHostKeyException):
        return BackendError(
            f"{location.url}: the server's key differs from the one in known_hosts (got {_fingerprint(error.key.asbytes())}). "
            f"Either the server was reinstalled or the connection is intercepted: check with the server's operator, then "
            f"`ssh-keygen -R {target.host if target.port == 22 else f'[{target.host}]:{target.port}'}`"
        )
    if isinstance(error, paramiko.PasswordRequiredException):
        return BackendError(
            f"{location.url}: the private key is encrypted: add it to the agent (ssh-add), or pass storage_options={{'passphrase': …}}"
        )
    if isinstance(error, paramiko.AuthenticationException) or (met and isinstance(error, paramiko.SSHException)):
        return BackendError(
            f"{location.url}: {where} rejected the login of {target.user}; try `ssh {port}{target.user}@{target.host}`, and pass key_filename or "
            "password in storage_options, or put the key into the agent or into ~/.ssh"
        )
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"{location.url}: cannot resolve {target.host}; check the name")
    if isinstance(error, OSError | EOFError | paramiko.SSHException):
        if isinstance(error, FileNotFoundError | PermissionError):
            return BackendError(f"{location.url}: cannot read {error.filename or 'a key file'} ({error.strerror})")
        return UnreachableError(
            f"{location.url}: no connection to {where} ({type(error).__name__}); check that the server is up, and the port"
        )
    return BackendError(f"{location.url}: cannot connect with these options ({type(error).__name__})")
