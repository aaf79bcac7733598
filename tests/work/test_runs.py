"""Runs: what was read and put inside is recorded, in threads, tasks, children and batches; how they end; what can be asked."""

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import ConflictError, InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.work.tracking.current_run import detached
from tests.warm import command


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return artifactstore.create(tmp_path / "store", cache=None)


def edges(store: Store, run: str, fact: str) -> list[str]:
    """Labels of what a run used or produced; its code and environment left out, and modules that other tests imported here."""
    with store._session.state() as state:
        found = [
            one
            for one in state.edges.get(run, ())
            if one["fact"] == fact and one.get("role") not in ("code", "environment", "modules")
        ]
    return [one.get("name") or one["digest"] for one in found]


def test_what_is_read_and_put_inside_is_recorded(store: Store):
    for name in ("a", "b", "c"):
        store.put(name.encode(), name)
    store.alias("b:v1", "good")
    with store.run("train", params={"depth": 8, "odd": object(), "pair": (1, 2)}) as run:
        store.get("a")
        store.open_file("b:good").read()
        run.get("c", role="labels")
        run.log(loss=0.5, step=1)
        run.log(loss=0.25, step=2)
        made = run.put(b"model", "model", role="best", metrics={"auc": 0.9})
        assert run.status is None
    store.get("a")
    (info,) = store.runs()
    assert (info.name, info.status, info.parent, info.metrics) == ("train", "finished", None, {"loss": 0.25})
    assert info.params["depth"] == 8
    assert info.params["pair"] == [1, 2]
    assert info.params["odd"]["repr"].startswith("<object object")
    assert info.seconds is not None
    assert edges(store, run.id, "used") == ["a", "b", "c"]
    assert edges(store, run.id, "produced") == ["model"]
    with store._session.state() as state:
        used = {one.get("name"): one for one in state.edges[run.id]}
    assert (used["b"]["version"], used["c"]["role"], used["model"]["role"]) == (1, "labels", "best")
    assert store.artifact("model").run == run.id
    assert made.new


def test_reads_after_the_last_output_come_at_the_end_and_equal_puts_bring_their_edge(store: Store):
    store.put(b"x", "a")
    store.put(b"same", "out")
    with store.run("r") as run:
        again = store.put(b"same", "out")
        assert not again.new
        assert edges(store, run.id, "produced") == ["out"]
        store.get("a")
        assert edges(store, run.id, "used") == []
    assert edges(store, run.id, "used") == ["a"]
    with store.run("often") as often:
        for _ in range(3):
            store.get("a")
            often.put(b"same", "out")
    told = [event.fields for event in store.log() if event.fact in {"used", "produced"} and event.fields["run"] == often.id]
    assert len([one for one in told if one.get("role") is None]) == 2, "an edge is said once"
    with store.run("empty"):
        pass
    assert [one.status for one in store.runs()] == ["finished"] * 3


def test_a_failed_run_says_why_and_keeps_what_it_did(store: Store):
    store.put(b"x", "a")
    with pytest.raises(ZeroDivisionError), store.run("bad") as run:  # noqa: PT012 - what comes before is looked at
        store.get("a")
        store.put(b"half", "half")
        _ = 1 / 0
    (info,) = store.runs(status="failed")
    assert (info.id, info.error) == (run.id, "ZeroDivisionError: division by zero")
    assert edges(store, run.id, "used") == ["a"]
    assert not store.runs(status="finished")
    with pytest.raises(ConflictError, match="has failed"):
        run.finish()


def test_a_run_of_a_given_id_is_joined_until_it_has_ended(store: Store):
    first = store.run("job", id="nightly-1").start()
    store.put(b"1", "one")
    second = artifactstore.open(store.url, cache=None).run("job", id="nightly-1").start()
    second.put(b"2", "two")
    second.finish()
    assert edges(store, "nightly-1", "produced") == ["one", "two"]
    with pytest.raises(ConflictError, match="'nightly-1' has finished"):
        store.run("job", id="nightly-1").start()
    first.finish()
    assert len(store.runs()) == 1


def test_runs_nest_and_the_innermost_counts(store: Store):
    store.put(b"x", "a")
    with store.run("outer") as outer:
        with store.run("inner") as inner:
            store.get("a")
            store.put(b"1", "one")
        store.put(b"2", "two")
    assert [one.parent for one in store.runs()] == [None, outer.id]
    assert (edges(store, inner.id, "used"), edges(store, inner.id, "produced")) == (["a"], ["one"])
    assert (edges(store, outer.id, "used"), edges(store, outer.id, "produced")) == ([], ["two"])


