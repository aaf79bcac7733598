"""Turns: who appends next where several writers race, and how long the others wait. It saves requests; nothing depends on it.

After a lost race a writer posts what another may append, and looks who else waits. In the order that all of them see, the
first one appends everything; the next one takes over if nothing comes of that. A writer that never loses a race does
none of this.
"""

import time as clock
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from artifactstore.errors import BackendError, CorruptionError
from artifactstore.journal.chain import entry_key, join
from artifactstore.journal.fetch import read_or_none
from artifactstore.journal.inbox import Inbox, Waiting
from artifactstore.journal.journal import Journal
from artifactstore.journal.ticket import Ticket
from artifactstore.runtime.threads import Pool

__all__ = ["YIELD_AFTER", "Turns"]

YIELD_AFTER: Final = 3  # lost races in a row after which a writer asks the others to wait
REMEMBERED: Final = 30.0  # seconds: so long after a lost race other writers are expected
_ROUND: Final = 3.5  # requests that a writer needs to append what waits
_FEW: Final = 4  # writers that turns are spread for at least
_MANY: Final = 40  # at most
_MET: Final = 12.0  # after the first lost race
_APART: Final = 0.8  # requests between the turns of two
_RANKS: Final = 8  # writers that are waited for at most, and each of them
_PATIENCE: Final = 2  # rounds
_PASSED: Final = 3  # entries that may come instead of the own turn; whoever appended them may look at no inbox
_SLOWEST: Final = 0.5  # seconds: a request that takes longer says nothing of the next one
_FASTEST: Final = 0.0005


