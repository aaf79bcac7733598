import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.errors import CorruptionError, FormatError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Config, parse_config, parse_entry, parse_facts, parse_txn
from artifactstore.model.format import FORMAT, check_format
from artifactstore.model.schema import KINDS

ID, OTHER = "0" * 32, "1" * 32
DIGEST = "blake3:" + "0" * 64
TIME = "2026-01-01T00:00:00.000000Z"
FACTS: dict[str, dict[str, Any]] = {
    "stored": {
        "digest": DIGEST,
        "manifest": ID,
        "manifest_digest": DIGEST,
        "size": 1,
        "files": 1,
        "packs": [ID],
        "hooks": "0" * 32,
    },
    "relocated": {"digest": DIGEST, "from": ID, "to": OTHER, "manifest_digest": DIGEST, "packs": [ID]},
    "condemned": {"manifests": [ID], "packs": [OTHER]},
    "versioned": {"name": "x", "digest": DIGEST, "kind": "data", "metadata": {"a": [1, None]}},
    "described": {"name": None, "digest": DIGEST, "metadata": {}},
    "aliased": {"name": "x", "alias": "best", "version": 1, "expect": None},
    "removed": {"name": "x", "version": 1},
    "measured": {"digest": DIGEST, "metrics": {"auc": 0.5, "n": 3}},
    "held": {"hold": ID, "digest": DIGEST, "until": TIME},
    "released": {"hold": ID},
    "tainted": {"digest": DIGEST},
    "cleared": {"digest": DIGEST},
    "approved": {"digest": DIGEST, "verdict": "approved", "role": "auditor"},
    "started": {"run": "r", "name": "train", "params": {"depth": 8}, "claimed": True},
    "finished": {"run": "r", "status": "failed", "error": "why", "seconds": 1.5},
    "used": {"run": "r", "digest": DIGEST},
    "produced": {"run": "r", "digest": DIGEST, "name": "x", "version": 1},
    "moved_to": {"url": "s3://x"},
    "gated": {"names": "churn/*", "alias": "production", "rules": {"all": [{"run": "finished"}]}},
    "retained": {"names": "churn/*", "rules": {"keep_last": 5}},
    "signed": {"digest": DIGEST, "type": "oms", "bundle": {"mediaType": "x"}, "key": "sha256:ab"},
    "refused": {"action": "promote", "reasons": ["auc is 0.8, asked is >= 0.9"], "digest": DIGEST},
    "anchored": {"seq": 3, "entry": DIGEST},
    "damaged": {"digest": DIGEST, "manifest": ID},
    "snapshot": {"seq": 1, "digest": DIGEST, "layout": 7, "size": 100},
    "received": {
        "store": ID,
        "seq": 1,
        "entry": DIGEST,
        "actor": "a",
        "identity": "os",
        "time": TIME,
        "txn": ID,
        "host": "h",
        "tool": "t",
        "reason": "why",
        "gone": [DIGEST],
        "renamed": {"x": "x.from-there"},
        "expect": {"x": {"versions": 1, "moves": 0}},
        "via": [{"store": ID, "seq": 2, "entry": DIGEST}],
        "facts": [{"fact": "released", "hold": ID}],
    },
}


def entry(*facts: dict[str, Any], **more: Any) -> dict[str, Any]:
    txn = {
        "txn": ID,
        "birth": 0,
        "base": 0,
        "adoptable": True,
        "actor": "a",
        "identity": "os",
        "host": "h",
        "tool": "t",
        "time": TIME,
        "facts": list(facts),
    }
    return {"format": 1, "seq": 1, "previous": DIGEST, "writer": ID, "time": TIME, "txns": [txn], **more}


def test_every_kind_has_an_example_here() -> None:
    assert set(FACTS) == set(KINDS)


@pytest.mark.parametrize("kind", FACTS)
def test_each_kind_is_read_with_fields_that_nobody_knows(kind: str) -> None:
    fact = {"fact": kind, **FACTS[kind], "of_tomorrow": {"deep": [1, "ä"]}}
    raw = canonical_json(entry(fact, more=1))
    assert parse_entry(raw, "k") == json.loads(raw)
    assert parse_facts(canonical_json([fact]), "k") == [fact]
    parse_txn(canonical_json(entry(fact)["txns"][0]))


def test_kinds_of_tomorrow_are_carried() -> None:
    fact = {"fact": "of tomorrow", "digest": 5}
    assert parse_entry(canonical_json(entry(fact)), "k")["txns"][0]["facts"] == [fact]


