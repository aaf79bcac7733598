"""The request log of usual acts on S3, read as a critic: nothing is asked for in vain."""

import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import CorruptionError, Store
from artifactstore.backend.memory import MemoryBackend
from artifactstore.work.views.lineage import Lineage


def test_usual_acts_ask_for_no_more_than_they_need(faulty_s3):
    proxy, url = faulty_s3
    store = artifactstore.open(url, cache=None)
    store.put(b"0", "name")
    made = Counter(proxy.take())
    assert made["PUT store.json"] == 2  # the store, and whether the server would let it be replaced
    assert made["PUT manifests"] == made["PUT journal"] == 1
    assert sum(made.values()) <= 17

    store.put(b"1", "name")
    asked = proxy.take()
    assert asked[0] == "GET journal"  # is there something new?
    assert asked[1] == "PUT manifests"
    assert asked[2:] == [
        "GET journal",
        "PUT journal",
    ]  # is the last entry still there; the commit, which proves that it was the last
    store.put(os.urandom(100_000), "large")
    assert [one for one in proxy.take() if one.startswith("PUT")] in (
        ["PUT packs", "PUT manifests", "PUT journal"],
        ["PUT manifests", "PUT packs", "PUT journal"],  # they travel together
    )
    assert not store.put(b"1", "name").new
    assert proxy.take() == ["GET journal"]
    store.names()
    assert proxy.take() == ["GET journal"]

    cold = artifactstore.open(url, cache=None)
    cold.names()
    assert Counter(proxy.take()) == {"GET store.json": 1, "GET ?segments": 1, "GET ?journal": 2, "GET journal": 4}
    cold.get("large")
    assert sorted(proxy.take()) == ["GET journal", "GET manifests", "GET packs"]
    cold.get("large")
    assert proxy.take() == ["GET journal", "GET packs"]
    assert {one.verb for one in proxy.log} == {"GET", "PUT"}  # no HEAD, nothing made or asked of the bucket


@pytest.mark.slow
def test_many_files_and_large_ones_take_a_request_a_pack(faulty_s3, tmp_path: Path):
    proxy, url = faulty_s3
    store = artifactstore.open(url, cache=None)
    store.put(b"0", "name")
    for number in range(5000):
        path = tmp_path / "many" / f"{number % 20}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(16) * 4)
    (tmp_path / "large").write_bytes(os.urandom(100_000_000))
    proxy.take()
    store.put(tmp_path / "many", "many")
    assert len(proxy.take()) <= 10
    store.put(tmp_path / "large", "large")
    asked = Counter(proxy.take())
    assert asked.keys() == {"GET journal", "PUT packs", "PUT manifests", "PUT journal"}
    assert sum(asked.values()) - asked["PUT packs"] <= 5
    for name in ("many", "large"):
        store.get(name, tmp_path / f"{name}-back")
        assert sum(not one.endswith(" packs") for one in proxy.take()) <= 2


