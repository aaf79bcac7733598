"""Drivers: how a package of backends registers itself, so that URLs with its schemes work everywhere.

A backend lives in one folder: its driver, the backend itself, its errors and its policies. A package outside of this library
registers its driver under the entry point group `artifactstore.backends`; the name of the entry point is the scheme.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Final, Protocol

from artifactstore.backend.base import Backend
from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.runtime.records import dataclass

__all__ = [
    "DESCRIPTIONS",
    "ROLES",
    "BackendDriver",
    "Connect",
    "Policy",
    "bucket_and_prefix",
    "json_policy",
    "refuse_options",
    "require",
]

ROLES: Final = ("reader", "writer", "janitor")
DESCRIPTIONS: Final = {
    "reader": "Reads an artifact store.",
    "writer": "Reads an artifact store and adds to it; deletes nothing.",
    "janitor": "Cleans up an artifact store: reads, writes and deletes.",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, ready to paste.

    Attributes:
        text: the document or commands.
        document: the same as a value, where it is JSON; else None.
        notes: hints for applying it.
    """

    text: str
    document: Mapping[str, Any] | None
    notes: tuple[str, ...]


class Connect(Protocol):
    """Creates a backend from a URL; touches neither network nor disk."""

    def __call__(self, scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
        """Return the backend of `scheme://rest`.

        Args:
            scheme: in lower case.
            rest: of the URL, after `://`.
            options: the caller's `storage_options`.
            single_writer: the caller promises that nothing else writes.

        Raises:
            InvalidInputError: not a URL of a store, or an unknown option.
            UnsupportedError: a library is not installed.
        """


@dataclass(frozen=True, slots=True)
class BackendDriver:
    """Driver of one or more URL schemes.

    Attributes:
        name: kind of backend: s3, azure, folder …
        connect: creates a backend.
        network: whether requests cross a network: then transient failures are retried.
        permissions: read, list, write, delete → the permission that the verb needs, for messages.
        policy: returns the minimal permissions of a role (see `ROLES`) at a URL, or None if there are none to list.
    """

    name: str
    connect: Connect
    network: bool = True
    permissions: Mapping[str, str] = field(default_factory=dict)
    policy: Callable[[str, str], Policy] | None = None


def refuse_options(options: Mapping[str, Any], what: str) -> None:
    """Refuse `storage_options` where there are none.

    Args:
        options: of the caller.
        what: the kind of backend, for the message.

    Raises:
        InvalidInputError: names the options to leave out.
    """
    if options:
        raise InvalidInputError(f"{what} does not accept storage_options; leave out {', '.join(sorted(options))}")


def require(scheme: str, module: str, extra: str) -> None:
    """Check that a library is installed.

    Raises:
        UnsupportedError: it is missing; names the extra to install.
    """
    if importlib.util.find_spec(module) is None:
        raise UnsupportedError(f"{scheme}:// needs {module}: pip install 'artifactstore-ml[{extra}]'")


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Return the bucket or container of a URL, and the prefix without slashes at its ends.

    Raises:
        InvalidInputError: it has no bucket.
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    if not bucket:
        raise InvalidInputError(f"{url} has no bucket")
    return bucket, prefix.strip("/")


def json_policy(document: Mapping[str, Any], *notes: str) -> Policy:
    """Return a policy that is a JSON document."""
    return Policy(json.dumps(document, indent=2), document, notes)