def test_threads_and_tasks_belong_to_the_right_run(store: Store):
    for i in range(8):
        store.put(bytes([i]), f"in{i}")

    async def work(i: int) -> str:
        with store.run(f"task{i}") as run:
            await asyncio.sleep(0.01)
            store.get(f"in{i}")
            await asyncio.sleep(0.01)
            store.put(bytes([i, i]), f"out{i}")
        return run.id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(work(i) for i in range(4)))

    for i, one in enumerate(asyncio.run(all_of_them())):
        assert (edges(store, one, "used"), edges(store, one, "produced")) == ([f"in{i}"], [f"out{i}"])
    assert {one.parent for one in store.runs()} == {None}
    with store.run("pool") as run, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: store.get(f"in{i}"), range(8)))
    assert sorted(edges(store, run.id, "used")) == [f"in{i}" for i in range(8)]


def test_a_thread_between_two_runs_belongs_to_none_and_is_told(store: Store):
    store.put(b"x", "a")
    one, two = store.run("one").start(), store.run("two").start()
    caught: list[warnings.WarningMessage] = []

    def read() -> None:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            store.get("a")
            caught.extend(found)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    one.finish()
    two.finish()
    assert "2 runs are active" in str(caught[0].message)
    assert edges(store, one.id, "used") == edges(store, two.id, "used") == []


def test_explicit_runs_are_the_processs_current_one(store: Store):
    store.put(b"x", "a")
    run = store.run("notebook").start()
    store.get("a")
    store.put(b"y", "b")
    run.finish()
    store.get("a")
    assert (edges(store, run.id, "used"), edges(store, run.id, "produced")) == (["a"], ["b"])
    for call in (run.start, run.finish, lambda: run.log(x=1), lambda: run.put(b"", "n"), lambda: run.get("a")):
        with pytest.raises(ConflictError):
            call()
    with pytest.raises(ConflictError, match="was not started"):
        store.run("never").finish()


