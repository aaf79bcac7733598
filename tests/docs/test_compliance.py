"""The trace matrix: every test that it names exists, and no requirement is missing."""

import re
from pathlib import Path

from artifactstore.cli.selftest import installation, known_answers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/compliance.md").read_text()
WANTED = [*(f"R{number}" for number in range(1, 14)), "R15", "R17"]


def test_every_test_that_is_named_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 40
    for file, test in named:
        assert re.search(rf"^ *def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_every_requirement_has_a_row_with_tests():
    rows = [line.strip("|").split("|") for line in TEXT.splitlines() if re.match(r"\| R\d", line)]
    assert [row[0].strip() for row in rows] == WANTED
    for row in rows:
        assert len(row) == 4, row[0]
        assert "::test_" in row[3], row[0]
        assert "::" not in row[2], row[0]


def test_what_the_self_test_shows_are_requirements_of_the_page():
    for one in (*installation.checks(), *known_answers.checks()):
        cited = re.findall(r"R\d+", one.requirement)
        assert cited, one.id
        assert set(cited) <= set(WANTED), one.id


def test_it_claims_no_compliance():
    assert "does not make anybody compliant" in TEXT
    assert not re.search(r"\b(is|are|fully) compliant\b|\bcertified\b", TEXT)
