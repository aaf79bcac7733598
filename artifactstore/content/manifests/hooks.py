"""Hooks: a few chunk digests per artifact, by which a writer finds manifests worth loading (sparse indexing).

A chunk whose digest is 0 modulo 64 is a hook; an artifact lists at most its 4,096 smallest, as their first 8
bytes. No store, however large, needs an index of all chunks.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["HookIndex", "is_hook", "select"]

MODULUS: Final = 64
LIMIT: Final = 4096
SIZE: Final = 8  # bytes listed per digest


def is_hook(digest: bytes) -> bool:
    """Return whether a chunk's digest, as a big-endian number, is 0 modulo 64."""
    return digest[-1] % MODULUS == 0


def select(digests: Iterable[bytes]) -> str:
    """Return an artifact's hooks as concatenated hex, in ascending order."""
    hooks = {digest for digest in digests if is_hook(digest)}
    chosen = heapq.nsmallest(LIMIT, hooks) if len(hooks) > LIMIT else sorted(hooks)
    return b"".join(digest[:SIZE] for digest in chosen).hex()


class HookIndex:
    """Finds the artifacts that list a hook; built from the journal's fold, and updated as that grows."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._seen: set[str] = set()
        self._mark: tuple[int, str | None] | None = None

    def update(self, hooks: Mapping[str, str]) -> None:
        """Add the fold's hooks: artifact digest → its hooks as hex; returns at once if nothing is new."""
        mark = (len(hooks), next(reversed(hooks), None)) if isinstance(hooks, dict) else None
        if mark is not None and mark == self._mark:
            return
        self._mark = mark
        for digest, text in hooks.items():
            if digest not in self._seen:
                self._seen.add(digest)
                raw = bytes.fromhex(text)
                for at in range(0, len(raw), SIZE):
                    self._known[raw[at : at + SIZE]] = digest

    def find(self, chunk: bytes) -> str | None:
        """Return the digest of the newest known artifact that lists this chunk as a hook, or None."""
        return self._known.get(chunk[:SIZE])
