"""Envelopes: what is decoded, what a signature covers, and whose signatures count."""

import base64
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("cryptography")

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, format_time
from artifactstore.signing import KeyFile
from artifactstore.signing.envelope import (
    ANCHOR,
    APPROVAL,
    GATE,
    Signed,
    envelope_json,
    pae,
    parse_envelope,
    payload_of,
    speaks_of,
)
from artifactstore.signing.keys import Keys
from artifactstore.signing.verify import make_envelope, sign_payload, verify_envelope
from tests.signing.private_keys import KINDS, private, public_pem, write

NOW: Final = datetime(2026, 5, 3, 12, tzinfo=UTC)
PAYLOAD: Final[dict[str, Any]] = {
    "store": "0" * 32,
    "digest": "blake3:" + "1" * 64,
    "ref": "churn/model:v7",
    "alias": "production",
    "meaning": "approval",
    "verdict": "approved",
    "role": "qa",
    "name": "Älice Müller",
    "time": format_time(NOW),
    "head": 411,
    "entry": "blake3:" + "2" * 64,
}


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyFile]:
    top = tmp_path_factory.mktemp("keys")
    made = {"alice": "Ed25519", "bob": "ECDSA P-256", "carol": "ECDSA P-384", "eve": "Ed25519"}
    return {name: KeyFile(write(top / f"{name}.pem", kind, number)) for number, (name, kind) in enumerate(made.items())}


def keys(signers: dict[str, KeyFile], *names: str, **more: Any) -> Keys:
    made = Keys.load({name: {"key": signers[name].public_key.pem, "roles": ["qa"], **more} for name in names})
    assert made is not None
    return made


# -- decoding


def test_the_signed_bytes_are_those_of_the_specification():
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("ä", b"\xff\0") == b"DSSEv1 2 \xc3\xa4 2 \xff\0"
    assert pae("", b"") == b"DSSEv1 0  0 "


@pytest.mark.parametrize("kind", KINDS)
def test_an_envelope_says_what_was_signed(kind: str, tmp_path: Path):
    signer = KeyFile(write(tmp_path / "k.pem", kind))
    made = make_envelope(PAYLOAD, signer)
    assert json.loads(json.dumps(made)) == made
    assert made["payloadType"] == "application/vnd.artifactstore.approval+json"
    assert base64.b64decode(made["payload"]) == canonical_json(PAYLOAD)
    assert payload_of(made) == PAYLOAD
    found = Keys.load({"k": {"key": public_pem(private(kind))}})
    assert verify_envelope(made, found, time=NOW).status == "valid"
    least = {name: value for name, value in PAYLOAD.items() if name not in ("alias", "role")}
    assert payload_of(make_envelope({**PAYLOAD, "alias": None, "role": None}, signer)) == least


def test_a_payload_lacking_a_field_or_with_a_malformed_one_is_not_signed_and_not_decoded(signers: dict[str, KeyFile]):
    bad: dict[str, list[Any]] = {
        "store": [None, "", "0" * 31, "A" * 32, 3],
        "digest": [None, "1" * 64, "md5:1", "blake3:" + "1" * 64 + "\n"],
        "ref": [None, "", 3],
        "alias": ["", 3, []],
        "meaning": [None, "signed", "", 3, []],
        "verdict": [None, "withdrawn", True],
        "role": ["", 3],
        "name": [None, "", ["x"]],
        "time": [None, "2026-05-03", "2026-05-03T12:00:00Z", "2026-W01-1T20:39:43.000000Z", "2026-13-03T12:00:00.000000Z", 3],
        "head": [None, -1, 1.0, True, "411", 2**63],
        "entry": [None, "", 411],
    }
    assert set(bad) == set(PAYLOAD)
    for field, values in bad.items():
        for value in values:
            changed = {**PAYLOAD, field: value}
            raw = canonical_json({name: one for name, one in changed.items() if one is not None})
            forged = sign_payload(raw, signers["alice"], APPROVAL)
            if value is None and field in ("alias", "role"):
                continue
            assert payload_of(forged) is None, (field, value)
            with pytest.raises(InvalidInputError, match=f"cannot sign: {field}="):
                make_envelope(changed, signers["alice"])
    assert payload_of(sign_payload(canonical_json({**PAYLOAD, "later": [1]}), signers["alice"], APPROVAL)) == {
        **PAYLOAD,
        "later": [1],
    }


