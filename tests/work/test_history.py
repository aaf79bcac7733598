"""Names, versions, aliases, batches, the log and the past."""

import json
import pickle
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import artifactstore
from artifactstore import ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.catalog.audit import outcome_of
from artifactstore.journal.chain import entry_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store


@pytest.fixture
def filled(store: Store) -> Store:
    store.put(b"1", "churn/model", kind="model", metrics={"auc": 0.8}, metadata={"team": {"name": "risk"}, "seed": 1})
    store.put(b"2", "churn/model", kind="model", metrics={"auc": 0.9}, metadata={"team": {"name": "risk"}, "seed": 2})
    store.put({"rows": 3}, "churn/features")
    return store


def test_names_and_versions_are_listed(filled: Store):
    assert [(one.name, one.versions, one.latest) for one in filled.names()] == [("churn/features", 1, 1), ("churn/model", 2, 2)]
    assert [one.name for one in filled.names("churn/m")] == ["churn/model"]
    assert [one.ref for one in filled.versions("churn/model")] == ["churn/model:v1", "churn/model:v2"]


def test_lists_are_tables_too(filled: Store):
    rows = filled.versions("churn/model")
    assert rows.to_arrow().column("version").to_pylist() == [1, 2]
    assert "<table" in rows._repr_html_()
    assert [one.version for one in rows[::-1]] == [2, 1]
    assert repr(rows).startswith("2 versions\nREF ")


def test_a_wrong_name_names_the_nearest(filled: Store):
    with pytest.raises(NotFoundError, match="churn/model"):
        filled.get("churn/modell")
    with pytest.raises(NotFoundError, match="newest version is v2"):
        filled.get("churn/model:v3")
    with pytest.raises(NotFoundError, match="no alias 'prod'"):
        filled.get("churn/model:prod")
    with pytest.raises(NotFoundError, match="use churn/model:latest/data"):
        filled.get("churn/model/data")
    with pytest.raises(NotFoundError, match="find"):
        filled.get("blake3:" + "0" * 64)
    with pytest.raises(InvalidInputError):
        filled.get("not a name!")


def test_every_form_of_reference_finds_the_version(filled: Store):
    first = filled.artifact("churn/model:v1")
    for ref in ("churn/model:v1", f"churn/model@{first.digest[:15]}", first.digest, first.digest[:15]):
        assert filled.artifact(ref).digest == first.digest
    assert filled.artifact("churn/model").version == filled.artifact("churn/model:latest").version == 2


def test_aliases_move_with_history(filled: Store):
    filled.alias("churn/model:v1", "production", reason="first")
    moved = filled.alias("churn/model:v2", "production", expect=1, reason="better")
    assert moved is not None
    assert moved.ref == "churn/model:v2"
    assert filled.get("churn/model:production") == b"2"
    assert [(e.version, e.reason) for e in filled.log(alias="production")] == [(1, "first"), (2, "better")]
    assert filled.versions("churn/model")[1].aliases == ("production",)


def test_an_unmet_expectation_says_who_was_first(filled: Store):
    filled.alias("churn/model:v1", "production")
    with pytest.raises(ConflictError, match=r"at v1, moved there in entry \d+ by \S+ at 20"):
        filled.alias("churn/model:v2", "production", expect=2)
    with pytest.raises(ConflictError, match="expected to be new"):
        filled.alias("churn/model:v2", "production", expect=None)
    assert filled.get("churn/model:production") == b"1"


@pytest.mark.parametrize("alias", ["latest", "v1", "a b", "", "a/b"])
def test_words_that_can_not_be_aliases(filled: Store, alias: str):
    with pytest.raises(InvalidInputError):
        filled.alias("churn/model:v1", alias)


def test_an_alias_needs_a_name_and_no_path(filled: Store):
    with pytest.raises(InvalidInputError, match="belongs to a name"):
        filled.alias(filled.artifact("churn/model:v1").digest, "a")
    with pytest.raises(InvalidInputError, match="not to a path"):
        filled.alias("churn/model:v1/data", "a")


