"""`expect=`: what an alias must point to when it moves."""

from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["ANY", "check_expected"]


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
