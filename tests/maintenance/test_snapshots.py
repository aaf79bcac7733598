"""Snapshots: a store with a long history is opened at once; only what the journal vouches for is believed."""

import copy
import json
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import BackendError, CorruptionError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.cli import main
from artifactstore.journal import journal as journal_module
from artifactstore.journal import snapshots as snapshots_module
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.journal.journal import Journal
from artifactstore.journal.snapshots import Snapshot, content_key
from artifactstore.maintenance import snapshot as snapshot_module
from artifactstore.maintenance.snapshot import list_published
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from tests.journal.making import txn

from .places import fill


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a snapshot for quicker than entries, however few they are."""
    monkeypatch.setattr(snapshots_module, "_ENTRY", 2**40)


@pytest.fixture(params=["local", "memory", "s3", "sftp"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param in {"s3", "sftp"}:
        return str(request.getfixturevalue(f"{request.param}_url"))
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}-{id(request)}"


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the entries that were folded."""
    seen: list[int] = []
    apply = State.apply

    def noting(self: State, entry: Any, *more: Any) -> Any:
        seen.append(entry["seq"])
        return apply(self, entry, *more)

    monkeypatch.setattr(State, "apply", noting)
    return seen


def _state(store: Store) -> State:
    """What a new process that keeps nothing finds."""
    with artifactstore.open(store.url, mode="r", cache=None)._session.state() as state:
        return state


def _truth(store: Store) -> State:
    """The same by reading every entry."""
    core = store._session.core()
    journal = Journal(core.backend, core.config, partial(State, core.config.store))
    journal.catch_up()
    return journal.fold  # type: ignore[no-any-return]


def _same(one: State, other: State) -> bool:
    return canonical_json(one.dump()) == canonical_json(other.dump()) and [*one.runs] == [*other.runs]


@pytest.mark.slow
def test_who_comes_first_folds_what_came_behind_the_snapshot_alone(url: str, folded: list[int]) -> None:
    store = fill(url)
    done = store.maintenance.snapshot()
    assert (done.new, done.entry) == (True, _truth(store).head - 1)
    store.put(b"later", "later")
    folded.clear()
    state = _state(store)
    assert folded == [done.entry + 1, done.entry + 2]
    assert _same(state, _truth(store))
    assert artifactstore.open(url, cache=None).get("aba:best") == store.get("aba:best")


def test_a_snapshot_costs_a_reader_few_requests(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    store.maintenance.snapshot()
    core = store._session.core()
    counting = CountingBackend(core.backend)
    journal = Journal(
        counting,
        core.config,
        partial(State, core.config.store),
        open_snapshot=lambda one: snapshot_module.open_snapshot(counting, "blake3", one),
    )
    journal.catch_up()
    assert _same(journal.fold, _truth(store))
    read = [key for verb, key in counting.calls if verb == "read"]
    assert len(read) <= 4
    assert not any(key == entry_key(1) for key in read)


@pytest.mark.slow
def test_whoever_begins_with_a_snapshot_writes_on(url: str) -> None:
    store = fill(url)
    store.maintenance.snapshot()
    other = artifactstore.open(url, cache=None)
    other.put(b"new", "aba")
    other.alias("aba:v4", "best", reason="newer", expect=2)
    assert store.get("aba:best") == b"new"
    assert _same(_state(store), _truth(store))
    assert store.verify(level="full").ok


@pytest.mark.slow
def test_the_next_process_on_a_machine_finds_what_was_brought(tmp_path: Path, s3_url: str, folded: list[int]) -> None:
    store = fill(s3_url)
    store.maintenance.snapshot()
    artifactstore.open(s3_url, cache=tmp_path / "cache").names()
    opened: list[Snapshot] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_module, "open_snapshot", lambda _place, _digest, one: opened.append(one))
        folded.clear()
        assert artifactstore.open(s3_url, cache=tmp_path / "cache").names() == store.names()
    assert (folded, opened) == ([], [])


