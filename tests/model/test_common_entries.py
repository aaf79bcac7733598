"""The one-pass schema accepts and reads exactly what the full one does, or leaves an entry to it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.errors import ArtifactStoreError
from artifactstore.model.common_entries import parse_common_entry
from artifactstore.model.encoding import canonical_json
from artifactstore.model.fields import CheckedFacts, malformed
from artifactstore.model.schema import _parse_any_entry, parse_entry
from tests.model.test_schema import DIGEST, FACTS, ID, TIME, entry

CODE = {"kind": "git", "commit": "0" * 40, "dirty": False, "remotes": {"origin": "x"}, "because": ["a"]}
COMMON: list[dict[str, Any]] = [
    {"fact": kind, **FACTS[kind]}
    for kind in ("stored", "versioned", "aliased", "measured", "started", "finished", "used", "produced")
] + [
    {"fact": "used", "run": "r", "digest": DIGEST, "role": "code", "code": CODE, "reason": "why"},
    {"fact": "versioned", "name": None, "digest": DIGEST, "kind": "data", "file": True},
    {"fact": "stored", **FACTS["stored"], "content": DIGEST, "format": "json"},
    {"fact": "started", "run": "r", "name": "t", "command": ["python", "x.py"], "params": {"a": [1.5, {"b": None}]}},
    {"fact": "finished", "run": "r", "status": "finished", "around": [{"path": "a", "size": 1}], "programs": [["ls"]]},
    {"fact": "measured", "run": "r", "metrics": {"auc": 0.5, "n": 3}, "step": 2},
]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 2**31, 2**31 + 1, 2**53, 2**63 - 1, 2**63, 10**400, "", "a", "é" * 101, ID, ID + "\n", ID.upper(),
    ID[:-1] + "\u0660", DIGEST, DIGEST + "\n", "sha256:" + "f" * 64, "md5:" + "0" * 64, TIME, TIME + "\n", "2026-02-29T00:00:00.000000Z",
    "2024-02-29T00:00:00.000000Z", "2026-04-31T00:00:00.000000Z", "2026-12-31T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z",
    "2026-01-01T24:00:00.000000Z", "2026-01-01T00:00:00,000000Z", "2026-01-01T00:00:60.000000Z", [], ["a"], [["a"]], [1], [ID], {},
    {"a": 1}, {"a": 1.5}, {"a": True}, {"a": 2**53}, {"a": 2**53 - 1}, {"a": 10**400}, {"a": "high"}, {"a": None}, {"a": {"b": [1e308]}},
    [{"path": "a", "size": 1}], [{"path": "a"}], {"kind": 1}, {"skipped": [["a", "b"]]}, {"skipped": [["a"]]}, {"dirty": 1}, "NaN", {"a": "Infinity"},
    "approved", "finished", "failed", "stored", "of tomorrow",
]  # fmt: skip
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1e5",
    "1E5",
    "01",
    "-0",
    "1.",
    '"\\ud800"',
    '"\\u0061"',
    '{"a":NaN}',
    '{"a":1e999}',
    "[1,",
]
NAMES = [
    "fact", "reason", "name", "version", "digest", "expect", "metrics", "params", "code", "around", "around_more", "not_finite", "seconds", "step",
    "kind", "file", "spilled", "format", "seq", "time", "txns", "facts", "previous", "verdict", "rollback", "of_tomorrow", "role", "run", "",
]  # fmt: skip


def outcome(parse: Any, raw: bytes) -> tuple[Any, str]:
    """What a parser makes of bytes, with the types of numbers; or its error."""
    try:
        found = parse(raw, "k")
    except ArtifactStoreError as error:
        return type(error), str(error)
    return None, json.dumps(found, sort_keys=True)


def is_the_same(raw: bytes) -> None:
    assert outcome(parse_entry, raw) == outcome(_parse_any_entry, raw), raw
    common = parse_common_entry(raw)
    for txn in [] if common is None else common["txns"]:
        assert type(txn["facts"]) is CheckedFacts
        assert not any(map(malformed, txn["facts"])), raw


@pytest.mark.parametrize("fact", COMMON, ids=str)
def test_common_facts_are_read_in_one_pass_in_the_order_of_their_bytes(fact: dict[str, Any]) -> None:
    for extra in ({}, {"reason": "why"}):
        raw = canonical_json(entry(dict(fact, **extra), dict(fact)))
        found = parse_common_entry(raw)
        assert found is not None
        assert canonical_json(found) == raw
        assert json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode() == raw


@pytest.mark.parametrize("kind", sorted({*FACTS} - {fact["fact"] for fact in COMMON}))
def test_other_kinds_are_left_to_the_full_schema(kind: str) -> None:
    raw = canonical_json(entry({"fact": kind, **FACTS[kind]}))
    assert parse_common_entry(raw) is None
    is_the_same(raw)


def test_every_field_of_every_common_fact_with_every_value_has_the_same_outcome() -> None:
    for fact in COMMON:
        for field in [*fact, "of_tomorrow"]:
            for value in VALUES:
                is_the_same(canonical_json(entry({**fact, field: value})))
            raw = canonical_json(entry({**fact, field: "@"}))
            for text in RAW:
                is_the_same(raw.replace(b'"@"', text.encode()))
            is_the_same(canonical_json(entry({key: one for key, one in fact.items() if key != field})))


def test_every_field_of_the_envelope_with_every_value_has_the_same_outcome() -> None:
    whole = entry(COMMON[0])
    for value in VALUES:
        for field in [*whole, "of_tomorrow"]:
            is_the_same(canonical_json({**whole, field: value}))
        for field in [*whole["txns"][0], "reason", "spilled", "of_tomorrow"]:
            is_the_same(canonical_json({**whole, "txns": [{**whole["txns"][0], field: value}]}))
    for number in (0, 1, 2, 3, 4, 1.0, True):
        is_the_same(canonical_json({**whole, "format": number}))


@given(st.data())
def test_damaged_bytes_of_an_entry_have_the_same_outcome(data: st.DataObject) -> None:
    facts = data.draw(st.lists(st.sampled_from(COMMON), min_size=1, max_size=3))
    raw = bytearray(canonical_json(entry(*facts)))
    for _ in range(data.draw(st.integers(1, 3))):
        how, at = data.draw(st.sampled_from(("flip", "cut", "twin", "swap"))), data.draw(st.integers(0, len(raw) - 1))
        if how == "flip":
            raw[at] = data.draw(st.sampled_from(b'0aN"{}[]:,-.e\\\x00\xff'))
        elif how == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        elif how == "twin":  # the same field twice
            name, value = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from([*map(json.dumps, VALUES), *RAW]))
            brace = raw.find(b"{", at)
            raw[brace + 1 : brace + 1] = f'"{name}":{value},'.encode()
        else:
            raw = bytearray(json.dumps(json.loads(canonical_json(entry(*reversed(facts))))).encode())
        if not raw:
            break
    is_the_same(bytes(raw))
