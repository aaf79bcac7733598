"""Breaches: what has effect and breaks a rule, judged again by content and by the caller's keys, on the state of its entry.

The fold judges gates by facts, and takes the word of whoever promoted for what only content and keys show. Here it is not taken.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.approvals import counted
from artifactstore.catalog.gates.conditions import Answer, Case
from artifactstore.catalog.gates.evaluate import evaluate, gates_of, judged_by
from artifactstore.catalog.gates.recorded import recorded_answer
from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.journal.chain import entry_key
from artifactstore.maintenance.verify.report import Finding
from artifactstore.model.fields import sane
from artifactstore.work.registry.judgement import answer_outside
from artifactstore.work.registry.signatures.recorded import signature_findings
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.model.schema import Txn

__all__ = ["Breaches"]

_UNREADABLE: Final = (
    "cannot be read",
    "cannot be judged",
)  # of an answer whose content is damaged or gone: other findings say so


class Breaches:
    """Judges transactions that have effect, in the order of entries.

    Args:
        session: the store.
        keys: whose signatures count; None: conditions on keys are not judged again.

    Attributes:
        not_judged: what could not be judged again, in words.
    """

    def __init__(self, session: Session, keys: Any) -> None:
        self._session = session
        self._keys = keys
        self._broken: dict[tuple[str, str, int], str] = {}  # name, alias and entry of a move that broke a gate
        self._ready = False
        self.not_judged: dict[str, None] = {}

    def judge(self, state: State, txn: "Txn", seq: int, time: str) -> Iterator[Finding]:
        """Yield what a transaction breaks, and what its gates counted that only facts show."""
        yield from signature_findings(txn, seq, time, store=str(state.header["store"]), keys=self._keys)
        for fact in map(sane, txn["facts"]) if state.gates else ():
            if fact["fact"] == "aliased":
                for severity, what, rule in self._move(state, fact, txn, seq, time):
                    yield Finding(severity, what, entry_key(seq), rule=rule)

    def _read_journal(self) -> None:
        """Content is found by the store's own fold, which nothing has read yet in a new process."""
        if not self._ready:
            self._session.core().journal.catch_up()
            self._ready = True

    def _move(self, state: State, fact: Mapping[str, Any], txn: "Txn", seq: int, time: str) -> Iterator[tuple[str, str, str]]:
        name, alias, number = fact["name"], fact["alias"], state.version_of(fact)
        gates = gates_of(state, name, alias)
        if not gates or number is None or (fact.get("version") is None and "digest" not in fact):
            return
        by = f"entry {seq} by {txn['actor']}"
        if isinstance(rollback := fact.get("rollback"), Mapping):
            broken = self._broken.get((name, alias, rollback.get("quotes", 0)))
            if broken is not None:
                yield "breach", f"{by} rolls {name}:{alias} back to v{number}, whose own move broke a gate: {broken}", "gate"
            return
        digest = str(state.names[name][number - 1]["digest"])
        reason = fact.get("reason", txn.get("reason"))
        case = Case(name, number, digest, alias, time, reason if isinstance(reason, str) else None)
        target = name, number, digest
        conditions = evaluate(state, gates, case, self._outside(state, fact, target, by))
        broken = "; ".join(one["text"] for one in conditions if not one["ok"])
        if broken:
            self._broken[name, alias, seq] = broken
            yield "breach", f"{by} makes {name}:v{number} {alias}, and its gate does not hold, judged again: {broken}", "gate"
        unsigned = sorted(_unsigned(state, gates, target, alias))
        if unsigned:
            what = f"{by} makes {name}:v{number} {alias} by approvals that are only claimed"
            yield "note", f"{what}: {', '.join(f'{actor} in entry {entry}' for entry, actor in unsigned)}", "approval"

    def _outside(self, state: State, fact: Mapping[str, Any], target: tuple[str, int, str], by: str) -> Any:
        recorded = recorded_answer(fact["verdict"])

        def outside(rule: Mapping[str, Any], seen: Mapping[str, Any]) -> Answer:
            answer = recorded(rule, seen) or Answer(ok=False, text=f"its verdict does not speak of {dict(rule)}")
            if judged_by(rule) == "keys" and self._keys is None:
                self.not_judged["signatures that gates ask for: pass keys="] = None
                return answer
            try:
                self._read_journal()
                found = answer_outside(self._session, lambda: nullcontext(state), rule, seen, target, keys=self._keys)
            except BackendError:
                raise
            except ArtifactStoreError as error:
                found = Answer(ok=False, text=f"{_UNREADABLE[0]}: {error}")
            if not found.ok and any(text in found.text for text in _UNREADABLE):
                self.not_judged[f"what {by} was judged on: {found.text}"] = None
                return answer
            return found

        return outside


def _unsigned(state: State, gates: Any, target: tuple[str, int, str], alias: str) -> Iterator[tuple[int, str]]:
    """Yield entry and actor of the unsigned approvals that gates count."""
    name, number, digest = target
    rules = [one for gate in gates for one in _leaves(gate["rules"]) if "approvals" in one and not one.get("signed")]
    entries = set()
    for rule in rules:
        entries |= counted(state, rule, name=name, number=number, digest=digest, alias=alias).entries
    for row in state.approvals.get(digest, ()):
        if row["seq"] in entries and "signature" not in row:
            yield int(row["seq"]), str(row["actor"])


def _leaves(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    parts = [*rule.get("all", ()), *rule.get("any", ())]
    if "not" in rule:
        parts.append(rule["not"])
    if not parts:
        yield rule
    for one in parts:
        yield from _leaves(one)