def test_a_snapshot_of_a_spilled_fold_is_the_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "SPILL", 0)
    monkeypatch.setattr("artifactstore.catalog.fold.state._SPILL_CHECK", 1)
    store = fill(str(tmp_path / "store"))
    assert store._session.core().journal.fold.base is not None
    store.maintenance.snapshot()
    store.put(b"more", "more")
    store.maintenance.snapshot()
    assert _same(_state(store), _truth(store))
    assert store.verify().ok


def test_where_nothing_came_since_nothing_is_written(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    first = store.maintenance.snapshot()
    again = store.maintenance.snapshot()
    assert (again.entry, again.digest, again.new) == (first.entry, first.digest, False)
    assert len(list_published(store._session.core().backend)) == 1


def test_a_full_disk_is_said_and_nothing_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteTables, "compact_to", full)
        with pytest.raises(BackendError, match=r"disk is full.*TMPDIR"):
            store.maintenance.snapshot()
    assert not (Path(store.url) / "segments").exists()
    assert store.maintenance.snapshot().new


@pytest.mark.parametrize("at", [0, 1, 2])
def test_whatever_fails_on_the_way_the_next_try_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The file, the fact and the pointer are written in this order; what is left of a try is believed by nobody."""
    store = fill(str(tmp_path / "store"))
    backend = store._session.core().backend
    done: list[str] = []

    def failing(verb: Any) -> Any:
        def call(key: str, data: Any) -> None:
            done.append(key)
            if len(done) == at + 1:
                raise BackendError("no", transient=False)
            verb(key, data)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(backend, "write", failing(backend.write))
        patch.setattr(backend, "create", failing(backend.create))
        with pytest.raises(BackendError):
            store.maintenance.snapshot()
    assert [key.split("/")[0] for key in done] == ["segments", "journal", "segments"][: at + 1]
    assert list_published(backend) == []
    assert _same(_state(store), _truth(store))
    assert store.maintenance.snapshot().new
    assert _same(_state(store), _truth(store))


@pytest.mark.parametrize("error", [BackendError("403", transient=False), OSError(28, "no space left")])
def test_one_that_can_t_be_brought_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    store = fill(f"memory://{tmp_path.name}-bring")
    store.maintenance.snapshot()
    read, failed = MemoryBackend.read_ranges, list[str]()

    def failing(self: MemoryBackend, key: str, ranges: Any) -> list[bytes]:
        if key.startswith("segments/folds/"):
            failed.append(key)
            raise error
        return read(self, key, ranges)

    monkeypatch.setattr(MemoryBackend, "read_ranges", failing)
    assert _same(_state(store), _truth(store))
    assert failed


def test_an_empty_store_has_nothing_to_write_down(tmp_path: Path) -> None:
    store = artifactstore.create(tmp_path / "store")
    done = store.maintenance.snapshot()
    assert (done.entry, done.new) == (0, False)
    assert list_published(store._session.core().backend) == []


def test_what_nobody_vouches_for_is_not_even_opened(tmp_path: Path, folded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    true = _truth(store)
    false = _truth(store)
    false.aliases["aba"]["best"][-1]["version"] = 1
    head = true.head
    key = _forge(store, false, head, head)
    opened: list[Any] = []
    received = SqliteTables.received

    def noting(*args: Any, **more: Any) -> SqliteTables:
        opened.append(args)
        return received(*args, **more)

    monkeypatch.setattr(SqliteTables, "received", noting)
    assert _same(_state(store), true)
    assert opened == []
    report = store.verify()
    assert report.ok
    assert [finding.location for finding in report.findings if "snapshot" in finding.what] == [key]


def _forge(store: Store, false: State, seq: int, entry: int, last: str | None = None) -> str:
    """Put a snapshot with a pointer there; the entry that it names does not speak of it."""
    backend = connect(store.url)
    scratch = Path(store.url).parent / "forged"
    false.write_file(scratch, last or str(Digest.of(backend.read(entry_key(seq)))))
    digest = str(Digest.of(scratch.read_bytes()))
    backend.write(content_key(digest), scratch.read_bytes())
    pointer = Snapshot(State.LAYOUT, seq, entry, digest, scratch.stat().st_size)
    backend.write(pointer.key, b"{}")
    return pointer.key


def test_a_fact_that_has_no_effect_vouches_for_nothing(tmp_path: Path) -> None:
    """A snapshot is named in an entry, but its transaction is void: after a move."""
    store = fill(str(tmp_path / "store"))
    core = store._session.core()
    head = core.journal.catch_up()
    false = _truth(store)
    false.aliases["aba"]["best"][-1]["version"] = 1
    scratch = tmp_path / "forged"
    false.write_file(scratch, str(core.journal.digest))
    digest = str(Digest.of(scratch.read_bytes()))
    fact = Snapshot(State.LAYOUT, head, 0, digest, scratch.stat().st_size).fact
    made = txn(head + 1, facts=[fact])
    made["base"] = head + 7  # not between its birth and its entry
    raw = encode_entry(head + 1, core.journal.digest, writer="0" * 32, time="2030-01-01T00:00:00.000000Z", txns=[made])
    core.backend.write(entry_key(head + 1), raw)
    core.backend.write(content_key(digest), scratch.read_bytes())
    core.backend.write(Snapshot(State.LAYOUT, head, head + 1, digest, scratch.stat().st_size).key, b"{}")
    assert _same(_state(store), _truth(store))
    assert _state(store).aliases["aba"]["best"][-1]["version"] == 2


def test_a_false_one_that_somebody_vouches_for_is_found_by_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    write = State.write_file

    def lying(self: State, path: Path, entry: str) -> None:
        false = _truth(store)
        false.aliases["aba"]["best"][-1]["version"] = 1
        write(false, path, entry)

    with monkeypatch.context() as patch:
        patch.setattr(State, "write_file", lying)
        store.maintenance.snapshot()
    assert _state(store).aliases["aba"]["best"][-1]["version"] == 1
    report = store.verify()
    assert not report.ok
    (finding,) = [one for one in report.findings if one.severity == "damage"]
    assert "aliases of aba" in finding.what
    assert "recorded it in entry" in finding.what


@pytest.mark.slow
@pytest.mark.parametrize("table", ["names", "runs", "edges", "metrics", "holders", "snapshots", "verdicts"])
def test_verify_looks_into_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    store = artifactstore.open(tmp_path / "store", cache=None)
    with store.run("one"):
        store.put(b"1", "n", metrics={"m": 1})
    with store.run("two"):
        store.put(b"2", "n")
    store.maintenance.snapshot()
    store.put(b"3", "n")
    write = State.write_file

    def lying(self: State, path: Path, entry: str) -> None:
        false = _truth(store)
        rows = getattr(false, table)
        first = next(iter(rows))
        row = rows.pop(first)
        if table == "runs":
            rows[first] = row  # the same runs in another order
        write(false, path, entry)

    with monkeypatch.context() as patch:
        patch.setattr(State, "write_file", lying)
        store.maintenance.snapshot()
    (finding,) = [one for one in store.verify().findings if one.severity == "damage"]
    assert f"({table} of " in finding.what


def test_verify_counts_the_versions_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    write = SqliteTables.write

    def lying(self: SqliteTables, table: str, rows: Any, gone: Any) -> None:
        write(self, table, [(key, [7, value[1]]) for key, value in rows] if table == "names" else rows, gone)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteTables, "write", lying)
        store.maintenance.snapshot()
    assert {one.versions for one in artifactstore.open(store.url, cache=None).names()} == {7}
    (finding,) = [one for one in store.verify().findings if one.severity == "damage"]
    assert "the row of " in finding.what


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as file:
        file.execute("create table x (y)")


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_flip, _cut, _other, Path.unlink])
def test_a_damaged_one_is_passed_over(tmp_path: Path, harm: Callable[[Path], Any]) -> None:
    store = fill(str(tmp_path / "store"))
    first = store.maintenance.snapshot()
    store.put(b"more", "more")
    second = store.maintenance.snapshot()
    harm(Path(store.url) / content_key(second.digest))
    assert _same(_state(store), _truth(store))
    report = store.verify()
    assert [finding.severity for finding in report.findings if "snapshot" in finding.what] == (
        [] if harm is Path.unlink else ["damage"]
    )
    harm(Path(store.url) / content_key(first.digest))
    assert _same(_state(store), _truth(store))


def test_a_file_with_more_in_it_than_tables_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    State().write_file(path, "blake3:" + "0" * 64)
    SqliteTables.received(path, own=False, lasting=True).close()
    with sqlite3.connect(path) as file:
        file.execute("create view v as select * from names")
    with pytest.raises(CorruptionError, match="not a file of the fold's tables"):
        SqliteTables.received(path, own=False, lasting=True)
    path.write_bytes(b"something else")
    with pytest.raises(CorruptionError):
        SqliteTables.received(path, own=False, lasting=True)
    assert path.exists()


def test_a_store_s_own_file_is_not_removed_when_a_row_of_it_is_damaged(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    done = store.maintenance.snapshot()
    path = Path(store.url) / content_key(done.digest)
    state = _state(store)
    with sqlite3.connect(path) as file:
        file.execute("update names set value = '[]'")
    with pytest.raises(CorruptionError, match=r"snapshot .* is damaged .*: delete it"):
        state.names["aba"]
    assert path.exists()


def test_another_layout_is_passed_over(tmp_path: Path, folded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    store.maintenance.snapshot()
    monkeypatch.setattr(State, "LAYOUT", State.LAYOUT + 1)
    folded.clear()
    assert _same(_state(store), _truth(store))
    assert 1 in folded


def test_history_that_was_changed_below_a_snapshot_is_found_where_it_joins(tmp_path: Path) -> None:
    """The entry that a snapshot ends with has another digest now: it is another store's history."""
    store = fill(str(tmp_path / "store"))
    done = store.maintenance.snapshot()
    path = Path(store.url) / entry_key(done.entry)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"spilled", b"Spilled", 1))
    with pytest.raises(CorruptionError):
        _state(store)


