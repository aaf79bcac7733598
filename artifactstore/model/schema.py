"""Schemas of facts, transactions and entries: the required form of the journal's bytes.

Loaded only if bytes of other writers are read. The schemas are given to pydantic's core directly: deriving them from
classes costs 0.13 s at start-up (docs/decisions/0028). Unknown fields are kept (docs/reference/format.md, "Facts").
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NotRequired, TypedDict

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from artifactstore.errors import CorruptionError, FormatError, InvalidInputError
from artifactstore.model.common_entries import parse_common_entry
from artifactstore.model.encoding import parse_json, parse_time
from artifactstore.model.format import FORMAT, check_format
from artifactstore.runtime.loading import LOADING

__all__ = ["KINDS", "Entry", "Txn", "parse_entry", "parse_facts", "parse_txn"]


class Txn(TypedDict):
    """A transaction: facts that take effect together or not at all."""

    txn: str
    birth: int
    base: int
    adoptable: bool
    actor: str
    identity: str
    host: str
    tool: str
    time: str
    reason: NotRequired[str]
    facts: list[dict[str, Any]]
    spilled: NotRequired[dict[str, str]]


class Entry(TypedDict):
    """An entry of the journal: transactions that were appended together."""

    format: int
    seq: int
    previous: str
    writer: str
    time: str
    txns: list[Txn]


def _is_time(text: str) -> str:
    parse_time(text)
    return text


class _Maybe:
    """An optional field."""

    def __init__(self, schema: core.CoreSchema) -> None:
        self.schema = schema


def _record(**fields: core.CoreSchema | _Maybe) -> core.CoreSchema:
    """Return the schema of an object; additional fields are kept."""
    return core.typed_dict_schema(
        {
            name: core.typed_dict_field(field.schema, required=False)
            if isinstance(field, _Maybe)
            else core.typed_dict_field(field, required=True)
            for name, field in fields.items()
        },
        config=_STRICT,
    )


def _fact(**fields: core.CoreSchema | _Maybe) -> core.CoreSchema:
    return _record(fact=_TEXT, **fields)


def _list(schema: core.CoreSchema) -> core.CoreSchema:
    return core.list_schema(schema)


def _dict(values: core.CoreSchema) -> core.CoreSchema:
    return core.dict_schema(_TEXT, values)


_STRICT: Final = core.CoreConfig(strict=True, extra_fields_behavior="allow")
_TEXT: Final = core.str_schema()
_ID: Final = core.str_schema(pattern=r"^[0-9a-f]{32}$")
_DIGEST: Final = core.str_schema(pattern=r"^(blake3|sha256):[0-9a-f]{64}$")
_HOOKS: Final = core.str_schema(pattern=r"^([0-9a-f]{16})*$")
_RUN: Final = core.str_schema(min_length=1, max_length=100)
_COUNT: Final = core.int_schema(ge=0, le=2**63 - 1)
_SEQ: Final = core.int_schema(ge=1, le=2**63 - 1)
_VERSION: Final = core.int_schema(ge=0, le=2**31)
_TIME: Final = core.no_info_after_validator_function(_is_time, _TEXT)
_ANY: Final = _dict(core.any_schema())
_FACTS: Final = _list(_ANY)
_EDGE: Final = _fact(run=_RUN, digest=_DIGEST, name=_Maybe(_TEXT), version=_Maybe(_VERSION), role=_Maybe(_TEXT))

KINDS: Final[Mapping[str, core.CoreSchema]] = {
    "stored": _fact(
        digest=_DIGEST,
        manifest=_ID,
        manifest_digest=_DIGEST,
        size=_COUNT,
        files=_COUNT,
        packs=_list(_ID),
        hooks=_Maybe(_HOOKS),
        content=_Maybe(_DIGEST),
        format=_Maybe(_TEXT),
    ),
    "relocated": _fact(digest=_DIGEST, **{"from": _ID, "to": _ID}, manifest_digest=_DIGEST, packs=_list(_ID)),
    "condemned": _fact(manifests=_list(_ID), packs=_list(_ID)),
    "versioned": _fact(
        name=core.nullable_schema(_TEXT), digest=_DIGEST, kind=_TEXT, file=_Maybe(core.bool_schema()), metadata=_Maybe(_ANY)
    ),
    "described": _fact(name=core.nullable_schema(_TEXT), version=_Maybe(_VERSION), digest=_Maybe(_DIGEST), metadata=_ANY),
    "aliased": _fact(
        name=_TEXT,
        alias=_TEXT,
        version=_Maybe(core.nullable_schema(_VERSION)),
        digest=_Maybe(_DIGEST),
        expect=_Maybe(core.nullable_schema(core.int_schema())),
    ),
    "removed": _fact(name=_Maybe(_TEXT), version=_Maybe(_VERSION), digest=_Maybe(_DIGEST)),
    "measured": _fact(
        digest=_Maybe(_DIGEST),
        run=_Maybe(_RUN),
        metrics=_dict(core.float_schema(allow_inf_nan=False)),
        on=_Maybe(_DIGEST),
        by=_Maybe(_RUN),
        not_finite=_Maybe(_dict(_TEXT)),
    ),
    "held": _fact(hold=_ID, digest=_DIGEST, until=_Maybe(_TIME)),
    "released": _fact(hold=_ID),
    "tainted": _fact(digest=_DIGEST, spread=_Maybe(core.bool_schema())),
    "cleared": _fact(digest=_DIGEST),
    "approved": _fact(
        digest=_DIGEST,
        verdict=core.literal_schema(["approved", "rejected"]),
        name=_Maybe(_TEXT),
        alias=_Maybe(_TEXT),
        role=_Maybe(_TEXT),
    ),
    "started": _fact(run=_RUN, name=_TEXT, claimed=_Maybe(core.bool_schema()), params=_Maybe(_ANY), parent=_Maybe(_RUN)),
    "finished": _fact(
        run=_RUN,
        status=core.literal_schema(["finished", "failed"]),
        error=_Maybe(_TEXT),
        seconds=_Maybe(core.float_schema()),
        around=_Maybe(_FACTS),
        around_more=_Maybe(_COUNT),
        programs=_Maybe(_list(_list(_TEXT))),
        not_finite=_Maybe(_dict(_COUNT)),
    ),
    "used": _EDGE,
    "produced": _EDGE,
    "moved_to": _fact(url=_TEXT),
    "received": _fact(
        store=_ID,
        seq=_SEQ,
        entry=_DIGEST,
        txn=_Maybe(_ID),
        actor=_TEXT,
        identity=_TEXT,
        host=_Maybe(_TEXT),
        tool=_Maybe(_TEXT),
        time=_TIME,
        reason=_Maybe(_TEXT),
        gone=_Maybe(_list(_DIGEST)),
        renamed=_Maybe(_dict(_TEXT)),
        expect=_Maybe(_dict(_record(versions=_COUNT, moves=_COUNT))),
        via=_Maybe(_list(_record(store=_ID, seq=_SEQ, entry=_DIGEST))),
        facts=_FACTS,
    ),
    "gated": _fact(names=_TEXT, alias=_TEXT, rules=core.nullable_schema(_ANY)),
    "retained": _fact(names=_TEXT, rules=core.nullable_schema(_ANY)),
    "signed": _fact(digest=_DIGEST, type=_TEXT, bundle=_ANY, key=_TEXT),
    "refused": _fact(action=_TEXT, reasons=_list(_TEXT), digest=_Maybe(_DIGEST)),
    "anchored": _fact(seq=_SEQ, entry=_DIGEST),
    "damaged": _fact(digest=_DIGEST, manifest=_ID),
    "snapshot": _fact(seq=_SEQ, digest=_DIGEST, layout=_COUNT, size=_COUNT),
}
_TXN: Final = _record(
    txn=_ID,
    birth=_COUNT,
    base=_COUNT,
    adoptable=core.bool_schema(),
    actor=_TEXT,
    identity=_TEXT,
    host=_TEXT,
    tool=_TEXT,
    time=_TIME,
    reason=_Maybe(_TEXT),
    facts=_FACTS,
    spilled=_Maybe(_record(id=_ID, digest=_DIGEST)),
)
_ENTRY: Final = _record(
    format=core.int_schema(ge=1),
    seq=core.int_schema(ge=1),
    previous=_DIGEST,
    writer=_ID,
    time=_TIME,
    txns=_list(_TXN),
)
_ENVELOPES: Final = {"entry": _ENTRY, "transaction": _TXN, "list of facts": _FACTS}


@cache
def _validator(what: str) -> SchemaValidator:
    """Return the validator of an envelope, or of a fact kind."""
    with LOADING:
        return SchemaValidator(_ENVELOPES.get(what) or KINDS[what], _STRICT)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"


def parse_entry(raw: bytes, key: str) -> Entry:
    """Parse an entry's envelope and its facts.

    Raises:
        FormatError: written by a newer format.
        CorruptionError: not an entry.
    """
    common: Any = parse_common_entry(raw)
    return _parse_any_entry(raw, key) if common is None else common


def _parse_any_entry(raw: bytes, key: str) -> Entry:
    try:
        entry: Entry = _validator("entry").validate_json(raw)
    except ValidationError as error:
        check_format(raw, key)
        raise CorruptionError(
            f"{key} is not a journal entry ({_first_fault(error)}): restore it from a copy of the store", location=key
        ) from error
    if (b"N" in raw and b"NaN" in raw) or (b"I" in raw and b"Infinity" in raw):
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
    """Parse the facts of a transaction that are too large for its entry.

    Raises:
        CorruptionError: not a list of facts.
    """
    try:
        facts: list[dict[str, Any]] = _validator("list of facts").validate_json(raw)
    except ValidationError as error:
        raise CorruptionError(
            f"{key} is not a list of facts ({_first_fault(error)}): restore it from a copy of the store", location=key
        ) from error
    _check_facts(facts, key)
    return facts


def parse_txn(raw: bytes) -> Txn:
    """Read a transaction as `parse_entry` would, limits of the parser included, before it becomes a part of an entry.

    Raises:
        InvalidInputError: names the field that readers would refuse.
    """
    try:
        txn: Txn = _validator("transaction").validate_json(raw)
        _check_facts(txn["facts"], "the transaction")
    except ValidationError as error:
        raise InvalidInputError(f"invalid transaction: {_first_fault(error)}") from error
    except CorruptionError as error:
        raise InvalidInputError(str(error)) from error
    return txn


def _check_facts(facts: list[dict[str, Any]], key: str) -> None:
    for fact in facts:
        kind = fact.get("fact")
        if not isinstance(kind, str):
            raise CorruptionError(f"{key} contains a fact without a kind: {str(fact)[:200]}", location=key)
        if kind not in KINDS:
            continue
        try:
            _validator(kind).validate_python(fact)
        except ValidationError as error:
            raise CorruptionError(f"{key} contains an invalid {kind!r} fact ({_first_fault(error)})", location=key) from error
        if kind == "removed" and "digest" not in fact and "name" not in fact:
            raise CorruptionError(f"{key} contains a 'removed' fact without a subject", location=key)
        if kind == "received":
            _check_facts(fact["facts"], key)
