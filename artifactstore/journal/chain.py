"""Encoding of entries: their keys, their bytes, and the chain of digests that links them. Pure values."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import CONFIG_KEY, parse_entry
from artifactstore.model.format import FIRST
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = [
    "FOLDER",
    "INBOX",
    "INBOX_FOLDER",
    "MAX_ENTRY",
    "InboxName",
    "encode_entry",
    "entry_key",
    "facts_key",
    "folder_of",
    "inbox_folder",
    "inbox_key",
    "inbox_name",
    "join",
    "key_number",
    "previous_of",
]

FOLDER: Final = 1000  # entries per folder, so that one listing request shows a whole folder
MAX_ENTRY: Final = 4 * 2**20  # bytes of one entry
INBOX: Final = "journal/inbox/"
INBOX_FOLDER: Final = 16  # births per folder of the inbox: under contention an entry has dozens of transactions (decision 0066)
_INBOX_NAME: Final = re.compile(r"journal/inbox/(0|[1-9]\d{0,11})/([0-9a-f]{32})-(0|[1-9]\d{0,11})\.(json|yield)", re.ASCII)


@dataclass(frozen=True, slots=True)
class InboxName:
    """What the key of an object in the inbox says.

    Attributes:
        folder: number of its folder: the birth of its transaction, divided.
        txn: the transaction.
        base: the head at which its references were last checked.
        yields: whether it only asks other writers to wait.
    """

    folder: int
    txn: str
    base: int
    yields: bool


def inbox_folder(birth: int) -> str:
    """Return the prefix in the inbox of transactions that were made at the head `birth`, and about then."""
    return f"{INBOX}{birth // INBOX_FOLDER}/"


def inbox_key(txn: str, birth: int, base: int, *, yields: bool = False) -> str:
    """Return the key of a transaction that waits in the inbox; with `yields`, of a request to let it through."""
    return f"{inbox_folder(birth)}{txn}-{base}.{'yield' if yields else 'json'}"


def inbox_name(key: str) -> InboxName | None:
    """Parse a key of the inbox; None for anything else that is there."""
    found = _INBOX_NAME.fullmatch(key)
    return None if found is None else InboxName(int(found[1]), found[2], int(found[3]), found[4] == "yield")


def entry_key(seq: int) -> str:
    """Return the key of entry `seq`: lexical order is numeric order."""
    return f"journal/{seq // FOLDER:09d}/{seq:012d}.json"


def folder_of(seq: int) -> str:
    """Return the prefix of entry `seq` and its neighbours."""
    return f"journal/{seq // FOLDER:09d}/"


def key_number(key: str) -> int | None:
    """Return the number of the entry under `key`, or None if it is not an entry's key."""
    stem = key.rpartition("/")[2].removesuffix(".json")
    return int(stem) if len(stem) == 12 and stem.isdecimal() and entry_key(int(stem)) == key else None


def facts_key(facts: str) -> str:
    """Return the key of the facts of a transaction that are too large for its entry."""
    return f"facts/{facts[:2]}/{facts}.json"


def encode_entry(
    seq: int,
    previous: Digest,
    *,
    writer: str,
    time: str,
    txns: "Iterable[Txn] | Iterable[Mapping[str, Any]]",
    format: int = FIRST,  # noqa: A002 - the field's name
) -> bytes:
    """Encode an entry as canonical JSON; its digest is over exactly these bytes."""
    return canonical_json(
        {"format": format, "previous": str(previous), "seq": seq, "time": time, "txns": list(txns), "writer": writer}
    )


def previous_of(raw: bytes) -> str | None:
    """Return the `previous` digest of an entry, without decoding the rest if the entry is canonical."""
    head = raw[:120]
    mark = b'"previous":"'
    at = head.find(mark)
    if at >= 0 and head.startswith(b'{"format":') and (end := head.find(b'"', at + len(mark))) > 0:
        return head[at + len(mark) : end].decode("ascii", "replace")
    try:
        found = json.loads(raw).get("previous")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def join(raw: bytes, seq: int, previous: Digest) -> "Entry":
    """Decode entry `seq` and check that it follows the entry with digest `previous`.

    Raises:
        CorruptionError: it is not an entry, has another number, or belongs to another chain.
        FormatError: a newer version wrote it.
    """
    key = entry_key(seq)
    entry = parse_entry(raw, key)
    if entry["seq"] != seq:
        raise CorruptionError(f"{key} contains entry {entry['seq']}: restore it from a copy of the store", location=key)
    if entry["previous"] != str(previous):
        before = entry_key(seq - 1) if seq > 1 else CONFIG_KEY
        raise CorruptionError(
            f"the journal is broken between {before} and {key}: the latter expects {entry['previous']} before it, "
            f"got {previous}; one of the two was changed. Compare both with a copy of the store",
            digest=entry["previous"],
            location=before,
        )
    return entry
