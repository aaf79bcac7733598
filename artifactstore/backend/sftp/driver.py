"""URLs of folders behind an SSH server: `sftp://user@host/folder`."""

from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, Policy, require
from artifactstore.backend.local.policies import PERMISSIONS, policy

__all__ = ["DRIVER"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    from artifactstore.backend.sftp.ssh import parse_sftp_url  # noqa: PLC0415 - only needed here

    location = parse_sftp_url(scheme, rest, options)
    require(scheme, "paramiko", "sftp")
    from artifactstore.backend.sftp.backend import SftpBackend  # noqa: PLC0415 - loads paramiko

    return SftpBackend(location, options, single_writer=single_writer)


def _policy(url: str, role: str) -> Policy:
    path = urlsplit(url).path or "/"
    found = policy(path, role)
    return Policy(found.text, None, ("to be run on the server, for the group of the SFTP users", *found.notes))


DRIVER: Final = BackendDriver("sftp", _connect, permissions=PERMISSIONS, policy=_policy)
