"""Appending: transactions become part of the next entry, several threads' in one, exactly once (docs/reference/protocol.md, rule 3).

Success is found in the journal, never in a reply: after every doubt the journal is read on, and the process's own
transaction ids are looked for there first.
"""

import threading
import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from artifactstore.backend.buffers import writable
from artifactstore.backend.wrappers.retry_policy import Retries, retried
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    ConflictError,
    FormatError,
    OutcomeUnknownError,
    RefusedError,
)
from artifactstore.journal.chain import MAX_ENTRY, encode_entry, entry_key, facts_key
from artifactstore.journal.journal import Journal
from artifactstore.model.actor import Actor
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time, new_id, parse_time
from artifactstore.model.facts import ADOPTABLE, WINDOW, Fact, parse_txn
from artifactstore.model.format import needed

__all__ = ["Appender", "Committed"]

SPILL: Final = 2**20  # bytes: larger facts are stored in an object of their own
AHEAD: Final = timedelta(minutes=15)  # how far a clock may be ahead of the storage's: S3's limit for signatures
FAR: Final = timedelta(days=1)  # that the journal may be ahead before an entry resets it (docs/reference/format.md, "Times")
_BEFORE: Final = "2025-06"  # older than this code: a clock that shows less is wrong
_ALONE: Final = frozenset({"condemned", "moved_to"})


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
    """One caller's transaction that is waiting to be appended.

    Attributes:
        record: the transaction without its facts.
        facts: its facts, as readers will decode them.
        size: bytes of its facts.
        tried: the highest entry that it was sent in; while the head is below, it may still land there.
    """

    record: dict[str, Any]
    facts: list[Fact]
    size: int
    refuse: Callable[[Any], Exception]
    tried: int = 0
    committed: Committed | None = None
    error: BaseException | None = None
    spilled: dict[str, str] | None = field(default=None)

    @property
    def settled(self) -> bool:
        return self.committed is not None or self.error is not None


