"""DSSE envelopes as JSON values, decoded without any cryptography: a fold compares them with their facts.

Decoding is pure and strict, so that all readers agree on every platform. Whether a signature is genuine is not asked here
(`verify.py`). https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import MAX_DEPTH, canonical_json, format_time, parse_json, parse_time

__all__ = [
    "ANCHOR",
    "APPROVAL",
    "GATE",
    "MEANINGS",
    "Envelope",
    "Signed",
    "envelope_json",
    "fault_of",
    "pae",
    "parse_envelope",
    "payload_of",
    "speaks_of",
]

APPROVAL: Final = "application/vnd.artifactstore.approval+json"
GATE: Final = "application/vnd.artifactstore.gate+json"
ANCHOR: Final = "application/vnd.artifactstore.anchor+json"
MEANINGS: Final = ("review", "approval", "authorship", "responsibility")
_LONGEST: Final = 2**20  # bytes of a payload of this library
_MOST: Final = 64  # signatures of one envelope
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ID: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"(?:blake3|sha256):[0-9a-f]{64}")


class Signed(NamedTuple):
    """One signature of an envelope.

    Attributes:
        keyid: a hint to the key; it is not covered by the signature.
        sig: the signature.
    """

    keyid: str
    sig: bytes


class Envelope(NamedTuple):
    """A decoded envelope.

    Attributes:
        payload_type: the type of the payload, which the signatures cover.
        payload: the signed bytes.
        signatures: at least one.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signed, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: the pre-authentication encoding of DSSE."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope_json(payload_type: str, payload: bytes, signatures: Iterable[Signed]) -> dict[str, Any]:
    """Return an envelope as a JSON value."""
    return {
        "payload": b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": one.keyid, "sig": b64encode(one.sig).decode()} for one in signatures],
    }


def parse_envelope(value: Any) -> Envelope | None:
    """Decode an envelope; None if it is not one. Fields that DSSE does not define are ignored, as it demands."""
    if not isinstance(value, Mapping):
        return None
    kind, payload, signatures = value.get("payloadType"), _bytes(value.get("payload")), value.get("signatures")
    if not isinstance(kind, str) or payload is None or not isinstance(signatures, list) or not 0 < len(signatures) <= _MOST:
        return None
    found = []
    for one in signatures:
        keyid = one.get("keyid", "") if isinstance(one, Mapping) else None
        sig = _bytes(one.get("sig")) if isinstance(one, Mapping) else None
        if not isinstance(keyid, str) or not sig:
            return None
        found.append(Signed(keyid, sig))
    return Envelope(kind, payload, tuple(found))


def _bytes(text: Any) -> bytes | None:
    """Decode standard or URL-safe base64 whose text is the only one for its bytes; None for anything else."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        raw = b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (Base64Error, ValueError):
        return None
    again = b64encode(raw).decode()
    return raw if text in (again, again.replace("+", "-").replace("/", "_")) else None


# -- payloads of this library


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and format_time(parse_time(value)) == value  # other forms of a date have 27 characters, too
    except (InvalidInputError, ValueError, OverflowError):
        return False


def _matches(pattern: "re.Pattern[str]") -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_any(_value: Any) -> bool:
    return True


_Fields = Mapping[str, Callable[[Any], bool]]
_COMMON: Final[_Fields] = {"store": _matches(_ID), "name": _is_text, "time": _is_time}
_REQUIRED: Final[Mapping[str, _Fields]] = {
    APPROVAL: {
        **_COMMON,
        "digest": _matches(_DIGEST),
        "ref": _is_text,
        "meaning": lambda value: value in MEANINGS,
        "verdict": lambda value: value in ("approved", "rejected"),
        "head": _is_count,
        "entry": _matches(_DIGEST),
    },
    GATE: {**_COMMON, "names": _is_text, "alias": _is_text, "rules": _is_any, "head": _is_count, "entry": _matches(_DIGEST)},
    ANCHOR: {**_COMMON, "seq": _is_count, "entry": _matches(_DIGEST)},
}
_OPTIONAL: Final[Mapping[str, _Fields]] = {
    APPROVAL: {"alias": _is_text, "role": _is_text, "reason": _is_text},
    GATE: {"reason": _is_text},
    ANCHOR: {"meaning": _is_text, "reason": _is_text},
}


def fault_of(payload: Mapping[str, Any], payload_type: str) -> str | None:
    """Return the first field of a payload that is missing or malformed; None if all are well formed."""
    for name, check in _REQUIRED[payload_type].items():
        if name not in payload or not check(payload[name]):
            return name
    for name, check in _OPTIONAL[payload_type].items():
        if name in payload and not check(payload[name]):
            return name
    return None


def payload_of(envelope: Any, payload_type: str = APPROVAL) -> dict[str, Any] | None:
    """Decode what an envelope of this library says; no signature is checked.

    Args:
        envelope: a JSON value.
        payload_type: the type that it must have.

    Returns:
        The payload; None if the value is not an envelope of this type, or its payload is not canonical JSON with all fields
        that the type requires, each well formed. Additional fields are kept.
    """
    found = parse_envelope(envelope)
    if found is None or found.payload_type != payload_type or len(found.payload) > _LONGEST or not _is_flat(found.payload):
        return None
    try:
        payload = parse_json(found.payload, "the payload")
        canonical = canonical_json(payload)
    except InvalidInputError:
        return None
    if canonical != found.payload or not isinstance(payload, dict) or fault_of(payload, payload_type) is not None:
        return None
    return payload


def _is_flat(payload: bytes) -> bool:
    """Return whether a payload is nested less than parsers may refuse, the limits of which differ between platforms."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_DEPTH:
        return True
    depth = 0
    for sign in _STRING.sub(b"", payload):
        if sign in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return False
        elif sign in b"]}":
            depth -= 1
    return True


def speaks_of(payload: Mapping[str, Any] | None, fact: Mapping[str, Any], *, store: str) -> bool:
    """Return whether the payload of an approval's envelope is about its own fact; if not, it is transplanted.

    Args:
        payload: as returned by `payload_of`; None is about nothing.
        fact: an `approved` fact: digest, verdict, meaning (by default `approval`), role and alias must be the same.
        store: the id of the store that the fact is in.
    """
    if payload is None or payload["store"] != store:
        return False
    own = {"meaning": "approval", **fact}
    return all(payload.get(name) == own.get(name) for name in ("digest", "verdict", "meaning", "role", "alias"))
