"""Retention on facts: which versions a rule keeps, and which may not be removed yet (docs/reference/format.md, "Retention")."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import parse_time

__all__ = ["FIELDS", "check_retention", "is_retention", "rules_of", "too_young"]

FIELDS: Final = ("keep_last", "keep_days", "keep_kinds", "at_least_days")
_DAY: Final = 86_400  # seconds
_MOST: Final = 1_000_000


def check_retention(rules: Any) -> None:
    """Check a retention rule.

    Raises:
        InvalidInputError: an unknown field, or a value of another form.
    """
    if not isinstance(rules, Mapping):
        raise InvalidInputError("a retention rule must be a table such as { keep_last = 5, keep_days = 183 }")
    for key, value in rules.items():
        if key not in FIELDS:
            from difflib import get_close_matches  # noqa: PLC0415 - only for a message

            near = get_close_matches(str(key), FIELDS, n=1)
            raise InvalidInputError(
                f"retention has no {key!r}; "
                + (f"the nearest is {near[0]!r}" if near else f"expected one of {', '.join(FIELDS)}")
            )
        if key == "keep_kinds":
            if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
                raise InvalidInputError(f"keep_kinds = {value!r:.100}: must be a list of kinds")
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            raise InvalidInputError(f"{key} = {value!r:.100}: must be a whole number, 0 or more")


def is_retention(rules: Any) -> bool:
    """Return whether a rule can be used: another writer may have recorded anything."""
    try:
        check_retention(rules)
    except InvalidInputError:
        return False
    return True


def rules_of(state: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the retention rules in force for a name."""
    for pattern, rows in state.retention.items() if state.retention else ():
        if rows and rows[-1]["rules"] is not None and fnmatchcase(name, pattern):
            yield rows[-1]["rules"]


def least_days(state: Any, name: str) -> int:
    """Return the days that each version of a name must be kept; 0 if no rule says so."""
    return max((int(rules.get("at_least_days", 0)) for rules in rules_of(state, name)), default=0)


def is_younger(put: str, days: int, time: str) -> bool:
    """Return whether fewer than so many days have passed from the time of one entry to that of another."""
    return (parse_time(time) - parse_time(put)).total_seconds() < days * _DAY


def too_young(state: Any, name: str, number: int, time: str) -> int | None:
    """Return the days that a version must be kept, if fewer have passed between its entry and one at `time`; else None."""
    least = least_days(state, name)
    return least if least and is_younger(state.names[name][number - 1]["time"], least, time) else None
