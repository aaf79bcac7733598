"""Encoding of entries: their keys, their bytes, and the chain of digests that links them. Pure values."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import CONFIG_KEY, parse_entry
from artifactstore.model.format import FIRST

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["FOLDER", "MAX_ENTRY", "encode_entry", "entry_key", "facts_key", "folder_of", "join", "key_number", "previous_of"]

FOLDER: Final = 1000  # entries per folder, so that one listing request shows a whole folder
MAX_ENTRY: Final = 4 * 2**20  # bytes of one entry


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
