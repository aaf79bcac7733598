"""Appending: transactions become part of the next entry, several threads' in one, exactly once (docs/reference/protocol.md, rule 3).

Success is found in the journal, never in a reply: after every doubt the journal is read on, and own
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
from artifactstore.backend.retrying import retry_seconds
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
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time, new_id, parse_time
from artifactstore.model.facts import ADOPTABLE, FORMAT, WINDOW, Fact, parse_txn

__all__ = ["Appender", "Author", "Committed", "Patience"]

SPILL: Final = 2**20  # bytes of facts above which they get an object of their own
AHEAD: Final = timedelta(minutes=15)  # that a clock may be ahead of the storage's: as much as S3 lets signatures be
FAR: Final = timedelta(days=1)  # that the journal may be ahead before an entry resets it (docs/reference/format.md, "Times")
_BEFORE: Final = "2025-06"  # before this was written no clock can have been right
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
    """One caller's transaction on its way into the journal.

    Attributes:
        record: the transaction without its facts.
        facts: its facts, as readers will decode them.
        size: bytes of its facts.
        tried: the highest entry that it was sent as a part of; while the head is below, it may still land there.
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


class Patience:
    """How long and how often a failing backend is tried again; counts from the last success.

    So what a wrapper below has already waited counts too.
    """

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        self._failures = 0
        self._since = clock.monotonic()

    def succeeded(self) -> None:
        """Begin to count anew."""
        self._failures = 0
        self._since = clock.monotonic()

    def again(self, error: BackendError) -> bool:
        """Wait and return True if another try makes sense."""
        if not error.transient or clock.monotonic() >= self._since + retry_seconds():
            return False
        self._sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
        self._failures += 1
        return True


