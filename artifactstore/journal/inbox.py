"""The inbox: transactions that lost a race, for whoever wins the next one to append (docs/reference/protocol.md, rule 4).

Whoever may write to a store may put anything here, and a file here means nothing by itself: each is read as if a stranger
had made it, and the fold judges what comes of it. What is not there, or cannot be read, is not adopted; nothing else follows.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from artifactstore.backend.buffers import writable
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError
from artifactstore.journal.chain import INBOX_FOLDER, facts_key, inbox_folder, inbox_key, inbox_name
from artifactstore.journal.fetch import read_or_none
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, check_json, parse_time
from artifactstore.model.facts import Fact, is_adoptable, parse_facts, parse_txn
from artifactstore.runtime.threads import Pool

__all__ = ["Inbox", "Posted", "Waiting"]

LISTED: Final = 4096  # objects of a folder that are looked at: two writers' hundreds of commits, and some litter
READ: Final = 64  # transactions that are read for one entry
LARGEST: Final = 2**20 + 2**16  # bytes of one: larger facts are in `facts/`
_SPILLED: Final = 16 * 2**20  # bytes of facts in `facts/` that are read for another writer
_AT_ONCE: Final = 32  # concurrent reads
RECENT: Final = timedelta(minutes=5)  # for which a move of an alias is appended for its writer, who may have died
_KEPT: Final = 4096  # transactions, and keys of unusable objects, that are remembered


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction in the inbox, as its key shows it.

    Attributes:
        key: of the object.
        txn: its id.
        base: the head at which its references were last checked.
        yields: whether it only asks other writers to wait.
        size: bytes of the object.
    """

    key: str
    txn: str
    base: int
    yields: bool
    size: int

    @property
    def rank(self) -> tuple[bool, int, str]:
        """The order of turns: requests to yield first, then by age."""
        return (not self.yields, self.base, self.txn)


@dataclass(frozen=True, slots=True)
class Posted:
    """A transaction of another writer that can be appended.

    Attributes:
        key: where it was posted.
        txn: with all its facts, as the fold judges it.
        written: as its writer posted it, and as the entry will have it.
        size: bytes in the entry.
    """

    key: str
    txn: dict[str, Any]
    written: Mapping[str, Any]
    size: int


