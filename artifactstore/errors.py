"""All errors that this library raises on purpose: one tree, grouped by what the handler does.

ArtifactStoreError                     .kind: a stable string
├── NotFoundError (KeyError)           what is missing, and the nearest names that exist
├── ConflictError                      another writer was first: read again, retry
│   └── CondemnedBeforeCommitError     clean-up removed the uploads and the source is gone: put again
├── AlreadyExistsError (FileExistsError)
├── CorruptionError                    bytes do not match their digest: .digest .location
├── FormatError                        written by a newer or a foreign format: upgrade
├── BackendError (OSError)             .transient decides whether to retry
│   └── OutcomeUnknownError            the commit may or may not have landed: .txn
├── UnsupportedError                   the backend cannot do what safety needs
├── UntrustedError (PermissionError)   reading this would run code: pass trust=
├── RefusedError (PermissionError)     a gate, a hold or a read-only store refuses: .reasons
└── InvalidInputError (ValueError)     fix the call

The built-in that a caller would guess is also a base class. Messages state what happened, to which object,
and what to do next; causes are chained; credentials never appear.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from artifactstore.printable import visible

__all__ = [
    "AlreadyExistsError",
    "ArtifactStoreError",
    "BackendError",
    "CondemnedBeforeCommitError",
    "ConflictError",
    "CorruptionError",
    "FormatError",
    "InvalidInputError",
    "NotFoundError",
    "OutcomeUnknownError",
    "RefusedError",
    "UnsupportedError",
    "UntrustedError",
]


def _rebuild(cls: type["ArtifactStoreError"], message: str, attributes: dict[str, Any]) -> "ArtifactStoreError":
    """Rebuild an unpickled error from its message and attributes, without running its constructor's checks."""
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(attributes)
    return error


class ArtifactStoreError(Exception):
    """Base class of all errors: `except ArtifactStoreError` catches all that this library raises on purpose."""

    kind: ClassVar[str] = "error"

    def __str__(self) -> str:
        # Many messages quote text that others wrote, and a traceback prints it as it is.
        # Lines after the first are indented, so that none of them can pass for a message of its own.
        return visible(str(self.args[0]), lines=True).replace("\n", "\n  ") if self.args else self.__class__.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self.args[0]) if self.args else str(self), dict(self.__dict__))


class NotFoundError(ArtifactStoreError, KeyError):
    """The requested object does not exist."""

    kind = "not_found"


class ConflictError(ArtifactStoreError):
    """Another writer was first; read again and retry.

    Attributes:
        fact: of the journal that met the conflict, if one did; else None.
    """

    kind = "conflict"
    fact: Mapping[str, Any] | None = None


class CondemnedBeforeCommitError(ConflictError):
    """Clean-up condemned what this put had uploaded, and its source cannot be read again: put again."""

    kind = "condemned_before_commit"


class AlreadyExistsError(ArtifactStoreError, FileExistsError):
    """The target exists and was not overwritten."""

    kind = "already_exists"


class CorruptionError(ArtifactStoreError):
    """Stored bytes do not match their digest.

    Attributes:
        digest: the expected digest of the bytes, or None where the damage is structural.
        location: the object, and the offset in it where known.
    """

    kind = "corruption"

    def __init__(self, message: str, *, digest: str | None = None, location: str = "") -> None:
        super().__init__(message)
        self.digest = digest
        self.location = location


class FormatError(ArtifactStoreError):
    """The data was written by a newer version of this library, or by other software."""

    kind = "format"


class BackendError(ArtifactStoreError, OSError):
    """The storage backend failed.

    Attributes:
        transient: whether a retry may help.
    """

    kind = "backend"

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class OutcomeUnknownError(BackendError):
    """A commit was sent and its reply never arrived: it may land, now or later.

    Attributes:
        txn: the transaction as `<32 hex>-<birth>`; `store.log(txn=…)` shows its outcome.
    """

    kind = "outcome_unknown"

    def __init__(self, message: str, *, txn: str) -> None:
        super().__init__(message, transient=True)
        self.txn = txn


class UnsupportedError(ArtifactStoreError):
    """The backend or the platform cannot do what safety needs."""

    kind = "unsupported"


class UntrustedError(ArtifactStoreError, PermissionError):
    """Reading this would run code, and the caller did not pass `trust=`."""

    kind = "untrusted"


class RefusedError(ArtifactStoreError, PermissionError):
    """A rule refuses the operation: a gate, a hold, a read-only store.

    Attributes:
        reasons: each rule that refused, in words.
        verdict: of a gate that refused, the `Verdict`; else None.
        rule: of the journal that refused, such as `gate` or `held`; else None.
        fact: what that rule refused; else None.
    """

    kind = "refused"
    fact: Mapping[str, Any] | None = None

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), verdict: Any = None, rule: str | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or (message,)
        self.verdict = verdict
        self.rule = rule


class InvalidInputError(ArtifactStoreError, ValueError):
    """The call is invalid; fix its arguments."""

    kind = "invalid_input"
