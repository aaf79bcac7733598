"""What the fold asks of a move of a gated alias: the verdict that it carries, judged again on facts; or the entry that a rollback quotes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from artifactstore.catalog.gates.conditions import Answer, Case
from artifactstore.catalog.gates.evaluate import evaluate, gates_of
from artifactstore.catalog.gates.rules import kind_of
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json

__all__ = ["recorded_answer", "rollback_targets", "why_refused"]


def why_refused(state: Any, fact: Mapping[str, Any], case: Case | None) -> str | None:
    """Return why a move of an alias breaks a gate, or None.

    Args:
        state: the state before it.
        fact: the `aliased` fact.
        case: the version that it is to mean; None if its own transaction makes that.
    """
    gates = gates_of(state, fact["name"], fact["alias"])
    if not gates:
        return None
    if case is None:
        return f"{fact['name']}:{fact['alias']} is gated, and what was not put before cannot be judged: put it, then promote it"
    if "rollback" in fact:
        return _why_no_rollback(state, fact, case)
    verdict = fact.get("verdict")
    if not isinstance(verdict, Mapping) or verdict.get("digest") != case.digest or verdict.get("alias") != case.alias:
        return f"{case.name}:{case.alias} is gated, and {case.name}:v{case.number} was not judged for it: use promote"
    known = [{key: gate[key] for key in ("names", "alias", "version", "entry")} for gate in gates]
    if verdict.get("gates") != known:
        return f"the gates of {case.name}:{case.alias} are others than those that it was judged by: promote again"
    answer = recorded_answer(verdict)

    def outside(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> Answer:
        found = answer(rule, seen)
        if found is None:
            raise _UnjudgedError(f"the verdict does not say whether {_text(rule)} holds for what is recorded now")
        return found

    try:
        failed = [one["text"] for one in evaluate(state, gates, case, outside) if not one["ok"]]
    except _UnjudgedError as error:
        return f"{error}: promote again"
    return "; ".join(failed) or None


def recorded_answer(verdict: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Answer | None]:
    """Return what finds the answer of a verdict to a condition on content or keys, about the same; None where it has none."""
    recorded = dict(_recorded(verdict.get("conditions")))

    def answer(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> Answer | None:
        found = recorded.get(_key(rule, seen))
        return None if found is None else Answer(ok=found.get("ok") is True, text=str(found.get("text", "")))

    return answer


class _UnjudgedError(Exception):
    """A condition on content or keys that the verdict does not speak of; it is neither met nor not met."""


def _recorded(conditions: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the conditions of a verdict that were judged on content or keys, by what they say and are about."""
    for one in conditions if isinstance(conditions, list) else ():
        if not isinstance(one, Mapping):
            continue
        yield from _recorded(one.get("parts"))
        if isinstance(one.get("rule"), Mapping) and isinstance(one.get("seen"), Mapping):
            yield _key(one["rule"], one["seen"]), one


def _key(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    try:
        return canonical_json([dict(rule), dict(seen)]).decode()
    except InvalidInputError:
        return ""


def _text(rule: Mapping[str, Any]) -> str:
    kind = kind_of(rule)
    return f"{kind} = {rule[kind]}"


def _why_no_rollback(state: Any, fact: Mapping[str, Any], case: Case) -> str | None:
    quoted = fact["rollback"].get("quotes") if isinstance(fact["rollback"], Mapping) else None
    moves = state.aliases.get(case.name, {}).get(case.alias, ())
    if not any(move["seq"] == quoted and move["version"] == case.number and not move.get("rollback") for move in moves):
        return f"entry {quoted} did not make {case.name}:{case.alias} mean v{case.number}: it cannot be rolled back to"
    marks = state.tainted.get(case.digest)
    return "it is tainted" if marks is not None and any(mark is not None for mark in marks) else None


def rollback_targets(state: Any, name: str, alias: str) -> list[tuple[int, int]]:
    """Return where an alias can be rolled back to, newest first: each version with the entry that made the alias mean it.

    Earlier holders, without those that are removed or tainted, and those that a rollback has left with no move to them since: a second
    rollback goes further back, never forth.
    """
    stack: list[tuple[int, int]] = []
    current = None
    for move in state.aliases.get(name, {}).get(alias, ()):
        current = move["version"]
        if current is None:
            continue
        if not move.get("rollback"):
            stack.append((current, move["seq"]))
            continue
        place = max((place for place, (number, _) in enumerate(stack) if number == current), default=None)
        if place is not None:
            del stack[place + 1 :]
        else:
            stack.append((current, move["rollback"]))
    found: dict[int, int] = {}
    for number, entry in reversed(stack):
        row = state.names[name][number - 1]
        marks = state.tainted.get(row["digest"])
        tainted = marks is not None and any(mark is not None for mark in marks)
        if number != current and "removed" not in row and not tainted:
            found.setdefault(number, entry)
    return list(found.items())
