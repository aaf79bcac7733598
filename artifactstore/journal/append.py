"""Appending: transactions become part of the next entry, several threads' in one, exactly once (PROTOCOL 3).

Success is found in the journal, never in a reply: after every doubt the journal is read on, and own
transaction ids are looked for there first.
"""

import os
import threading
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.errors import AlreadyExistsError, BackendError, ConflictError, InvalidInputError, OutcomeUnknownError
from artifactstore.journal.chain import MAX_ENTRY, encode_entry, entry_key, facts_key
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time, new_id
from artifactstore.model.facts import ADOPTABLE, WINDOW, Fact

__all__ = ["Appender", "Author", "Committed", "retry_seconds"]

SPILL: Final = 2**20  # bytes of facts above which they get an object of their own
_ALONE: Final = frozenset({"condemned", "moved_to"})
_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries while the backend fails


@dataclass(frozen=True, slots=True)
class Author:
    """Who appends: what every transaction says of its origin.

    Attributes:
        actor: a name.
        identity: how it is known: claimed, os, oidc, certificate.
        host: the machine's name.
        tool: program and version.
    """

    actor: str
    identity: str
    host: str
    tool: str


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a transaction took effect.

    Attributes:
        txn: its id.
        seq: its entry.
    """

    txn: str
    seq: int


@dataclass(slots=True)
class _Ticket:
    """One caller's transaction on its way into the journal."""

    record: dict[str, Any]
    facts: Sequence[Fact]
    refuse: Callable[[Any], Exception]
    sent: bool = False
    committed: Committed | None = None
    error: BaseException | None = None
    spilled: dict[str, str] | None = field(default=None)

    @property
    def settled(self) -> bool:
        return self.committed is not None or self.error is not None


def retry_seconds() -> float:
    """How long a failing backend is tried again: `$ARTIFACTSTORE_RETRY_SECONDS`, 300 without it.

    Raises:
        InvalidInputError: the variable is not a number.
    """
    text = os.environ.get("ARTIFACTSTORE_RETRY_SECONDS", "300")
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise InvalidInputError(f"ARTIFACTSTORE_RETRY_SECONDS is {text!r}: not a number of seconds") from error


