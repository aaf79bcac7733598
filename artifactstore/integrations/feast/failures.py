"""Feast's errors as those of this library, by what a caller can do about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.work.secrets import captured

__all__ = ["errors_of"]

_INPUT: Final = frozenset({"RequestDataNotFoundInEntityDfException", "RequestDataNotFoundInEntityRowsException"})
_SERVICE: Final = (
    "BigQuery", "Redshift", "Snowflake", "S3Registry", "Docker", "FeastProvider", "FeastExtras", "FeastModule", "FeastClass",
    "ZeroRows", "ZeroColumn",
)  # fmt: skip # the beginnings of the names of errors of services, and of what is not installed
_LONGEST: Final = 1000  # characters of a message


@contextmanager
def errors_of(what: str) -> Iterator[None]:
    """Raise Feast's errors, and those of the libraries that it calls, as ours.

    Args:
        what: what was done, for the message.

    Raises:
        NotFoundError: something that was named does not exist.
        InvalidInputError: the call is wrong.
        RefusedError: Feast's permissions forbid it.
        BackendError: anything else.
    """
    try:
        yield
    except ArtifactStoreError:
        raise
    except Exception as error:
        raise _ours(what, error) from error


def _ours(what: str, error: Exception) -> ArtifactStoreError:
    kinds = [one.__name__ for one in type(error).__mro__]
    message = captured(str(error).strip()[:_LONGEST])
    if kinds[0] == "KeyError" and error.args:  # of a column that the entities lack the name alone, of a feature a sentence
        message = captured(str(error.args[0])[:_LONGEST])
        if "not found" in message:
            return NotFoundError(f"{what}: {message}")
        message = f"there is no column {message!r}"
    text = f"{what}: {message} ({kinds[0]})"
    if "FeastPermissionError" in kinds or "PermissionError" in kinds:
        return RefusedError(text)
    is_of_feast = "FeastError" in kinds
    if is_of_feast and kinds[0].startswith(_SERVICE):
        return BackendError(text)
    if is_of_feast and not _INPUT.intersection(kinds) and any("NotFound" in kind for kind in kinds):
        return NotFoundError(text)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(text)
    if isinstance(error, OSError):
        return BackendError(text)
    if is_of_feast or isinstance(error, ValueError | TypeError | LookupError):
        return InvalidInputError(text)
    return BackendError(text)