def test_a_batch_is_all_or_nothing(store: Store):
    with store.batch(reason="nightly"):
        one = store.put(b"one", "a")
        assert one.version is None
        assert store.get(one.ref) == b"one"
        store.alias(one.ref, "good")
        with store.batch():
            store.put(b"two", "b")
        assert list(artifactstore.open(store.url).names()) == []
    assert store.get("a:good") == b"one"
    assert store.get("b:v1") == b"two"
    assert {event.seq for event in store.log()} == {1}
    assert {event.reason for event in store.log()} == {"nightly"}


def test_an_exception_in_a_batch_commits_nothing(store: Store):
    with pytest.raises(ZeroDivisionError), store.batch():  # noqa: PT012 - that it is raised inside is the point
        store.put(b"one", "a")
        raise ZeroDivisionError
    assert list(store.names()) == []
    assert store.put(b"one", "a").version == 1


def test_find_by_everything(filled: Store, tmp_path: Path):
    assert [one.ref for one in filled.find(kind="model", metrics={"auc": ">= 0.9"})] == ["churn/model:v2"]
    assert [one.ref for one in filled.find(name="churn/*", metadata={"team.name": "risk", "seed": 1})] == ["churn/model:v1"]
    assert len(filled.find(metrics={"auc": 0.8})) == 1
    (tmp_path / "file").write_bytes(b"2")
    assert [one.ref for one in filled.find(file=tmp_path / "file")] == ["churn/model:v2"]
    digest = filled.artifact("churn/model:v1").files[0].digest
    assert digest is not None
    assert [one.ref for one in filled.find(file=digest)] == ["churn/model:v1"]
    assert len(filled.find(file="blake3:" + "0" * 64)) == 0
    with pytest.raises(InvalidInputError, match="condition"):
        filled.find(metrics={"auc": "about 1"})


def test_the_log_has_everything_with_its_outcome(filled: Store):
    facts = [(event.seq, event.fact) for event in filled.log(name="churn/model")]
    assert facts == [(1, "versioned"), (2, "versioned")]
    txn = filled.log(fact="measured")[0].txn
    found = filled.log(txn=txn)
    assert (found.outcome, len(found)) == ("committed", 3)
    assert filled.log(txn="0" * 32 + "-0").outcome == "unknown"
    assert len(filled.log(since=datetime.now(UTC) + timedelta(hours=1))) == 0
    with pytest.raises(InvalidInputError, match="aware"):
        filled.log(since=datetime.now())  # noqa: DTZ005 - naive on purpose
    with pytest.raises(InvalidInputError):
        filled.log(txn="nonsense")


@pytest.mark.parametrize(
    ("facts", "head", "outcome"),
    [
        ([("measured", "void: base: old")], 4096, "unknown"),  # a newer posting of it may still be appended
        ([("measured", "void: base: old")], 4097, "void"),
        ([("measured", "void: base: old"), ("measured", "committed")], 9, "committed"),
        ([("measured", "void: holder: none")], 9, "void"),
        ([("stored", "void: base: old"), ("removed", "void: base: old")], 9, "void"),  # only its own writer may append it
        ([], 4096, "unknown"),
        ([], 4097, "never"),
    ],
)
def test_the_outcome_of_what_others_may_append_is_open_until_its_window_has_passed(facts, head: int, outcome: str):
    events: Any = [SimpleNamespace(fact=fact, outcome=found) for fact, found in facts]
    assert outcome_of(events, 1, head) == outcome


def test_the_actor_is_claimed_or_known(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(b"1", "a")
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "ci@example")
    artifactstore.open(store.url).put(b"2", "a")
    events = store.log(fact="versioned")
    assert events[0].identity == "os"
    assert (events[1].actor, events[1].identity) == ("ci@example", "claimed")


def test_the_past_can_be_opened(filled: Store):
    filled.alias("churn/model:v1", "production")
    between = filled.log()[-1].time
    filled.alias("churn/model:v2", "production")
    past = filled.at(4)
    assert past.get("churn/model:production") == b"1"
    assert filled.at(between).get("churn/model:production") == b"1"
    assert filled.get("churn/model:production") == b"2"
    assert [one.name for one in filled.at(1).names()] == ["churn/model"]
    assert len(filled.at(datetime.now(UTC).date()).names()) == 2
    assert len(filled.at(date(2020, 1, 1)).names()) == 0
    with pytest.raises(RefusedError, match="as it was at entry 4"):
        past.put(b"x", "y")
    for wrong in (datetime.now(), 99, "yesterday", True):  # noqa: DTZ005
        with pytest.raises(InvalidInputError):
            filled.at(wrong)