VERBS = ("read", "read_ranges", "write", "create", "list", "delete", "size")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of stores in memory, which count as far here: `<verb> <folder>`."""
    found: list[str] = []

    def counted(verb: str) -> Any:
        real = getattr(MemoryBackend, verb)

        def call(self: MemoryBackend, key: str, *arguments: Any, **options: Any) -> Any:
            found.append(f"{verb} {key.split('/', maxsplit=1)[0]}")
            return real(self, key, *arguments, **options)

        return call

    for verb in VERBS:
        monkeypatch.setattr(MemoryBackend, verb, counted(verb))
    monkeypatch.setattr(MemoryBackend, "concurrency", 32)
    return found


@pytest.fixture
def history(tmp_path: Path) -> Store:
    """A store with a chain of runs, and a mark or two."""
    store = artifactstore.create(f"memory://{tmp_path.name}-requests", cache=tmp_path / "cache")
    store.put({"a": 1}, "in/data")
    for depth in (1, 2):
        with store.run("train", params={"depth": depth}, code=False, id=f"run-{depth}") as run:
            run.get("in/data")
            run.put({"auc": depth / 10}, "out/model", metrics={"auc": depth / 10})
    store.alias("out/model:v1", "old")
    return store


QUESTIONS: dict[str, Callable[[Store, Lineage], Any]] = {
    "names": lambda s, _: s.names(),
    "versions": lambda s, _: s.versions("out/model"),
    "artifact": lambda s, _: s.artifact("out/model"),
    "its files": lambda s, _: s.artifact("out/model").files,
    "its profile": lambda s, _: s.artifact("out/model").profile,
    "get": lambda s, _: s.get("out/model"),
    "get an alias": lambda s, _: s.get("out/model:old"),
    "open_file": lambda s, _: s.open_file("out/model").read(),
    "diff": lambda s, _: s.diff("out/model:v1", "out/model:v2").json,
    "find": lambda s, _: s.find(kind="data", metrics={"auc": "> 0"}),
    "find by what was used": lambda s, _: s.find(uses="in/data"),
    "find by a run": lambda s, _: s.find(run="run-1"),
    "runs": lambda s, _: s.runs("train*"),
    "lineage": lambda s, _: s.lineage("out/model"),
    "lineage of a run": lambda s, _: s.lineage("run-1"),
    "lineage of a digest": lambda s, g: s.lineage(g.id),
    "upstream": lambda _, g: g.upstream(),
    "downstream by kind": lambda _, g: g.downstream(kind="data"),
    "runs of lineage": lambda _, g: g.runs,
    "artifacts": lambda _, g: g.artifacts,
    "inputs": lambda _, g: g.inputs,
    "code": lambda _, g: g.code,
    "path": lambda _, g: g.path("in/data"),
    "impact": lambda _, g: g.impact(),
    "draw": lambda _, g: g.draw(),
    "export": lambda _, g: g.export("prov"),
    "why": lambda s, _: s.why("out/model:v1", "out/model:v2"),
    "why of runs": lambda s, _: s.why("run-1", "run-2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_from_one_state_by_one_request(history: Store, asked: list[str], question: str):
    lineage = history.lineage("out/model")
    QUESTIONS[question](history, lineage)  # what never changes comes from the cache then
    asked.clear()
    QUESTIONS[question](history, lineage)
    assert asked == ["read journal"]


def run_of(store: Store, value: Any = None) -> None:
    with store.run("train", code=False) as run:
        if value is not None:
            run.get("in/data")
            run.put(value, "out/model")


ACTS: dict[str, tuple[Callable[[Store], Any], int, int]] = {
    # what is read of the journal at most, and created in it
    "an equal put": (lambda s: s.put({"auc": 0.2}, "out/model"), 1, 0),
    "a new put": (lambda s: s.put({"auc": 0.7}, "out/model"), 2, 1),
    "an alias that is there": (lambda s: s.alias("out/model:v1", "old"), 1, 0),
    "an alias": (lambda s: s.alias("out/model:v2", "old"), 2, 1),
    "taint": (lambda s: s.registry.taint("in/data", "bad"), 2, 1),
    "an empty run": (run_of, 2, 2),
    "a run that reads and puts": (lambda s: run_of(s, {"auc": 0.8}), 5, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
def test_acts_ask_for_no_more_than_they_need(history: Store, asked: list[str], act: str):
    do, reads, creates = ACTS[act]
    run_of(history)  # the environment is stored once
    asked.clear()
    do(history)
    counts = Counter(asked)
    assert counts["create journal"] == creates, asked
    assert counts["read journal"] <= reads, asked
    assert set(counts) <= {"read journal", "create journal", "write manifests"}


def test_a_question_sees_what_others_have_done_up_to_its_first_look(history: Store):
    other = artifactstore.open(history.url, cache=None)
    other.put({"auc": 0.9}, "out/model")
    assert history.why("out/model:v2", "out/model:v3").a == "out/model:v2"
    other.put({"auc": 1.0}, "out/model")
    assert [one.version for one in history.find(uses="in/data", name="out/*")] == [1, 2]
    assert history.artifact("out/model").version == 4


def test_a_cold_question_with_a_kept_fold_asks_once_whether_anything_follows(history: Store, asked: list[str], tmp_path: Path):
    def cold() -> Store:
        asked.clear()
        return artifactstore.open(history.url, "r", cache=tmp_path / "kept")

    cold().names()
    known = cold().head
    assert Counter(asked) == {"read store.json": 1, "read journal": 2, "list journal": 2, "list segments": 1}
    for more in (1, 2, 5):
        for number in range(more):
            history.put({"more": number, "of": more}, "more/data")
        assert cold().head == history.head != known
        assert cold().head == history.head
        assert asked.count("read journal") <= 2 + more
        known = history.head
    core = history._session.core()
    history.put(b"1", "lost")
    history.put(b"2", "after")
    core.backend.delete(f"journal/000000000/{core.journal.head - 1:012}.json")
    for _ in range(2):
        with pytest.raises(CorruptionError, match="is missing"):
            cold().names()


def test_a_second_import_asks_for_the_head_and_for_nothing_else(asked: list[str], tmp_path: Path) -> None:
    store = artifactstore.create(f"memory://{tmp_path.name}-import", cache=None)
    then = datetime(2024, 3, 5, tzinfo=UTC)

    def bring(count: int) -> None:
        with store.maintenance.intake("elsewhere", "there") as intake:
            for n in range(count):
                made = intake.put({"n": n}, f"n/{n}", marks={"elsewhere.id": str(n)}, time=then)
                outputs = [(made.ref, None)]
                if not intake.run(f"elsewhere-{n}", "make", time=then, ended=then, outputs=outputs):
                    intake.add_edges(f"elsewhere-{n}", time=then, outputs=outputs)

    bring(20)
    del asked[:]
    bring(20)
    assert Counter(asked) == {"read journal": 1}
    bring(21)
    assert len(store.versions("n/20")) == 1
