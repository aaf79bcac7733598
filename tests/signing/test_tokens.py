"""Tokens of identity providers: bound to what they sign, verified offline, never shown."""

import base64
import copy
import json
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

from artifactstore.errors import InvalidInputError
from artifactstore.signing import OidcToken, Signer
from artifactstore.signing.jwks import parse_jwks
from artifactstore.signing.keys import Keys
from artifactstore.signing.registered import signer_of
from artifactstore.signing.verify import claims_of, make_envelope, verify_envelope
from tests.signing.private_keys import private
from tests.signing.test_envelopes import NOW, PAYLOAD

ISSUER: Final = "https://issuer.example"
SUBJECT: Final = "repo:acme/churn:ref:refs/heads/main"
ALGORITHMS: Final = {"RS256": "RSA", "ES256": "ECDSA P-256", "ES384": "ECDSA P-384", "EdDSA": "Ed25519"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size))


def jwk(algorithm: str, which: int = 0) -> dict[str, Any]:
    public = private(ALGORITHMS[algorithm], which).public_key()
    if algorithm == "RS256":
        numbers = public.public_numbers()
        return {"kty": "RSA", "kid": f"rsa{which}", "use": "sig", "alg": "RS256", "n": number(numbers.n, 256), "e": "AQAB"}
    if algorithm == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519", "kid": f"ed{which}", "x": b64(public.public_bytes_raw())}
    size, numbers = {"ES256": 32, "ES384": 48}[algorithm], public.public_numbers()
    curve = {"ES256": "P-256", "ES384": "P-384"}[algorithm]
    row = {"kty": "EC", "crv": curve, "kid": f"{algorithm}{which}", "x": number(numbers.x, size), "y": number(numbers.y, size)}
    return {**row, "alg": algorithm}


def token(algorithm: str, claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None, which: int = 0) -> str:
    head = {"alg": algorithm, "kid": jwk(algorithm, which)["kid"], "typ": "JWT", **(header or {})}
    about = {"iss": ISSUER, "sub": SUBJECT, "iat": NOW.timestamp(), "exp": int(NOW.timestamp()) + 300, **(claims or {})}
    signed = ".".join(b64(json.dumps(part).encode()) for part in (head, {k: v for k, v in about.items() if v is not None}))
    key = private(ALGORITHMS[algorithm], which)
    if algorithm == "RS256":
        raw = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "EdDSA":
        raw = key.sign(signed.encode())
    else:
        kind, size = {"ES256": (hashes.SHA256(), 32), "ES384": (hashes.SHA384(), 48)}[algorithm]
        raw = b"".join(half.to_bytes(size) for half in utils.decode_dss_signature(key.sign(signed.encode(), ECDSA(kind))))
    return f"{signed}.{b64(raw)}"


def requested(algorithm: str, claim: str = "aud", **more: Any) -> Callable[[str], str]:
    return lambda audience: token(algorithm, {claim: audience, **more})


def keys(*algorithms: str, **more: Any) -> Keys:
    jwks = {"keys": [jwk(one) for one in algorithms]}
    found = Keys.load({"ci": {"issuer": ISSUER, "jwks": jwks, "subjects": ["repo:acme/*"], "roles": ["release"], **more}})
    assert found is not None
    return found


