"""Credentials as docker keeps them: `config.json` with `auths`, `credHelpers` and `credsStore`."""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.integrations.oci.registry.address import Address

__all__ = ["Login", "login_for"]

_HELPER: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_SECONDS: Final = 60.0  # for a helper, which may ask its user
_HUB: Final = "https://index.docker.io/v1/"  # Docker Hub's name in config.json
_NO_LOGIN: Final = "credentials not found"  # what each helper answers where it has none
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the name that means: the secret is an identity token


class Login:
    """A user's credentials of one registry; they have no repr.

    Attributes:
        user: the name, "" with an identity token.
        secret: the password.
        identity: an identity token, or "".
    """

    __slots__ = ("identity", "secret", "user")

    def __init__(self, user: str, secret: str, identity: str = "") -> None:
        self.user = user
        self.secret = secret
        self.identity = identity

    def __repr__(self) -> str:
        return "Login(…)"

    @property
    def basic(self) -> str:
        """The value of a header of basic authentication."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must reach no message."""
        return tuple(one for one in (self.secret, self.identity, self.basic.removeprefix("Basic ")) if one and one != "Og==")


def login_for(address: Address) -> Login | None:
    """Return the credentials for a repository; None if there are none.

    Raises:
        InvalidInputError: the file is not what docker writes, or names a helper that is not installed.
        BackendError: a helper fails.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser(), "config.json")
    config = _read(path)
    helpers = _table(config, "credHelpers", path)
    stored = _table(config, "auths", path)
    for name in _names(address):
        helper = helpers.get(name) or (config.get("credsStore") if name in {address.host, _HUB} else None)
        if helper:
            found = _ask(str(helper), name, path)
            if found is not None:
                return found
        if isinstance(row := stored.get(name), Mapping) and (found := _login(row, name, path)) is not None:
            return found
    return None


def _names(address: Address) -> Iterator[str]:
    """Yield the names under which the credentials of a repository may be, the closest first."""
    parts = address.repository.split("/")
    for k in range(len(parts), 0, -1):
        yield f"{address.host}/{'/'.join(parts[:k])}"
    if address.server != address.host:
        yield _HUB
    for host in dict.fromkeys((address.host, address.server)):
        yield from (host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BackendError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        raise InvalidInputError(f"{path} is not JSON: log in again with docker, or correct it") from None  # it may quote a secret
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} must be a JSON object, as docker writes it")
    return found


def _table(config: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found = config.get(key) or {}
    if not isinstance(found, Mapping):
        raise InvalidInputError(f"{key} in {path} must be a JSON object, as docker writes it")
    return found


def _login(row: Mapping[str, Any], name: str, path: Path) -> Login | None:
    """Return what an entry of `auths` has; None: it is empty, as where a helper keeps the secret."""
    user, secret, identity = (row.get(key) or "" for key in ("username", "password", "identitytoken"))
    auth = row.get("auth") or ""
    if auth:
        try:
            user, _, secret = base64.b64decode(auth, validate=True).decode().partition(":")
        except (ValueError, TypeError, binascii.Error):
            raise InvalidInputError(
                f"auths.{name}.auth in {path} is not base64 of USER:PASSWORD: log in again with docker"
            ) from None
        secret = secret.rstrip("\0")
    if not all(isinstance(one, str) for one in (user, secret, identity)):
        raise InvalidInputError(f"auths.{name} in {path} must be texts, as docker writes them")
    return Login(user, secret, identity) if identity or user or secret else None


def _ask(helper: str, name: str, path: Path) -> Login | None:
    """Ask docker's credential helper for a registry's credentials; None: it has none.

    Raises:
        InvalidInputError: it is not installed.
        BackendError: it fails; what it printed may be a secret, and is not repeated.
    """
    program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
    if program is None:
        raise InvalidInputError(
            f"{path} names the credential helper docker-credential-{helper}, which is not on the PATH: install it"
        )
    try:
        done = subprocess.run(  # noqa: S603 - the program that the user's own file names
            [program, "get"], input=name.encode(), capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"docker-credential-{helper} did not answer for {name}: {type(error).__name__}") from None
    if done.returncode:
        if _NO_LOGIN in done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"):
            return None
        raise BackendError(f"docker-credential-{helper} get failed for {name} with exit code {done.returncode}: run it by hand")
    try:
        found = json.loads(done.stdout)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError):
        raise BackendError(f"docker-credential-{helper} get did not answer with Username and Secret for {name}") from None
    return Login("", "", secret) if user == _TOKEN_USER else Login(user, secret)
