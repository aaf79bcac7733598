"""Calls that people type from the habits of other tools: each works, or its message has the call that does."""

import copy
import inspect
import math
import operator
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import Artifact, InvalidInputError, NotFoundError, Store, Version
from artifactstore.habits import calls as habits
from artifactstore.habits import keywords
from artifactstore.runtime.answering import answering


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store, which each test gets a copy of."""
    folder = tmp_path_factory.mktemp("calls") / "store"
    store = artifactstore.open(folder, cache=None)
    store.put({"rows": 3}, "churn/raw")
    with store.run("train", params={"depth": 8}, code=False) as run:
        run.get("churn/raw")
        run.log(loss=0.5, step=1)
        store.put(b"weights 1", "churn/model", metrics={"auc": 0.8})
    store.put(b"weights 2", "churn/model", aliases=["best"], tags={"stage": "raw"}, description="the second one")
    store.alias("churn/model:v1", "production")
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Store:
    shutil.copytree(filled, tmp_path / "store")
    return artifactstore.open(tmp_path / "store")


WORKS = {
    'Store(store.url).get("churn/model")': b"weights 2",
    'artifactstore.open(store.url).get("churn/model:production")': b"weights 1",
    'store.get("churn/model", version=1)': b"weights 1",
    'store.get("churn/model", version="v1")': b"weights 1",
    'store.get("churn/model", alias="production")': b"weights 1",
    'store.get("churn/model", alias="latest")': b"weights 2",
    'store.get("churn/model:best")': b"weights 2",
    'store.get(store.artifact("churn/model:v1"))': b"weights 1",
    'store.get(store.versions("churn/model")[0])': b"weights 1",
    'store.get(store.find(name="churn/*", alias="best")[0])': b"weights 2",
    'store.get(store.lineage("churn/model:v1").inputs[-1].digest) is not None': True,
    'store.artifact("churn/model", version=1).version': 1,
    'store.artifact("churn/model", alias="production").aliases': ("production",),
    'store.artifact("churn/model").metadata["tags"]': {"stage": "raw"},
    'store.artifact("churn/model").metadata["description"]': "the second one",
    'store.artifact("churn/model").actor != ""': True,
    'store.artifact("churn/model").time.tzinfo is not None': True,
    'store.exists("churn/model")': True,
    'store.exists("churn/model:v9")': False,
    'store.exists("nothing")': False,
    'store.exists("churn/model", version=2)': True,
    'store.exists("churn/model", alias="canary")': False,
    '"churn/model:production" in store': True,
    '"churn/model:v7" in store': False,
    'len(store.find(text="SECOND churn"))': 1,
    'len(store.find(text="depth train"))': 1,
    'len(store.find(text="absent"))': 0,
    'len(store.find("second"))': 1,
    'store.names().values("size")': [9, 10],
    "artifactstore.open(store.url).__enter__().url == store.url": True,
    'len(store.find(tag="stage"))': 1,
    'len(store.find(tag="stage=raw"))': 1,
    'len(store.find(tag={"stage": "raw"}))': 1,
    'len(store.find(tag="stage=other"))': 0,
    'len(store.find(alias="production"))': 1,
    'len(store.find(uses=store.artifact("churn/raw")))': 1,
    "len(store.log(limit=2))": 2,
    "len(store.log(limit=0))": 0,
    "store.log(limit=1)[0].alias": "production",
    'len(store.at("1").names())': 1,
    'len(store.at("2020-01-01").names())': 0,
    'len(store.at("2999-01-01T00:00:00+00:00").names())': 2,
    'len(store.at("2999-01-01T00:00:00").names())': 2,
    "store.lineage(store.runs()[0]).id == store.runs()[0].id": True,
    'store.lineage(store.artifact("churn/model:v1")).runs[0].name': "train",
    'len(store.diff(store.artifact("churn/model:v1"), store.artifact("churn/model:v2")))': 1,
    'store.verify(store.artifact("churn/model")).ok': True,
    'store.put(store.artifact("churn/model:v1"), "prod/model").ref': "prod/model:v1",
    'store.put(store.artifact("churn/model:v1"), "prod/model").metadata["copied_from"]': "churn/model:v1",
    'store.put(store.artifact("churn/model:v1"), "prod/model").digest == store.artifact("churn/model:v1").digest': True,
    'store.put(store.versions("churn/model")[0], "prod/model").ref': "prod/model:v1",
    'store.put(b"weights 2", "churn/model", metadata={"note": 1}).metadata["tags"]': {"stage": "raw"},
    'dict(store.put(b"weights 2", "churn/model", metadata={"note": 1}, replace_metadata=True).metadata)': {"note": 1},
    'store.put(b"weights 2", "churn/model", tags={"owner": "me"}).metadata["tags"]': {"stage": "raw", "owner": "me"},
    'store.put(b"weights 2", "churn/model", aliases="canary").aliases': ("best", "canary"),
    'store.put(b"weights 2", "churn/model", aliases=["best"]).new': False,
    'store.put(b"new", "churn/model", aliases=["best", "canary"]).aliases': ("best", "canary"),
    'dict(store.put(b"m", "m", metrics={"auc": np.float32(0.5), "ok": np.bool_(True)}).metrics)': {"auc": 0.5, "ok": 1.0},
    'dict(store.put(b"m", "m", metrics={"auc": math.nan, "f1": 0.5}).metrics)': {"f1": 0.5},
    'store.get(store.put({1: {2.5: "a"}, None: [True]}, "keyed", keys="str"))': {"1": {"2.5": "a"}, "null": [True]},
    'store.put(b"m", "m", metadata={"where": Path("a"), 1: (2,), "n": np.int64(3)}).metadata["n"]': 3,
    'store.registry.unalias("churn/model", "best", "over") is None and store.artifact("churn/model").aliases': (),
    'len(store.registry.taint(store.artifact("churn/raw"), "wrong labels"))': 1,
}
HINTS = {
    'store.get("churn/model", "v1")': "get('churn/model:v1')",
    'store.get("churn/model", "production")': "get('churn/model:production')",
    'store.get("churn/model:v1", version=2)': "pass a bare name",
    'store.get("churn/model", version=1, alias="best")': "pass one of them",
    'store.get("churn/model", version=0)': "a number from 1 on",
    'store.get("churn/model", version=True)': "a number from 1 on",
    "store.get(3)": "a reference must be a str or an artifact",
    "store.get(Store)": "a reference must be a str or an artifact",
    'store.put(b"x", aliases=["best"])': "an alias belongs to a name",
    'store.put(b"x", "n", aliases=["latest"])': "not be 'latest'",
    'store.put(b"x", "n", aliases={"best"})': "aliases must be a list",
    'store.put(b"x", "n", tags=["raw"])': "tags must be a dict",
    'store.put(b"x", "n", description=3)': "description must be a str",
    'store.put(b"x", "n", replace_metadata=1)': "expected True or False",
    'store.put(b"x", "n", metadata={"model": object()})': "metadata['model'] is a builtins.object",
    'store.put(b"x", "n", metrics={"auc": "0.9"})': "must be a number",
    'store.put({1: "a"}, "n")': "keys='str' makes them text, format='pickle' keeps them",
    'store.put({1: "a", "1": "b"}, "n", keys="str")': "two keys are '1' as text",
    'store.put({"a": 1}, "n", keys="int")': "expected 'str'",
    'store.put({(1, 2): 3}, "n", keys="str")': "a key must be a str or a number",
    'store.put(store.artifact("churn/model"))': "pass the name of the copy",
    'store.put(store.artifact("churn/model"), "n", format="pickle")': "is copied as it is",
    'store.registry.unalias("churn/model", "canary", "over")': "has no alias 'canary'",
    'store.registry.unalias("churn/model", "best", "")': "must state why",
    "store.find(tag=3)": "'KEY=VALUE'",
    'store.find(stage="production")': "find has no condition stage",
    "store.log(limit=-1)": "must be a number of events",
    'store.at("yesterday")': "a date such as 2026-11-29",
    'store.load("churn/model")': "store.get(ref)",
    'store.save(b"x", "n")': "store.put(source, name)",
    'store.log_artifact("f")': "store.put(source, name)",
    "store.list()": "store.names()",
    'store.history("churn/model")': "store.versions(name)",
    'store.search("churn")': "store.find(text=",
    'store.download("churn/model")': "store.get(ref)",
    'store.tag("churn/model", "best")': "store.alias(ref, alias)",
    'store.transition_model_version_stage("churn/model", 1, "Production")': "store.promote(ref, alias, reason=…)",
    'store.approve("churn/model")': "store.registry.approve(…)",
    'store.delete("churn/model:v1")': "store.registry.remove(ref, reason)",
    'store.describe("churn/model")': "store.registry.describe(ref, {…})",
    'store.unalias("churn/model", "best")': "store.registry.unalias(name, alias, reason)",
    'store.start_run("train")': "with store.run(name) as run:",
    'store.log_metric("auc", 0.9)': "run.log(",
    'store.info("churn/model")': "store.artifact(ref)",
    'store.link_artifact("churn/model", "prod")': 'store.put(store.artifact(ref), "other/name")',
    'store.sync("s3://b")': "store.maintenance.sync(target)",
    "store.nothing": "Store has no 'nothing'",
    "store.close()": "durable when it returns",
    'store.artifact("churn/model").load()': "store.get(artifact)",
    'store.artifact("churn/model").download("x")': 'store.get(artifact, to="folder")',
    'store.artifact("churn/model").file("x")': "store.open_file(artifact, path)",
    'store.artifact("churn/model").add_file("x")': "store.put(source, name) makes the next version",
    'store.artifact("churn/model").lineage': "store.lineage(artifact)",
    'store.artifact("churn/model").created_at': "use .time",
    'store.artifact("churn/model").promote("x")': "store.promote(artifact, alias, reason=…)",
    'store.artifact("churn/model").taint("x")': "store.registry.taint(artifact, …)",
    'store.versions("churn/model")[-1].download()': 'store.get(version, to="folder")',
    "store.names()[0].digest": "store.artifact(name.name)",
    "store.names().size": ".values('size')",
    'store.names()["size"]': ".values('size')",
    "store.runs().best('auc')": "store.runs(sort='-auc', limit=1)[0]",
    "store.runs()[0].summary": "use .metrics",
    "store.runs()[0].config": "use .params",
    "store.runs()[0].logged_artifacts()": "store.lineage(run).downstream()",
    'store.run("x").log_metric("auc", 1)': "run.log(",
    'store.run("x").log_model(1, "m")': "run.put(source, name)",
    'store.run("x").use_artifact("m")': "run.get(ref)",
    'store.lineage("churn/model").show()': "use .upstream().draw()",
    'store.lineage("churn/model").upstream().plot()': "use .draw()",
    'store.find(metric="auc > 0.8")': "metrics={'auc': '>= 0.9'}",
    'store.find(tags={"stage": "raw"})': "tag={'stage': 'raw'}",
    'store.find(query="x")': "for query= use text=",
    "artifactstore.login()": "artifactstore.open(url)",
    "artifactstore.log(loss=1)": "with artifactstore.open().run(name) as run: run.log(",
    'artifactstore.get("churn/model")': "artifactstore.open().get(…)",
    'artifactstore.load("churn/model")': "artifactstore.open().get(ref)",
    'artifactstore.save(b"x", "n")': "artifactstore.open().put(source, name)",
    "artifactstore.nothing": "has no attribute 'nothing'",
}
NAMES: dict[str, Any] = {"artifactstore": artifactstore, "Store": Store, "math": math, "np": np, "Path": Path}


@pytest.mark.parametrize("call", WORKS)
def test_a_call_works(store: Store, call: str):
    assert eval(call, NAMES | {"store": store}) == WORKS[call]


@pytest.mark.parametrize("call", HINTS)
def test_a_wrong_call_names_the_right_one(store: Store, call: str):
    before = store.head
    with pytest.raises((InvalidInputError, NotFoundError, AttributeError)) as error:
        eval(call, NAMES | {"store": store})
    assert HINTS[call] in str(error.value)
    assert store.head == before


def test_each_answer_is_a_call_that_exists_and_none_hides_an_attribute(store: Store):
    records: dict[str, Any] = {
        "Artifact": store.artifact("churn/model:v1"),
        "Version": store.versions("churn/model")[0],
        "Name": store.names()[0],
        "RunInfo": store.runs()[0],
        "Run": store.run("other"),
        "Lineage": store.lineage("churn/model:v1"),
        "LineageGraph": store.lineage("churn/model:v1").upstream(),
    }
    assert {*records} == {*habits._OF_RECORDS}
    roots = {"store": store, "run": records["Run"], "artifactstore": artifactstore}
    for kind, record in records.items():
        assert type(record).__name__ == kind
        for name in habits._OF_RECORDS[kind]:
            if name in dir(record):
                continue  # answered by itself
            with pytest.raises(AttributeError, match=f"^{kind} has no '{name}'; ") as error:
                getattr(record, name)
            answer = str(error.value)
            for root, path in re.findall(r"\b(store|run|artifactstore)((?:\.\w+)+)", answer):
                operator.attrgetter(path[1:])(roots[root])
            for path in re.findall(r"use ((?:\.\w+)+)", answer):
                operator.attrgetter(path[1:].split("(")[0])(record)
    for name in {*habits._CALLS, *habits._OF_MODULE}:
        for text in (habits.hint(name), habits.module_hint(name, dir(Store))):
            for root, path in re.findall(r"\b(store|artifactstore)((?:\.\w+)+)", text.replace("artifactstore.open()", "store")):
                operator.attrgetter(path[1:])(roots[root])


def test_a_store_may_be_used_in_a_with_statement(store: Store):
    with artifactstore.open(store.url) as opened:
        opened.put(b"x", "n")
    assert opened.get("n") == b"x"


def test_records_are_copied_and_pickled_though_they_answer_for_what_they_lack(store: Store):
    for one in (store.versions("churn/model")[0], store.names()[0]):
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert not hasattr(store.artifact("churn/model"), "__array__")


def test_a_record_of_another_store_is_not_taken_for_the_same_name_here(store: Store, tmp_path: Path):
    other = artifactstore.open(tmp_path / "other")
    other.put(b"something else", "churn/model")
    with pytest.raises(NotFoundError, match="in the one that it comes from"):
        other.get(store.artifact("churn/model:v1"))
    with pytest.raises(NotFoundError):
        other.put(store.artifact("churn/model:v1"), "copy")


def test_a_copy_keeps_kind_metadata_and_lineage_and_reads_nothing(store: Store):
    source = store.put(b"a model", "churn/model", kind="model", metadata={"note": "x"}, metrics={"auc": 0.9})
    made = store.put(source, "prod/model", metadata={"by": "me"}, reason="release")
    assert (made.kind, made.digest, made.uploaded) == ("model", source.digest, 0)
    assert made.metadata == {"note": "x", "by": "me", "copied_from": source.ref}
    assert made.metrics == {"auc": 0.9}
    assert (made.reason, made.single) == ("release", source.single)
    assert store.put(source, "prod/model", metadata={"by": "me"}).new is False
    with store.batch():
        waiting = store.put(source, "third/model")
        assert waiting.version is None
    assert store.artifact("third/model").digest == source.digest


def test_a_run_keeps_its_lineage_when_its_output_is_copied(store: Store):
    store.put(store.artifact("churn/model:v1"), "prod/model")
    assert [one.name for one in store.lineage("prod/model").runs] == ["train"]
    assert len(store.lineage("prod/model").upstream().artifacts) >= 1


def test_aliases_move_with_the_put_or_not_at_all(store: Store):
    before = store.head
    with pytest.raises(InvalidInputError):
        store.put(b"x", "churn/model", aliases=["best", "not an alias!"])
    assert store.head == before
    made = store.put(b"x", "churn/model", aliases=["best"])
    last = [one for one in store.log() if one.seq == int(store.head.partition(":")[0])]
    assert {one.fact for one in last} >= {"versioned", "aliased"}
    assert len({one.txn for one in last}) == 1
    assert made.aliases == ("best",)


def test_metrics_that_are_not_finite_are_kept_as_what_they_are(store: Store):
    made = store.put(b"m", "m", metrics={"auc": math.nan, "loss": math.inf})
    assert isinstance(made, Artifact)
    assert made.metrics == {}
    (event,) = [one for one in store.log() if one.fact == "measured" and one.fields.get("digest") == made.digest]
    assert event.fields["not_finite"] == {"auc": "nan", "loss": "inf"}
    assert [one.ref for one in store.find(metrics={"auc": ">= 0"}) if isinstance(one, Version) and one.name == "m"] == []


def test_parameters_are_taken_as_training_code_holds_them(store: Store):
    import argparse

    with store.run("r", params={"rate": np.float32(0.5), "where": Path("x"), "nested": {1: np.int64(2)}, "odd": object()}):
        pass
    params = store.runs("r")[0].params
    assert (params["rate"], params["where"], params["nested"]) == (0.5, "x", {"1": 2})
    assert params["odd"]["repr"].startswith("<object object")
    with store.run("parsed", params=argparse.Namespace(depth=8)):  # type: ignore[arg-type]
        pass
    assert store.runs("parsed")[0].params == {"depth": 8}


ARGUMENTS = {
    'store.run("t", config={"a": 1})': "for config= use params={…}",
    'store.run("t", tags=["x"])': "for tags= use store.registry.describe",
    'store.run("t", run_id="x")': "for run_id= use id=",
    'store.run("t", project="p")': "the name groups runs",
    'store.run("t", parms={})': "did you mean params=?",
    "store.run()": 'for example with store.run("train", params={"depth": 8}) as run:',
    'store.runs(filter_string="x")': "for filter_string= use where=",
    'store.runs(order_by="x")': "for order_by= use sort=",
    "store.runs(max_results=3)": "for max_results= use limit=",
    'store.log(author="x")': "for author= use actor=",
    'store.alias("churn/model:v2", "p", message="x")': "for message= use reason=",
    'store.versions("churn/model", limit=3)': "a slice: store.versions(name)[-3:]",
    'store.names(pattern="x")': "store.names('churn/*')",
    'store.lineage("churn/model", depth=2)': "store.lineage(ref).upstream()",
    "store.verify(full=True)": 'level="full"',
    'store.promote("churn/model:v2", "production", "reason")': 'store.promote("churn/model:v7", "production", reason="CR-31")',
    'store.registry.remove("churn/model:v2", message="x")': "for message= use reason=",
    "store.maintenance.gc(dryrun=True)": "for dryrun= use dry_run=",
    'artifactstore.open("x", token="y")': "storage_options={…}",
    'store.put(b"x", "n", type="model")': "for type= use kind=",
    'store.get("churn/model", local_dir="out")': 'store.get(ref, to="folder")',
    'store.get("churn/model", revision="v2")': 'store.get("name:v3")',
}


@pytest.mark.parametrize("call", ARGUMENTS)
def test_an_argument_of_another_tool_is_answered_with_the_one_here(call: str, store: Store):
    before = store.head
    with pytest.raises((TypeError, InvalidInputError)) as error:
        eval(call, {"store": store, "artifactstore": artifactstore})
    assert ARGUMENTS[call] in str(error.value)
    assert "\n" not in str(error.value)
    assert store.head == before


def test_every_answer_for_an_argument_names_one_that_the_method_takes(store: Store):
    others = {"open": artifactstore.open, "put": None, "get": None, "": None}
    for method, table in keywords.ARGUMENTS.items():
        function = others[method] if method in others else getattr(store, method)
        known = {*inspect.signature(function).parameters} if function is not None else None
        for argument, answer in table.items():
            assert known is None or argument not in known, (method, argument)
            if known is not None and (single := re.fullmatch(r"(\w+)=", answer)):
                assert single[1] in known, (method, argument)


def test_an_error_of_a_type_inside_of_a_call_stays_as_it_is(store: Store):
    def broken() -> None:
        len(3)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"^object of type 'int' has no len\(\)$"):
        answering(broken)()
    assert inspect.signature(Store.run).parameters.keys() == inspect.signature(Store.run.__wrapped__).parameters.keys()  # type: ignore[attr-defined]


def test_names_may_be_asked_for_by_a_pattern(store: Store):
    assert [one.name for one in store.names("churn/m*")] == ["churn/model"]
    assert [one.name for one in store.names("*raw")] == ["churn/raw"]
    assert len(store.names("churn/")) == 2
    assert not store.names("*x")
