"""Whatever bytes a store, a bundle or a file holds: every parser takes them or raises this library's errors, in bounded memory."""

import json
from pathlib import Path

import pytest

from tests.sick_stores.fuzzing import PARSERS, run
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
