"""Rules on a drift report, in the grammar of gates: a field, and `OP NUMBER`."""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from artifactstore.catalog.comparison import Comparison
from artifactstore.errors import InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = ["Rule", "judged", "parse_rules"]

_FORM: Final = re.compile(r"\s*(.+?)\s*((?:>=|<=|==|!=|>|<).*)", re.DOTALL)
_SUMS: Final = ("psi", "ks", "js", "missing", "missing_change", "new_share", "out_of_range")  # `psi` alone is `psi.max`
_COUNTS: Final = ("new_categories", "missing_columns", "changed_types", "new_columns", "breaches")
_PARTS: Final = ("ks_p", "rows", "labels", "columns", "accuracy", "auc", "brier", "rmse", "mae")
_MEASURES: Final = (*_SUMS, "ks_p", "new_categories", "reference", "current")  # of a column


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and what it found.

    Attributes:
        field: what it is about: `psi.max`, or of a column `amount.ks`.
        limit: what was asked, such as `<= 0.2`.
        value: what was found; None if it could not be measured, which meets no rule.
        ok: whether it holds.
    """

    field: str
    limit: str
    value: float | None
    ok: bool

    @property
    def text(self) -> str:
        """The rule with its value, in words."""
        return f"{self.field} {'was not measured' if self.value is None else f'is {self.value}'}, asked is {self.limit}"


def parse_rules(rules: Any, columns: Collection[str]) -> dict[str, str]:
    """Return rules as field → limit.

    Args:
        rules: a dict such as `{"psi.max": "<= 0.2"}`, or texts such as `psi.max <= 0.2`.
        columns: the columns that may be asked for.

    Raises:
        InvalidInputError: a rule is malformed, or is about something that no report has.
    """
    if rules is None:
        return {}
    found: dict[str, str] = {}
    if isinstance(rules, Mapping):
        pairs: Iterable[tuple[Any, Any]] = rules.items()
    else:
        pairs = [_split(one) for one in ([rules] if isinstance(rules, str) else rules)]
    for field, limit in pairs:
        if not isinstance(field, str) or not _is_known(field, columns):
            names = [*_SUMS, *_COUNTS, *_PARTS, *(f"{name}.{measure}" for name in columns for measure in ("psi", "ks"))]
            near = get_close_matches(str(field), names, n=3) or ["psi.max", "ks.max", "missing.max", "new_categories"]
            raise InvalidInputError(f"no drift report has {field!r}; it has for example {', '.join(map(repr, near))}")
        Comparison.parse(limit, f"a rule for {field}")
        found[field] = limit if isinstance(limit, str) else f"== {limit}"
    return found


def _split(text: Any) -> tuple[str, str]:
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInputError(f"{text!r} is not a rule; expected for example 'psi.max <= 0.2'")
    return match[1], match[2]


def _is_known(field: str, columns: Collection[str]) -> bool:
    first = field.partition(".")[0]
    if first in _PARTS or field in _COUNTS or field in _SUMS or (first in _SUMS and field.count(".") == 1):
        return True
    return any(field.startswith(f"{name}.") and field[len(name) + 1 :].partition(".")[0] in _MEASURES for name in columns)


def judged(rules: Mapping[str, str], report: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Judge a report by rules."""
    made = []
    for field, limit in rules.items():
        value = _value(field, report)
        made.append(Rule(field, limit, value, value is not None and Comparison.parse(limit)(value)))
    return tuple(made)


def _value(field: str, report: Mapping[str, Any]) -> Any:
    found = _walk(report, field)
    if isinstance(found, Mapping) and "max" in found:
        found = found["max"]
    columns = report["columns"]
    if found is None:
        for name in sorted(columns, key=len, reverse=True):
            if field.startswith(f"{name}."):
                found = _walk(columns[name], field[len(name) + 1 :])
                break
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _walk(value: Any, field: str) -> Any:
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