class Appender:
    """Appends to one journal for all threads of a process."""

    def __init__(self, journal: Journal, author: Author, *, sleep: Callable[[float], None] = clock.sleep) -> None:
        self.journal = journal
        self.author = author
        self._writer = new_id()
        self._sleep = sleep
        self._pending: list[_Ticket] = []
        self._led = False  # whether a thread is carrying what is pending; guarded, as that list is, by:
        self._turn = threading.Condition()

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
            BackendError: it is not in the journal and never will be: the backend refused or failed before it was sent.
            InvalidInputError: the facts do not have the form that readers demand; nothing was sent.
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
        # Decoded again: the fold keeps what it is handed, and must not share a dict that the caller may change later; and one
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
        """One thread carries everybody's transactions; the others wait until theirs are settled or nobody leads."""
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

    # -- inside: only the leader runs these

    def _lead(self, own: _Ticket) -> None:
        """Append until the leader's own transaction is settled; the next one waiting leads then."""
        patience = Patience(self._sleep)
        taken = 0
        while not own.settled:
            batch = self._batch()
            try:
                taken = self._round(batch, taken)
                patience.succeeded()
            except BackendError as error:
                if not patience.again(error):
                    self._give_up(batch, error)
            except ArtifactStoreError as error:
                # The journal can't be read on (damaged, a newer format): the others will meet it themselves.
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
        """One try: catch up where something was sent before, look for own transactions, judge, create the next entry.

        Args:
            batch: what to append.
            taken: an entry that the last try found to be taken, or 0.

        Returns:
            The number of the entry if it was taken, else 0.
        """
        journal = self.journal
        with journal.lock:
            # What was never sent is in no entry yet, and that the next number is free its creation proves.
            sent = taken > 0 or any(ticket.tried for ticket in batch)
            head = journal.catch_up(confirm=True) if sent else journal.confirm()
            journal.known.check()
            if head < taken:
                raise BackendError(f"{entry_key(taken)} exists and can't be read", transient=True)
            waiting, now, voids = self._judge(batch, head)
            if not sent and any(void is not None for void in voids):
                head = journal.catch_up()  # an entry that was not read yet may have made it good, and no answer is final before
                waiting, now, voids = self._judge(batch, head)
            previous = journal.digest
        good = [ticket for ticket, void in zip(waiting, voids, strict=True) if void is None]
        for ticket, void in zip(waiting, voids, strict=True):
            # What is void now may be good in an entry head + 1 sent before, beside others, and that may still land: only
            # when another one has taken this number is the answer final. An entry without transactions does.
            if void is not None and ticket.tried <= head:
                ticket.error = ticket.refuse(void)
        if all(ticket.settled for ticket in waiting):
            return 0
        for ticket in good:
            ticket.record["base"] = head
        raw = encode_entry(head + 1, previous, writer=self._writer, time=now, txns=[self._written(t) for t in good])
        before = [ticket.tried for ticket in good]
        for ticket in good:
            ticket.tried = head + 1
        try:
            journal.backend.create(entry_key(head + 1), raw)
        except AlreadyExistsError:
            return head + 1  # someone was first, or it was ourselves and the reply got lost: the next round reads which
        except ArtifactStoreError as error:
            if not (isinstance(error, BackendError) and error.transient):
                for ticket, tried in zip(good, before, strict=True):
                    ticket.tried = tried
            raise
        journal.accept(raw, self._entry(head + 1, previous, now, good))
        for ticket in good:
            ticket.committed = Committed(ticket.record["txn"], head + 1)
        return 0

    def _judge(self, batch: Sequence[_Ticket], head: int) -> tuple[list[_Ticket], str, Sequence[Any]]:
        """Return what is left to append, the time of the next entry, and for each why it would be void there, or None."""
        for ticket in batch:
            self._look_for(ticket, head)
        waiting = [ticket for ticket in batch if not ticket.settled]
        now = self._time()
        return waiting, now, self.journal.fold.predict([self._judged(ticket, head) for ticket in waiting], now)

    def _time(self) -> str:
        """Return the time of the next entry, by this machine's clock if the storage's does not contradict it.

        Raises:
            RefusedError: this machine's clock is ahead: what it wrote would set the times of all later entries.
        """
        backend, last = self.journal.backend, str(self.journal.fold.marks["time"])
        own = datetime.now(UTC)
        there = backend.storage_time() or backend.storage_time(fresh=True)
        if there is not None and own - there > AHEAD:
            there = backend.storage_time(fresh=True) or there
            own = datetime.now(UTC)
            if own - there > AHEAD:
                raise RefusedError(
                    f"this machine's clock says {format_time(own)}, and that of {backend.url} says {format_time(there)}: an entry from "
                    "the future would shift the times of all later ones; set the clock, then try again"
                )
        text = format_time(own)
        # The clock of a machine without a battery begins long ago, and so does its disk's: no reason to doubt all others.
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
            # It provably never landed; under its old id it never can.
            ticket.record["txn"], ticket.record["birth"] = new_id(), head
            self.journal.unwatch(txn)
            self.journal.watch(ticket.record["txn"])

    def _judged(self, ticket: _Ticket, head: int) -> dict[str, Any]:
        """The transaction as the fold should judge it.

        Its base becomes the head: each of its references is looked at on today's state right here. A clean-up or a
        move was planned on exactly one state, so its base stays, and a lost race makes it void.
        """
        planned = any(fact["fact"] in _ALONE for fact in ticket.facts)
        return {**ticket.record, "facts": ticket.facts, "base": ticket.record["base"] if planned else head}

    def _written(self, ticket: _Ticket) -> Mapping[str, Any]:
        if ticket.spilled is not None:
            return {**ticket.record, "facts": [], "spilled": ticket.spilled}
        return {**ticket.record, "facts": ticket.facts}

    def _entry(self, seq: int, previous: Digest, time: str, good: Sequence[_Ticket]) -> Any:
        txns = [{**ticket.record, "facts": ticket.facts} for ticket in good]
        return {"format": FORMAT, "seq": seq, "previous": str(previous), "writer": self._writer, "time": time, "txns": txns}

    def _spill(self, ticket: _Ticket) -> None:
        raw, one = canonical_json(ticket.facts), new_id()
        patience = Patience(self._sleep)
        while True:
            try:
                self.journal.backend.write(facts_key(one), writable(raw))
                break
            except BackendError as error:
                if not patience.again(error):
                    raise
        ticket.spilled = {"id": one, "digest": str(Digest.of(raw, self.journal.config.digest))}

    def _give_up(self, batch: Sequence[_Ticket], error: ArtifactStoreError) -> None:
        """Settle what is left: what no entry can hold any more failed with this error, the rest is unknown."""
        with self.journal.lock:
            if isinstance(error, BackendError):
                # The last try may have landed and lost its reply, and a place may fail for good after it wrote: the journal
                # knows, if it can still be read.
                with suppress(ArtifactStoreError):
                    self.journal.catch_up()
            head = self.journal.head
            for ticket in batch:
                self._look_for(ticket, head)
        for ticket in batch:
            if ticket.settled:
                continue
            # An entry of a newer format is none of this process's: what was sent under its number is not there, and never will be.
            if ticket.tried <= head + isinstance(error, FormatError):
                ticket.error = error
                continue
            name = f"{ticket.record['txn']}-{ticket.record['birth']}"
            unknown = OutcomeUnknownError(
                f"the commit was sent and no answer came ({error}); it may land, now or later: "
                f"`artifactstore log --txn {name}` tells its outcome. What was put is still in your hands",
                txn=name,
            )
            unknown.__cause__ = error
            ticket.error = unknown
