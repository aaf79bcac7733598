"""A transaction that waits to be appended, and where it took effect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from artifactstore.model.facts import Fact

__all__ = ["Committed", "Ticket"]


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a transaction took effect.

    Attributes:
        txn: its id.
        seq: its entry.
        lost: why its content is stored again, if that was found lost before another writer could see it; else None.
    """

    txn: str
    seq: int
    lost: Any = None


@dataclass(slots=True, eq=False)
class Ticket:
    """One caller's transaction that is waiting to be appended.

    Attributes:
        record: the transaction without its facts.
        facts: its facts, as readers will decode them.
        size: bytes of its facts.
        refuse: converts the fold's code for a void transaction to the error to raise.
        tried: the highest entry that it was sent in; while the head is below, it may still land there.
        checked: the head at which what it relies on was last compared with what was found lost.
        posted: the highest base that it was posted to the inbox with, or -1; from then on any writer may append it.
        yielded: whether other writers were asked to let it through.
        committed: where it took effect.
        error: why it did not.
        spilled: where its facts are, if they are too large for an entry.
    """

    record: dict[str, Any]
    facts: list[Fact]
    size: int
    refuse: Callable[[Any], Exception]
    checked: int = 0
    tried: int = 0
    posted: int = -1
    yielded: bool = False
    committed: Committed | None = None
    error: BaseException | None = None
    spilled: dict[str, str] | None = None

    @property
    def settled(self) -> bool:
        """Whether its outcome is known."""
        return self.committed is not None or self.error is not None

    @property
    def txn(self) -> str:
        """Its id."""
        return str(self.record["txn"])

    def land(self, seq: int, fold: Any) -> None:
        """Note that it took effect in an entry.

        Args:
            seq: the entry.
            fold: the state with that entry.
        """
        # What was posted is appended by any writer who sees no mark yet, and nothing takes it back.
        lost = fold.lost({**self.complete(), "checked": self.checked}) if self.posted >= 0 else None
        self.committed = Committed(self.txn, seq, lost)

    def is_adoptable(self, fold: Any, base: int) -> bool:
        """Return whether another writer may append it as it is, posted with this base; the fold must not change meanwhile."""
        return bool(self.record["adoptable"]) and not fold.overtaken({**self.complete(), "base": base})

    def is_posted(self, fold: Any) -> bool:
        """Return whether the inbox has it as others may append it: no clean-up has made it void, and its alias was not moved since."""
        return self.posted >= max(0, fold.header["condemned"]) and self.is_adoptable(fold, self.posted)

    def complete(self) -> dict[str, Any]:
        """Return the transaction with all its facts, as the fold judges it."""
        return {**self.record, "facts": self.facts}

    def written(self) -> Mapping[str, Any]:
        """Return the transaction as an entry, or the inbox, has it."""
        if self.spilled is not None:
            return {**self.record, "facts": [], "spilled": self.spilled}
        return self.complete()

    def renew(self, txn: str, birth: int) -> None:
        """Give it a new id, where it certainly never landed with its old one and never can."""
        self.record["txn"], self.record["birth"] = txn, birth
        self.posted, self.yielded = -1, False