class Inbox:
    """The inbox of one store, for one process."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read: dict[str, Posted] = {}
        self._unusable: set[str] = set()
        self._forbidden = False

    def post(self, record: Mapping[str, Any]) -> None:
        """Post a transaction, as an entry would have it; from now on any writer may append it.

        Raises:
            BackendError: it is not there; or, if the failure is transient, it may be.
        """
        key = inbox_key(record["txn"], record["birth"], record["base"])
        self._journal.backend.write(key, writable(canonical_json(record)))

    def ask_to_yield(self, record: Mapping[str, Any]) -> None:
        """Ask other writers to let a transaction through that only its own writer can append.

        Raises:
            BackendError: it is not there.
        """
        self._journal.backend.write(inbox_key(record["txn"], record["birth"], record["base"], yields=True), b"")

    def look(self, head: int) -> list[Waiting]:
        """List what waits, in the order of turns; one listing, at the start of a folder two. Nothing where it cannot be listed."""
        backend = self._journal.backend
        folders = dict.fromkeys(inbox_folder(max(0, head - ago)) for ago in (0, INBOX_FOLDER // 2))
        found: dict[tuple[str, bool], Waiting] = {}
        if not backend.listable or self._forbidden:
            return []
        try:
            for folder in folders:
                for item in islice(backend.list(folder), LISTED):
                    name = inbox_name(item.key)
                    if name is None or item.size > LARGEST or not head - 2 * INBOX_FOLDER < name.base <= head:
                        continue
                    one = Waiting(item.key, name.txn, name.base, name.yields, item.size)
                    before = found.get((one.txn, one.yields))
                    if before is None or before.base < one.base:
                        found[one.txn, one.yields] = one
        except BackendError as error:
            self._forbidden = not error.transient
            return []
        with self._journal.lock:
            return sorted((one for one in found.values() if not self.is_settled(one.txn)), key=lambda one: one.rank)

    def is_settled(self, txn: str) -> bool:
        """Return whether a transaction took effect."""
        found = self._journal.fold.verdict(txn)
        return found is not None and found[1] is None

    def read(self, waiting: Sequence[Waiting], own: Collection[str], room: int, now: str) -> list[Posted]:
        """Read transactions of other writers that may be appended as far as they show by themselves; the fold judges the rest.

        Args:
            waiting: what waits, in the order of turns.
            own: ids of own transactions.
            room: bytes that are left in the entry.
            now: the time of the entry.
        """
        wanted: list[Waiting] = []
        for one in waiting:
            if not one.yields and one.txn not in own and one.key not in self._unusable and one.size <= room:
                wanted.append(one)
                room -= one.size + 1
        del wanted[READ:]
        if len(self._read) > _KEPT:
            self._read.clear()
        lacking = [one for one in wanted if one.key not in self._read]
        for one, posted in zip(lacking, self._fetch(lacking), strict=True):
            if isinstance(posted, Posted):
                self._read[one.key] = posted
            elif posted is None:
                self._refuse(one.key)
        found = [self._read[one.key] for one in wanted if one.key in self._read]
        return [one for one in found if not _is_old(one, now)]

    def refuse(self, posted: Sequence[Posted]) -> None:
        """Read these no more: an entry with one of them could not be read."""
        for one in posted:
            self._read.pop(one.key, None)
            self._refuse(one.key)

    def _refuse(self, key: str) -> None:
        if len(self._unusable) > _KEPT:
            self._unusable.clear()
        self._unusable.add(key)

    def _fetch(self, wanted: Sequence[Waiting]) -> Iterator[Posted | BackendError | None]:
        if len(wanted) < 2 or not self._journal.backend.is_remote:
            yield from map(self._one, wanted)
            return
        with Pool(min(len(wanted), _AT_ONCE)) as pool:
            yield from pool.map(self._one, wanted)

    def _one(self, waiting: Waiting) -> Posted | BackendError | None:
        """Read one; None if it can never be appended, an error if it could not be read now."""
        try:
            raw = self._journal.backend.read(waiting.key)
            return self._checked(raw, waiting)
        except BackendError as error:
            return error
        except (ArtifactStoreError, RecursionError):
            return None

    def _checked(self, raw: bytes, waiting: Waiting) -> Posted | None:
        """Check that a posted transaction has the form that an entry needs, and only facts that another writer may append.

        Raises:
            ArtifactStoreError: it has not.
        """
        if len(raw) > LARGEST:
            return None
        written: Any = parse_txn(raw)
        check_json(written)
        if canonical_json(written) != raw:
            return None  # an entry must have it byte for byte
        name = inbox_name(waiting.key)
        if name is None or written["txn"] != name.txn or written["base"] != name.base:
            return None
        if written["birth"] // INBOX_FOLDER != name.folder or written["adoptable"] is not True:
            return None
        facts = self._facts_of(written)
        if not facts or not is_adoptable(facts):
            return None
        return Posted(waiting.key, {**written, "facts": facts}, written, len(raw))

    def _facts_of(self, written: Mapping[str, Any]) -> list[Fact] | None:
        """Return its facts; those in `facts/` must be durable, and have their digest."""
        spilled = written.get("spilled")
        facts: list[Fact] = written["facts"]
        if spilled is None:
            return facts
        key, backend = facts_key(spilled["id"]), self._journal.backend
        try:
            large = backend.size(key) > _SPILLED
        except NotFoundError:
            return None
        raw = None if large or facts else read_or_none(backend, key)
        if raw is None or str(Digest.of(raw, self._journal.config.digest)) != spilled["digest"]:
            return None
        return parse_facts(raw, key)


def _is_old(posted: Posted, now: str) -> bool:
    """Return whether a move of an alias was made so long ago that its writer may be gone, and whoever waits for it surprised."""
    if all(fact["fact"] != "aliased" for fact in posted.txn["facts"]):
        return False
    return abs(parse_time(now) - parse_time(posted.txn["time"])) > RECENT
