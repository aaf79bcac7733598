"""Interfaces of the fold that the journal drives, and of the cache that stores it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["Fold", "FoldStore"]


@runtime_checkable
class Fold(Protocol):
    """The part of a fold that the journal uses.

    Attributes:
        LAYOUT: layout version of the cached form.
    """

    LAYOUT: ClassVar[int]

    @property
    def head(self) -> int:
        """Return the number of the last folded entry."""

    def apply(self, entry: "Entry") -> Sequence[Any]:
        """Fold one entry; for each transaction None, or why it is void."""

    def verdict(self, txn: str) -> tuple[int, str | None] | None:
        """Return (entry, why void or None) of a transaction seen in the window."""

    def predict(self, txns: "Sequence[Txn]", time: str, others: int = 0) -> Sequence[Any]:
        """Judge transactions like the next entry would; so many at the end are other writers' and must not be overtaken."""

    def overtaken(self, txn: "Txn") -> Any:
        """Return why no other writer may append a transaction that was posted with this base, or None."""

    def lost(self, txn: "Txn") -> Any:
        """Return why a transaction relies on content that was found lost since its references were checked, or None."""

    def vouches(self, digest: str, seq: int) -> bool:
        """Whether a fact records that a snapshot contains the journal up to an entry."""


class FoldStore(Protocol):
    """Cache of folds between processes; a failure counts as an empty cache."""

    def load(self) -> tuple[Fold, str] | None:
        """Return a fold and the digest of its last entry."""

    def is_due(self, fold: Any, saved: int) -> bool:
        """Return whether enough entries were folded since entry `saved` to cache the fold again."""

    def save(self, fold: Any, digest: str) -> None:
        """Cache a fold."""

    def see(self, entry: "Entry") -> None:
        """Take note of an entry that was folded."""

    def note(self, fold: Any) -> None:
        """Keep what was noted: the fold has all entries that were folded."""
