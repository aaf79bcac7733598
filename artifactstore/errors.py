"""Every error that this library raises on purpose: one tree, grouped by what the handler does.

ArtifactStoreError                     .kind: a stable string
├── NotFoundError (KeyError)           what was asked, and the nearest names that exist
├── ConflictError                      someone was first: read again, retry
│   └── CondemnedBeforeCommitError     clean-up took own uploads and the source is gone: put again
├── AlreadyExistsError (FileExistsError)
├── CorruptionError                    bytes do not match their digest: .digest .location
├── FormatError                        written by a newer or a foreign format: upgrade
├── BackendError (OSError)             .transient decides whether to retry
│   └── OutcomeUnknownError            the commit may or may not have landed: .txn
├── UnsupportedError                   the backend can't do what safety needs
├── UntrustedError (PermissionError)   reading this would run code: pass trust=
├── RefusedError (PermissionError)     a gate, a hold or a read-only store says no: .reasons
└── InvalidInputError (ValueError)     fix the call

The built-in that a caller would guess is a base too. Messages say what happened, to which thing
and what to do next; causes are chained; credentials never appear.
"""

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
    """Make an unpickled error: its message and its attributes, without its constructor's rules."""
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(attributes)
    return error


class ArtifactStoreError(Exception):
    """The root: `except ArtifactStoreError` catches all that this library raises on purpose."""

    kind: ClassVar[str] = "error"

    def __str__(self) -> str:
        # What others have written is part of many messages, and a traceback shows them as they are.
        # Lines behind the first are indented, so that none looks like a message of its own.
        return visible(str(self.args[0]), lines=True).replace("\n", "\n  ") if self.args else self.__class__.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self.args[0]) if self.args else str(self), dict(self.__dict__))


class NotFoundError(ArtifactStoreError, KeyError):
    """What was asked for is not there."""

    kind = "not_found"


class ConflictError(ArtifactStoreError):
    """Someone else was first; read again and retry."""

    kind = "conflict"


class CondemnedBeforeCommitError(ConflictError):
    """Clean-up condemned what this put had uploaded, and its source can't be read again: put again."""

    kind = "condemned_before_commit"


class AlreadyExistsError(ArtifactStoreError, FileExistsError):
    """The target exists and was not overwritten."""

    kind = "already_exists"


class CorruptionError(ArtifactStoreError):
    """Stored bytes do not match their digest.

    Attributes:
        digest: what the bytes should have hashed to, or None where the damage is structural.
        location: the object, and the offset in it where that is known.
    """

    kind = "corruption"

    def __init__(self, message: str, *, digest: str | None = None, location: str = "") -> None:
        super().__init__(message)
        self.digest = digest
        self.location = location


class FormatError(ArtifactStoreError):
    """Written by a newer version of this library, or not by this library at all."""

    kind = "format"


class BackendError(ArtifactStoreError, OSError):
    """The place that holds the bytes failed.

    Attributes:
        transient: whether trying the same again may help.
    """

    kind = "backend"

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class OutcomeUnknownError(BackendError):
    """A commit was sent and its answer never came: it may land, now or later.

    Attributes:
        txn: the transaction as `<32 hex>-<birth>`; `store.log(txn=…)` tells its outcome.
    """

    kind = "outcome_unknown"

    def __init__(self, message: str, *, txn: str) -> None:
        super().__init__(message, transient=True)
        self.txn = txn


class UnsupportedError(ArtifactStoreError):
    """The backend or the platform can't do what safety needs."""

    kind = "unsupported"


class UntrustedError(ArtifactStoreError, PermissionError):
    """Reading this would run code, and the caller did not say `trust=`."""

    kind = "untrusted"


class RefusedError(ArtifactStoreError, PermissionError):
    """A rule says no: a gate, a hold, a read-only store.

    Attributes:
        reasons: each rule that refused, in words.
    """

    kind = "refused"

    def __init__(self, message: str, *, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons or (message,)


class InvalidInputError(ArtifactStoreError, ValueError):
    """The call can't be carried out as it is written."""

    kind = "invalid_input"
