"""Appending: transactions become part of the next entry, several threads' in one, exactly once (docs/reference/protocol.md, rule 3).

Success is found in the journal, never in a reply: after every doubt the journal is read on, and the process's own
transaction ids are looked for there first.
"""

import threading
import time as clock
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
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
from artifactstore.journal.chain import INBOX_FOLDER, MAX_ENTRY, encode_entry, entry_key, facts_key
from artifactstore.journal.inbox import Inbox, Posted
from artifactstore.journal.journal import Journal
from artifactstore.journal.ticket import Committed, Ticket
from artifactstore.journal.turns import YIELD_AFTER, Turns
from artifactstore.model.actor import Actor
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time, new_id, parse_time
from artifactstore.model.facts import WINDOW, Fact, is_adoptable, parse_entry, parse_txn
from artifactstore.model.format import needed
from artifactstore.runtime.threads import Pool

__all__ = ["Appender", "Committed"]

SPILL: Final = 2**20  # bytes: larger facts are stored in an object of their own
AHEAD: Final = timedelta(minutes=15)  # how far a clock may be ahead of the storage's: S3's limit for signatures
FAR: Final = timedelta(days=1)  # that the journal may be ahead before an entry resets it (docs/reference/format.md, "Times")
_ENVELOPE: Final = 600  # bytes of a transaction without its facts, and more
_BEFORE: Final = "2025-06"  # older than this code: a clock that shows less is wrong
_ALONE: Final = frozenset({"condemned", "moved_to"})


