"""The actor that is recorded with every transaction."""

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
    """

    actor: str
    identity: str
    host: str
    tool: str