class Appender:
    """Appends to one journal for all threads of a process."""

    def __init__(self, journal: Journal, author: Actor, *, sleep: Callable[[float], None] = clock.sleep) -> None:
        self.journal = journal
        self.author = author
        self._writer = new_id()
        self._sleep = sleep
        self._pending: list[_Ticket] = []
        self._led = False  # whether a thread is appending the pending list; guarded, like that list, by:
        self._turn = threading.Condition()

    def commit(
        self, facts: Sequence[Fact], *, birth: int, alive_at: int, refuse: Callable[[Any], Exception], reason: str | None = None
    ) -> Committed:
        """Append facts as one transaction; return once it is in the journal with effect.

        Args:
            facts: the facts; all or nothing.
            birth: the head when the transaction was made.
            alive_at: the head at which its references were last known to be alive.
            refuse: converts the fold's code for a void transaction to the error to raise.
            reason: recorded for the audit trail.

        Raises:
            OutcomeUnknownError: sent, and no reply arrived; the journal will show the outcome.
            BackendError: it is not in the journal and never will be: the backend refused or failed before it was sent.
            InvalidInputError: the facts do not have the form that readers require; nothing was sent.
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
        # Decoded again: the fold keeps its arguments, and must not share a dict that the caller may change later; and one
        # malformed fact in an entry would stop every reader for ever.
        raw = canonical_json({**record, "facts": list(facts)})
        ticket = _Ticket(record, parse_txn(raw)["facts"], len(raw), refuse)
        if len(raw) > SPILL:
            self._spill(ticket)
        self.journal.watch(record["txn"])
        try:
            self._wait_or_lead(ticket)
        finally:
            with self._turn:
                if ticket in self._pending:
                    self._pending.remove(ticket)
            self.journal.unwatch(ticket.record["txn"])
        if ticket.error is not None:
            raise ticket.error
        assert ticket.committed is not None
        return ticket.committed

    def _wait_or_lead(self, ticket: _Ticket) -> None:
        """Let one thread append all pending transactions; the others wait until theirs are settled or no thread leads."""
        with self._turn:
            self._pending.append(ticket)
            while self._led and not ticket.settled:
                self._turn.wait()
            if ticket.settled:
                return
            self._led = True
        try:
            self._lead(ticket)
        finally:
            with self._turn:
                self._led = False
                self._turn.notify_all()

    # -- run by the leader only

    def _lead(self, own: _Ticket) -> None:
        """Append until the leader's own transaction is settled; the next waiting thread leads then."""
        retries = Retries(sleep=self._sleep)
        taken = 0
        while not own.settled:
            batch = self._batch()
            try:
                taken = self._round(batch, taken)
                retries.succeeded()
            except BackendError as error:
                if not retries.again(error):
                    self._give_up(batch, error)
            except ArtifactStoreError as error:
                # The journal cannot be read (damaged, a newer format): the other threads will find that themselves.
                self._give_up([own], error)

    def _batch(self) -> list[_Ticket]:
        with self._turn:
            waiting = [ticket for ticket in self._pending if not ticket.settled]
        batch: list[_Ticket] = []
        size = 0
        for ticket in waiting:
            size += 600 + (200 if ticket.spilled else ticket.size)
            if batch and size > MAX_ENTRY // 2:
                break
            batch.append(ticket)
            if any(fact["fact"] in _ALONE for fact in ticket.facts):
                return batch if len(batch) == 1 else batch[:-1]
        return batch

    def _round(self, batch: Sequence[_Ticket], taken: int) -> int:
        """Make one try: catch up after an earlier send, look for own transactions, judge, create the next entry.

        Args:
            batch: the transactions to append.
            taken: an entry that the last try found to exist, or 0.

        Returns:
            The number of the entry if it exists already, else 0.
        """
        journal = self.journal
        with journal.lock:
            # Unsent transactions are in no entry yet, and creating the next entry proves that its number is free.
            sent = taken > 0 or any(ticket.tried for ticket in batch)
            head = journal.catch_up(confirm=True) if sent else journal.confirm()
            journal.known.check()
            if head < taken:
                raise BackendError(f"{entry_key(taken)} exists and cannot be read", transient=True)
            waiting, now, voids = self._judge(batch, head)
            if not sent and any(void is not None for void in voids):
                head = journal.catch_up()  # an entry that was not read yet may have made it valid, so nothing is final before
                waiting, now, voids = self._judge(batch, head)
            previous = journal.digest
        good = [ticket for ticket, void in zip(waiting, voids, strict=True) if void is None]
        for ticket, void in zip(waiting, voids, strict=True):
            # What is void now may be valid in an entry head + 1 that was sent before, with others, and may still land: only
            # when another entry has this number is the result final. An entry without transactions does.
            if void is not None and ticket.tried <= head:
                ticket.error = ticket.refuse(void)
        if all(ticket.settled for ticket in waiting):
            return 0
        for ticket in good:
            ticket.record["base"] = head
        form = max([int(journal.fold.header["format"]), *(needed(ticket.facts) for ticket in good)])
        raw = encode_entry(head + 1, previous, writer=self._writer, time=now, txns=[self._written(t) for t in good], format=form)
        before = [ticket.tried for ticket in good]
        for ticket in good:
            ticket.tried = head + 1
        try:
            journal.backend.create(entry_key(head + 1), raw)
        except AlreadyExistsError:
            return head + 1  # another writer was first, or it is our own entry with its reply lost: the next round reads it
        except ArtifactStoreError as error:
            if not (isinstance(error, BackendError) and error.transient):
                for ticket, tried in zip(good, before, strict=True):
                    ticket.tried = tried
            raise
        journal.accept(raw, self._entry(head + 1, previous, now, good, form))
        for ticket in good:
            ticket.committed = Committed(ticket.record["txn"], head + 1)
        return 0

    def _judge(self, batch: Sequence[_Ticket], head: int) -> tuple[list[_Ticket], str, Sequence[Any]]:
        """Return the transactions left to append, the time of the next entry, and for each why it would be void there, or None."""
        for ticket in batch:
            self._look_for(ticket, head)
        waiting = [ticket for ticket in batch if not ticket.settled]
        now = self._time()
        return waiting, now, self.journal.fold.predict([self._judged(ticket, head) for ticket in waiting], now)

    def _time(self) -> str:
        """Return the time of the next entry, by this machine's clock unless the storage's contradicts it.

        Raises:
            RefusedError: this machine's clock is ahead: its entry would shift the times of all later entries.
        """
        backend, last = self.journal.backend, str(self.journal.fold.header["time"])
        own = datetime.now(UTC)
        there = backend.storage_time() or backend.storage_time(fresh=True)
        if there is not None and own - there > AHEAD:
            there = backend.storage_time(fresh=True) or there
            own = datetime.now(UTC)
            if own - there > AHEAD:
                raise RefusedError(
                    f"this machine's clock shows {format_time(own)}, the clock of {backend.url} {format_time(there)}: an entry from "
                    "the future would shift the times of all later ones; set the clock, then try again"
                )
        text = format_time(own)
        # A machine without a clock battery starts long ago, and so does its disk: no reason to doubt all other clocks.
        sure = there is not None and there - own <= AHEAD and text > _BEFORE
        return text if text >= last or (sure and parse_time(last) - own > FAR) else last

    def _look_for(self, ticket: _Ticket, head: int) -> None:
        txn = ticket.record["txn"]
        found = self.journal.verdict(txn)
        if found is not None:
            seq, void = found
            if void is None:
                ticket.committed = Committed(txn, seq)
            else:
                ticket.error = ConflictError(f"the transaction reached entry {seq} and has no effect there ({void}): try again")
        elif head >= ticket.record["birth"] + WINDOW:
            # It certainly never landed; with its old id it never can.
            ticket.record["txn"], ticket.record["birth"] = new_id(), head
            self.journal.unwatch(txn)
            self.journal.watch(ticket.record["txn"])

    def _judged(self, ticket: _Ticket, head: int) -> dict[str, Any]:
        """Return the transaction as the fold should judge it.

        Its base becomes the head: its references are checked against the current state right here. A clean-up or a
        move was planned on exactly one state, so its base stays, and a lost race makes it void.
        """
        planned = any(fact["fact"] in _ALONE for fact in ticket.facts)
        checked = ticket.record["base"]
        return {**ticket.record, "facts": ticket.facts, "base": checked if planned else head, "checked": checked}

    def _written(self, ticket: _Ticket) -> Mapping[str, Any]:
        if ticket.spilled is not None:
            return {**ticket.record, "facts": [], "spilled": ticket.spilled}
        return {**ticket.record, "facts": ticket.facts}

    def _entry(self, seq: int, previous: Digest, time: str, good: Sequence[_Ticket], form: int) -> Any:
        txns = [{**ticket.record, "facts": ticket.facts} for ticket in good]
        return {"format": form, "seq": seq, "previous": str(previous), "writer": self._writer, "time": time, "txns": txns}

    def _spill(self, ticket: _Ticket) -> None:
        raw, one = canonical_json(ticket.facts), new_id()
        retried(lambda: self.journal.backend.write(facts_key(one), writable(raw)), sleep=self._sleep)
        ticket.spilled = {"id": one, "digest": str(Digest.of(raw, self.journal.config.digest))}

    def _give_up(self, batch: Sequence[_Ticket], error: ArtifactStoreError) -> None:
        """Settle the rest: what no entry can contain any more failed with this error, for the others the outcome is unknown."""
        with self.journal.lock:
            if isinstance(error, BackendError):
                # The last try may have landed with its reply lost, and a backend may fail for good after a write: the journal
                # tells, if it can still be read.
                with suppress(ArtifactStoreError):
                    self.journal.catch_up()
            head = self.journal.head
            for ticket in batch:
                self._look_for(ticket, head)
        for ticket in batch:
            if ticket.settled:
                continue
            # An entry of a newer format is not from this process: what was sent under its number is not there, and never will be.
            if ticket.tried <= head + isinstance(error, FormatError):
                ticket.error = error
                continue
            name = f"{ticket.record['txn']}-{ticket.record['birth']}"
            unknown = OutcomeUnknownError(
                f"the commit was sent and no reply arrived ({error}); it may land, now or later: "
                f"`artifactstore log --txn {name}` shows its outcome. The source of the put is unchanged",
                txn=name,
            )
            unknown.__cause__ = error
            ticket.error = unknown