class Appender:
    """Appends to one journal for all threads of a process."""

    def __init__(self, journal: Journal, author: Actor, *, sleep: Callable[[float], None] = clock.sleep) -> None:
        self.journal = journal
        self.author = author
        self._writer = new_id()
        self._sleep = sleep
        self._inbox = Inbox(journal)
        self._turns = Turns(journal, self._inbox, sleep)
        self._pending: list[Ticket] = []
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
        record: dict[str, Any] = {
            "txn": new_id(),
            "birth": birth,
            "base": alive_at,
            "adoptable": is_adoptable(facts),
            "actor": self.author.actor,
            "identity": self.author.identity,
            "host": self.author.host,
            "tool": self.author.tool,
            "time": format_time(datetime.now(UTC)),
        }
        if reason is not None:
            record["reason"] = reason
        if self.author.claims:
            record["claims"] = dict(self.author.claims)
        # Decoded again: the fold keeps its arguments, and must not share a dict that the caller may change later; and one
        # malformed fact in an entry would stop every reader for ever.
        raw = canonical_json({**record, "facts": list(facts)})
        ticket = Ticket(record, parse_txn(raw)["facts"], len(raw), refuse)
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

    def _wait_or_lead(self, ticket: Ticket) -> None:
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

    def _lead(self, own: Ticket) -> None:
        """Append until the leader's own transaction is settled; the next waiting thread leads then."""
        retries = Retries(sleep=self._sleep)
        self._turns.begin()
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
        if own.committed is not None:
            self._turns.settle(own.committed.seq)

    def _batch(self) -> list[Ticket]:
        with self._turn:
            waiting = [ticket for ticket in self._pending if not ticket.settled]
        batch: list[Ticket] = []
        size = 0
        for ticket in waiting:
            size += _ENVELOPE + (200 if ticket.spilled else ticket.size)
            if batch and size > MAX_ENTRY // 2:
                break
            batch.append(ticket)
            if any(fact["fact"] in _ALONE for fact in ticket.facts):
                return batch if len(batch) == 1 else batch[:-1]
        return batch

    def _round(self, batch: Sequence[Ticket], taken: int) -> int:
        """Make one try: catch up after an earlier send, look for own transactions, judge, create the next entry.

        Args:
            batch: the transactions to append.
            taken: an entry that the last try found to exist, or 0.

        Returns:
            The number of the entry if it exists already, else 0.
        """
        journal, turns = self.journal, self._turns
        with journal.lock:
            # Unsent transactions are in no entry yet, and creating the next entry proves that its number is free.
            sent = taken > 0 or any(ticket.tried or ticket.posted >= 0 for ticket in batch)
            expected = turns.expected or turns.lost > 0 or any(ticket.posted >= 0 for ticket in batch)
            sure = not (expected and not sent and journal.head)  # else the head is looked at when its turn has come
            if not sure or (turns.moved and not taken):
                head = journal.head  # an entry was read just now
            else:
                head = journal.catch_up(confirm=True, taken=taken) if sent else journal.confirm()
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
            # when another entry has this number is the result final. An entry without transactions does. What was posted was
            # valid by itself then; what makes it void since (a clean-up, the end of its run, a move) makes it void for ever.
            if void is not None and ticket.tried <= head:
                ticket.error = ticket.refuse(void)
        if all(ticket.settled for ticket in waiting):
            return 0
        others: list[Posted] = []
        if expected and good:
            self._post(good, head, now)
            if not turns.come(good, head, sure=sure):
                return 0
            others = self._adopt(good, head, now)
        for ticket in good:
            ticket.record["base"] = head
        form = max([int(journal.fold.header["format"]), *(needed(ticket.facts) for ticket in good)])
        txns = [*(ticket.written() for ticket in good), *(one.written for one in others)]
        raw = encode_entry(head + 1, previous, writer=self._writer, time=now, txns=txns, format=form)
        if others and not self._is_readable(raw, head + 1):
            self._inbox.refuse(others)
            return 0
        turns.moved = False
        before = [ticket.tried for ticket in good]
        for ticket in good:
            ticket.tried = head + 1
        try:
            journal.backend.create(entry_key(head + 1), raw)
        except AlreadyExistsError:
            turns.lose()
            return head + 1  # another writer was first, or it is our own entry with its reply lost: the next round reads it
        except ArtifactStoreError as error:
            if not (isinstance(error, BackendError) and error.transient):
                for ticket, tried in zip(good, before, strict=True):
                    ticket.tried = tried
            raise
        journal.accept(
            raw, self._entry(head + 1, previous, now, [*map(Ticket.complete, good), *(one.txn for one in others)], form)
        )
        turns.win(head + 1, len(txns))
        with journal.lock:
            for ticket in good:
                ticket.land(head + 1, journal.fold)
        return 0

    @staticmethod
    def _is_readable(raw: bytes, seq: int) -> bool:
        """Return whether readers will take an entry with what others wrote: one that they do not would stop all of them."""
        try:
            parse_entry(raw, entry_key(seq))
        except ArtifactStoreError:
            return False
        return len(raw) <= MAX_ENTRY

    def _post(self, good: Sequence[Ticket], head: int, now: str) -> None:
        """Let other writers append what they may, and ask them to wait for what they may not."""
        turns, journal = self._turns, self.journal
        jobs: list[Callable[[], None]] = []
        for ticket in good:
            with journal.lock:
                adoptable = ticket.is_adoptable(journal.fold, head)
            if not adoptable:
                # Not at each try: it takes a request, in which one that heeds nothing appends again.
                if turns.lost and turns.lost % YIELD_AFTER == 0 and not ticket.yielded:
                    ticket.yielded, ticket.record["base"] = True, head
                    jobs.append(partial(self._ask, ticket))
                continue
            with journal.lock:
                # Once is enough. It must be valid by itself: whoever appends it may not have what it depends on.
                posted = ticket.is_posted(journal.fold)
                if posted or journal.head != head or journal.fold.predict([self._judged(ticket, head)], now)[0] is not None:
                    continue
                if ticket.posted < 0 and ticket.tried <= head and head - ticket.record["birth"] >= INBOX_FOLDER:
                    self._renew(ticket, head)  # it is in no entry and in none under way; writers look at new ones alone
            ticket.record["base"] = head
            ticket.checked = ticket.checked if ticket.posted >= 0 else head
            jobs.append(partial(self._post_one, ticket, ticket.posted))
            ticket.posted = head
        if len(jobs) < 2 or not journal.backend.is_remote:
            for job in jobs:
                job()
            return
        with Pool(min(len(jobs), 16)) as pool:
            sent = [pool.submit(job) for job in jobs[:-1]]
            jobs[-1]()
            for one in sent:
                one.result()

    def _post_one(self, ticket: Ticket, before: int) -> None:
        try:
            self._turns.timed(lambda: self._inbox.post(ticket.written()))
        except BackendError as error:
            if not error.transient:
                ticket.posted = before  # it is certainly not there; its own entry is its only way

    def _ask(self, ticket: Ticket) -> None:
        with suppress(BackendError):  # others may then be faster again
            self._turns.timed(lambda: self._inbox.ask_to_yield(ticket.record))

    def _adopt(self, good: Sequence[Ticket], head: int, now: str) -> list[Posted]:
        """Return transactions of other writers that take effect behind the own ones in the next entry."""
        if any(fact["fact"] in _ALONE for ticket in good for fact in ticket.facts):
            return []
        room = MAX_ENTRY - _ENVELOPE - sum(_ENVELOPE + (0 if ticket.spilled else ticket.size) for ticket in good)
        posted = self._inbox.read(self._turns.waiting(), {ticket.txn for ticket in good}, room, now)
        with self.journal.lock:
            if self.journal.head != head:
                return []
            judged = [*(self._judged(ticket, head) for ticket in good), *(one.txn for one in posted)]
            voids = self.journal.fold.predict(judged, now, len(posted))
        return [one for one, void in zip(posted, voids[len(good) :], strict=True) if void is None]

    def _judge(self, batch: Sequence[Ticket], head: int) -> tuple[list[Ticket], str, Sequence[Any]]:
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

    def _look_for(self, ticket: Ticket, head: int) -> None:
        txn = ticket.txn
        found = self.journal.verdict(txn)
        if found is not None and (found[1] is None or ticket.posted < 0):
            seq, void = found
            if void is None:
                ticket.land(seq, self.journal.fold)
            else:
                ticket.error = ConflictError(f"the transaction reached entry {seq} and has no effect there ({void}): try again")
        elif head >= ticket.record["birth"] + WINDOW:
            self._renew(ticket, head)  # it certainly never landed; with its old id it never can

    def _renew(self, ticket: Ticket, head: int) -> None:
        self.journal.unwatch(ticket.txn)
        ticket.renew(new_id(), head)
        self.journal.watch(ticket.txn)

    def _judged(self, ticket: Ticket, head: int) -> dict[str, Any]:
        """Return the transaction as the fold should judge it.

        Its base becomes the head: its references are checked against the current state right here. A clean-up or a
        move was planned on exactly one state, so its base stays, and a lost race makes it void.
        """
        planned = any(fact["fact"] in _ALONE for fact in ticket.facts)
        base = ticket.record["base"]
        # What was posted may take effect by any writer's hand: from then on only the fold can say that it never will.
        checked = base if ticket.posted < 0 else head
        return {**ticket.record, "facts": ticket.facts, "base": base if planned else head, "checked": checked}

    def _entry(self, seq: int, previous: Digest, time: str, txns: Sequence[Any], form: int) -> Any:
        return {"format": form, "seq": seq, "previous": str(previous), "writer": self._writer, "time": time, "txns": txns}

    def _spill(self, ticket: Ticket) -> None:
        raw, one = canonical_json(ticket.facts), new_id()
        retried(lambda: self.journal.backend.write(facts_key(one), writable(raw)), sleep=self._sleep)
        ticket.spilled = {"id": one, "digest": str(Digest.of(raw, self.journal.config.digest))}

    def _give_up(self, batch: Sequence[Ticket], error: ArtifactStoreError) -> None:
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
            if ticket.tried <= head + isinstance(error, FormatError) and ticket.posted < 0:
                ticket.error = error
                continue
            name = f"{ticket.txn}-{ticket.record['birth']}"
            unknown = OutcomeUnknownError(
                f"the commit was sent and no reply arrived ({error}); it may land, now or later: "
                f"`artifactstore log --txn {name}` shows its outcome. The source of the put is unchanged",
                txn=name,
            )
            unknown.__cause__ = error
            ticket.error = unknown