@pytest.mark.parametrize("kind", FACTS)
def test_each_required_field_is_required_and_typed(kind: str) -> None:
    needed = {name for name, field in KINDS[kind]["fields"].items() if field["required"]} - {"fact"}
    for field in FACTS[kind]:
        fact = {"fact": kind, **FACTS[kind]}
        if field in needed:
            with pytest.raises(CorruptionError, match="k contains a"):
                parse_facts(canonical_json([{key: value for key, value in fact.items() if key != field}]), "k")
        with pytest.raises(CorruptionError, match=f"'{kind}'"):
            parse_facts(
                canonical_json([{**fact, field: {"a": object.__name__} if not isinstance(fact[field], dict) else [1]}]), "k"
            )


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("stored", {"size": -1}),
        ("stored", {"size": True}),
        ("stored", {"size": 1.0}),
        ("stored", {"hooks": "0" * 15}),
        ("stored", {"digest": "md5:" + "0" * 64}),
        ("stored", {"packs": [ID, ID.upper() + "A"]}),
        ("condemned", {"packs": "all"}),
        ("measured", {"metrics": {"auc": "high"}}),
        ("held", {"until": "tomorrow"}),
        ("held", {"until": "\u0662\u0660\u0662\u0666-01-01T00:00:00.000000Z"}),
        ("started", {"run": ""}),
        ("started", {"run": "r" * 101}),
        ("approved", {"verdict": "perhaps"}),
        ("received", {"facts": [{"fact": "released", "hold": "short"}]}),
        ("received", {"seq": 0}),
        ("received", {"seq": 2**63}),
        ("received", {"txn": "short"}),
        ("received", {"gone": ["blake3:short"]}),
        ("received", {"renamed": {"x": 1}}),
        ("received", {"expect": {"x": {"versions": -1, "moves": 0}}}),
        ("received", {"expect": {"x": {"versions": 1}}}),
        ("received", {"via": [{"store": ID}]}),
    ],
)
def test_wrong_values_are_refused(kind: str, change: dict[str, Any]) -> None:
    fact = {"fact": kind, **FACTS[kind], **change}
    with pytest.raises(CorruptionError, match="k contains a") as caught:
        parse_entry(canonical_json(entry(fact)), "k")
    assert caught.value.location == "k"
    with pytest.raises(InvalidInputError):
        parse_txn(canonical_json(entry(fact)["txns"][0]))


@pytest.mark.parametrize("fact", [{}, {"fact": None}, {"fact": 5}, {"fact": "removed"}, {"fact": []}])
def test_a_fact_says_what_it_is(fact: dict[str, Any]) -> None:
    with pytest.raises(CorruptionError):
        parse_facts(canonical_json([fact]), "k")


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": "1"},
        {"previous": "x"},
        {"writer": "me"},
        {"time": "now"},
        {"txns": {}},
        {"txns": [{}]},
        {"txns": [5]},
        {"format": 0},
        {"format": "1"},
    ],
)
def test_an_envelope_that_is_none_is_damage(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptionError, match="k is not a journal entry"):
        parse_entry(canonical_json({**entry(), **change}), "k")


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":"\\ud800"}'])
def test_bytes_that_are_no_entry_are_damage(raw: bytes) -> None:
    with pytest.raises(CorruptionError, match="k is not"):
        parse_entry(raw, "k")
    if raw != b"[]":
        with pytest.raises(CorruptionError, match="k is not"):
            parse_facts(raw, "k")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    for read in (lambda: parse_entry(raw, "k"), lambda: parse_facts(raw, "k"), lambda: parse_config(raw, "k")):
        try:
            read()
        except (CorruptionError, FormatError):
            continue
        assert raw.strip() == b"[]"


# -- formats


def test_a_newer_format_wins_over_any_other_fault() -> None:
    for raw in (canonical_json({**entry(), "format": FORMAT + 1}), b'{"format": 99}'):
        with pytest.raises(FormatError, match="upgrade"):
            parse_entry(raw, "k")
        with pytest.raises(FormatError, match="upgrade"):
            parse_config(raw, "k")
    check_format(b"[" * 100_000, "k")
    check_format(b'{"format": "9"}', "k")
    check_format(b"9", "k")


# -- store.json

CONFIG = Config.new(ID, "sha256", {"rows": (64, 128, 256), "bytes": (64, 128, 256), "tensors": (64, 128, 256)}, TIME)


def test_a_config_round_trips() -> None:
    assert parse_config(CONFIG.raw, "store.json") == CONFIG


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"digest": "md5"},
        {"digest": 5},
        {"store": 5},
        {"store": "x"},
        {"created": None},
        {"format": 0},
        {"format": 1e999},
        {"chunkers": []},
        {"chunkers": {"a": {"minimum": 9, "average": 8, "maximum": 7}}},
        {"chunkers": {"a": {"minimum": 64, "average": 128}}},
        {"chunkers": {"a": {"minimum": 64, "average": 128, "maximum": 2**40}}},
    ],
)
def test_a_config_without_sense_is_refused(change: dict[str, Any]) -> None:
    raw = json.dumps({**json.loads(CONFIG.raw), **change}).encode()
    with pytest.raises(FormatError, match=r"store\.json"):
        parse_config(raw, "store.json")
