"""Whatever bytes a store, a bundle or a file holds: every parser takes them or raises this library's errors, in bounded memory."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.sick_stores.fuzzing import PARSERS, one, run
from tests.warm import program

MEMORY = 256  # MB above what the imports and the valid inputs take


@pytest.mark.parametrize("name", [one for one in PARSERS if one != "bundle"])
def test_changed_bytes_are_taken_or_refused_by_an_own_error(name: str):
    run(name, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_many_changed_bytes_are_parsed_in_bounded_memory(name: str):
    many = {"bundle": 150, "gates and retention": 300, "segment": 300, "ledger": 400}.get(name, 1500)
    done = program("-m", "tests.sick_stores.fuzzing", name, str(many), "7", cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["growth"] <= MEMORY
    assert found["taken"] > 0 or name == "pack footer"


# What fuzzing has found, each once an error of Python's own.
FOUND = {
    "half a character in a pointer": ("pointer", b'{"artifactstore": 1, "bytes": 1, "digest": "blake3:%s", "files": 1, "name": "\\ud800", "store": "x", "version": 1}' % (b"ab" * 32)),
    "a ledger that is too deep": ("ledger", b"[" * 100_000),
    "a record of verify that is too deep": ("resume", b"[" * 100_000),
    "a record of verify with a line that is too deep": ("resume", json.dumps({"about": {"level": "frames"}, "seed": 5, "begun": datetime.now(UTC).isoformat()}).encode() + b"\n" + b"[" * 100_000),
    "a manifest whose media type is a list": ("OCI manifest", b'{"schemaVersion": 2, "mediaType": [[]], "layers": []}'),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_taken_or_refused_by_an_own_error(name: str):
    parser, raw = FOUND[name]
    one(PARSERS[parser], raw)