def test_a_kept_fold_that_is_near_enough_goes_before_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    store.maintenance.snapshot()
    artifactstore.open(store.url, cache=tmp_path / "cache").names()
    monkeypatch.setattr(snapshots_module, "_ENTRY", 40_000)
    monkeypatch.setattr(snapshot_module, "open_snapshot", lambda *_: pytest.fail("read a snapshot"))
    assert artifactstore.open(store.url, cache=tmp_path / "cache").names() == store.names()


@pytest.mark.slow
def test_the_past_begins_with_a_snapshot_from_before_it(url: str, folded: list[int]) -> None:
    store = fill(url)
    early = store.maintenance.snapshot().entry
    fill(url, seed=2, puts=3)
    late = artifactstore.open(url, cache=None).maintenance.snapshot().entry
    store = artifactstore.open(url, cache=None)
    store.put(b"last", "last")
    head = store._session.core().journal.catch_up()
    entries = [*store._session.core().journal.entries()]
    assert early < late < head
    seqs = {*range(1, head + 1)}
    if url.startswith(
        ("s3:", "gcs:", "gs:", "sftp:")
    ):  # where each costs requests: the first, the last, and both sides of each edge
        seqs &= {1, early - 1, early, early + 1, late - 1, late, late + 1, head}
    for seq in sorted(seqs):
        plain = State(store._session.core().config.store)
        for entry in copy.deepcopy(entries[:seq]):
            plain.apply(entry)
        for moment in (seq, datetime.fromisoformat(plain.header["time"])):
            folded.clear()
            view = store.at(moment)._session.view
            assert view is not None
            read = [*folded]
            begun = late if seq >= late else early if seq >= early else 0
            assert read == [*range(begun + 1, view.head + 1)]
            if view.head == seq:  # else several entries have one time
                assert _same(view, plain)
    assert store.at(early).names() == artifactstore.open(url, cache=None).at(early).names()


