"""The columns of what the registry and upkeep list: gates, approvals, holds, retention rules, conditions of a verdict, usage."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from artifactstore.display.outline import Column, Inline, Span
from artifactstore.display.values import format_size, format_value, moment

__all__ = ["LISTS", "RECORDS", "approval_line", "rule_words"]

_HOLD: Final = 12  # characters of the id of a hold: enough to release it
_WORTH: Final = {"valid": "good", "claimed": "warning"}  # every other status means that it does not count
_JOINTS: Final = ("all", "any")
_ORDER: Final = ("evaluated", "metric", "report", "field", "is", "of", "approvals", "signature", "code")  # then by name


def rule_words(rule: Mapping[str, Any]) -> str:
    """Return a condition as its words: `metric auc >= 0.9 of production`."""
    for joint in _JOINTS:
        if isinstance(rule.get(joint), list):
            return f"{joint} of ({'; '.join(map(_part, rule[joint]))})"
    if isinstance(rule.get("not"), Mapping):
        return f"not ({rule_words(rule['not'])})"
    words = []
    for key in sorted(rule, key=lambda key: (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)):
        word = _word(rule[key])
        words.append(word if key == "is" else key if rule[key] is True else f"{key} {word}")
    return " ".join(words)


def _part(rule: Any) -> str:
    return rule_words(rule) if isinstance(rule, Mapping) else str(rule)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else format_value(value)


def _asked(gate: Any) -> str:
    rules = gate.rules
    asked = [*map(_part, rules["all"])] if isinstance(rules.get("all"), list) else [rule_words(rules)]
    return "; ".join(asked + (["a reason"] if rules.get("reason") else []))


def _kept(row: Any) -> str:
    return ", ".join(f"{key} = {_word(value)}" for key, value in row.rules.items())


def approval_line(
    verdict: str, name: str, status: str, time: str, meaning: str, *, role: str | None, actor: str, reason: str | None
) -> str:
    """Return an approval or a rejection in one line: the printed name, what it is worth, date, time, meaning, reason."""
    who = f"{verdict} by {name}" + (f" as {role}" if role else "") + f" ({status}) on {time} UTC"
    return f"{who}, {meaning}" + (f", recorded by {actor}" if name != actor else "") + (f": {reason}" if reason else "")


def _status(row: Any) -> Inline:
    return Span(row.status, _WORTH.get(row.status, "bad"))  # type: ignore[arg-type]  # a role


def _verdict(row: Any) -> Inline:
    return Span(row.verdict, "bad") if row.verdict == "rejected" else str(row.verdict)


def _printed(row: Any) -> str:
    return row.name if row.name == row.actor else f"{row.name} ({row.actor})"


def _day(time: datetime | None) -> str:
    return "" if time is None else moment(time)[:10]


_NAMES: Final = Column("NAMES", lambda row: row.names)
_TIME: Final = Column("TIME (UTC)", lambda row: moment(row.time))
_ACTOR: Final = Column("ACTOR", lambda row: row.actor, fit="cut")
_REASON: Final = Column("REASON", lambda row: row.reason or "", fit="wrap")
_VERSION: Final = Column("VERSION", lambda row: str(row.version), align="right")

_SINCE: Final = Column("SINCE", lambda row: _day(row.time))

_GATES: Final = (
    _NAMES,
    Column("ALIAS", lambda row: row.alias),
    Column("ASKED", _asked, fit="wrap", least=24),
    _REASON,
    _ACTOR,
    _SINCE,
    _VERSION,
)
_APPROVALS: Final = (
    Column("STATUS", _status),
    Column("VERDICT", _verdict),
    Column("NAME", _printed),
    Column("MEANING", lambda row: row.meaning),
    _TIME,
    Column("ROLE", lambda row: row.role or "", fit="cut"),
    _REASON,
)
_HOLDS: Final = (
    Column("HOLD", lambda row: row.id[:_HOLD]),
    Column("REF", lambda row: row.ref if "@" in row.ref or ":v" in row.ref else row.ref[:15]),
    Column("UNTIL", lambda row: _day(row.until)),
    _REASON,
    _ACTOR,
    _SINCE,
)
_RETENTION: Final = (_NAMES, Column("KEEPS", _kept, fit="wrap"), _REASON, _ACTOR, _SINCE, _VERSION)
_CONDITIONS: Final = (
    Column("", lambda row: Span("yes", "good") if row.ok else Span("NO", "bad")),
    Column("CONDITION", lambda row: row.text, fit="wrap"),
    Column("JUDGED ON", lambda row: row.judged),
)
_USAGE: Final = (
    Column("WHAT", lambda row: row.what or "(none)"),
    Column("VERSIONS", lambda row: f"{row.versions:,}", align="right"),
    Column("SIZE", lambda row: format_size(row.size), align="right"),
    Column("UNIQUE", lambda row: format_size(row.unique), align="right"),
    Column("SHARED", lambda row: format_size(row.shared), align="right"),
    Column("EXTERNAL", lambda row: format_size(row.external) if row.external else "", align="right"),
)

LISTS: Final[Mapping[str, tuple[Column, ...]]] = {
    "approvals": _APPROVALS,
    "holds": _HOLDS,
    "retention": _RETENTION,
    "conditions": _CONDITIONS,
    "usage": _USAGE,
}

RECORDS: Final[Mapping[str, tuple[str, Callable[[Sequence[Any]], list[Column]]]]] = {
    "Gate": ("gates", lambda _rows: [*_GATES]),
    "Approval": ("approvals", lambda _rows: [*_APPROVALS]),
    "Hold": ("holds", lambda _rows: [*_HOLDS]),
    "Retention": ("rules", lambda _rows: [*_RETENTION]),
    "Usage": ("owners", lambda _rows: [*_USAGE]),
    "Condition": ("conditions", lambda _rows: [*_CONDITIONS]),
}
