"""Judgement of gates for a caller: on facts by the fold's own rules, on content by reading it, on keys by those that are passed."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.catalog.ancestry import ancestors, material
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.approvals import authors
from artifactstore.catalog.gates.conditions import Answer, Case
from artifactstore.catalog.gates.evaluate import evaluate, gates_of
from artifactstore.catalog.gates.rules import kind_of
from artifactstore.model.encoding import canonical_json, format_time
from artifactstore.work.registry.content import evaluated_apart, reads_safely, report_field
from artifactstore.work.registry.verdict import Verdict
from artifactstore.work.session.session import Session

__all__ = ["Judgement", "answer_outside"]

_ROUNDS: Final = 20  # of looking at content again because what is judged has changed meanwhile
_Question = tuple[Mapping[str, Any], Mapping[str, Any]]


class Judgement:
    """The judgement of one version for one alias; asked again, it looks at no content twice.

    Args:
        session: the store.
        name: the name.
        number: k of the version.
        digest: its digest.
        alias: the alias.
        keys: whose signatures count; None: no signature counts.
        reason: of the move, or None.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        number: int,
        digest: str,
        alias: str,
        *,
        keys: Any = None,
        reason: str | None = None,
    ) -> None:
        self._session = session
        self._target = name, number, digest, alias
        self._keys = keys
        self._reason = reason
        self._answers: dict[str, Answer] = {}

    def verdict(self) -> Verdict:
        """Return what the gates say now."""
        verdict, asked = self._judge()
        for _ in range(_ROUNDS):
            if not asked:
                break
            for rule, seen in asked:
                self._answers[_key(rule, seen)] = self._answer(rule, seen)
            verdict, asked = self._judge()
        return verdict

    def _judge(self) -> tuple[Verdict, list[_Question]]:
        """Judge on the present state; return the verdict, and the questions that only content or keys can answer."""
        name, number, digest, alias = self._target
        asked: list[_Question] = []

        def outside(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> Answer:
            known = self._answers.get(_key(rule, seen))
            if known is None:
                asked.append((rule, seen))
                return Answer(ok=False, text="not judged yet")
            return known

        with self._session.query_state() as state:
            gates = gates_of(state, name, alias)
            now = (
                state.header["time"]
                if self._session.view is not None
                else max(state.header["time"], format_time(datetime.now(UTC)))
            )
            case = Case(name, number, digest, alias, now, self._reason)
            conditions = evaluate(state, gates, case, outside)
            at = state.head
        record: dict[str, Any] = {
            "ok": all(one["ok"] for one in conditions),
            "ref": f"{name}:v{number}",
            "digest": digest,
            "alias": alias,
            "at": at,
            "gates": [{key: gate[key] for key in ("names", "alias", "version", "entry")} for gate in gates],
            "conditions": conditions,
        }
        if self._keys is not None:
            record["keys"] = self._keys.digest
        return Verdict.of(record), asked

    def _answer(self, rule: Mapping[str, Any], seen: Mapping[str, Any]) -> Answer:
        """Answer a condition on content or keys."""
        return answer_outside(self._session, self._session.query_state, rule, seen, self._target[:3], keys=self._keys)


def answer_outside(
    session: Session,
    state_of: Callable[[], AbstractContextManager[State]],
    rule: Mapping[str, Any],
    seen: Mapping[str, Any],
    target: tuple[str, int, str],
    *,
    keys: Any,
) -> Answer:
    """Answer a condition on content or keys.

    Args:
        session: the store.
        state_of: the state that is judged on; it is left before content is read.
        rule: the condition.
        seen: what the answer is about.
        target: name, number and digest of the version.
        keys: whose signatures count, or None.
    """
    kind, digest = kind_of(rule), target[2]
    if kind == "evaluated":
        with state_of() as state:
            made_from, above = material(state, digest), set(ancestors(state, digest))
        return evaluated_apart(session, rule["metric"], seen["on"], made_from, above)
    if kind == "report":
        return report_field(session, rule, seen["report"])
    if kind == "format":
        return reads_safely(session, digest)
    from artifactstore.work.registry.signatures.keys import signatures_count  # noqa: PLC0415 - loads cryptography only where it is asked for

    with state_of() as state:
        rows = _rows(state, kind, digest, set(seen["entries"]))
        made_by = authors(state, *target)
    return signatures_count(session, rule, rows, digest, keys, made_by=made_by)


def _rows(state: State, kind: str, digest: str, entries: set[int]) -> list[dict[str, Any]]:
    """Return the approvals or signatures that a question is about."""
    table = state.signed if kind == "signature" else state.approvals
    return [dict(row) for row in table.get(digest, ()) if row["seq"] in entries]


def _key(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    return canonical_json([dict(rule), dict(seen)]).decode()
