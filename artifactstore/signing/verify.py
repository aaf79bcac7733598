"""Making envelopes, and judging their signatures by the keys that the caller accepts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_time
from artifactstore.signing.envelope import APPROVAL, Envelope, Signed, envelope_json, fault_of, pae, parse_envelope, payload_of
from artifactstore.signing.jwks import Jwt, TokenError, verify_jwt
from artifactstore.signing.keys import Keys, Owner
from artifactstore.signing.oidc import audience_of, token_of
from artifactstore.signing.signer import Signer

__all__ = [
    "CLAIMED",
    "EXPIRED",
    "TRANSPLANTED",
    "UNKNOWN",
    "VALID",
    "Verification",
    "claims_of",
    "make_envelope",
    "sign_payload",
    "verify_envelope",
    "verify_identity",
]

VALID: Final = "valid"
CLAIMED: Final = "claimed"
UNKNOWN: Final = "unknown key"
EXPIRED: Final = "expired"
TRANSPLANTED: Final = "transplanted"  # of a model's bundle; for approvals the fold finds it (`speaks_of`)


@dataclass(frozen=True, slots=True)
class Verification:
    """What the signatures of an envelope are worth.

    Attributes:
        status: `valid`, `claimed` (no keys were given, or it is not signed), `unknown key` or `expired`.
        names: owners of the keys whose signatures count; of those that have expired if none does.
        roles: all roles of these keys.
        text: why it does not count, in words; empty if it does.
    """

    status: str
    names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    text: str = ""

    def __bool__(self) -> bool:
        return self.status == VALID


@dataclass(slots=True)
class _Found:
    """Owners of keys that made a signature, by what it is worth."""

    valid: dict[str, Owner] = field(default_factory=dict)
    expired: dict[str, Owner] = field(default_factory=dict)
    claims: bool = False  # a token without its signature
    reasons: dict[str, None] = field(default_factory=dict)

    def verification(self) -> Verification:
        counted = self.valid or self.expired
        status = VALID if self.valid else EXPIRED if self.expired else CLAIMED if self.claims else UNKNOWN
        roles = sorted({role for owner in counted.values() for role in owner.roles})
        return Verification(status, tuple(sorted(counted)), tuple(roles), "" if self.valid else "; ".join(self.reasons))


def make_envelope(payload: Mapping[str, Any], signer: Signer | Iterable[Signer], payload_type: str = APPROVAL) -> dict[str, Any]:
    """Sign a payload; return the envelope as the JSON value that its fact has.

    Args:
        payload: all fields that the type requires (`envelope.py`); None values are left out.
        signer: the signer, or several.
        payload_type: the type, which the signature covers.

    Raises:
        InvalidInputError: a field is missing or malformed, or the signer failed to sign.
    """
    given = {name: value for name, value in payload.items() if value is not None or name == "rules"}
    if (fault := fault_of(given, payload_type)) is not None:
        raise InvalidInputError(f"cannot sign: {fault}={given.get(fault)!r:.100} is not well formed")
    made = sign_payload(canonical_json(given), signer, payload_type)
    if payload_of(made, payload_type) is None:
        raise InvalidInputError("cannot sign: the payload is too large, or nested too deeply")
    return made


def sign_payload(payload: bytes, signer: Signer | Iterable[Signer], payload_type: str) -> dict[str, Any]:
    """Sign bytes; return the envelope as a JSON value.

    Raises:
        InvalidInputError: the signer returned something else than a signature.
    """
    signers: Iterable[Signer] = [signer] if isinstance(signer, Signer) else signer
    data, signatures = pae(payload_type, payload), []
    for one in signers:
        sig = one.sign(data)
        if not isinstance(sig, bytes) or not sig:
            raise InvalidInputError(f"the signer {one.name} must return a signature as bytes, got a {type(sig).__name__}")
        signatures.append(Signed(one.key_id, sig))
    if not signatures:
        raise InvalidInputError("signer=[] names no signer")
    return envelope_json(payload_type, payload, signatures)


def verify_envelope(
    envelope: Any,
    keys: Keys | None,
    *,
    role: str | None = None,
    actor: str | None = None,
    time: datetime | str,
    payload_type: str = APPROVAL,
) -> Verification:
    """Judge the signatures of an envelope: one that counts is enough.

    Whether the payload fits its fact is asked elsewhere (`envelope.speaks_of`).

    Args:
        envelope: a JSON value; None means unsigned.
        keys: those that count; None: every signature is only claimed.
        role: the role that it was made in, which its key must have; None: any key counts.
        actor: of its transaction; a key may count for some actors only. None: not asked.
        time: of its entry.
        payload_type: the type that the envelope must have.
    """
    if envelope is None:
        return Verification(CLAIMED, text="it is not signed")
    found = parse_envelope(envelope)
    if found is None or found.payload_type != payload_type:
        return Verification(UNKNOWN, text="the signature is not a DSSE envelope of this kind")
    if keys is None:
        return Verification(CLAIMED, text="no keys were given to verify it with: pass keys= or set $ARTIFACTSTORE_KEYS")
    at = parse_time(time) if isinstance(time, str) else time
    if at.tzinfo is None:
        raise InvalidInputError(f"time={time!r:.60}: expected an aware datetime")
    judged = _Found()
    for one, signed in _owners(found, keys, judged, at):
        expired = signed or (one.until is not None and at > one.until)
        reason = _unfit(one, role, actor)
        if reason is None and not expired:
            judged.valid[one.name] = one
        elif reason is None:
            judged.expired[one.name] = one
            judged.reasons[f"the key of {one.name} had expired when it was used"] = None
        else:
            judged.reasons[reason] = None
    if not (judged.valid or judged.reasons):
        judged.reasons["none of the given keys made a signature of it"] = None
    return judged.verification()


def _unfit(owner: Owner, role: str | None, actor: str | None) -> str | None:
    if role is not None and role not in owner.roles:
        return f"the key of {owner.name} does not have the role {role!r}"
    if actor is not None and owner.actors is not None and actor not in owner.actors:
        return f"the key of {owner.name} does not count for the actor {actor!r}"
    return None


def _owners(envelope: Envelope, keys: Keys, judged: _Found, at: datetime) -> Iterator[tuple[Owner, bool]]:
    """Yield whose keys made a signature, and whether a token among them had expired.

    The key id is only a hint that no signature covers: if it fits no key, all are tried.
    """
    data = pae(envelope.payload_type, envelope.payload)
    for signed in envelope.signatures:
        token = token_of(signed.sig) if signed.keyid.startswith("oidc:") else None
        if token is not None:
            yield from _issuers(token, keys, judged, data, at)
            continue
        for key in sorted(keys.keys, key=lambda one: one.public.id != signed.keyid):
            if key.public.verifies(signed.sig, data):
                yield key.owner, False
                break


def _issuers(token: Jwt, keys: Keys, judged: _Found, data: bytes, at: datetime) -> Iterator[tuple[Owner, bool]]:
    who = f"the token of {token.subject[:100]}"
    if not token.signature or not token.is_for(audience_of(data)):
        judged.claims |= not token.signature
        judged.reasons[f"{who} was not issued for what it signs"] = None
        return
    for one in keys.issuers:
        if one.issuer != token.issuer or not one.names(token.subject):
            continue
        try:
            verify_jwt(token, one.jwks, time=at)
        except TokenError as error:
            if error.expired:
                yield one.owner, True
            else:
                judged.reasons[f"{who}: {error}"] = None
        else:
            yield one.owner, False


def verify_identity(token: Jwt, keys: Keys, *, time: datetime, audience: str) -> Owner:
    """Return the issuer that vouches for a token as the identity of this process.

    Args:
        token: as parsed.
        keys: those that count; its issuer must be among them, for its subject.
        time: now.
        audience: what it must be issued for, where its issuer's entry names no other.

    Raises:
        TokenError: none does; the token is not shown.
    """
    who = f"the token of {token.subject[:200]}"
    reasons: dict[str, None] = {}
    for one in keys.issuers:
        if one.issuer != token.issuer:
            continue
        wanted = one.audience or audience
        if not one.names(token.subject):
            reasons[f"[{one.owner.name}] does not count for this subject"] = None
        elif not token.has_audience(wanted):
            reasons[f"it was issued for {token.claims.get('aud')!r:.100}, expected the audience {wanted!r}"] = None
        elif one.owner.until is not None and time > one.owner.until:
            reasons[f"[{one.owner.name}] has expired"] = None
        else:
            try:
                verify_jwt(token, one.jwks, time=time)
            except TokenError as error:
                reasons[str(error)] = None
            else:
                return one.owner
    why = "; ".join(reasons) or f"its issuer {token.issuer[:200]} is not among the keys"
    raise TokenError(f"{who} states no identity that counts: {why}")


def claims_of(envelope: Any) -> list[Mapping[str, Any]]:
    """Return the claims of tokens among the signatures of an envelope, as recorded: nothing is verified."""
    found = parse_envelope(envelope)
    tokens = [token_of(one.sig) for one in found.signatures if one.keyid.startswith("oidc:")] if found is not None else []
    return [token.claims for token in tokens if token is not None]
