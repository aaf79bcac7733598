"""Comparisons with a number, `OP NUMBER`: one grammar for searches and gates."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = ["OPERATORS", "Comparison"]

OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM: Final = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison with a number; called with a value, it answers.

    Attributes:
        op: one of `>= <= == != > <`.
        number: what values are compared with.
    """

    op: str
    number: float

    @classmethod
    def parse(cls, text: Any, what: str = "a condition on a metric") -> "Comparison":
        """Parse `OP NUMBER`; a bare number means equality.

        Raises:
            InvalidInputError: the form differs.
        """
        if isinstance(text, int | float) and not isinstance(text, bool):
            return cls("==", text)
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidInputError(f"{text!r} is not {what}; expected for example '>= 0.9' or '< 1e-3'")
        return cls(match[1], float(match[2]))

    def __call__(self, value: float) -> bool:
        """Return whether a value meets it."""
        return OPERATORS[self.op](value, self.number)

    def contradicts(self, other: "Comparison") -> bool:
        """Return whether no number meets both."""
        low, high = [float("-inf"), True], [float("inf"), True]  # a bound, and whether it is excluded
        for one in (self, other):
            if one.op in {">=", ">", "=="} and (one.number, one.op == ">") > (low[0], low[1] and low[0] != float("-inf")):
                low = [one.number, one.op == ">"]
            if one.op in {"<=", "<", "=="} and (-one.number, one.op == "<") > (-high[0], high[1] and high[0] != float("inf")):
                high = [one.number, one.op == "<"]
        if low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1])):
            return True
        excluded = {one.number for one in (self, other) if one.op == "!="}
        return low[0] == high[0] and low[0] in excluded