def test_a_head_that_was_noted_is_a_moment_of_this_history_alone(filled: Store):
    noted = filled.head
    then = len(filled.versions("churn/model"))
    filled.put(b"later", "churn/model")
    assert len(filled.at(noted).versions("churn/model")) == then
    for wrong in (
        noted[:-1] + ("1" if noted[-1] == "0" else "0"),
        "9999:" + noted.partition(":")[2],
        "0:" + noted.partition(":")[2],
    ):
        with pytest.raises(InvalidInputError, match="another history"):
            filled.at(wrong)


def test_a_diff_names_what_changed(store: Store, tmp_path: Path):
    root = tmp_path / "d"
    root.mkdir()
    for name in ("same", "changed", "gone", "old"):
        (root / name).write_text(name)
    store.put(root, "d")
    (root / "changed").write_text("other")
    (root / "gone").unlink()
    (root / "old").rename(root / "moved")
    (root / "new").write_text("new")
    store.put(root, "d")
    changes = store.diff("d:v1", "d:v2")
    assert [(one.path, one.change) for one in changes] == [
        ("changed", "changed"),
        ("moved", "moved"),
        ("new", "added"),
        ("gone", "removed"),
    ]
    assert changes.unchanged == 1
    assert not store.diff("d:v1", "d:v1")


def test_a_store_pickles_without_secrets(filled: Store):
    assert pickle.loads(pickle.dumps(filled)).get("churn/model:v1") == b"1"
    assert [one.name for one in pickle.loads(pickle.dumps(filled.at(1))).names()] == ["churn/model"]


def test_a_relative_store_is_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.open("relative")
    store.put(b"x", "a")
    (tmp_path / "other").mkdir()
    pickled = pickle.dumps(store)
    monkeypatch.chdir(tmp_path / "other")
    assert pickle.loads(pickled).get("a") == b"x"


def test_secrets_do_not_travel_in_pickles(s3_url: str):
    store = artifactstore.open(s3_url, storage_options={"key": "AKIA", "secret": "hidden"})
    with pytest.raises(InvalidInputError, match="secrets") as caught:
        pickle.dumps(store)
    assert "hidden" not in str(caught.value)


def test_the_url_comes_from_where_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tmp_path / "project/deep"
    project.mkdir(parents=True)
    (tmp_path / "project/pyproject.toml").write_text('[tool.artifactstore]\nurl = "artifacts"\n')
    monkeypatch.chdir(project)
    assert artifactstore.open().url == str(tmp_path / "project/artifacts")
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "env"))
    assert artifactstore.open().url == str(tmp_path / "env")
    assert artifactstore.open(tmp_path / "given").url == str(tmp_path / "given")
    monkeypatch.delenv("ARTIFACTSTORE_URL")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="no store was named"):
        artifactstore.open().put(b"x", "a")
    (tmp_path / "pyproject.toml").write_text("not toml")
    with pytest.raises(InvalidInputError, match=r"pyproject\.toml"):
        artifactstore.open()


def test_threads_share_entries(store: Store):
    store.put(b"first", "t")
    barrier = threading.Barrier(8)

    def work(n: int) -> None:
        barrier.wait()
        for i in range(5):
            store.put(f"{n}-{i}".encode(), f"t/{n}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(store.versions(f"t/{n}")) for n in range(8)] == [5] * 8
    assert store.log()[-1].seq < 41
    assert store.verify(level="full").ok


def test_verify_tells_a_transaction_without_effect_and_calls_it_no_damage(tmp_path):
    store = artifactstore.open(tmp_path / "noted")
    store.put({"a": 1}, "value")
    journal = store._session.core().journal
    first = journal.backend.read(entry_key(1))
    again = {**json.loads(first), "seq": 2, "previous": str(Digest.of(first))}
    journal.backend.create(entry_key(2), canonical_json(again))
    report = store.verify()
    assert report.ok
    (note,) = report.findings
    assert (note.severity, note.location) == ("note", entry_key(2))
    assert "has no effect" in note.what
    assert [one.versions for one in store.names()] == [1]