@pytest.mark.parametrize("claim", ["aud", "nonce"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_that_was_issued_for_the_payload_is_a_signature(algorithm: str, claim: str):
    signer = OidcToken(requested(algorithm, claim), name="release job")
    assert isinstance(signer, Signer)
    assert signer_of(signer) is signer
    made = make_envelope(PAYLOAD, signer)
    assert made["signatures"][0]["keyid"] == f"oidc:{ISSUER}" == signer.key_id
    assert signer.claims["sub"] == SUBJECT
    assert claims_of(made)[0]["sub"] == SUBJECT
    good = verify_envelope(made, keys(*ALGORITHMS), role="release", actor="anyone", time=NOW)
    assert (good.status, good.names, good.roles) == ("valid", ("ci",), ("release",))
    others = [one for one in ALGORITHMS if one != algorithm]
    assert verify_envelope(made, keys(*others), time=NOW).status == "unknown key"
    assert verify_envelope(made, None, time=NOW).status == "claimed"
    assert verify_envelope(made, keys(algorithm), role="qa", time=NOW).status == "unknown key"
    assert verify_envelope(made, keys(algorithm, subjects=["repo:acme/other:*"]), time=NOW).status == "unknown key"
    assert verify_envelope(made, keys(algorithm, issuer=ISSUER + "/"), time=NOW).status == "unknown key"
    assert verify_envelope(made, keys(algorithm, actors=["bob"]), actor="alice", time=NOW).status == "unknown key"
    assert verify_envelope(made, keys(algorithm, until="2026-05-02"), time=NOW).status == "expired"
    transplanted = make_envelope({**PAYLOAD, "digest": "blake3:" + "9" * 64}, OidcToken(requested(algorithm), name="x"))
    transplanted["signatures"] = made["signatures"]
    assert verify_envelope(transplanted, keys(algorithm), time=NOW).status == "unknown key"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_token_counts_nowhere(algorithm: str):
    made = make_envelope(PAYLOAD, OidcToken(requested(algorithm), name="job"))
    raw = base64.b64decode(made["signatures"][0]["sig"])
    for at in range(0, len(raw), 11):
        changed = bytearray(raw)
        changed[at] = ord("A") if changed[at] != ord("A") else ord("B")
        forged = copy.deepcopy(made)
        forged["signatures"][0]["sig"] = base64.b64encode(changed).decode()
        assert verify_envelope(forged, keys(*ALGORITHMS), time=NOW).status in ("unknown key", "claimed"), at


def test_times_are_judged_by_the_entry_and_never_by_this_machine():
    made = make_envelope(PAYLOAD, OidcToken(requested("ES256"), name="job"))
    known = keys("ES256")
    for seconds, status in ((0, "valid"), (300, "valid"), (359, "valid"), (361, "expired"), (-59, "valid"), (-61, "unknown key")):
        assert verify_envelope(made, known, time=NOW + timedelta(seconds=seconds)).status == status
    for more in ({"exp": None}, {"exp": "soon"}, {"exp": True}, {"nbf": "x"}, {"nbf": int(NOW.timestamp()) + 100}):
        odd = make_envelope(PAYLOAD, OidcToken(requested("ES256", **more), name="job"))
        assert verify_envelope(odd, known, time=NOW).status == "unknown key", more


def test_an_algorithm_is_that_of_the_key_and_never_only_of_the_token():
    known = keys(*ALGORITHMS)
    for header in ({"alg": "none"}, {"alg": "HS256"}, {"alg": "RS512"}, {"alg": None}, {"crit": ["x"]}, {"kid": "another"}):
        signer = OidcToken(lambda audience, header=header: token("RS256", {"aud": audience}, header), name="job")  # type: ignore[misc]
        assert verify_envelope(make_envelope(PAYLOAD, signer), known, time=NOW).status == "unknown key", header
    without = OidcToken(lambda audience: token("RS256", {"aud": audience}, {"kid": None}), name="job")
    assert verify_envelope(make_envelope(PAYLOAD, without), known, time=NOW).status == "valid"
    stranger = OidcToken(lambda audience: token("RS256", {"aud": audience}, {"kid": "rsa0"}, which=1), name="job")
    assert verify_envelope(make_envelope(PAYLOAD, stranger), known, time=NOW).status == "unknown key"


def test_a_token_that_was_issued_beforehand_records_its_claims_and_counts_nowhere():
    given = token("RS256", {"aud": "https://acme.example", "name": "Alice"})
    signer = OidcToken(given)
    assert (signer.name, signer.key_id) == ("Alice", f"oidc:{ISSUER}")
    assert OidcToken(token("RS256")).name == SUBJECT
    assert OidcToken(token("RS256", {"email": "a@b.c"})).name == "a@b.c"
    made = make_envelope(PAYLOAD, signer)
    assert claims_of(made)[0]["name"] == "Alice"
    raw = base64.b64decode(made["signatures"][0]["sig"])
    assert raw.endswith(b".")
    assert given.encode().startswith(raw)  # the token itself is not recorded
    found = verify_envelope(made, keys("RS256"), time=NOW)
    assert (found.status, found.names) == ("claimed", ())
    assert "was not issued for what it signs" in found.text
    assert signer.verify({"keys": [jwk("RS256")]}, time=NOW)["name"] == "Alice"
    assert signer.verify(json.dumps({"keys": [jwk("RS256")]}), time=NOW)["iss"] == ISSUER
    good: dict[str, Any] = {"jwks": {"keys": [jwk("RS256")]}, "time": NOW}
    assert signer.verify(**good, issuer=ISSUER, audience="https://acme.example")["sub"] == SUBJECT
    with pytest.raises(InvalidInputError, match=r"the token is of https://issuer\.example, expected https://other"):
        signer.verify(**good, issuer="https://other")
    with pytest.raises(InvalidInputError, match=r"the token was issued for 'https://acme\.example', expected the audience 'x'"):
        signer.verify(**good, audience="x")
    for jwks, when, words in (
        ({"keys": [jwk("RS256", 1)]}, NOW, "no key of"),
        ({"keys": [jwk("ES256")]}, NOW, "no key of"),
        ({"keys": [jwk("RS256")]}, NOW + timedelta(hours=1), "had expired"),
        ({"keys": [jwk("RS256")]}, NOW - timedelta(hours=1), "not valid yet"),
        ({"keys": [jwk("RS256")]}, datetime(2026, 5, 3), "aware"),  # noqa: DTZ001
        ({"keys": []}, NOW, "no key for signatures"),
        ("{", NOW, "not JSON"),
    ):
        with pytest.raises(InvalidInputError, match=words) as caught:
            signer.verify(jwks, time=when)
        assert given.rsplit(".", 1)[1] not in str(caught.value)


def test_a_replayed_token_of_another_payload_is_claimed_at_most():
    stolen: list[str] = []

    def request(audience: str) -> str:
        stolen.append(token("RS256", {"aud": audience}))
        return stolen[-1]

    make_envelope(PAYLOAD, OidcToken(request, name="job"))
    other = make_envelope({**PAYLOAD, "ref": "churn/model:v8"}, OidcToken(stolen[0]))
    assert verify_envelope(other, keys("RS256"), time=NOW).status == "claimed"


def test_no_token_is_shown_or_pickled():
    given = token("RS256")
    signer = OidcToken(given)
    for shown in (repr(signer), str(signer)):
        assert given not in shown
        assert given.rsplit(".", 1)[1] not in shown
    for call in (pickle.dumps, copy.deepcopy):
        with pytest.raises(InvalidInputError, match="cannot be pickled") as caught:
            call(signer)
        assert given not in str(caught.value)
    parts = given.split(".")
    for bad in (
        "",
        "secret-text",
        f"{parts[0]}.{parts[1]}",
        f"{parts[0]}.!!.{parts[2]}",
        f"{b64(b'[1]')}.{parts[1]}.x",
        given + "." + given,
        "x" * 70_000,
        token("RS256", {"iss": None}),
        token("RS256", {"sub": ""}),
        None,
        3,
        given.encode(),
    ):
        with pytest.raises(InvalidInputError) as caught:
            OidcToken(bad)  # type: ignore[arg-type]
        assert not isinstance(bad, str) or not bad or bad not in str(caught.value)
    with pytest.raises(InvalidInputError, match="name= is needed"):
        OidcToken(lambda _: given)
    with pytest.raises(InvalidInputError, match="not for the audience"):
        OidcToken(lambda _: given, name="job").sign(b"data")
    with pytest.raises(InvalidInputError, match="must be a str"):
        OidcToken(lambda _: None, name="job").sign(b"data")  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidInputError, match="no token was requested yet"):
        OidcToken(lambda _: given, name="job").verify({"keys": [jwk("RS256")]}, time=NOW)


def test_a_jwks_is_checked(tmp_path: Path):
    good = jwk("RS256")
    assert len(parse_jwks({"keys": [good, jwk("EdDSA"), {"kty": "oct", "k": "eA"}, {**good, "use": "enc"}]})) == 2
    for value, words in (
        ({}, '"keys"'),
        ([], '"keys"'),
        ({"keys": "x"}, '"keys"'),
        ({"keys": [3]}, '"keys"'),
        ({"keys": [{"kty": "oct"}]}, "no key for signatures"),
        ({"keys": [{**good, "n": "!"}]}, "key 0 of the JWKS is malformed"),
        ({"keys": [jwk("ES256"), {**good, "n": "AQAB"}]}, "key 1 of the JWKS is malformed"),
        ({"keys": [{**good, "n": number(2**1023 + 1, 128)}]}, "at least 2048 bits"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}, "key 0 of the JWKS is malformed"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}]}, "key 0 of the JWKS is malformed"),
        ({"keys": [{"kty": "RSA", "e": "AQAB"}]}, "key 0 of the JWKS is malformed"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            parse_jwks(value)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [good]}))
    file = tmp_path / "keys.toml"
    table = f'[ci]\nissuer = "{ISSUER}"\njwks = "jwks.json"\nsubjects = ["repo:*"]\n'
    file.write_text(table)
    found, same = Keys.load(file), Keys.load({"ci": {"issuer": ISSUER, "jwks": {"keys": [good]}, "subjects": ["repo:*"]}})
    assert found is not None
    assert found == same
    for text, words in (
        (table.replace('"repo:*"', ""), "line 4, column 1: subjects must name at least one"),
        (table.replace("jwks.json", "none.json"), "line 3, column 1: cannot read"),
        (table.replace("jwks.json", "{}"), 'line 3, column 1: a JWKS must be a JSON object with "keys"'),
        (table.replace("subjects", "subject"), "line 4, column 1: unknown field 'subject'; did you mean 'subjects'"),
        (table + "key = 'x'", "line 5, column 1: unknown field 'key'"),
        (table.replace('jwks = "jwks.json"\n', ""), "line 1, column 1: [ci] lacks jwks ="),
        (table.replace(f'"{ISSUER}"', "3"), "line 2, column 1: issuer must be"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInputError) as caught:
            Keys.load(file)
        assert words in str(caught.value)
