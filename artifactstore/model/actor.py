"""The actor that is recorded with every transaction."""

from collections.abc import Mapping
from dataclasses import field

from artifactstore.runtime.records import dataclass

__all__ = ["Actor"]


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of transactions, recorded with each of them.

    Attributes:
        actor: a name.
        identity: how the name is known: claimed, os, oidc, certificate.
        host: the machine's name.
        tool: program and version.
        claims: what a token states of it, such as `repository` and `run_id`; verified only if the identity is oidc.
    """

    actor: str
    identity: str
    host: str
    tool: str
    claims: Mapping[str, str] = field(default_factory=dict, compare=False)
