"""Heads: the end of a journal, as text, and what a machine knew of it.

Entries at the end can be deleted without a trace in what is left: only what is known elsewhere shows it. A machine that has
seen a longer journal, or another one, says so and writes no more until it is told that the present end is right (decision 0032).
"""

import re
import warnings
from typing import Final, Protocol

from artifactstore.errors import RefusedError
from artifactstore.model.digest import Digest

__all__ = ["Heads", "KnownHead", "format_head", "parse_head"]

_HEAD: Final = re.compile(r"(\d{1,12}):((?:blake3|sha256):[0-9a-f]{64})", re.ASCII)


def format_head(seq: int, digest: Digest | str) -> str:
    """Write an entry's number and the digest of its bytes: what `verify` takes for an anchor."""
    return f"{seq}:{digest}"


def parse_head(text: str) -> tuple[int, str] | None:
    """Read what `format_head` wrote; None for anything else."""
    found = _HEAD.fullmatch(text.strip())
    return None if found is None else (int(found[1]), found[2])


class Heads(Protocol):
    """Where a machine keeps what it knew; any failure of it means that it knows nothing."""

    def load(self) -> tuple[int, str] | None:
        """Return the last entry known, and its digest."""

    def save(self, seq: int, digest: str) -> None:
        """Keep the last entry known."""


class KnownHead:
    """Compares a journal that is being read with what this machine knew of it.

    Attributes:
        known: the last entry that this machine knew, and its digest.
        fault: both heads, in words, where the journal does not have that entry any more.
    """

    def __init__(self, heads: Heads | None, url: str) -> None:
        self._heads = heads
        self._url = url
        self.known: tuple[int, str] | None = None
        self.fault: str | None = None
        self._reported = False

    def begin(self) -> None:
        """Look what is known, before a journal is read from its beginning."""
        self.known = None if self._heads is None else self._heads.load()
        self.fault, self._reported = None, False

    def noted(self) -> tuple[int, str] | None:
        """Return the last entry that this machine knew, also where nothing was read yet."""
        return self.known or (None if self._heads is None else self._heads.load())

    def see(self, seq: int, digest: Digest) -> None:
        """Compare an entry that was read."""
        if self.known is not None and seq == self.known[0] and str(digest) != self.known[1]:
            self.fault = self._fault(f"has {format_head(seq, digest)} there now: its history was changed")

    def reach(self, seq: int, digest: Digest) -> None:
        """Compare the end of what was read, and keep it if it is further than what was known."""
        if self._heads is None:
            return
        if self.known is not None and seq <= self.known[0] and (seq, str(digest)) != self.known and self.fault is None:
            self.fault = self._fault(f"ends with {format_head(seq, digest)} now: entries are missing")
        if self.fault is not None:
            if not self._reported:
                self._reported = True
                warnings.warn(self.fault, UserWarning, stacklevel=6)
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
            RefusedError: names both heads.
        """
        if self.fault is not None:
            raise RefusedError(self.fault, reasons=("the journal is not the one that this machine knew",))

    def accept(self, seq: int, digest: Digest) -> None:
        """Take the present end for right."""
        self.known, self.fault = (seq, str(digest)), None
        if self._heads is not None:
            self._heads.save(*self.known)
