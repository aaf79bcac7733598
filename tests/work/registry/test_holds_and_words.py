"""Holds, removal, retention; descriptions and measures."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError, NotFoundError, RefusedError, Store

from .conftest import train


def test_what_is_held_and_all_it_was_made_from_stays(churn: Store) -> None:
    hold = churn.registry.hold("churn/model:v1", "litigation 12/7")
    assert (hold.ref, hold.reason, hold.until) == ("churn/model:v1", "litigation 12/7", None)
    for ref in ("churn/model:v1", "churn/train:v1"):
        with pytest.raises(RefusedError, match=rf"is held \({hold.id}\) by .*: litigation 12/7"):
            churn.registry.remove(ref, "clean-up")
    assert [one.id for one in churn.registry.holds()] == [hold.id]
    assert [one.id for one in churn.registry.holds("churn/model:v1")] == [hold.id]
    assert not churn.registry.holds("churn/model:v2")
    churn.registry.release(hold.id[:8], "it is over")
    assert churn.registry.remove("churn/model:v1", "clean-up").refs == ("churn/model:v1",)
    assert [event.fields["action"] for event in churn.log(fact="refused")] == ["remove", "remove"]


def test_a_hold_with_an_end_lasts_until_it_is_released(churn: Store) -> None:
    hold = churn.registry.hold("churn/model:v1", "audit", until=date(2099, 12, 31))
    assert hold.until == datetime(2099, 12, 31, 23, 59, 59, 999_999, UTC)
    with pytest.raises(RefusedError, match="cannot be released before"):
        churn.registry.release(hold, "now")
    over = churn.registry.hold("churn/model:v2", "short", until=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(RefusedError, match="is held"):
        churn.registry.remove("churn/model:v2", "x")
    churn.registry.release(over, "its time is over")
    assert [event.fields["action"] for event in churn.log(fact="refused")] == ["release", "remove"]


def test_what_an_alias_means_is_not_removed(churn: Store) -> None:
    churn.alias("churn/model:v1", "production")
    with pytest.raises(RefusedError, match="churn/model:production means it: move it, or end it with unalias"):
        churn.registry.remove("churn/model:v1", "x")
    with pytest.raises(RefusedError):
        churn.registry.remove(churn.artifact("churn/model:v1").digest, "x")
    churn.registry.unalias("churn/model", "production", "over")
    removed = churn.registry.remove("churn/model:v1", "x")
    assert removed.bytes > 0
    with pytest.raises(NotFoundError, match=r"was removed in entry .* by .*: x"):
        churn.get("churn/model:v1")


def test_a_digest_removes_all_of_an_artifact(churn: Store) -> None:
    made = churn.put({"a": 1}, "one")
    churn.put({"a": 1}, "two")
    assert churn.registry.remove("one:v1", "x").bytes == 0, "the other name keeps it"
    churn.put({"a": 1}, "three")
    assert churn.registry.remove(made.digest, "all").refs == ("two:v1", "three:v1")


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda r: r.remove("churn/model", "x"), InvalidInputError, "does not say which version"),
        (lambda r: r.remove("churn/model:production", "x"), InvalidInputError, "does not say which version"),
        (lambda r: r.remove("churn/train:v1/data.parquet", "x"), InvalidInputError, "whole artifact"),
        (lambda r: r.remove("churn/model:v1", ""), InvalidInputError, "must state why"),
        (lambda r: r.remove("churn/model:v8", "x"), NotFoundError, "no v8"),
        (lambda r: r.hold("churn/model:v1", " "), InvalidInputError, "must state why"),
        (lambda r: r.hold("churn/model:v1", "x", until=datetime(2030, 1, 1)), InvalidInputError, "aware"),  # noqa: DTZ001
        (lambda r: r.hold("churn/model:v1", "x", until="2030"), InvalidInputError, "expected an aware datetime or a date"),
        (lambda r: r.release("0" * 32, "x"), NotFoundError, "there are none"),
        (lambda r: r.release(3, "x"), InvalidInputError, "its id"),
        (lambda r: r.describe("churn/model:v1", 3), InvalidInputError, "must be a dict"),
        (lambda r: r.describe("churn/model:v1", {}, of="names"), InvalidInputError, "'version' or 'name'"),
        (lambda r: r.describe("no/such", {"a": 1}, of="name"), NotFoundError, "no/such"),
        (lambda r: r.measure("churn/model:v1", {}), InvalidInputError, "not empty"),
        (lambda r: r.measure("churn/model:v1", {"a": "b"}), InvalidInputError, "'a'"),
        (lambda r: r.measure("churn/model:v1", {"a": 1}, on="nothing"), NotFoundError, "nothing"),
        (lambda r: r.retention({"names": "x", "keep_lsat": 1}, reason="x"), InvalidInputError, "the nearest is 'keep_last'"),
        (lambda r: r.retention({"names": "x", "keep_last": -1}, reason="x"), InvalidInputError, "0 or more"),
        (lambda r: r.retention({"names": "x", "keep_last": 1}), InvalidInputError, "must state why"),
        (lambda r: r.expire(), InvalidInputError, "must state why"),
        (lambda r: r.approve("churn/model:v1", reason="x", meaning="yes"), InvalidInputError, "expected one of review"),
        (lambda r: r.approve("churn/model:v1", reason=""), InvalidInputError, "must state why"),
        (lambda r: r.approve("churn/model:v1", reason="x", role=""), InvalidInputError, "role"),
    ],
)
def test_bad_input_gets_one_clear_error(churn: Store, call: Callable[[Any], Any], kind: type[Exception], text: str) -> None:
    before = churn.head
    with pytest.raises(kind, match=text):
        call(churn.registry)
    assert churn.head == before


def test_descriptions_merge_and_keep_their_history(churn: Store) -> None:
    churn.registry.describe("churn/model:v1", {"owner": "ann", "tags": {"tier": 1}}, reason="CR")
    made = churn.registry.describe("churn/model:v1", {"owner": "bob"})
    assert dict(made.metadata) == {"owner": "bob", "tags": {"tier": 1}}
    assert dict(churn.registry.describe("churn/model:v1", {"x": 1}, merge=False).metadata) == {"x": 1}
    before = churn.head
    churn.registry.describe("churn/model:v1", {"x": 1})
    assert churn.head == before
    assert [event.reason for event in churn.log(fact="described")] == ["CR", None, None]
    name = churn.registry.describe("churn/model", {"description": "who leaves", "owner": "team"}, of="name")
    assert name.metadata == {"description": "who leaves", "owner": "team"}
    assert next(one for one in churn.names() if one.name == "churn/model").metadata["owner"] == "team"
    assert dict(churn.artifact("churn/model:v2").metadata) == {}


def test_measures_outside_of_runs(churn: Store) -> None:
    made = churn.registry.measure("churn/model:v1", {"f1": 0.5, "bad": float("nan")}, on="churn/test", reason="by hand")
    assert made.metrics == {"auc": 0.91, "f1": 0.5}
    (event,) = [one for one in churn.log(fact="measured") if one.reason == "by hand"]
    assert event.fields["not_finite"] == {"bad": "nan"}
    assert "by" not in event.fields
    churn.registry.gates({"names": "churn/*", "alias": "p", "all": [{"metric": "bad", "is": ">= 0"}]}, reason="x")
    assert "is not a finite number" in churn.registry.check("churn/model:v1", "p").reasons[0]


def test_what_no_rule_keeps_expires(churn: Store, tmp_path: Path) -> None:
    file = tmp_path / "retention.toml"
    file.write_text('[[retention]]\nnames = "sweep/*"\nkeep_last = 2\nkeep_kinds = ["model"]\n')
    churn.registry.retention(file, reason="CR-7")
    for number in range(6):
        churn.put({"n": number}, "sweep/a", kind="model" if number == 0 else "data")
    churn.alias("sweep/a:v2", "best")
    train(churn, {"kept": 1}, data="sweep/a:v3", name="kept")
    plan = churn.registry.expire(dry_run=True)
    assert plan.refs == ("sweep/a:v4",)
    assert [plan.why(f"sweep/a:v{k}") for k in range(1, 7)] == [
        "its kind model is kept",
        "sweep/a:best means it",
        "something that is kept was made from it",
        "no rule keeps it",
        "it is among the last 2",
        "it is among the last 2",
    ]
    with pytest.raises(NotFoundError):
        plan.why("churn/model:v1")
    assert churn.exists("sweep/a:v4")
    done = churn.registry.expire(reason="CR-8")
    assert (done.refs, done.kept, done.dry_run) == (plan.refs, 5, False)
    assert not churn.exists("sweep/a:v4")
    assert churn.registry.expire(reason="again").refs == ()
    assert [event.reason for event in churn.log(fact="removed")] == ["CR-8"]
    assert churn.verify().ok


def test_holds_days_and_former_aliases_keep(churn: Store) -> None:
    for number in range(5):
        churn.put({"n": number}, "sweep/a")
    churn.alias("sweep/a:v1", "best")
    churn.alias("sweep/a:v2", "best")
    churn.registry.hold("sweep/a:v3", "look at it")
    churn.registry.retention({"names": "sweep/*", "keep_last": 0, "keep_kinds": []}, reason="x")
    plan = churn.registry.expire(dry_run=True)
    assert plan.refs == ("sweep/a:v1", "sweep/a:v4", "sweep/a:v5")
    assert plan.why("sweep/a:v3") == "it is held"
    churn.registry.retention({"names": "sweep/*", "keep_days": 30}, reason="x")
    assert churn.registry.expire(dry_run=True).refs == ()
    churn.registry.retention({"names": "*", "keep_last": 1}, reason="x")
    assert churn.registry.expire(dry_run=True).why("sweep/a:v1") in {
        "sweep/a:best meant it until " + datetime.now(UTC).date().isoformat(),
        "it was put less than 30 days ago",
    }


def test_a_version_that_must_be_kept_is_not_removed_by_hand_either(churn: Store) -> None:
    churn.put({"n": 1}, "legal/a")
    churn.registry.retention({"names": "legal/*", "at_least_days": 3650}, reason="21 CFR")
    with pytest.raises(RefusedError, match="must be kept for 3650 days"):
        churn.registry.remove("legal/a:v1", "oops")
    assert [event.fields["action"] for event in churn.log(fact="refused")] == ["remove"]


def test_many_versions_expire_in_several_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactstore.work.registry import retention as module

    monkeypatch.setattr(module, "_BATCH", 3)
    with store.batch():
        pass
    for number in range(9):
        store.put({"n": number}, "sweep/a")
    store.registry.retention({"names": "sweep/*", "keep_last": 1}, reason="x")
    before = int(store.head.partition(":")[0])
    assert len(store.registry.expire(reason="x").refs) == 8
    assert int(store.head.partition(":")[0]) == before + 3
    assert artifactstore.open(store.url, cache=None).versions("sweep/a")[-1].version == 9


def test_bytes_that_an_unnamed_put_keeps_are_not_freed(store: Store) -> None:
    made = store.put({"n": 1}, "sweep/a")
    store.put({"n": 1})
    store.put({"n": 2}, "sweep/a")
    store.registry.retention({"names": "sweep/*", "keep_last": 1}, reason="x")
    plan = store.registry.expire(dry_run=True)
    assert (plan.refs, plan.bytes) == (("sweep/a:v1",), 0)
    assert store.registry.remove("sweep/a:v1", "x").bytes == 0
    assert store.registry.remove(made.digest, "x").bytes == made.size
