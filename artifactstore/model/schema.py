"""The schemas of facts, transactions and entries: what the bytes of the journal must look like.

Loaded only when bytes that others wrote are read: pydantic costs 0.2 s at start-up. Fields that this
version doesn't know are kept (docs/format.md, "Facts").
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired

from annotated_types import Ge, Le
from pydantic import AfterValidator, ConfigDict, FiniteFloat, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from artifactstore.errors import CorruptionError, FormatError, InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json, parse_time
from artifactstore.model.facts import FORMAT, check_format
from artifactstore.model.loading import LOADING

__all__ = ["KINDS", "Entry", "Txn", "check_txn", "parse_entry", "parse_facts"]


def _is_time(text: str) -> str:
    parse_time(text)
    return text


_Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^(blake3|sha256):[0-9a-f]{64}$")]
_Hooks = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})*$")]
_Run = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Count = Annotated[int, Ge(0), Le(2**63 - 1)]
_Version = Annotated[int, Ge(0), Le(2**31)]
_Time = Annotated[str, AfterValidator(_is_time)]
_OPEN = ConfigDict(extra="allow", strict=True)


@with_config(_OPEN)
class _Stored(TypedDict):
    fact: str
    digest: _Digest
    manifest: _Id
    manifest_digest: _Digest
    size: _Count
    files: _Count
    packs: list[_Id]
    hooks: NotRequired[_Hooks]
    content: NotRequired[_Digest]
    format: NotRequired[str]


# `from` is a keyword of Python, so this one can't be written as a class.
_Relocated = TypedDict(
    "_Relocated",
    {"fact": str, "digest": _Digest, "from": _Id, "to": _Id, "manifest_digest": _Digest, "packs": list[_Id]},
)
with_config(_OPEN)(_Relocated)


@with_config(_OPEN)
class _Condemned(TypedDict):
    fact: str
    manifests: list[_Id]
    packs: list[_Id]


@with_config(_OPEN)
class _Versioned(TypedDict):
    fact: str
    name: str | None
    digest: _Digest
    kind: str
    file: NotRequired[bool]
    metadata: NotRequired[dict[str, Any]]


@with_config(_OPEN)
class _Described(TypedDict):
    fact: str
    name: str | None
    version: NotRequired[_Version]
    digest: NotRequired[_Digest]
    metadata: dict[str, Any]


@with_config(_OPEN)
class _Aliased(TypedDict):
    fact: str
    name: str
    alias: str
    version: NotRequired[_Version | None]
    digest: NotRequired[_Digest]
    expect: NotRequired[int | None]


@with_config(_OPEN)
class _Removed(TypedDict):
    fact: str
    name: NotRequired[str]
    version: NotRequired[_Version]
    digest: NotRequired[_Digest]


@with_config(_OPEN)
class _Measured(TypedDict):
    fact: str
    digest: NotRequired[_Digest]
    run: NotRequired[_Run]
    metrics: dict[str, FiniteFloat]
    on: NotRequired[_Digest]
    by: NotRequired[_Run]


@with_config(_OPEN)
class _Held(TypedDict):
    fact: str
    hold: _Id
    digest: _Digest
    until: NotRequired[_Time]


@with_config(_OPEN)
class _Released(TypedDict):
    fact: str
    hold: _Id


@with_config(_OPEN)
class _OfDigest(TypedDict):
    fact: str
    digest: _Digest


@with_config(_OPEN)
class _Approved(TypedDict):
    fact: str
    digest: _Digest
    verdict: Literal["approved", "rejected"]
    name: NotRequired[str]
    alias: NotRequired[str]
    role: NotRequired[str]


@with_config(_OPEN)
class _Started(TypedDict):
    fact: str
    run: _Run
    name: str
    claimed: NotRequired[bool]
    params: NotRequired[dict[str, Any]]
    parent: NotRequired[_Run]


@with_config(_OPEN)
class _Finished(TypedDict):
    fact: str
    run: _Run
    status: Literal["finished", "failed"]
    error: NotRequired[str]
    seconds: NotRequired[float]
    around: NotRequired[list[dict[str, Any]]]
    around_more: NotRequired[_Count]
    programs: NotRequired[list[list[str]]]


@with_config(_OPEN)
class _Tainted(TypedDict):
    fact: str
    digest: _Digest
    spread: NotRequired[bool]


@with_config(_OPEN)
class _Edge(TypedDict):
    fact: str
    run: _Run
    digest: _Digest
    name: NotRequired[str]
    version: NotRequired[_Version]
    role: NotRequired[str]


@with_config(_OPEN)
class _MovedTo(TypedDict):
    fact: str
    url: str


_Seq = Annotated[int, Ge(1), Le(2**63 - 1)]


@with_config(_OPEN)
class _Snapshot(TypedDict):
    fact: str
    seq: _Seq
    digest: _Digest
    layout: _Count
    size: _Count


@with_config(_OPEN)
class _Expected(TypedDict):
    versions: _Count
    moves: _Count


@with_config(_OPEN)
class _Via(TypedDict):
    store: _Id
    seq: _Seq
    entry: _Digest


@with_config(_OPEN)
class _Received(TypedDict):
    fact: str
    store: _Id
    seq: _Seq
    entry: _Digest
    txn: NotRequired[_Id]
    actor: str
    identity: str
    host: NotRequired[str]
    tool: NotRequired[str]
    time: _Time
    reason: NotRequired[str]
    gone: NotRequired[list[_Digest]]
    renamed: NotRequired[dict[str, str]]
    expect: NotRequired[dict[str, _Expected]]
    via: NotRequired[list[_Via]]
    facts: list[dict[str, Any]]


KINDS: Final[Mapping[str, Any]] = {
    "stored": _Stored,
    "relocated": _Relocated,
    "condemned": _Condemned,
    "versioned": _Versioned,
    "described": _Described,
    "aliased": _Aliased,
    "removed": _Removed,
    "measured": _Measured,
    "held": _Held,
    "released": _Released,
    "tainted": _Tainted,
    "cleared": _OfDigest,
    "approved": _Approved,
    "started": _Started,
    "finished": _Finished,
    "used": _Edge,
    "produced": _Edge,
    "moved_to": _MovedTo,
    "received": _Received,
    "snapshot": _Snapshot,
}


@with_config(_OPEN)
class _Spilled(TypedDict):
    id: _Id
    digest: _Digest


@with_config(_OPEN)
class Txn(TypedDict):
    """A transaction: facts that take effect together or not at all."""

    txn: _Id
    birth: _Count
    base: _Count
    adoptable: bool
    actor: str
    identity: str
    host: str
    tool: str
    time: _Time
    reason: NotRequired[str]
    facts: list[dict[str, Any]]
    spilled: NotRequired[_Spilled]


@with_config(_OPEN)
class Entry(TypedDict):
    """An entry of the journal: transactions that were appended together."""

    format: Annotated[int, Ge(1)]
    seq: Annotated[int, Ge(1)]
    previous: _Digest
    writer: _Id
    time: _Time
    txns: list[Txn]


@cache
def _validator(kind: Any) -> Any:
    with LOADING:
        # Not the adapter itself: its methods cost as much again as the check.
        return TypeAdapter(kind).validator


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"


def parse_entry(raw: bytes, key: str) -> Entry:
    """Read an entry's envelope and its facts.

    Raises:
        FormatError: written by a newer format.
        CorruptionError: not an entry.
    """
    try:
        entry: Entry = _validator(Entry).validate_json(raw)
    except ValidationError as error:
        check_format(raw, key)
        raise CorruptionError(
            f"{key} is not a journal entry ({_first_fault(error)}): restore it from a copy of the store", location=key
        ) from error
    if b"NaN" in raw or b"Infinity" in raw:
        try:
            parse_json(raw, key)
        except InvalidInputError as error:
            raise CorruptionError(f"{error}: restore it from a copy of the store", location=key) from error
    if entry["format"] > FORMAT:
        raise FormatError(f"{key} has store format {entry['format']}, this version reads up to {FORMAT}: upgrade artifactstore")
    for txn in entry["txns"]:
        _check_facts(txn["facts"], key)
    return entry


def parse_facts(raw: bytes, key: str) -> list[dict[str, Any]]:
    """Read the facts of a transaction that was too big for its entry.

    Raises:
        CorruptionError: not a list of facts.
    """
    try:
        facts: list[dict[str, Any]] = _validator(list[dict[str, Any]]).validate_json(raw)
    except ValidationError as error:
        raise CorruptionError(
            f"{key} is not a list of facts ({_first_fault(error)}): restore it from a copy of the store", location=key
        ) from error
    _check_facts(facts, key)
    return facts


def check_txn(txn: Mapping[str, Any]) -> None:
    """Refuse a transaction that `parse_entry` would refuse.

    Raises:
        InvalidInputError: names the field.
    """
    try:
        _validator(Txn).validate_json(canonical_json(txn))  # as a reader does it, limits of the parser included
        _check_facts(txn["facts"], "the transaction")
    except ValidationError as error:
        raise InvalidInputError(f"no transaction: {_first_fault(error)}") from error
    except CorruptionError as error:
        raise InvalidInputError(str(error)) from error


def _check_facts(facts: list[dict[str, Any]], key: str) -> None:
    for fact in facts:
        kind = fact.get("fact")
        if not isinstance(kind, str):
            raise CorruptionError(f"{key} holds a fact without a kind: {str(fact)[:200]}", location=key)
        schema = KINDS.get(kind)
        if schema is None:
            continue
        try:
            _validator(schema).validate_python(fact)
        except ValidationError as error:
            raise CorruptionError(f"{key} holds a {kind!r} fact that is not one ({_first_fault(error)})", location=key) from error
        if kind == "removed" and "digest" not in fact and "name" not in fact:
            raise CorruptionError(f"{key} holds a 'removed' fact that names nothing", location=key)
        if kind == "received":
            _check_facts(fact["facts"], key)
