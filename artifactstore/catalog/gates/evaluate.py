"""Judgement of gates: a pure function of the fold, equal on every platform (docs/reference/format.md, "Gates").

It never knows a clock, content or keys: age is counted by the times of entries, a difference is rounded to 12 significant digits, and
what only content or keys can show is asked of the caller (`Outside`): of those who promote, or of the verdict that they recorded.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from artifactstore.catalog.gates.approvals import rejections
from artifactstore.catalog.gates.conditions import Answer, Case, Facts, Judge, Outside
from artifactstore.catalog.gates.rules import JUDGED, kind_of

__all__ = ["evaluate", "gates_of", "judged_by"]

_Conditions = list[dict[str, Any]]


def judged_by(rule: Mapping[str, Any]) -> str:
    """Return what a condition is judged on: facts, content or keys."""
    kind = kind_of(rule)
    return "keys" if kind == "approvals" and rule.get("signed") else JUDGED[kind]


def gates_of(state: Facts, name: str, alias: str) -> list[dict[str, Any]]:
    """Return the gates in force for an alias of a name, by entry: {names, alias, version, entry, rules}."""
    found = []
    for pattern, rows in state.gates[alias].items() if alias in state.gates else ():
        if rows[-1]["rules"] is not None and fnmatchcase(name, pattern):
            found.append(
                {"names": pattern, "alias": alias, "version": len(rows), "entry": rows[-1]["seq"], "rules": rows[-1]["rules"]}
            )
    return sorted(found, key=lambda one: (one["entry"], one["names"]))


def evaluate(state: Facts, gates: Sequence[Mapping[str, Any]], case: Case, outside: Outside) -> _Conditions:
    """Judge gates; return their conditions, each with whether it is met, why, and its gate's index.

    What refuses whatever a gate says (a taint of the version itself, a rejection) is a condition only where it refuses.
    """
    judge = Judge(state, case, outside)
    found = [one for number, gate in enumerate(gates) for one in _of_gate(judge, gate["rules"], number)]
    marks = state.tainted.get(case.digest)
    if marks is not None and any(mark is not None for mark in marks):
        reason = next((mark.get("reason") for mark in marks if mark is not None), None)
        found.append(_plain(0, {"taint": "none"}, Answer(ok=False, text="it is tainted" + (f": {reason}" if reason else ""))))
    for row in rejections(state, case.digest, case.alias):
        text = f"{row['actor']} has rejected it" + (f": {row['reason']}" if row.get("reason") else "")
        found.append(_plain(0, {"rejected": "none"}, Answer(ok=False, text=text, value=row["seq"])))
    return found


def _of_gate(judge: Judge, rules: Mapping[str, Any], number: int) -> _Conditions:
    found: _Conditions = []
    if "all" in rules:
        found += [_condition(judge, rule, number) for rule in rules["all"]]
    else:
        found.append(_condition(judge, {"any": rules["any"]}, number))
    if rules.get("reason") and not (judge.case.reason or "").strip():
        found.append(_plain(number, {"reason": True}, Answer(ok=False, text="a reason is asked for, and none was passed")))
    return found


def _condition(judge: Judge, rule: Mapping[str, Any], number: int) -> dict[str, Any]:
    kind = kind_of(rule)
    if kind == "not":
        part = _condition(judge, rule["not"], number)
        answer = Answer(ok=not part["ok"], text=f"asked is that this does not hold: {part['text']}")
        return {**_plain(number, rule, answer, part["judged"]), "parts": [part]}
    if kind in {"all", "any"}:
        parts = [_condition(judge, one, number) for one in rule[kind]]
        ok = (all if kind == "all" else any)(part["ok"] for part in parts)
        joint = " and " if kind == "all" else " or "
        judged = max((part["judged"] for part in parts), key=["facts", "content", "keys"].index)
        return {
            **_plain(number, rule, Answer(ok=ok, text=joint.join(f"({part['text']})" for part in parts)), judged),
            "parts": parts,
        }
    return _plain(number, rule, judge.answer(rule), judged_by(rule))


def _plain(number: int, rule: Mapping[str, Any], answer: Answer, judged: str = "facts") -> dict[str, Any]:
    found: dict[str, Any] = {"ok": answer.ok, "gate": number, "rule": dict(rule), "judged": judged, "text": answer.text}
    more = {"value": answer.value, "limit": answer.limit, "seen": answer.seen}
    return found | {key: value for key, value in more.items() if value is not None}