class Turns:
    """The turns of one process among the writers of a store.

    Attributes:
        lost: how many races were lost in a row.
        moved: whether an entry was read while waiting for the turn: the head is as new as a request could tell.
    """

    def __init__(self, journal: Journal, inbox: Inbox, sleep: Callable[[float], None]) -> None:
        self.lost = 0
        self.moved = False
        self._journal = journal
        self._inbox = inbox
        self._sleep = sleep
        self._until: float | None = None
        self._pace = _FASTEST
        self._waited: Counter[str] = Counter()
        self._queue: list[Waiting] = []
        self._looked = -1
        self._again = False
        self._passed = 0
        self._last = 0
        self._crowd = 0.0  # transactions of an entry, of late

    @property
    def expected(self) -> bool:
        """Whether other writers are expected to append at the same time."""
        return self._until is not None and clock.monotonic() < self._until

    def begin(self) -> None:
        """Forget who waited: a new transaction begins."""
        self._queue, self._looked, self.moved, self._again = [], -1, False, False

    def lose(self) -> None:
        """Note a lost race."""
        if self._until is None:
            self._crowd = _MET
        self.lost += 1
        self._again = True
        self._until = clock.monotonic() + REMEMBERED

    def win(self, seq: int, txns: int) -> None:
        """Note that an own entry was created, with so many transactions."""
        self._waited.clear()
        self._meet(txns)
        if self._until is not None and txns == 1 and seq == self._last + 1:
            self._until = None  # no writer has come since the last time
        self.settle(seq)

    def settle(self, seq: int) -> None:
        """Note the entry of an own transaction, whoever appended it."""
        self.lost = self._passed = 0  # not before: a clean-up that lost its state to another entry begins anew, and has waited
        self._last = seq
        if self._until is not None:
            self._until = clock.monotonic() + REMEMBERED

    def _meet(self, writers: int) -> None:
        self._crowd = max(float(writers), 0.9 * self._crowd)

    def timed(self, call: Callable[[], None]) -> None:
        """Make a request, and note how long it takes."""
        began = clock.monotonic()
        call()
        took = min(max(clock.monotonic() - began, _FASTEST), _SLOWEST)
        self._pace = took if self._pace == _FASTEST else 0.7 * self._pace + 0.3 * took

    def look(self, head: int) -> None:
        """List who waits."""
        self._queue, self._looked = self._inbox.look(head), head
        self._meet(len(self._queue))

    def waiting(self) -> list[Waiting]:
        """Return who waits, without those that took effect, in the order of turns."""
        with self._journal.lock:
            return [one for one in self._queue if not self._inbox.is_settled(one.txn)]

    def come(self, own: Sequence[Ticket], head: int, *, sure: bool) -> bool:
        """Wait for the turn; False if an entry came instead.

        Args:
            own: what this process wants to append.
            head: on which it was judged.
            sure: whether this head was looked at in this round.
        """
        again, self._again = self._again, False
        if again and self._queue:
            return True  # the race was lost to a writer that takes nothing along: what waits is known
        if self._passed >= _PASSED:  # by writers that do not know that others wait: they have to lose a race
            if (self._queue or self._crowd > _MET) and self._passed < 2 * _PASSED:
                self.look(head)  # where many wait, entries of one transaction each would let all of them race, on and on
            return True
        if self._wait_for_number(own):
            return self._pass()
        if self._looked != head and not self._look_again(head, sure=sure):
            return self._pass()
        for _ in range(_PATIENCE):
            ahead = self._ahead(own)
            if not ahead:
                break
            for one in ahead:
                self._waited[one.txn] += 1
            if self._wait(len(ahead) * _ROUND, 1.0):
                return self._pass()
            for one in ahead:
                self._waited[one.txn] = _PATIENCE  # nothing came of it: it may be dead
        return True

    def _wait_for_number(self, own: Sequence[Ticket]) -> bool:
        """Wait by the lowest number of what was posted: most writers do not get further, since the first takes all of them along."""
        if any(ticket.posted < 0 for ticket in own):
            return False
        number = min(int(ticket.txn[:8], 16) for ticket in own) / 2**32
        return self._wait(number * min(max(self._crowd, _FEW), _MANY) * _APART, 2.0 if self.moved else 1.0)

    def _look_again(self, head: int, *, sure: bool) -> bool:
        """List who waits, and make sure of the head at the same time; False if an entry came."""
        journal = self._journal
        if sure:
            self.look(head)
            return True
        if not journal.backend.is_remote:
            self.look(head)
            return journal.catch_up(confirm=True) == head
        with Pool(1) as pool:
            looking = pool.submit(self.look, head)
            now = journal.catch_up(confirm=True)
            looking.result()
        return now == head

    def _pass(self) -> bool:
        self.moved = True
        self._passed += 1
        return False

    def _ahead(self, own: Sequence[Ticket]) -> list[Waiting]:
        """Return who comes first: requests to yield, and, where others can append all that this process has, older transactions."""
        mine = {ticket.txn for ticket in own}
        posted = [one for one in self.waiting() if one.txn not in mine and self._waited[one.txn] < _PATIENCE]
        yields = [one for one in posted if one.yields]
        asked = [ticket for ticket in own if ticket.yielded]
        if asked:
            first = min((ticket.record["base"], ticket.txn) for ticket in asked)
            return [one for one in yields if (one.base, one.txn) < first][:_RANKS]
        if any(ticket.posted < 0 for ticket in own):
            return yields[:_RANKS]
        lowest = min(ticket.txn for ticket in own)
        return [*yields, *(one for one in posted if not one.yields and one.txn < lowest)][:_RANKS]

    def _wait(self, requests: float, first: float) -> bool:
        """Wait for the time of some requests, looking for the next entry; True if it came.

        Args:
            requests: how many.
            first: how many before the first look.
        """
        end = clock.monotonic() + requests * self._pace
        pause = first
        while True:
            left = end - clock.monotonic()
            if left <= 0:
                return False
            self._sleep(min(left, pause * self._pace))
            pause = 1.0 + self._crowd / _MANY
            with suppress(BackendError):
                try:
                    if self._read_next():
                        return True
                except CorruptionError:
                    return True  # the next round finds out what this place is now

    def _read_next(self) -> bool:
        """Read the next entry, without the lock that readers need; return whether there is one."""
        journal = self._journal
        with journal.lock:
            seq, previous = journal.head + 1, journal.digest
        raw = read_or_none(journal.backend, entry_key(seq))
        if raw is not None:
            entry = join(raw, seq, previous)
            self._meet(len(entry["txns"]))
            journal.accept(raw, entry)
        return raw is not None
