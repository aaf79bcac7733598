"""Facts, transactions and entries: the records of the journal, as plain dicts.

Unknown fields are kept and carried, and so are unknown kinds of facts; only a
newer `format` of the store may give those power over others (docs/reference/format.md, "Facts").
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import FormatError
from artifactstore.model.digest import ALGORITHMS
from artifactstore.model.encoding import canonical_json
from artifactstore.model.format import FIRST, check_format
from artifactstore.runtime.loading import LOADING
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = [
    "ADOPTABLE",
    "CONFIG_KEY",
    "WINDOW",
    "Config",
    "Fact",
    "is_adoptable",
    "is_config",
    "parse_config",
    "parse_entry",
    "parse_facts",
    "parse_txn",
]

CONFIG_KEY: Final = "store.json"  # the store's configuration: created once, never changed

WINDOW: Final = 4096  # entries: a transaction may take effect this long after its birth

Fact = dict[str, Any]


# What another writer may append: nothing, or nothing that is not for ever, makes it void (docs/reference/protocol.md, rule 4).
ADOPTABLE: Final = frozenset(
    {"stored", "versioned", "described", "measured", "started", "finished", "used", "produced", "aliased"}
)
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def is_adoptable(facts: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether another writer may append a transaction of these facts.

    Not the start of a run whose id the caller chose, not a version that expects how many there are, and not a move of an alias to
    the newest version of some content, which another put of that content would change.
    """
    new: set[tuple[Any, Any]] = set()  # versions that the transaction makes itself
    for fact in facts:
        kind = fact.get("fact")
        if kind not in ADOPTABLE or (kind == "started" and fact.get("claimed")) or (kind == "versioned" and "expect" in fact):
            return False
        if kind == "versioned":
            new.add((fact["name"], fact["digest"]))
        elif kind == "aliased" and fact.get("version") is None and "digest" in fact and (fact["name"], fact["digest"]) not in new:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Config:
    """`store.json`: the permanent settings of a store.

    Attributes:
        store: the store's id; copies of a store share it.
        digest: the digest algorithm of all its identities.
        chunkers: chunker name → (minimum, average, maximum) bytes.
        created: creation time, as text.
        format: the store format.
        raw: the bytes of `store.json`; entry 1 carries their digest.
    """

    store: str
    digest: str
    chunkers: Mapping[str, tuple[int, int, int]]
    created: str
    format: int
    raw: bytes

    @classmethod
    def new(cls, store: str, digest: str, chunkers: Mapping[str, tuple[int, int, int]], created: str) -> "Config":
        """Create the record of a new store."""
        cutters = {name: {"minimum": low, "average": mean, "maximum": high} for name, (low, mean, high) in chunkers.items()}
        record = {"format": FIRST, "store": store, "digest": digest, "chunkers": cutters, "created": created}
        return cls(store, digest, dict(chunkers), created, FIRST, canonical_json(record))


def parse_config(raw: bytes, where: str) -> Config:
    """Parse `store.json`.

    Raises:
        FormatError: a newer format, damaged, or not a store's file.
    """
    check_format(raw, where)
    try:
        record = json.loads(raw)
        chunkers = {str(k): (int(c["minimum"]), int(c["average"]), int(c["maximum"])) for k, c in record["chunkers"].items()}
        config = Config(record["store"], record["digest"], chunkers, record["created"], int(record["format"]), bytes(raw))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise FormatError(f"{where} is not the store.json of an artifactstore ({error!r}): damaged, or not a store") from error
    sane = {"rows", "bytes", "tensors"} <= set(chunkers)
    sane = sane and all(64 <= low < mean < high <= 16 * 2**20 for low, mean, high in chunkers.values())
    texts = all(isinstance(record[key], str) for key in ("store", "created"))
    if not sane or not texts or config.digest not in ALGORITHMS or not _ID.fullmatch(config.store) or config.format < 1:
        raise FormatError(f"{where} is not the store.json of an artifactstore (a field is invalid): damaged, or not a store")
    return config


def is_config(raw: bytes) -> bool:
    """Whether bytes are a `store.json`, of any format."""
    try:
        record = json.loads(raw)
        return bool(_ID.fullmatch(record["store"])) and {"digest", "chunkers", "format"} <= record.keys()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def parse_entry(raw: bytes, key: str) -> "Entry":
    """Parse an entry's envelope and its facts, checked against the schemas.

    Raises:
        FormatError: written by a newer format.
        CorruptionError: not an entry.
    """
    found: Entry = _schema().parse_entry(raw, key)
    return found


@cache
def _schema() -> Any:
    """Return the schemas: pydantic's core costs 0.04 s, so they are loaded only if bytes of other writers are read."""
    with LOADING:
        from artifactstore.model import schema  # noqa: PLC0415 - see above
    return schema


def parse_facts(raw: bytes, key: str) -> list[Fact]:
    """Parse the facts of a transaction that are too large for its entry.

    Raises:
        CorruptionError: not a list of facts.
    """
    found: list[Fact] = _schema().parse_facts(raw, key)
    return found


def parse_txn(raw: bytes) -> "Txn":
    """Read a transaction as readers of its entry will.

    Raises:
        InvalidInputError: names the field that they would refuse.
    """
    found: Txn = _schema().parse_txn(raw)
    return found