def test_the_past_does_not_begin_with_what_nobody_vouches_for(tmp_path: Path, folded: list[int]) -> None:
    store = fill(str(tmp_path / "store"))
    seq = store.maintenance.snapshot().entry
    store.put(b"more", "more")
    (pointer,) = (tmp_path / "store" / "segments").glob("fold-*.json")
    (file,) = (tmp_path / "store" / "segments" / "folds").iterdir()
    data = file.read_bytes() + bytes(16_384)
    false = str(Digest.of(data))
    (file.parent / f"{false.partition(':')[2]}.sqlite").write_bytes(data)
    pointer.with_name(Snapshot(State.LAYOUT, seq, seq + 1, false, len(data)).key.rpartition("/")[2]).write_bytes(b"{}")
    file.unlink()
    folded.clear()
    store.at(seq + 1)
    assert folded[0] == 1


def test_a_snapshot_of_another_history_is_no_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folded: list[int]) -> None:
    store = fill(str(tmp_path / "store"))
    seq = store.maintenance.snapshot().entry
    store.put(b"more", "more")
    real = snapshot_module.open_snapshot

    def other(*args: Any) -> Any:
        opened = real(*args)
        assert opened is not None
        opened[0].header["head"] -= 1  # of an entry less than it says
        return opened

    monkeypatch.setattr(snapshot_module, "open_snapshot", other)
    folded.clear()
    assert store.at(seq + 1).names() == store.at(seq).names()
    assert folded[0] == 1


