"""The intake: another system's history comes in once, at its own times, and never outweighs what was recorded here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

import artifactstore
from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError
from artifactstore.store import Store
from artifactstore.work.sync.imported import Imported
from artifactstore.work.sync.intake import Intake

THEN = datetime(2024, 3, 5, 12, 30, tzinfo=UTC)
JANE = "Jane Doe <jane@example.org>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def bring(store: Store, folder: Path, *, versions: int = 3, dry_run: bool = False, ended: bool = True) -> Imported:
    """Import what a small foreign system has: data in versions, a model that a run made of the last, and an alias."""
    with store.maintenance.intake("elsewhere", "file:///there", dry_run=dry_run, reason="migration") as intake:
        for number in range(1, versions + 1):
            (folder / "data.csv").write_text(f"x\n{number // 2}\n")  # the second and the third are equal
            data = intake.put(
                folder / "data.csv",
                "e/data",
                marks={"elsewhere.id": str(number)},
                time=THEN + timedelta(days=number),
                actor=JANE,
                reason=f"delivery {number}",
            )
        model = intake.put({"weight": 1}, "e/model", marks={"elsewhere.id": "m"}, kind="model", metrics={"auc": 0.9}, time=THEN)
        if not dry_run:
            history = [("loss", step, 1.0 / (step + 1), THEN + timedelta(seconds=step)) for step in range(3)]
            intake.run(
                "elsewhere-7",
                "train",
                time=THEN,
                ended=THEN + timedelta(minutes=5) if ended else None,
                params={"depth": 8},
                actor=JANE,
                inputs=[(data.ref, "training")],
                outputs=[(model.ref, None)],
                history=[*history, ("auc", None, float("nan"), None)],
            )
        if not dry_run:
            intake.alias(model.ref, "production", time=THEN, actor=JANE)
    return intake.report


def test_versions_runs_and_aliases_come_with_their_times_and_actors(store: Store, tmp_path: Path) -> None:
    report = bring(store, tmp_path)
    assert (report.names, report.versions, report.runs, report.new) == (2, 3, 1, 3)
    second = store.artifact("e/data:v2")
    assert (second.time, second.actor, second.reason) == (THEN + timedelta(days=2), JANE, "delivery 2")
    assert second.metadata == {"elsewhere.id": "2", "artifactstore.also": [{"elsewhere.id": "3"}]}, "equal content in a row"
    assert store.get("e/data:v2").read_text() == "x\n1\n"
    for number in ("2", "3"):
        assert [one.ref for one in store.find(metadata={"elsewhere.id": number})] == ["e/data:v2"]
    assert not [*store.find(metadata={"elsewhere.id": "4"})]
    assert store.get("e/model:production") == {"weight": 1}
    assert store.artifact("e/model").metrics == {"auc": 0.9}
    run = store.runs("train")[0]
    assert (run.id, run.status, run.params, run.actor) == ("elsewhere-7", "finished", {"depth": 8}, JANE)
    assert (run.started, run.finished) == (THEN, THEN + timedelta(minutes=5))
    assert [(point.step, point.time) for point in run.history("loss")] == [(n, THEN + timedelta(seconds=n)) for n in range(3)]
    assert [one.ref for one in store.lineage("e/model").upstream() if one.name == "e/data"] == ["e/data:v2"]
    assert store.verify(level="full").ok


def test_a_second_import_appends_nothing_and_a_third_brings_just_what_is_new(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    before = len(store.log())
    again = bring(store, tmp_path)
    assert (again.names, again.versions, again.runs, again.new) == (2, 0, 0, 0)
    assert len(store.log()) == before
    more = bring(store, tmp_path, versions=4)
    assert (more.versions, more.runs, more.new) == (1, 0, 1)
    assert store.artifact("e/data").version == 3


def test_a_dry_run_writes_nothing_and_counts_the_same(store: Store, tmp_path: Path) -> None:
    store.put({"own": 1}, "own")
    before = len(store.log())
    assert bring(store, tmp_path, dry_run=True).versions == 4, "a dry run does not see that two are equal"
    assert len(store.log()) == before
    bring(store, tmp_path)
    assert bring(store, tmp_path, dry_run=True).versions == 0


def test_marks_alone_decide_within_one_import_too(store: Store) -> None:
    store.put({"own": 1}, "own")
    for dry_run in (True, False):
        with store.maintenance.intake("elsewhere", "x", dry_run=dry_run) as intake:
            first = intake.put({"a": 1}, "n", marks={"elsewhere.id": "1"})
            assert intake.put({"a": 2}, "n", marks={"elsewhere.id": "1"}).ref == first.ref == "n:v1"
            assert intake.put({"a": 2}, "n", marks={"elsewhere.id": "2"}).ref == "n:v2"
            assert intake.find("n", {"elsewhere.id": "2"}) == "n:v2"
            assert intake.find("n", {"elsewhere.id": "3"}) is None
        assert (intake.report.names, intake.report.versions) == (1, 2)


def test_a_version_that_was_removed_here_does_not_come_back(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    store.registry.remove("e/data:v1", "not ours")
    assert bring(store, tmp_path).versions == 0
    with pytest.raises(NotFoundError):
        store.get("e/data:v1")


def test_an_alias_that_was_moved_here_stays_and_is_reported(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    store.put({"weight": 2}, "e/model", kind="model")
    store.alias("e/model:v2", "production", reason="ours is better")
    report = bring(store, tmp_path)
    assert store.artifact("e/model:production").version == 2
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith("e/model:production: it was moved in this store")


def test_a_gated_alias_is_not_moved_by_an_import(store: Store, tmp_path: Path) -> None:
    rule = {"names": "e/*", "alias": "production", "all": [{"metric": "auc", "is": ">= 0.95"}]}
    store.registry.gates([rule], reason="CR-7")
    report = bring(store, tmp_path)
    assert "gates" in report.skipped[0]
    with pytest.raises(NotFoundError):
        store.artifact("e/model:production")


def test_a_run_that_was_running_gets_its_end_once(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path, ended=False)
    assert store.runs("train")[0].status != "finished"
    assert bring(store, tmp_path).runs == 1
    assert store.runs("train")[0].status == "finished"
    assert bring(store, tmp_path).runs == 0


def test_what_this_store_recorded_itself_is_not_changed(store: Store, tmp_path: Path) -> None:
    with store.run("ours", id="elsewhere-7", code=False) as run:
        run.put({"own": 1}, "e/model", metadata={"elsewhere.id": "other"})
    bring(store, tmp_path)
    found = store.runs("ours")[0]
    assert found.params == {}
    assert store.artifact("e/model:v1").metadata == {"elsewhere.id": "other"}
    assert store.artifact("e/model:v2").metadata == {"elsewhere.id": "m"}


def test_two_imports_of_one_source_at_once_bring_each_version_once(tmp_path: Path) -> None:
    stores = [artifactstore.open(tmp_path / "store", cache=tmp_path / f"cache{n}") for n in range(3)]
    barrier, failed, runs = Barrier(3), [], []

    def run(number: int) -> None:
        barrier.wait()
        try:
            with stores[number].maintenance.intake("elsewhere", "x") as intake:
                for at in range(12):
                    intake.put({"n": at}, f"n/{at % 2}", marks={"elsewhere.id": str(at)}, time=THEN)
                    intake.run(f"elsewhere-{at}", "step", time=THEN, ended=THEN, outputs=[(f"n/{at % 2}", None)])
            runs.append(intake.report.runs)
        except Exception as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for name in ("n/0", "n/1"):
        marks = [one.metadata["elsewhere.id"] for one in stores[0].versions(name)]
        assert sorted(marks) == sorted(set(marks)), marks
        assert len(marks) == 6
    assert len(stores[0].runs()) == sum(runs) == 12
    assert stores[0].verify().ok


def test_an_import_that_stops_in_the_middle_goes_on_the_next_time(store: Store, tmp_path: Path) -> None:
    def stop(intake: Intake) -> None:
        intake.put({"weight": 1}, "e/model", marks={"elsewhere.id": "m"}, kind="model")
        intake.run("elsewhere-7", "train", time=THEN, ended=THEN, outputs=[("e/model:v1", None)])
        raise RuntimeError

    with pytest.raises(RuntimeError), store.maintenance.intake("elsewhere", "file:///there") as intake:
        stop(intake)
    assert not store.runs()
    report = bring(store, tmp_path)
    assert (report.versions, report.runs) == (2, 1)


def test_an_imported_history_goes_on_to_another_store(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    other = artifactstore.open(tmp_path / "other", cache=None)
    other.put({"x": 1}, "theirs")
    store.maintenance.sync(other)
    assert other.artifact("e/data:v2").actor == JANE
    assert other.runs("train")[0].started == THEN
    assert store.maintenance.sync(other).versions == 0
    assert bring(other, tmp_path).versions == 0, "the ids came along"


def test_secrets_in_what_is_imported_are_not_recorded(store: Store) -> None:
    with store.maintenance.intake("elsewhere", "x") as intake, pytest.warns(UserWarning, match="secrets"):
        intake.run("elsewhere-1", "train", time=THEN, ended=THEN, params={"password": "hunter2hunter2"})
    assert "hunter2hunter2" not in str(store.runs()[0].params)


def _no_marks(intake: Intake) -> None:
    intake.put({}, "n", marks={})


def _no_zone(intake: Intake) -> None:
    intake.put({}, "n", marks={"a.b": "c"}, time=THEN.replace(tzinfo=None))


def _no_run_id(intake: Intake) -> None:
    intake.run("", "n", time=THEN)


def _no_status(intake: Intake) -> None:
    intake.run("x-1", "n", time=THEN, ended=THEN, status="killed")


def _no_version(intake: Intake) -> None:
    intake.alias("n", "production")


def _alias_in_put(intake: Intake) -> None:
    intake.put({}, "n", marks={"a.b": "c"}, aliases=["x"])


@pytest.mark.parametrize("wrong", [_no_marks, _no_zone, _no_run_id, _no_status, _no_version, _alias_in_put])
def test_wrong_calls_change_nothing(store: Store, wrong: object) -> None:
    store.put({"own": 1}, "own")
    before = len(store.log())
    assert callable(wrong)
    with pytest.raises(InvalidInputError), store.maintenance.intake("elsewhere", "x") as intake:
        wrong(intake)
    assert len(store.log()) == before


def test_an_import_is_no_part_of_a_batch(store: Store) -> None:
    with store.batch(), pytest.raises(InvalidInputError, match="batch"):
        store.maintenance.intake("elsewhere", "x")


def test_edges_come_later_to_a_run_that_was_brought_and_never_to_one_of_our_own(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    with store.run("ours", id="ours") as own:
        own.put({"x": 1}, "own")

    def add(*, dry_run: bool = False) -> list[bool]:
        with store.maintenance.intake("elsewhere", "file:///there", dry_run=dry_run) as intake:
            outputs = [("e/data:v1", "late"), ("e/model", None), ("e/data:v1", "again")]
            return [intake.add_edges(run, time=THEN, actor=JANE, outputs=outputs) for run in ("elsewhere-7", "ours", "unknown")]

    before = len(store.log())
    assert add(dry_run=True) == [False, False, False]
    assert len(store.log()) == before
    assert add() == [True, False, False]
    assert "elsewhere-7" in {one.id for one in store.lineage("e/data:v1").upstream()}
    assert "ours" not in {one.id for one in store.lineage("e/data:v1").upstream()}
    entries = len(store.log())
    assert add() == [False, False, False]
    assert len(store.log()) == entries
    with store.maintenance.intake("elsewhere", "file:///there") as intake, pytest.raises(NotFoundError):
        intake.add_edges("elsewhere-7", time=THEN, inputs=[("e/none", None)])
    assert store.verify(level="full").ok


def test_a_file_that_changes_again_and_again_is_read_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactstore.integrations.checked.files import Content, as_source
    from artifactstore.integrations.checked.origins import InMemory

    reads = []

    class Restless(InMemory):
        def read(self, start: int, end: int) -> bytes:
            reads.append(start)
            return super().read(start, end)

        def mark(self) -> str:
            return str(len(reads))

    store.put({"own": 1}, "own")
    url, options = as_source({"a": Content(Restless("a", b"content"))}, single=True)
    with store.maintenance.intake("elsewhere", "x") as intake, pytest.raises(ConflictError, match="changed"):
        intake.put(url, "n", marks={"elsewhere.id": "1"}, **options)
    assert len(reads) == 1