CHILD = """
import artifactstore, sys
store = artifactstore.open(sys.argv[1], cache=None)
store.get("a")
if len(sys.argv) > 2:
    store.put(b"from the child", sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", [[], ["made"]], ids=["reads", "puts"])
def test_a_child_process_joins(store: Store, output: list[str]):
    store.put(b"x", "a")
    with store.run("parent") as run:
        subprocess.run([sys.executable, "-c", CHILD, store.url, *output], check=True, timeout=60)
    assert "ARTIFACTSTORE_RUN" not in os.environ
    assert (edges(store, run.id, "used"), edges(store, run.id, "produced")) == (["a"], output)
    assert len(store.runs()) == 1
    subprocess.run([sys.executable, "-c", CHILD, store.url], check=True, timeout=60)


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "in a batch"])
def test_a_put_that_fails_does_not_lose_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch, batched: bool):  # noqa: FBT001
    store.put(b"x", "a")
    with store.run("r") as run:
        if batched:
            with pytest.raises(RuntimeError), store.batch():  # noqa: PT012 - what comes before is looked at
                store.put(b"y", "b")
                raise RuntimeError("stop")
        else:
            with monkeypatch.context() as patch:
                patch.setattr("artifactstore.journal.append.Appender.commit", lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    store.put(b"y", "b")
    with store._session.state() as state:
        roles = [edge.get("role") for edge in state.edges[run.id]]
    assert roles.count("environment") == 1


def test_another_store_gets_no_edges(store: Store, tmp_path: Path):
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.put(b"y", "b")
    with store.run("r") as run:
        other.get("b")
        other.put(b"z", "c")
    assert edges(store, run.id, "used") == edges(store, run.id, "produced") == []
    assert not other.runs()


def test_a_batch_in_a_run_commits_all_or_nothing(store: Store):
    store.put(b"x", "a")
    with store.run("r") as run, store.batch():
        store.get("a")
        made = store.put(b"1", "one")
        assert made.new
        store.put(b"2", "two")
    assert edges(store, run.id, "produced") == ["one", "two"]
    with pytest.raises(RuntimeError), store.run("broken") as broken, store.batch():  # noqa: PT012 - all of it is looked at
        store.put(b"3", "three")
        raise RuntimeError("stop")
    assert edges(store, broken.id, "produced") == []
    assert "three" not in [one.name for one in store.names()]


def test_measures_name_what_and_by_whom(store: Store):
    store.put(b"model", "model")
    store.put(b"test", "test")
    with store.run("evaluate") as run:
        run.measure("model", {"auc": 0.93}, on="test")
    assert store.artifact("model").metrics == {"auc": 0.93}
    (event,) = store.log(fact="measured")
    assert (event.fields["by"], event.fields["on"]) == (run.id, store.artifact("test").digest)


def test_steps_are_runs(store: Store):
    store.put(b"x", "a")

    @store.step("squares")
    def squares(n: int, extra: Any = object(), *, scale: float = 2.0) -> list[float]:  # noqa: B008 - a value that JSON can't say
        store.get("a")
        return [scale * i * i for i in range(n)]

    assert squares(3) == [0, 2, 8]
    (info,) = store.runs()
    assert info.name.endswith("squares")
    assert info.params == {"n": 3, "scale": 2.0}
    assert store.get("squares") == [0, 2, 8]
    assert edges(store, info.id, "used") == ["a"]


class OneElement:
    """What a tensor of one element is like."""

    def __init__(self, value: float) -> None:
        self.value = value

    def detach(self) -> "OneElement":
        return self

    def item(self) -> float:
        return self.value


class Many:
    def __float__(self) -> float:
        raise RuntimeError("a tensor with 3 elements")


NAN, INF = float("nan"), float("inf")
# what is logged; what is recorded as its number, or as what it is else; whether that is warned of
LOGGED: list[tuple[Any, float | str | None]] = [
    (0.5, 0.5),
    (3, 3.0),
    (Decimal("0.25"), 0.25),
    (OneElement(0.5), 0.5),
    (OneElement(NAN), "nan"),
    (NAN, "nan"),
    (INF, "inf"),
    (-INF, "-inf"),
    (10**400, "inf"),
    (True, 1.0),
    (OneElement(value=True), 1.0),
    (None, None),
    ("0.5", None),
    (b"1", None),
    ([0.5], None),
    (1j, None),
    (object(), None),
    (Many(), None),
]


def test_nothing_that_is_logged_ends_a_run(store: Store):
    import numpy as np

    numbers = [(kind(value), told) for kind in (np.float32, np.float64, np.array) for value, told in ((0.5, 0.5), (NAN, "nan"))]
    logged = [*LOGGED, *numbers, (np.array([0.5]), 0.5), (np.array([1.0, 2.0]), None), (np.bool_(1), 1.0), (np.int64(2), 2.0)]
    with warnings.catch_warnings(record=True) as caught, store.run("train", code=False) as run:
        warnings.simplefilter("always")
        for n, (value, _) in enumerate(logged):
            run.log(step=n, **{f"m{n}": value, "good": n})
            run.log(step=n, **{f"m{n}": value})
        names: dict[str, Any] = {"": 1.0, "odd\udc00": 1.0}
        run.log(**names)
    told = store.log(fact="measured")
    assert [one.fields["metrics"]["good"] for one in told if "good" in one.fields["metrics"]] == [*range(len(logged))]
    (info,) = store.runs()
    assert info.status == "finished"
    for n, (value, wanted) in enumerate(logged):
        name = f"m{n}"
        warned = [str(one.message) for one in caught if f"'{name}'" in str(one.message)]
        assert len(warned) == (not isinstance(wanted, float)), (value, warned)
        assert info.metrics.get(name) == (wanted if isinstance(wanted, float) else None)
        assert info.not_finite.get(name) == (2 if isinstance(wanted, str) else None)
        odd = [one.fields["not_finite"][name] for one in told if name in one.fields.get("not_finite", ())]
        assert odd == ([wanted] * 2 if isinstance(wanted, str) else [])
    assert info.metrics["odd\\udc00"] == 1.0


def test_a_loss_that_is_not_finite_leaves_the_newest_finite_one_and_is_counted(store: Store):
    store.put(b"model", "model")
    with store.run("train") as run:
        run.log(loss=0.5, step=0)
        with pytest.warns(UserWarning, match="'loss' is nan: it is recorded as such"):
            run.log(loss=NAN, step=1)
        run.log(loss=0.4, step=2)
        run.log(loss=NAN, step=3)  # said once
        with pytest.warns(UserWarning, match="'auc' is inf"):
            run.measure("model", {"auc": INF, "f1": 0.5})
    (info,) = store.runs()
    assert (info.metrics, info.not_finite) == ({"loss": 0.4}, {"loss": 2})
    assert store.artifact("model").metrics == {"f1": 0.5}
    assert artifactstore.open(store.url, cache=None).runs()[-1].not_finite == {"loss": 2}
    with store.run("r") as other, pytest.raises(InvalidInputError, match="metrics must be a dict"):
        other.measure("model", 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "x" * 201, 5, "a\nb"])
def test_names_and_ids_are_checked(store: Store, name: Any):
    with pytest.raises(InvalidInputError):
        store.run(name)
    for given in ("", "x" * 101, "a\nb", 5):
        with pytest.raises(InvalidInputError):
            store.run("r", id=given)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        store.run("r", params=[1])  # type: ignore[arg-type]
    with pytest.raises(RefusedError):
        artifactstore.open(store.url, "r", cache=None).run("r")


# -- asking


@pytest.fixture
def chain(store: Store) -> Store:
    store.put(b"raw", "raw")
    with store.run("prepare") as run:
        run.get("raw")
        run.put(b"features", "features", role="table")
        run.put(b"labels", "labels")
    with store.run("train") as run:
        store.get("features")
        run.put(b"model", "model", kind="model")
    with store.run("report") as run:
        store.get("model")
        store.get("labels")
        run.put(b"report", "report")
    store.alias("model:v1", "production")
    return store


def labels(nodes: Any) -> list[str]:
    return sorted(one.label for one in nodes if one.kind not in ("code", "environment"))


def test_upstream_and_downstream(chain: Store):
    model = chain.lineage("model:production")
    assert labels(model.upstream()) == ["features:v1", "prepare", "raw:v1", "train"]
    assert labels(model.downstream()) == ["report", "report:v1"]
    raw = chain.lineage("raw")
    assert labels(raw.downstream()) == [
        "features:v1", "labels:v1", "model:v1", "prepare", "report", "report:v1", "train",
    ]  # fmt: skip
    assert labels(raw.upstream()) == []
    assert labels(model.inputs) == ["features:v1"]
    assert [one.name for one in model.runs] == ["train"]
    assert [one.label for one in raw.path("report")] in (
        ["raw:v1", "prepare", "labels:v1", "report", "report:v1"],
        ["raw:v1", "prepare", "features:v1", "report", "report:v1"],
    )
    assert [one.label for one in chain.lineage("report").path("raw")][::4] == ["raw:v1", "report:v1"]
    assert chain.lineage("labels").path("model") == []
    impact = {one.label: one.aliases for one in raw.impact()}
    assert impact == {"features:v1": (), "labels:v1": (), "model:v1": ("model:production",), "report:v1": ()}


def test_lineage_of_a_run_and_of_what_is_not_there(chain: Store):
    run = chain.runs("train")[0]
    for ref in (run.id, run.id[:8]):
        assert labels(chain.lineage(ref).upstream().artifacts) == ["features:v1", "raw:v1"]
    with pytest.raises(NotFoundError):
        chain.lineage("nothing")
    with pytest.raises(NotFoundError, match="no run has the name 'trian'"):
        chain.runs("trian")
    assert [one.name for one in chain.runs("*r*")] == ["prepare", "train", "report"]


def test_find_by_what_something_was_made_from(chain: Store):
    def names(**conditions: Any) -> list[str]:
        return [one.ref for one in chain.find(**conditions)]

    assert names(uses="raw") == ["features:v1", "labels:v1", "model:v1", "report:v1"]
    assert names(uses="features", kind="model") == ["model:v1"]
    assert names(uses="report") == []
    assert names(run="tr*") == names(run=chain.runs("train")[0].id) == ["model:v1"]
    assert names(run="prepare", uses="raw", name="l*") == ["labels:v1"]
    assert names(code="0" * 7) == []
    assert names(since=chain.versions("model")[0].time) == ["model:v1", "report:v1"]
    for wrong in ({"code": "xyz"}, {"since": datetime(2026, 1, 1)}, {"run": 5}, {"nope": 1}):  # noqa: DTZ001 - on purpose
        with pytest.raises(InvalidInputError):
            names(**wrong)
    with pytest.raises(NotFoundError):
        names(uses="nothing")


def test_the_tree_and_mermaid_name_everything_once(chain: Store):
    text = str(chain.lineage("report").upstream())
    lines = text.splitlines()
    assert lines[0] == "report:v1 [data]"
    assert any(line.endswith("─ model:v1 [model] <production>") for line in lines)
    assert sum("run prepare" in line and "(above)" not in line for line in lines) == 1
    assert "[code]" not in text
    assert "[environment]" not in text
    drawn = chain.lineage("report").upstream().mermaid()
    assert drawn.startswith("flowchart LR\n")
    assert drawn.count("model:v1<br/>model, ") == 1
    assert '-->|"table"|' in drawn


def test_what_has_two_names_is_told_by_the_one_that_a_run_read(store: Store):
    store.put(b"x", "raw/old")
    with store.run("prepare") as run:
        run.put(store.get("raw/old") + b"y", "made")
    store.put(b"x", "raw/new")
    text = str(store.lineage("made").upstream())
    assert "   └─ raw/new:v1 [data]  (as raw/old:v1)" in text.splitlines()
    (edge,) = [one for one in store.lineage("made").upstream().to_json()["edges"] if one["read_as"] is not None]
    assert (edge["from"], edge["read_as"], edge["role"]) == (store.artifact("raw/new").digest, "raw/old:v1", None)
    assert "(as raw/old:v1)" in str(store.lineage("raw/new").downstream())
    with store.run("again") as run:
        run.put(store.get("raw/new"), "other", role="copy")
    assert "(as" not in str(store.lineage("other").upstream(name="raw/new")).splitlines()[-1]


def test_a_run_that_reads_and_writes_the_same_ends(store: Store):
    store.put(b"x", "a")
    with store.run("noop") as run:
        run.put(store.get("a"), "a")
    assert labels(store.lineage("a").upstream()) == ["noop"]
    assert labels(store.lineage("a").downstream()) == ["noop"]
    view = store.lineage("a").upstream()
    assert "run noop" in str(view)
    assert "[no-op]" in str(view)
    assert "no-op" in view.svg()
    with store.run("work") as run:
        run.put(store.get("a") + b"y", "b")
    assert "no-op" not in str(store.lineage("b").upstream(kind="data")).splitlines()[1]


def test_lineage_as_it_was(chain: Store):
    with chain._session.state() as state:
        before = state.names["features"][0]["seq"]
    assert labels(chain.at(before).lineage("raw").downstream()) == ["features:v1", "prepare"]


def test_runs_come_along_with_an_import(chain: Store, tmp_path: Path):
    other = artifactstore.create(tmp_path / "copy", cache=None)
    chain.maintenance.sync(other.url)
    assert labels(other.lineage("report").upstream()) == labels(chain.lineage("report").upstream())
    assert other.runs("train")[0].command == chain.runs("train")[0].command


def test_commands(chain: Store, tmp_path: Path):
    def call(*arguments: str, code: int = 0) -> str:
        done = command(*arguments, env={**os.environ, "ARTIFACTSTORE_URL": chain.url})
        assert done.returncode == code, done.stderr
        return done.stdout

    program = "import sys; open('out.bin', 'wb').write(open('in.bin', 'rb').read() * 2)"
    said = call(
        "run",
        "--name",
        "double",
        "--in",
        "raw=.",
        "--out",
        "doubled=out.bin",
        "--",
        sys.executable,
        "-c",
        program.replace("in.bin", "data"),
    )
    assert said.startswith("doubled:v1")
    assert labels(chain.lineage("doubled").upstream()) == ["double", "raw:v1"]
    call("run", "--", sys.executable, "-c", "raise SystemExit(3)", code=3)
    assert chain.runs(status="failed")[0].error == "the program returned 3"
    call("run", code=2)
    call("run", "--out", "x", "--", "true", code=2)
    assert "double" in call("runs")
    assert '"name": "double"' in call("runs", "double", "--json")
    assert call("lineage", "doubled").startswith("doubled:v1 [data]")
    assert "run double" in call("lineage", "raw", "--down")
    assert call("lineage", "raw", "--format", "mermaid").startswith("flowchart LR")
    assert '"edges"' in call("lineage", "raw", "--format", "json")
    assert call("find", "--uses", "raw", "--run", "double").split()[0] == "doubled:v1"
    call("lineage", "nothing", code=3)
    call("lineage", "raw", "--format", "png", code=2)


def test_a_view_can_be_narrowed_to_a_kind_a_name_or_a_role(store: Store):
    store.put(b"r", "churn/raw")
    store.put(b"o", "other")
    with store.run("prepare", code=False) as run:
        run.get("churn/raw", role="table")
        run.get("other")
        run.put(b"f", "churn/features")
    with store.run("train", code=False):
        store.get("churn/features")
        store.put(b"m", "model", kind="model")
    g = store.lineage("model")
    assert [one.label for one in g.upstream(kind="data").artifacts] == ["churn/features:v1", "churn/raw:v1", "other:v1"]
    narrow = g.upstream(name="churn/r*")
    assert [one.label for one in narrow.artifacts] == ["churn/raw:v1"]
    assert [one.label for one in narrow.runs] == ["train", "prepare"]
    assert "other" not in str(narrow)
    assert "churn/features:v1" in str(narrow), "what lies between"
    assert [one.label for one in g.upstream(role="table").artifacts] == ["churn/raw:v1"]
    assert len(g.upstream(name="nothing")) == 0
    assert [one.label for one in store.lineage("churn/raw").downstream(kind="model").artifacts] == ["model:v1"]
    assert [one.label for one in store.lineage("churn/features").artifacts] == ["churn/features:v1"]
    raw, code = narrow.artifacts[0], narrow.runs[0]
    assert (raw.digest, raw.name, raw.version, raw.ref) == (store.artifact("churn/raw").digest, "churn/raw", 1, "churn/raw:v1")
    assert (code.digest, code.name, code.version, code.ref) == (None, "train", None, code.id)
    environment = next(node for node in g.upstream() if node.kind == "environment")
    assert (environment.name, environment.version, environment.ref) == (None, None, environment.digest)
    with pytest.raises(InvalidInputError, match="a str"):
        g.upstream(kind=3)  # type: ignore[arg-type]


def test_a_run_without_end_and_sign_of_life_counts_as_abandoned(store: Store, monkeypatch: pytest.MonkeyPatch):
    from artifactstore.catalog.runs import info as run_info

    dead, alive = store.run("dead").start(), store.run("alive").start()
    monkeypatch.setattr(run_info, "STALE", run_info.STALE * 0)
    assert {one.name: one.status for one in store.runs()} == {"dead": "abandoned", "alive": "abandoned"}
    assert len(store.runs(status="abandoned")) == 2
    assert {one.status for one in store.at(store._session.core().journal.head).runs()} >= {"running"}
    monkeypatch.undo()
    assert [one.status for one in store.runs()] == ["running", "running"]
    alive.log(loss=1.0)
    alive.finish()
    dead.finish()
    assert {one.status for one in store.runs()} == {"finished"}, "it is a view, and no fact"


def test_a_run_ends_once_and_begins_once(store: Store):
    run = store.run("once")
    with pytest.raises(ConflictError, match="was not started"):
        run.finish()
    run.start()
    with pytest.raises(ConflictError, match="was started already"):
        run.start()
    run.finish()
    for again in (run.finish, run.start, lambda: run.log(loss=1.0), lambda: run.put(b"x", "x")):
        with pytest.raises(ConflictError, match=r"has finished|was started already"):
            again()
    assert len(store.runs()) == 1


def test_order_comes_from_the_journal_when_clocks_jump(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(b"x", "x")
    real = datetime

    class Early(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz).replace(year=2001)

    with store.run("first"):
        store.put(b"1", "a")
    monkeypatch.setattr("artifactstore.journal.append.datetime", Early)
    with store.run("second"):
        store.get("a")
        store.put(b"2", "b")
    monkeypatch.undo()
    assert [one.name for one in store.runs()] == ["first", "second"]
    assert all(one.seconds is not None and 0 <= one.seconds < 60 for one in store.runs())
    times = [txn["time"] for entry in store._session.core().journal.entries() for txn in entry["txns"]]
    assert any(time.startswith("2001") for time in times), "the clock did jump"
    assert [node.label for node in store.lineage("b").upstream().artifacts if node.kind == "data"] == ["a:v1"]
    assert store.runs()[1].finished is not None
    assert store.runs()[1].finished >= store.runs()[0].started, "the time of entries never goes back"  # type: ignore[operator]


def test_what_comes_in_from_outside_of_a_run_belongs_to_none(store: Store):
    with store.run("train", code=False) as run:
        with detached():
            store.put({"from": "outside"}, "arrived")
            store.put({"never": "read"}, "other")
            store.get("other")
        assert store.get("arrived") == {"from": "outside"}
        store.put({"made": 1}, "made")
    assert (edges(store, run.id, "used"), edges(store, run.id, "produced")) == (["arrived"], ["made"])