def test_other_types_have_fields_of_their_own(signers: dict[str, KeyFile]):
    common = {name: PAYLOAD[name] for name in ("store", "name", "time", "entry")}
    gate = {**common, "names": "churn/*", "alias": "production", "rules": {"all": [{"metric": "auc", "is": ">= 0.9"}]}, "head": 3}
    lifted = {**gate, "rules": None}
    anchor = {**common, "seq": 412, "meaning": "review"}
    for payload, kind in ((gate, GATE), (lifted, GATE), (anchor, ANCHOR)):
        made = make_envelope(payload, signers["alice"], kind)
        assert payload_of(made, kind) == payload
        renamed = {**make_envelope(PAYLOAD, signers["alice"]), "payloadType": kind}
        assert payload_of(renamed) is None
        assert payload_of(made) is None
        assert verify_envelope(made, keys(signers, "alice"), time=NOW).status == "unknown key"
        assert verify_envelope(made, keys(signers, "alice"), time=NOW, payload_type=kind).status == "valid"
    with pytest.raises(InvalidInputError, match="cannot sign: names="):
        make_envelope({**gate, "names": ""}, signers["alice"], GATE)


def test_only_one_text_is_decoded_for_the_same_bytes():
    raw = canonical_json({**PAYLOAD, "name": "???>>>~~~ÿ"})
    good = envelope_json(APPROVAL, raw, [Signed("k", b"\xfb\xff\xfe")])
    assert good["signatures"][0]["sig"] == "+//+"
    assert parse_envelope(good) == parse_envelope({**good, "signatures": [{"keyid": "k", "sig": "-__-"}]})
    assert parse_envelope({**good, "extra": 1}) == parse_envelope(good)
    assert parse_envelope({**good, "signatures": [{"sig": "+//+"}]}) is not None
    odd: list[Any] = [
        None,
        3,
        "x",
        [],
        {},
        {**good, "signatures": []},
        {**good, "signatures": {}},
        {**good, "signatures": [3]},
        {**good, "signatures": [{"keyid": 3, "sig": "+//+"}]},
        {**good, "signatures": [{"keyid": "k", "sig": ""}]},
        {**good, "signatures": [{"keyid": "k"}]},
        {**good, "signatures": good["signatures"] * 65},
        {**good, "payloadType": None},
        *(
            {**good, "signatures": [{"keyid": "k", "sig": sig}]}
            for sig in ("-/_+", "+//", "+//+=", "+/ /+", "YR==", "YQ", "ä+//", 3)
        ),
        *({**good, "payload": text} for text in (good["payload"] + "\n", good["payload"].rstrip("="), " " + good["payload"], 3)),
    ]
    for one in odd:
        assert parse_envelope(one) is None, one
        assert payload_of(one) is None


def test_a_payload_that_is_not_canonical_is_not_decoded():
    canonical = canonical_json(PAYLOAD)
    deep = canonical[:-1] + b',"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    wrapped = canonical_json({**PAYLOAD, "z": "[" * 1000 + '\\"' * 50})
    for raw in (
        b"",
        b"[]",
        b"null",
        canonical + b"\n",
        b"\xef\xbb\xbf" + canonical,
        canonical.decode().encode("utf-16"),
        json.dumps(PAYLOAD).encode(),
        canonical.replace(b'"alias"', b'"alias":"production","alias"'),
        canonical.replace(b"churn", b"\\u0063hurn"),
        canonical[:-1] + b',"z":NaN}',
        canonical[:-1] + b',"z":"\\ud800"}',
        canonical[:-1] + b',"z":' + b"9" * 5000 + b"}",
        deep,
    ):
        assert payload_of(envelope_json(APPROVAL, raw, [Signed("k", b"s")])) is None
    assert payload_of(envelope_json(APPROVAL, wrapped, [Signed("k", b"s")])) is not None


def test_a_payload_is_nested_as_deeply_on_every_platform():
    for depth, known in ((10, True), (63, True), (64, False), (200, False)):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            inner = opened * depth + b"1" + closed * depth
            raw = canonical_json(PAYLOAD)[:-1] + b',"z":' + inner + b"}"
            assert (payload_of(envelope_json(APPROVAL, raw, [Signed("k", b"s")])) is not None) == known


