"""Heads: the end of a journal, as text, and the last one that a machine has seen.

Entries deleted at the end leave no trace in the rest: only a head recorded elsewhere shows it. A machine that has
seen a longer or a different journal reports it, and refuses to write until the current end is accepted (decision 0032).
"""

import re
from typing import Final, Protocol

from artifactstore.errors import RefusedError
from artifactstore.model.digest import Digest
from artifactstore.runtime.remarks import remark

__all__ = ["Heads", "KnownHead", "format_head", "parse_head"]

_HEAD: Final = re.compile(r"(\d{1,12}):((?:blake3|sha256):[0-9a-f]{64})", re.ASCII)


def format_head(seq: int, digest: Digest | str) -> str:
    """Format an entry's number and the digest of its bytes: an anchor for `verify`."""
    return f"{seq}:{digest}"


def parse_head(text: str) -> tuple[int, str] | None:
    """Parse the output of `format_head`; None for anything else."""
    found = _HEAD.fullmatch(text.strip())
    return None if found is None else (int(found[1]), found[2])


class Heads(Protocol):
    """A machine's record of the last known head; a failure counts as no record."""

    def load(self) -> tuple[int, str] | None:
        """Return the last known entry, and its digest."""

    def save(self, seq: int, digest: str) -> None:
        """Record the last known entry."""


class KnownHead:
    """Compares a journal that is being read with the head that this machine has seen.

    Attributes:
        known: the last entry that this machine has seen, and its digest.
        fault: a message with both heads, if the journal does not contain that entry any more.
    """

    def __init__(self, heads: Heads | None, url: str) -> None:
        self._heads = heads
        self._url = url
        self.known: tuple[int, str] | None = None
        self.fault: str | None = None
        self._reported = False

    def begin(self) -> None:
        """Load the record, before a journal is read from its beginning."""
        self.known = None if self._heads is None else self._heads.load()
        self.fault, self._reported = None, False

    def noted(self) -> tuple[int, str] | None:
        """Return the last entry that this machine has seen, even if nothing was read yet."""
        return self.known or (None if self._heads is None else self._heads.load())

    def see(self, seq: int, digest: Digest) -> None:
        """Compare an entry that was read."""
        if self.known is not None and seq == self.known[0] and str(digest) != self.known[1]:
            self.fault = self._fault(f"has {format_head(seq, digest)} there now: its history was changed")

    def reach(self, seq: int, digest: Digest) -> None:
        """Compare the end of what was read, and record it if it is further than the record."""
        if self._heads is None:
            return
        if self.known is not None and seq <= self.known[0] and (seq, str(digest)) != self.known and self.fault is None:
            self.fault = self._fault(f"ends with {format_head(seq, digest)} now: entries are missing")
        if self.fault is not None:
            if not self._reported:
                self._reported = True
                remark(self.fault)
        elif seq and (seq, str(digest)) != self.known:
            self.known = (seq, str(digest))
            self._heads.save(*self.known)

    def _fault(self, now: str) -> str:
        assert self.known is not None  # else there is nothing to compare with
        return (
            f"this machine knew the journal of {self._url} up to {format_head(*self.known)}, and it {now}, or the store was restored "
            "from an older copy. Reading goes on, writing does not: find out what happened, and if the present end is right, run "
            "`artifactstore head --accept`"
        )

    def check(self) -> None:
        """Refuse to append where entries are missing.

        Raises:
            RefusedError: shows both heads.
        """
        if self.fault is not None:
            raise RefusedError(self.fault, reasons=("the journal differs from the one that this machine has seen",))

    def accept(self, seq: int, digest: Digest) -> None:
        """Accept the current end as right."""
        self.known, self.fault = (seq, str(digest)), None
        if self._heads is not None:
            self._heads.save(*self.known)
