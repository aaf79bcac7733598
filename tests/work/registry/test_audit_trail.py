"""The audit trail of one artifact, in Python, as CSV, as a page and by the command."""

import csv
import io
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.cli import main

from .conftest import evaluate


def history(store: Store) -> None:
    """Let everything happen to v1 that a registry records."""
    registry = store.registry
    registry.gates([{"names": "churn/*", "alias": "production", "all": [{"metric": "auc", "is": ">= 0.93"}]}], reason="CR-1")
    with pytest.raises(RefusedError):
        store.promote("churn/model:v1", "production", reason="too early")
    registry.approve("churn/model:v1", reason="looks fine", role="qa")
    registry.describe("churn/model:v1", {"owner": "ann"})
    evaluate(store, "churn/model:v1", 0.97)
    store.promote("churn/model:v1", "production", reason="CR-2")
    store.promote("churn/model:v2", "production", reason="CR-3")
    store.rollback("churn/model", "production", reason="CR-4")
    registry.release(registry.hold("churn/model:v1", "litigation", until=date(2020, 1, 1)), "settled")
    registry.taint("churn/model:v1", "wrong labels")
    registry.untaint("churn/model:v1", "right labels")


EXPECTED = [
    "refused", "approved", "described", "measured", "used", "aliased", "aliased", "aliased", "held", "released", "tainted", "cleared",
]  # fmt: skip


def test_the_trail_of_an_artifact_has_what_names_only_its_digest(churn: Store) -> None:
    before = len(churn.log(ref="churn/model:v1"))
    history(churn)
    found = churn.log(ref="churn/model:v1")[before:]
    assert [one.fact for one in found] == EXPECTED
    digest = churn.artifact("churn/model:v1").digest
    for ref in (digest, digest[:20], f"churn/model@{digest[:20]}", "churn/model:production", churn.artifact("churn/model:v1")):
        assert churn.log(ref=ref)[before:] == found
    assert [one.fact for one in churn.log(name="churn/model")[-6:]] == ["refused", "described", "used", *["aliased"] * 3]
    assert [one.after for one in found if one.fact == "aliased"] == [1, 2, 1]
    assert [one.fact for one in churn.log(ref="churn/model:v2")[-4:]] == ["measured", "used", "aliased", "aliased"]


def test_a_removed_artifact_keeps_its_trail(churn: Store) -> None:
    digest = churn.artifact("churn/model:v1").digest
    churn.registry.remove("churn/model:v1", "GDPR request 8")
    for ref in ("churn/model:v1", digest, f"churn/model@{digest[:20]}"):
        (*_, last) = churn.log(ref=ref)
        assert (last.fact, last.reason) == ("removed", "GDPR request 8")
        assert last.before == {"digest": digest, "versions": ["churn/model:v1"]}
        assert last.after is None
    churn.registry.remove("churn/model:v2", "the last one")
    assert churn.log(ref="churn/model")[-1].reason == "the last one"
    for ref, error in (
        ("churn/model:v9", NotFoundError),
        ("no", NotFoundError),
        ("churn/train:v1/data.parquet", InvalidInputError),
    ):
        with pytest.raises(error):
            churn.log(ref=ref)


def test_the_trail_is_csv_that_no_spreadsheet_runs(churn: Store) -> None:
    history(churn)
    churn.registry.taint("churn/model:v2", '=HYPERLINK("http://x")\n\x1b[31m')
    rows = [*csv.DictReader(io.StringIO(churn.log(ref="churn/model:v2").to_csv()))]
    assert len(rows) == len(churn.log(ref="churn/model:v2"))
    assert rows[-1]["reason"] == '\'=HYPERLINK("http://x")\\n\\x1b[31m'
    assert json.loads(rows[-1]["after"])["reason"].startswith("=HYPERLINK")
    moves = [one for one in rows if one["fact"] == "aliased"]
    assert [(one["before"], one["after"]) for one in moves] == [("1", "2"), ("2", "1")]
    assert churn.log(actor="nobody").to_csv().count("\n") == 1, "a header alone"


def test_the_trail_is_a_page_that_needs_nothing_from_elsewhere(churn: Store) -> None:
    churn.registry.taint("churn/model:v1", "<script>alert(1)</script>")
    page = churn.log(ref="churn/model:v1").to_html()
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script|src=|href=|url\(|@import", page)
    assert "default-src 'none'" in page
    assert churn.artifact("churn/model:v1").digest in page
    assert "0 facts" in churn.log(actor="nobody").to_html()


def test_the_command_prints_the_trail_of_an_artifact(churn: Store, capsys: pytest.CaptureFixture[str]) -> None:
    history(churn)

    def call(*arguments: str) -> str:
        assert not main(["log", "--store", churn.url, *arguments])
        return capsys.readouterr().out

    lines = call("--ref", "churn/model:v1").splitlines()
    assert any("promote churn/model production -> v1 (1 of 1 condition met)" in line for line in lines)
    assert any("refuse promote churn/model:v1 production: auc is 0.91, asked is >= 0.93" in line for line in lines)
    assert any("approve churn/model:v1 as qa (claimed)" in line for line in lines)
    assert any("roll back churn/model production v2 -> v1 (as since entry" in line for line in lines)
    assert not any("gate churn/*" in line for line in lines)
    assert any("gate churn/* production: 1 condition" in line for line in call().splitlines())
    assert call("--ref", "churn/model:v1", "--csv") == churn.log(ref="churn/model:v1").to_csv()
    assert call("--ref", "churn/model:v1", "--html") == churn.log(ref="churn/model:v1").to_html()
    (event,) = json.loads(call("--ref", "churn/model:v1", "--fact", "approved", "--json"))
    assert (event["before"], event["after"], event["clock"]) == (None, "approved", None)


@pytest.mark.parametrize(
    "options", [["--csv", "--html"], ["--csv", "--json"], ["--html", "--json"], ["--csv", "--follow"], ["--html", "-f"]]
)
def test_one_form_at_a_time(churn: Store, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "--store", churn.url, *options]) == 2
    assert "contradict each other" in capsys.readouterr().err


def test_the_past_has_its_own_trail(churn: Store, tmp_path: Path) -> None:
    head = int(churn.head.partition(":")[0])
    history(churn)
    past: Any = artifactstore.open(churn.url, cache=None).at(head)
    assert "aliased" not in {one.fact for one in past.log(ref="churn/model:v1")}
