"""References in gates, resolved on facts."""

from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import Reference

__all__ = ["Missing", "digests_of", "newest_of"]


class Missing(Exception):  # noqa: N818 - an answer of a judgement, not an error of a caller
    """What a reference names is not there."""


def newest_of(state: Any, text: str) -> str:
    """Return the digest that a reference means now; of a bare name, its newest version that is neither removed nor tainted.

    Raises:
        Missing: nothing is there.
    """
    ref = _parsed(text)
    if ref.name is None:
        return _of_digest(state, ref, text)
    rows = state.names.get(ref.name, [])
    number = ref.version
    if ref.alias is not None:
        moves = state.aliases.get(ref.name, {}).get(ref.alias)
        number = moves[-1]["version"] if moves else None
        if number is None:
            raise Missing(f"{ref.name} has no alias {ref.alias!r}")
    elif number is None:
        prefix = None if ref.digest is None else ":".join(ref.digest)
        fitting = (
            k
            for k in range(len(rows), 0, -1)
            if "removed" not in rows[k - 1]
            and (rows[k - 1]["digest"].startswith(prefix) if prefix is not None else rows[k - 1]["digest"] not in state.tainted)
        )
        number = next(fitting, None)
    if number is None or not 1 <= number <= len(rows) or "removed" in rows[number - 1]:
        raise Missing(f"there is no {text}")
    return str(rows[number - 1]["digest"])


def digests_of(state: Any, text: str) -> set[str]:
    """Return the digests that a reference may mean: of a bare name those of all its versions.

    Raises:
        Missing: nothing is there.
    """
    ref = _parsed(text)
    if ref.name is not None and str(ref) == ref.name:
        found = {row["digest"] for row in state.names.get(ref.name, ())}
        if not found:
            raise Missing(f"there is no {text}")
        return found
    return {newest_of(state, text)}


def _parsed(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidInputError as error:
        raise Missing(str(error)) from None


def _of_digest(state: Any, ref: Reference, text: str) -> str:
    assert ref.digest is not None
    whole = ":".join(ref.digest)
    if whole not in state.stored:
        raise Missing(f"there is no {text}")
    return whole