def test_an_envelope_speaks_of_its_own_fact_alone():
    fact = {"fact": "approved", "digest": PAYLOAD["digest"], "verdict": "approved", "role": "qa", "alias": "production"}
    store = PAYLOAD["store"]
    assert speaks_of(PAYLOAD, fact, store=store)
    assert speaks_of(PAYLOAD, {**fact, "meaning": "approval", "name": "churn/model"}, store=store)
    assert not speaks_of(None, fact, store=store)
    assert not speaks_of(PAYLOAD, fact, store="1" * 32)
    for changed in (
        {"digest": "blake3:" + "3" * 64},
        {"verdict": "rejected"},
        {"meaning": "review"},
        {"role": "release"},
        {"alias": "staging"},
    ):
        assert not speaks_of(PAYLOAD, {**fact, **changed}, store=store)
    for lacking in ("role", "alias"):
        assert not speaks_of(PAYLOAD, {name: one for name, one in fact.items() if name != lacking}, store=store)
        assert not speaks_of({name: one for name, one in PAYLOAD.items() if name != lacking}, fact, store=store)


# -- signatures


def test_a_changed_bit_anywhere_in_what_is_signed_is_found(signers: dict[str, KeyFile]):
    known = keys(signers, "alice", "bob", "carol")
    for who in ("alice", "bob", "carol"):
        made = make_envelope(PAYLOAD, signers[who])
        found = parse_envelope(made)
        assert found is not None
        assert verify_envelope(made, known, time=NOW) == verify_envelope(made, known, role="qa", time=format_time(NOW))
        payload, (signed,) = found.payload, found.signatures
        for at in range(0, len(payload) * 8, 61):
            changed = bytearray(payload)
            changed[at // 8] ^= 1 << at % 8
            forged = envelope_json(APPROVAL, bytes(changed), [signed])
            assert verify_envelope(forged, known, time=NOW).status == "unknown key"
        for at in range(0, len(signed.sig) * 8, 5):
            changed = bytearray(signed.sig)
            changed[at // 8] ^= 1 << at % 8
            forged = envelope_json(APPROVAL, payload, [signed._replace(sig=bytes(changed))])
            assert verify_envelope(forged, known, time=NOW).status == "unknown key"
        for kind in (GATE, APPROVAL.upper(), APPROVAL + "x", ""):
            forged = envelope_json(kind, payload, [signed])
            assert verify_envelope(forged, known, time=NOW).status == "unknown key"
            assert verify_envelope(forged, known, time=NOW, payload_type=kind).status == "unknown key"
        for sig in (b"\0" * 64, signed.sig + b"\0", signed.sig[:-1], b"x"):
            forged = envelope_json(APPROVAL, payload, [signed._replace(sig=sig)])
            assert verify_envelope(forged, known, time=NOW).status == "unknown key"


def test_each_field_that_is_replaced_breaks_the_signature(signers: dict[str, KeyFile]):
    known = keys(signers, "alice")
    signed = parse_envelope(make_envelope(PAYLOAD, signers["alice"])).signatures  # type: ignore[union-attr]
    others = {
        "store": "3" * 32,
        "digest": "blake3:" + "3" * 64,
        "ref": "churn/model:v8",
        "alias": "staging",
        "meaning": "review",
        "verdict": "rejected",
        "role": "release",
        "name": "Eve",
        "time": format_time(NOW + timedelta(days=1)),
        "head": 412,
        "entry": "blake3:" + "3" * 64,
    }
    assert set(others) == set(PAYLOAD)
    for field, value in others.items():
        forged = envelope_json(APPROVAL, canonical_json({**PAYLOAD, field: value}), signed)
        assert payload_of(forged) is not None
        assert not verify_envelope(forged, known, time=NOW)


def test_whose_signature_counts(signers: dict[str, KeyFile]):
    made = make_envelope(PAYLOAD, signers["alice"])
    assert verify_envelope(None, keys(signers, "alice"), time=NOW).status == "claimed"
    assert verify_envelope(made, None, time=NOW).status == "claimed"
    assert verify_envelope({"payload": 3}, None, time=NOW).status == "unknown key"
    assert verify_envelope(made, keys(signers, "bob", "eve"), time=NOW).status == "unknown key"
    good = verify_envelope(made, keys(signers, "alice", "bob"), role="qa", actor="anyone", time=NOW)
    assert (good.status, good.names, good.roles, good.text) == ("valid", ("alice",), ("qa",), "")
    wrong = verify_envelope(made, keys(signers, "alice"), role="release", time=NOW)
    assert (wrong.status, wrong.text) == ("unknown key", "the key of alice does not have the role 'release'")
    known = keys(signers, "alice", actors=["alice", "a.lice"])
    assert verify_envelope(made, known, actor="a.lice", time=NOW).status == "valid"
    assert verify_envelope(made, known, actor="bob", time=NOW).text == "the key of alice does not count for the actor 'bob'"
    assert not verify_envelope(made, keys(signers, "alice", actors=[]), actor="alice", time=NOW)
    roleless = keys(signers, "alice", roles=[])
    assert verify_envelope(made, roleless, time=NOW).status == "valid"
    assert verify_envelope(made, roleless, role="qa", time=NOW).status == "unknown key"
    with pytest.raises(InvalidInputError, match="aware"):
        verify_envelope(made, known, time=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("until", [date(2026, 5, 3), "2026-05-03", datetime(2026, 5, 3, 23, tzinfo=UTC), "2026-05-03T23:00:00Z"])
def test_a_key_counts_until_its_last_moment_by_the_time_of_the_entry(until: object, signers: dict[str, KeyFile]):
    made = make_envelope(PAYLOAD, signers["alice"])
    known = keys(signers, "alice", until=until)
    assert verify_envelope(made, known, time=NOW).status == "valid"
    assert verify_envelope(made, known, time=datetime(2026, 5, 3, 23, tzinfo=UTC)).status == "valid"
    late = verify_envelope(made, known, time=datetime(2026, 5, 4, tzinfo=UTC))
    assert (late.status, late.names) == ("expired", ("alice",))
    # What is wrong otherwise comes first: an expired key without the role was never one that counts.
    assert verify_envelope(made, known, role="release", time=datetime(2027, 1, 1, tzinfo=UTC)).status == "unknown key"


def test_of_several_signatures_one_that_counts_is_enough(signers: dict[str, KeyFile]):
    made = make_envelope(PAYLOAD, [signers["eve"], signers["alice"], signers["bob"]])
    assert len(made["signatures"]) == 3
    assert verify_envelope(made, keys(signers, "alice", "bob"), time=NOW).names == ("alice", "bob")
    assert verify_envelope(made, keys(signers, "bob"), role="qa", time=NOW).names == ("bob",)
    assert verify_envelope(made, keys(signers, "carol"), time=NOW).status == "unknown key"
    mixed = Keys.load(
        {
            "alice": {"key": signers["alice"].public_key.pem, "roles": ["qa"], "until": "2020-01-01"},
            "bob": {"key": signers["bob"].public_key.pem, "roles": ["release"]},
        }
    )
    assert verify_envelope(made, mixed, role="qa", time=NOW).status == "expired"
    assert verify_envelope(made, mixed, role="release", time=NOW).names == ("bob",)
    with pytest.raises(InvalidInputError, match="names no signer"):
        make_envelope(PAYLOAD, [])


def test_the_key_id_is_only_a_hint(signers: dict[str, KeyFile]):
    known = keys(signers, "alice", "bob", "carol")
    for keyid in ("", "kms:alias/qa", signers["bob"].key_id, "oidc:https://issuer.example"):
        made = make_envelope(PAYLOAD, signers["alice"])
        made["signatures"][0]["keyid"] = keyid
        assert verify_envelope(made, known, time=NOW).names == ("alice",)
    made = make_envelope(PAYLOAD, signers["eve"])
    made["signatures"][0]["keyid"] = signers["alice"].key_id
    assert verify_envelope(made, known, time=NOW).status == "unknown key"


def test_a_signer_that_returns_no_signature_is_refused():
    class Broken:
        name, key_id = "broken", "x"

        def __init__(self, made: Any) -> None:
            self.made = made

        def sign(self, data: bytes) -> bytes:
            return self.made  # type: ignore[no-any-return]

    for made in (None, "text", b"", 3):
        with pytest.raises(InvalidInputError, match="the signer broken must return a signature as bytes"):
            make_envelope(PAYLOAD, Broken(made))