def test_a_read_only_store_refuses(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    with pytest.raises(RefusedError):
        artifactstore.open(store.url, mode="r").maintenance.snapshot()
    with pytest.raises(artifactstore.NotFoundError):
        artifactstore.open(tmp_path / "none").maintenance.snapshot()
    assert not (tmp_path / "none").exists()


def test_who_had_to_read_a_long_history_is_told_of_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(str(tmp_path / "store"))
    monkeypatch.setattr(journal_module, "_LONG", 5)
    with pytest.warns(UserWarning, match=r"entries of .* had to be read one by one: `artifactstore snapshot`"):
        artifactstore.open(store.url, cache=None).names()
    store.maintenance.snapshot()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artifactstore.open(store.url, cache=None).names()


def test_the_command_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = fill(str(tmp_path / "store"))

    def asked(*more: str) -> str:
        assert main(["snapshot", "--store", store.url, *more]) == 0
        return capsys.readouterr().out

    assert "snapshot of entry" in asked()
    assert "exists already, no entry since" in asked()
    assert json.loads(asked("--json"))["new"] is False


def test_imports_and_copies_pass_snapshots_by(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    store.maintenance.snapshot()
    copy = tmp_path / "copy"
    store.maintenance.sync(copy)
    assert _same(_state(artifactstore.open(copy, cache=None)), _truth(store))
    other = artifactstore.create(tmp_path / "other")
    other.put(b"x", "x")
    assert not store.maintenance.sync(tmp_path / "other").left_out
    assert other.get("aba:best") == store.get("aba:best")
    assert not _state(other).snapshots
    assert other.verify().ok


def test_the_log_and_a_pointer_tell_of_a_snapshot(tmp_path: Path) -> None:
    store = fill(str(tmp_path / "store"))
    done = store.maintenance.snapshot()
    (event,) = store.log(fact="snapshot")
    assert (event.digest, event.fields["seq"]) == (done.digest, done.entry)
    assert json.loads((Path(store.url) / list_published(connect(store.url))[0].key).read_bytes())["digest"] == done.digest


def test_one_that_no_reader_would_open_is_neither_written_nor_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(str(tmp_path / "store"))
    head, write = len(store.log()), State.write_file
    for harm in ("drop table texts", "update texts set value = x'30' where name = 'entry'", "update texts set value = x'7b'"):

        def harmed(self: State, path: Path, entry: str, harm: str = harm) -> None:
            write(self, path, entry)
            with closing(sqlite3.connect(path)) as file, file:
                file.execute(harm)

        with monkeypatch.context() as patch:
            patch.setattr(State, "write_file", harmed)
            with pytest.raises(CorruptionError, match="nothing was published"):
                store.maintenance.snapshot()
    assert not (Path(store.url) / "segments").exists()
    assert len(store.log()) == head
    assert store.maintenance.snapshot().new
