"""Arguments of the calls of the registry: what an alias must point to, reasons, whole artifacts."""

from typing import Any, Final

from artifactstore.catalog.versions import Resolved
from artifactstore.errors import InvalidInputError

__all__ = ["ANY", "check_expected", "check_whole", "required_reason"]


class _Any:
    """The default of `expect=`: the alias may point to any version."""

    def __repr__(self) -> str:
        return "ANY"

    def __reduce__(self) -> str:
        return "ANY"


ANY: Final = _Any()


def check_expected(expect: Any) -> None:
    """Check `expect=`.

    Raises:
        InvalidInputError: not a version's number, None or ANY.
    """
    if expect is not ANY and expect is not None and (isinstance(expect, bool) or not isinstance(expect, int) or expect < 1):
        raise InvalidInputError(
            f"expect={expect!r}: must be the number of the version that the alias points to now, or None if it must not exist yet"
        )


def check_whole(found: Resolved, ref: str) -> Resolved:
    """Return what a reference means, if that is a whole artifact.

    Raises:
        InvalidInputError: it is a path in one.
    """
    if found.path is not None:
        raise InvalidInputError(f"{ref!r}: expected a whole artifact, not a path in it")
    return found


def required_reason(reason: Any, why: str) -> str:
    """Return a reason.

    Raises:
        InvalidInputError: it is missing or blank.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInputError(f"reason={reason!r}: must state why {why}")
    return reason
