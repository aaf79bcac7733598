"""What a history shows although it is intact: attempts without effect, changes of rules, clocks that were behind."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.audit import clock_behind
from artifactstore.catalog.fold.judge import Void
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.journal.chain import entry_key
from artifactstore.maintenance.verify.report import Finding, Report
from artifactstore.model.facts import Fact
from artifactstore.model.fields import sane

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["History", "Judge"]

_LATE: Final = 60.0  # seconds that a commit may take, being tried again, before its clock counts as behind
_RULES: Final = {"gate": "gate", "retained": "retention"}  # code of a void → rule of its note; else `void`

Judge = Callable[[State, "Txn", int, str], Iterable[Finding]]  # (state before it, effective transaction, entry, its time)


class History:
    """Folds entries, and notes what they show.

    Args:
        state: an empty fold.
        report: receives the notes.
        judge: finds what has effect and breaks a rule, or None.
    """

    def __init__(self, state: State, report: Report, judge: Judge | None) -> None:
        self._state = state
        self._report = report
        self._judge = judge
        self._behind: dict[tuple[str, str], tuple[int, int, float]] = {}  # actor, host → first entry, transactions, seconds

    def apply(self, entry: "Entry") -> list[Void | None]:
        """Fold the next entry."""
        before = str(self._state.header["time"])

        def seen(txn: "Txn", void: Void | None) -> None:
            self._see(txn, void, entry["seq"], str(self._state.header["time"]), before)

        return self._state.apply(entry, seen)

    def finish(self) -> None:
        """Note the clocks that were behind."""
        for (actor, host), (first, many, seconds) in self._behind.items():
            what = f"{many} transactions" if many > 1 else "a transaction"
            self._report.note(
                f"{what} by {actor} on {host}, from entry {first} on, have times up to {seconds:,.0f} s before the entry before them: "
                "that clock ran back or is behind, or they were tried for so long",
                entry_key(first),
                rule="clock",
            )

    def _see(self, txn: "Txn", void: Void | None, seq: int, time: str, before: str) -> None:
        if (late := clock_behind(txn["time"], before, time)) is not None and late > _LATE:
            key = txn["actor"], txn["host"]
            first, many, most = self._behind.get(key, (seq, 0, 0.0))
            self._behind[key] = first, many + 1, max(most, late)
        if void is not None:
            what = f"transaction {txn['txn']} by {txn['actor']} has no effect ({void})"
            self._report.note(what + self._gates(void), entry_key(seq), rule=_RULES.get(void.code, "void"))
            return
        for kind, what in self._changes(txn, seq):
            self._report.note(what, entry_key(seq), rule=kind)
        if self._judge is not None:
            self._report.findings += self._judge(self._state, txn, seq, time)

    def _gates(self, void: Void) -> str:
        """Name the gates of a move that they refused."""
        fact: Any = void.fact or {}
        if void.code != "gate" or fact.get("fact") != "aliased":
            return ""
        found = gates_of(self._state, fact["name"], fact["alias"])
        gates = ", ".join(f"{one['names']} {one['alias']} of entry {one['entry']}" for one in found)
        return f"; the gate is {gates}" if len(found) == 1 else f"; the gates are {gates}"

    def _changes(self, txn: "Txn", seq: int) -> Iterator[tuple[str, str]]:
        """Yield changes of rules, and what another store says of an alias that is gated here."""
        for fact in map(sane, txn["facts"]):
            if fact["fact"] in {"gated", "retained"}:
                kind = "gate" if fact["fact"] == "gated" else "retention"
                about = f"{fact['names']} {fact['alias']}" if kind == "gate" else fact["names"]
                verb = "lifts" if fact["rules"] is None else "sets"
                reason = fact.get("reason", txn.get("reason"))
                yield kind, f"entry {seq} by {txn['actor']} {verb} the {kind} of {about}" + (f": {reason}" if reason else "")
            elif fact["fact"] == "received" and self._state.gates:
                yield from self._received(fact, txn, seq)

    def _received(self, fact: Fact, txn: "Txn", seq: int) -> Iterator[tuple[str, str]]:
        for inner in fact["facts"]:
            if inner.get("fact") == "aliased" and gates_of(self._state, inner["name"], inner["alias"]):
                what = f"the move of {inner['name']}:{inner['alias']} that entry {seq} by {txn['actor']} brings from the store"
                yield "origin", f"{what} {fact['store']} has no effect: that alias is gated here"