class Appender:
    """Appends to one journal for all threads of a process."""

    def __init__(self, journal: Journal, author: Author, *, sleep: Callable[[float], None] = clock.sleep) -> None:
        self.journal = journal
        self.author = author
        self._writer = new_id()
        self._sleep = sleep
        self._leading = threading.Lock()
        self._pending: list[_Ticket] = []
        self._pending_lock = threading.Lock()

    def commit(
        self, facts: Sequence[Fact], *, birth: int, alive_at: int, refuse: Callable[[Any], Exception], reason: str | None = None
    ) -> Committed:
        """Append facts as one transaction; returns when it is in the journal with effect.

        Args:
            facts: what happened; all or nothing.
            birth: the head when the transaction was made.
            alive_at: the head when its references were last known to be alive.
            refuse: turns the fold's word for why the transaction would be void into the error to raise.
            reason: why, for the audit trail.

        Raises:
            OutcomeUnknownError: sent, and no answer came; the journal will tell.
            BackendError: nothing was sent.
            Exception: what `refuse` returned; nothing was committed.
        """
        adoptable = all(fact["fact"] in ADOPTABLE and not (fact["fact"] == "started" and fact.get("claimed")) for fact in facts)
        record: dict[str, Any] = {
            "txn": new_id(),
            "birth": birth,
            "base": alive_at,
            "adoptable": adoptable,
            "actor": self.author.actor,
            "identity": self.author.identity,
            "host": self.author.host,
            "tool": self.author.tool,
            "time": format_time(datetime.now(UTC)),
        }
        if reason is not None:
            record["reason"] = reason
        ticket = _Ticket(record, list(facts), refuse)
        self._spill(ticket)
        with self._pending_lock:
            self._pending.append(ticket)
        try:
            # Whoever gets the lock carries everybody's transactions; the others find theirs settled.
            with self._leading:
                if not ticket.settled:
                    self._lead()
        finally:
            with self._pending_lock:
                if ticket in self._pending:
                    self._pending.remove(ticket)
        if ticket.error is not None:
            raise ticket.error
        if ticket.committed is None:
            raise ConflictError(
                "the transaction was given up by the thread that carried it; nothing is known to be committed: try again"
            )
        return ticket.committed

    # -- inside: only the leader runs these

    def _lead(self) -> None:
        deadline = clock.monotonic() + retry_seconds()
        failures = 0
        while True:
            batch = self._batch()
            if not batch:
                return
            try:
                self._round(batch)
                failures = 0
            except BackendError as error:
                if not error.transient or clock.monotonic() > deadline:
                    self._give_up(batch, error)
                    return
                self._sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1

    def _batch(self) -> list[_Ticket]:
        with self._pending_lock:
            self._pending = [ticket for ticket in self._pending if not ticket.settled]
            waiting = list(self._pending)
        batch: list[_Ticket] = []
        size = 0
        for ticket in waiting:
            size += 600 + (200 if ticket.spilled else len(canonical_json(list(ticket.facts))))
            if batch and size > MAX_ENTRY // 2:
                break
            batch.append(ticket)
            if any(fact["fact"] in _ALONE for fact in ticket.facts):
                return batch if len(batch) == 1 else batch[:-1]
        return batch

    def _round(self, batch: Sequence[_Ticket]) -> None:
        """One try: catch up, look for own transactions, judge, create the next entry."""
        journal = self.journal
        head = journal.catch_up()
        with journal.lock:
            for ticket in batch:
                self._look_for(ticket, head)
            waiting = [ticket for ticket in batch if not ticket.settled]
            judged = [self._judged(ticket, head) for ticket in waiting]
            now = max(format_time(datetime.now(UTC)), journal.fold.marks["time"])
            voids = journal.fold.predict(judged, now)
            previous = journal.digest
        for ticket, void in zip(waiting, voids, strict=True):
            if void is not None:
                ticket.error = ticket.refuse(void)
        good = [ticket for ticket in waiting if not ticket.settled]
        if not good:
            return
        for ticket in good:
            ticket.record["base"] = head
        raw = encode_entry(head + 1, previous, writer=self._writer, time=now, txns=[self._written(t) for t in good])
        for ticket in good:
            ticket.sent = True
        try:
            journal.backend.create(entry_key(head + 1), raw)
        except AlreadyExistsError:
            return  # someone was first, or it was ourselves and the reply got lost: the next round reads which
        journal.accept(raw, self._entry(head + 1, previous, now, good))
        for ticket in good:
            ticket.committed = Committed(ticket.record["txn"], head + 1)

    def _look_for(self, ticket: _Ticket, head: int) -> None:
        found = self.journal.fold.verdict(ticket.record["txn"])
        if found is not None:
            seq, void = found
            if void is None:
                ticket.committed = Committed(ticket.record["txn"], seq)
            else:
                ticket.error = ConflictError(f"the transaction reached entry {seq} and has no effect there ({void}): try again")
        elif head >= ticket.record["birth"] + WINDOW:
            # It provably never landed; under its old id it never can.
            ticket.record["txn"], ticket.record["birth"], ticket.sent = new_id(), head, False

    def _judged(self, ticket: _Ticket, head: int) -> dict[str, Any]:
        """The transaction as the fold should judge it.

        Its base becomes the head: each of its references is looked at on today's state right here. A clean-up or a
        move was planned on exactly one state, so its base stays, and a lost race makes it void.
        """
        planned = any(fact["fact"] in _ALONE for fact in ticket.facts)
        return {**ticket.record, "facts": list(ticket.facts), "base": ticket.record["base"] if planned else head}

    def _written(self, ticket: _Ticket) -> Mapping[str, Any]:
        if ticket.spilled is not None:
            return {**ticket.record, "facts": [], "spilled": ticket.spilled}
        return {**ticket.record, "facts": list(ticket.facts)}

    def _entry(self, seq: int, previous: Digest, time: str, good: Sequence[_Ticket]) -> Any:
        txns = [{**ticket.record, "facts": list(ticket.facts)} for ticket in good]
        return {"format": 1, "seq": seq, "previous": str(previous), "writer": self._writer, "time": time, "txns": txns}

    def _spill(self, ticket: _Ticket) -> None:
        raw = canonical_json(list(ticket.facts))
        if len(raw) > SPILL:
            one = new_id()
            self.journal.backend.write(facts_key(one), raw)
            ticket.spilled = {"id": one, "digest": str(Digest.of(raw, self.journal.config.digest))}

    def _give_up(self, batch: Sequence[_Ticket], error: BackendError) -> None:
        for ticket in batch:
            if ticket.settled:
                continue
            if ticket.sent and error.transient:
                name = f"{ticket.record['txn']}-{ticket.record['birth']}"
                unknown = OutcomeUnknownError(
                    f"the commit was sent and no answer came ({error}); it may land, now or later: "
                    f"`artifactstore log --txn {name}` tells its outcome. What was put is still in your hands",
                    txn=name,
                )
                unknown.__cause__ = error
                ticket.error = unknown
            else:
                ticket.error = error
