"""The inference log: what it takes, what it refuses, what it counts, and that nothing of it reaches the server."""

import datetime as dt
import enum
import json
import pickle
import re
import signal
import subprocess
import sys
import threading
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import artifactstore
from artifactstore import BackendError, CorruptionError, FormatError, InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.cli import main
from artifactstore.work.monitoring.serving import rows, segment, writer
from artifactstore.work.monitoring.serving.snapshot import RefusedValueError, snapshot

from .conftest import table

MODEL = "churn/model:production"


def calls(store: Store, *given: Any, **options: Any) -> pa.Table:
    with store.serving(MODEL, **options) as log:
        for one in given:
            log(*one) if isinstance(one, tuple) else log(one)
    return store.served(MODEL)


def test_what_was_logged_comes_back_in_its_order(store: Store) -> None:
    with store.serving(MODEL) as log:
        for number in range(500):
            log({"amount": number / 2, "plan": "a"}, {"score": 0.5}, id=f"c{number}", latency=0.002)
        assert log.flush()
        assert log.counts == {"waiting": 0, "stored": 500, "lost": 0, "refused": 0, "not_sampled": 0}
        log({"amount": -1.0, "plan": None}, {"score": 0.1}, {"churned": True}, "last")
    found = store.served(MODEL)
    assert found.column("_id").to_pylist() == [*(f"c{number}" for number in range(500)), "last"]
    assert found.column("_seq").to_pylist() == [*range(501)]
    assert found.column("amount").to_pylist()[:3] == [0.0, 0.5, 1.0]
    assert found.slice(500).to_pylist()[0] | {"_time": 0} == {
        "_time": 0, "_id": "last", "_seq": 500, "_latency": None, "amount": -1.0, "plan": None, "score": 0.1, "churned": True
    }  # fmt: skip
    assert found.column("_time").type == pa.timestamp("us", "UTC")
    assert [one.kind for one in store.versions("churn/model/serving")] == ["serving", "serving"]


def test_segments_are_a_chain_that_names_the_model(store: Store) -> None:
    with store.serving(MODEL) as log:
        for number in range(3):
            log({"x": number})
            assert log.flush()
    refs = [one.ref for one in store.versions("churn/model/serving")]
    records = [segment.read_record(store.open_file(ref), ref) for ref in refs]
    assert [one["number"] for one in records] == [0, 1, 2, 3]
    assert [one["closed"] for one in records] == [False, False, False, True]
    digests = [str(store.artifact(ref).files[0].digest) for ref in refs]
    assert [one["previous"] for one in records] == [None, *digests[:-1]]
    assert {one["model"]["digest"] for one in records} == {store.artifact(MODEL).digest}
    assert records[0]["model"]["ref"] == "churn/model:v1"
    assert all(one["start"] <= one["end"] and one["start"].endswith("Z") for one in records)
    (run,) = store.runs("serving")
    assert run.status == "finished"
    assert [one.ref for one in store.artifact(refs[0]).inputs] == ["churn/model:v1"]
    assert {store.artifact(ref).run for ref in refs} == {run.id}
    checked = store.serving(MODEL).verify()
    assert (checked.ok, checked.segments, checked.rows, checked.streams, checked.notes) == (True, 4, 3, 1, ())
    assert "complete" in str(checked)


class Colour(enum.StrEnum):
    RED = "red"


ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dict": ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
    "nan": ({"a": float("nan"), "b": float("inf")}, {"b": float("inf")}),
    "numpy scalars": ({"a": np.float32(0.5), "b": np.int64(3), "c": np.True_}, {"a": 0.5, "b": 3, "c": True}),
    "moments": ({"a": dt.date(2026, 1, 2), "b": pd.Timestamp("2026-01-02", tz="UTC")}, {"a": dt.date(2026, 1, 2)}),
    "missing": ({"a": pd.NA, "b": None, "c": pd.NaT}, {"a": None, "b": None, "c": None}),
    "decimal": ({"a": Decimal("1.50")}, {"a": Decimal("1.50")}),
    "list": ([1.0, 2.0], {"input.0": 1.0, "input.1": 2.0}),
    "array": (np.array([1.0, 2.0]), {"input.0": 1.0, "input.1": 2.0}),
    "series": (pd.Series([1.0, 2.0]), {"input.0": 1.0, "input.1": 2.0}),
    "text": ("how are you", {"input": "how are you"}),
    "number": (7, {"input": 7}),
    "nested": ({"a": {"b": [1, {"c": None}]}}, {"a": '{"b": [1, {"c": null}]}'}),
    "embedding": ({"vector": [0.1, 0.2, 0.3], "k": 3}, {"vector": [0.1, 0.2, 0.3], "k": 3}),
    "huge int": ({"a": 2**80}, {"a": str(2**80)}),
    "bytes": ({"a": b"\xff\x00"}, {"a": b"\xff\x00"}),
    "lone surrogate": ({"a": "x\ud800"}, {"a": "x\\ud800"}),
    "odd names": ({"": 1, "ä ö": 2, "_time": 3, 7: 4}, {"": 1, "ä ö": 2, "input._time": 3, "7": 4}),
    "enumeration": ({"a": Colour.RED}, {"a": "red"}),
    "set": ({"a": {2, 1}}, {"a": [1, 2]}),
    "complex": ({"a": 1j}, {"a": "1j"}),
    "no inputs": (None, {}),
}


def test_every_form_of_a_row_is_taken(store: Store) -> None:
    with store.serving(MODEL) as log:
        for name, (given, _) in ROWS.items():
            log(given, {"out": 1}, id=name)
            assert log.flush(), name
    assert log.counts["stored"] == len(ROWS)
    refs = [one.ref for one in store.versions("churn/model/serving")][: len(ROWS)]
    for ref, (name, (_, expected)) in zip(refs, ROWS.items(), strict=True):
        (row,) = segment.read_table(store.open_file(ref), ref).to_pylist()
        assert row["_id"] == name
        assert {key: row.get(key) for key in expected} == expected, name
        assert row["out"] == 1
    assert store.served(MODEL).column("_id").to_pylist() == [*ROWS], "columns of many types are read together"


BATCHES: dict[str, Any] = {
    "array": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "pandas": pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "polars": pl.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "arrow": pa.table({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "record batch": pa.RecordBatch.from_pydict({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
    "dicts": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}],
    "lists": [[1.0, 2.0], [3.0, 4.0]],
    "dict of lists": {"a": [1.0, 3.0], "b": [2.0, 4.0]},
    "dict of arrays": {"a": np.array([1.0, 3.0]), "b": np.array([2.0, 4.0])},
}


@pytest.mark.parametrize("outputs", [[0.1, 0.2], np.array([0.1, 0.2]), pd.Series([0.1, 0.2]), {"output": [0.1, 0.2]}], ids=repr)
def test_every_form_of_a_batch_is_taken(store: Store, outputs: Any) -> None:
    with store.serving(MODEL, columns=["a", "b"]) as log:
        for name, given in BATCHES.items():
            log(given, outputs, id=[f"{name}-0", f"{name}-1"])
    found = store.served(MODEL).to_pylist()
    assert [row["_id"] for row in found] == [f"{name}-{at}" for name in BATCHES for at in (0, 1)]
    assert {(row["a"], row["b"], row["output"]) for row in found} == {(1.0, 2.0, 0.1), (3.0, 4.0, 0.2)}


def test_a_large_batch_stays_in_columns_and_is_sampled_by_row(store: Store) -> None:
    frame = table(5, 3000)
    whole = calls(store, (frame, np.arange(3000) / 3000))
    assert whole.num_rows == 3000
    assert whole.column("amount").to_pylist() == frame["amount"].tolist()
    with store.serving(MODEL, sample=0.1) as log:
        log(frame, np.arange(3000) / 3000, id=[str(at) for at in range(3000)])
    sampled = store.served(MODEL).slice(3000)
    assert 220 < sampled.num_rows < 380
    assert log.counts["not_sampled"] == 3000 - sampled.num_rows
    assert sampled.column("amount").to_pylist() == [frame["amount"][int(key)] for key in sampled.column("_id").to_pylist()]


def test_a_sample_is_decided_by_the_id_and_by_nothing_else(store: Store) -> None:
    kept = []
    for _ in range(2):
        with store.serving(MODEL, sample=0.3) as log:
            for number in range(400):
                log({"x": number}, id=f"customer-{number}")
        checked = log.verify()
        kept.append(log.counts["stored"])
        assert checked.not_sampled == 400 * len(kept) - checked.rows
    assert kept[0] == kept[1]
    assert 80 < kept[0] < 160
    ids = store.served(MODEL).column("_id").to_pylist()
    assert ids[: kept[0]] == ids[kept[0] :]
    with store.serving(MODEL, sample=0.5) as log:
        for number in range(400):
            log({"x": number})  # without an id: by the number of the row
    assert 140 < log.counts["stored"] < 260


class Hostile:
    def __len__(self) -> int:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def recursive() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


REFUSED: dict[str, Any] = {
    "object": {"a": object()}, "hostile": Hostile(), "inside": {"a": [Hostile()]}, "recursive": recursive(),
    "large text": {"a": "x" * 2**21}, "large array": np.zeros(2**20), "many values": {"a": [[0] * 1000] * 2000}, "function": len,
    "records": np.zeros(3, [("a", int)]), "generator": (one for one in [1]), "bad key": {Hostile: 1}, "class": Hostile,
    "rows that differ": (np.zeros((3, 2)), [1, 2]), "ids that differ": (np.zeros((3, 2)), [1, 2, 3], None, ["a"]),
    "latency": ({"a": 1}, None, None, None, "fast"),
}  # fmt: skip


def test_what_cannot_be_written_down_is_refused_and_counted_and_raises_nothing(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # not even a warning that is an error reaches the server
        with store.serving(MODEL) as log:
            for name, given in REFUSED.items():
                words = given if isinstance(given, tuple) else (given,)
                if name == "latency":
                    log(*words[:4], latency=words[4])
                else:
                    log(*words)
            log({"fine": 1})
    checked = log.verify()
    assert checked.rows == 1
    assert sum(checked.refused.values()) == len(REFUSED)
    assert checked.refused["too large"] >= 2
    assert checked.refused["inputs, outputs and labels have different numbers of rows"] == 1
    assert "refused: " in str(checked)


def test_rows_with_ever_new_keys_take_bounded_columns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_COLUMNS", 20)
    monkeypatch.setattr(rows, "_CELLS", 700)
    with store.serving(MODEL) as log:
        log(np.zeros(5000))
        for number in range(60):
            log({"n": number, f"key{number}": number})
    found = store.served(MODEL)
    assert found.column("n").to_pylist() == [None, *range(60)]
    assert sum(one.rows for one in (log.verify(),)) == 61
    assert len(store.versions("churn/model/serving")) == 2
    record = segment.read_record(store.open_file("churn/model/serving:v1"), "")
    assert len(record["columns"]) <= 21
    assert '"key25": 25' in str(found.to_pylist())
    assert len(found.column("input").to_pylist()[0]) == 5000


def test_what_is_mutable_is_copied(store: Store) -> None:
    buffer, inner, frame = np.zeros((2, 2)), {"a": [1]}, pd.DataFrame({"a": [1.0]})
    with store.serving(MODEL) as log:
        log(buffer)
        log(inner)
        log(frame)
        buffer[:] = 9
        inner["a"].append(2)
        frame.loc[0, "a"] = 9.0
    found = store.served(MODEL).to_pylist()
    assert [row["input.0"] for row in found] == [0.0, 0.0, None, None]
    assert found[3]["a"] in {1.0, "1.0"}
    assert snapshot({"a": [1, "xy"]}, 10**6)[1] < 200
    with pytest.raises(RefusedValueError, match="nested too deeply"):
        snapshot([[[[[[[[[[1]]]]]]]]]], 10**6)


def test_a_store_that_is_away_stops_nothing_and_what_is_lost_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    away = threading.Event()
    away.set()
    real = writer.Writer._store

    def broken(self: Any, one: Any) -> None:
        if away.is_set():
            raise BackendError("the network is gone")
        real(self, one)

    monkeypatch.setattr(writer.Writer, "_store", broken)
    monkeypatch.setattr(writer, "_PAUSE", 0.01)
    with store.serving(MODEL, memory=2**16) as log:
        for number in range(3000):
            log({"text": "x" * 100, "n": number})
        assert not log.flush(0.05)
        assert log.counts["stored"] == 0
        away.clear()
        assert log.flush()
        log({"text": "after", "n": -1})
    checked = log.verify()
    assert checked.ok
    assert checked.rows + checked.lost["memory full"] == 3001
    assert checked.lost["memory full"] > 100
    assert store.served(MODEL).column("n").to_pylist()[-1] == -1
    assert any("missing in the inference log (memory full)" in str(one.message) for one in recwarn)


def test_what_is_left_at_the_end_is_told_or_waits_in_the_spool(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Any, _one: Any) -> None:
        raise BackendError("the network is gone")

    monkeypatch.setattr(writer, "_PAUSE", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "_store", broken)
        for spool, text in ((None, "3 rows of churn/model/serving are lost"), (tmp_path / "spool", "3 rows .* wait in")):
            log = store.serving(MODEL, spool=spool)
            for number in range(3):
                log({"n": number})
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                log.close(timeout=0.3)
            assert any(re.search(text, str(one.message)) for one in told)
    assert len([*(tmp_path / "spool").glob("*/*/segment.parquet")]) == 1
    with store.serving(MODEL, spool=tmp_path / "spool") as log:
        log({"n": 9})
    assert sorted(store.served(MODEL).column("n").to_pylist()) == [0, 1, 2, 9]
    assert [*(tmp_path / "spool").iterdir()] == []
    checked = log.verify()
    assert (checked.ok, checked.streams) == (True, 2)
    log({"n": 10})  # after its end
    assert log.counts["stored"] == 1


def test_a_spool_that_cannot_be_written_stops_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    log = store.serving(MODEL, spool=tmp_path / "file")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        log({"n": 1})
        log.close(1)
    assert any("spool" in str(one.message) for one in told)


def test_threads_log_into_one_chain(store: Store) -> None:
    with store.serving(MODEL) as log:

        def work(at: int) -> None:
            for number in range(300):
                log({"worker": at, "n": number})

        workers = [threading.Thread(target=work, args=(at,)) for at in range(8)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
    found = store.served(MODEL).to_pandas()
    assert len(found) == 2400
    assert found["_seq"].tolist() == [*range(2400)]
    assert all(group["n"].tolist() == [*range(300)] for _, group in found.groupby("worker"))
    assert log.verify().ok


SERVER = """
import os, signal, sys, time, artifactstore
store = artifactstore.open(sys.argv[1], cache=None)
how = sys.argv[2]
log = store.serving("churn/model:production", spool=sys.argv[3] if len(sys.argv) > 3 else None)
if how == "fork":
    log({"who": "master", "n": 0}, id="m0")
    children = []
    for at in range(2):
        pid = os.fork()
        if not pid:
            log({"who": f"child{at}", "n": at}, id=f"c{at}")
            sys.exit()
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    log({"who": "master", "n": 1}, id="m1")
elif how == "exit":
    log({"n": 1})
elif how == "term":
    log({"n": 1})
    print("ready", flush=True)
    time.sleep(60)
elif how == "kill":
    log({"n": 1})
    assert log.flush()
    log({"n": 2})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def serve(store: Store, *words: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SERVER, store.url, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_forked_workers_write_streams_of_their_own(store: Store) -> None:
    serve(store, "fork")
    found = store.served(MODEL).to_pylist()
    assert sorted(row["_id"] for row in found) == ["c0", "c1", "m0", "m1"]
    checked = store.serving(MODEL).verify()
    assert (checked.ok, checked.streams, checked.rows, checked.notes) == (True, 3, 4, ())
    parents = {segment.read_record(store.open_file(one.ref), one.ref)["parent"] for one in store.versions("churn/model/serving")}
    assert len(parents) == 2, "the children's streams name the master's"


@pytest.mark.slow
def test_the_end_of_a_process_stores_what_waits(store: Store) -> None:
    serve(store, "exit")
    assert store.served(MODEL).column("n").to_pylist() == [1]
    with subprocess.Popen([sys.executable, "-c", SERVER, store.url, "term"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 143
    assert store.served(MODEL).column("n").to_pylist() == [1, 1]
    assert store.serving(MODEL).verify().notes == ()


@pytest.mark.slow
def test_a_killed_process_loses_only_what_was_in_memory_and_it_shows(store: Store) -> None:
    serve(store, "kill", code=-signal.SIGKILL)
    assert store.served(MODEL).column("n").to_pylist() == [1]
    checked = store.serving(MODEL).verify()
    assert checked.ok
    assert "was not closed" in checked.notes[0]


def damaged(store: Store, how: str) -> None:
    """Write a log whose second segment was left out, changed or put in another's place, as someone who may write could."""
    with store.serving(MODEL, name="made") as log:
        for number in range(3):
            log({"n": number})
            log.flush()
    refs = [one.ref for one in store.versions("made")]
    files = [store.get(ref, to=Path(store.url).parent / how / str(at)) / "segment.parquet" for at, ref in enumerate(refs)]
    order = {"left out": [0, 2, 3], "reordered": [1, 0, 2, 3], "changed": [0, 1, 2, 3], "cut": [0, 1]}[how]
    for at in order:
        record = segment.read_record(files[at], "x")
        rows = segment.read_table(files[at], "x")
        if how == "changed" and at == 1:
            rows = rows.set_column(rows.column_names.index("n"), "n", pa.array([77]))
        made = segment.encode(rows, record, "blake3") if how == "changed" else None
        path = files[at]
        if made is not None and at == 1:
            path.unlink()
            path.write_bytes(made.data)
        store.put(path, "churn/model/serving", kind="serving", metadata=segment.metadata_of(record))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("left out", "segment 2 .* follows segment 0"),
        ("reordered", "segment 1 .* follows segment -1"),
        ("changed", "does not name"),
    ],
)
def test_a_chain_that_was_tampered_with_is_found(store: Store, how: str, text: str) -> None:
    damaged(store, how)
    checked = store.serving(MODEL).verify()
    assert not checked
    assert any(re.search(text, one) for one in checked.findings), checked.findings
    assert "NOT complete" in str(checked)
    if how != "reordered":
        with pytest.raises(CorruptionError):
            store.served(MODEL)


def test_a_removed_segment_is_a_note_and_the_rest_is_read(store: Store) -> None:
    with store.serving(MODEL) as log:
        for number in range(3):
            log({"n": number})
            log.flush()
    store.registry.remove("churn/model/serving:v2", "GDPR 8")
    checked = store.serving(MODEL).verify()
    assert checked.ok
    assert "churn/model/serving:v2 was removed" in checked.notes[0]
    assert store.served(MODEL).column("n").to_pylist() == [0, 2]


def test_a_window_cannot_be_hidden_by_another_description(store: Store) -> None:
    with store.serving(MODEL) as log:
        log({"n": 1})
    (about,) = (one.metadata["serving"] for one in store.versions("churn/model/serving"))
    store.registry.describe("churn/model/serving:v1", {"serving": {**about, "end": "2020-01-01T00:00:00Z"}})
    checked = store.serving(MODEL).verify()
    assert "described with another time" in checked.findings[0]


def test_labels_that_come_later_are_joined_by_the_id(store: Store) -> None:
    rows = pd.DataFrame({"amount": [1.0, 2.0, 3.0, 4.0], "score": [0.1, 0.9, 0.8, 0.2], "churned": [False, True, True, False]})
    with store.serving(MODEL) as log:
        for number, row in enumerate(rows.to_dict("records")):
            log({"amount": row["amount"]}, {"score": row["score"]}, id=f"c{number}")
        log(None, labels={"churned": False}, id="c0")
        log(None, labels={"churned": False}, id="c1")
        log(None, labels={"churned": True}, id="c2")
        log({"amount": 5.0}, {"score": 0.3}, {"churned": True}, id="c4")
        found = log.compare(rows, labels={"churned": "score"}, record=False)
    assert found["rows"]["current"] == 5
    assert found["labels"]["churned"]["rows"] == [4, 4]
    assert found["auc"] == {"reference": 1.0, "current": 0.5, "change": -0.5}
    assert found["columns"]["amount"]["missing"] == 0.0
    assert store.served(MODEL).num_rows == 8


def test_a_window_is_chosen_by_time_and_a_log_by_model(store: Store) -> None:
    with store.run("again", code=False) as run:
        run.put({"w": [2]}, "churn/model", kind="model")
    middle = None
    for model in ("churn/model:v1", "churn/model:v2"):
        with store.serving(model) as log:
            log({"n": int(model[-1])})
        middle = middle or dt.datetime.now(dt.UTC)
    assert store.served("churn/model").column("n").to_pylist() == [1, 2]
    assert store.served("churn/model:v2").column("n").to_pylist() == [2]
    assert store.served("churn/model", since=middle).column("n").to_pylist() == [2]
    assert store.served("churn/model", until=middle).column("n").to_pylist() == [1]
    assert store.served("churn/model", since=dt.datetime.now(dt.UTC)).num_rows == 0
    with pytest.raises(InvalidInputError, match="no time zone"):
        store.served("churn/model", since=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the fault
    with pytest.raises(NotFoundError):
        store.served("churn/train")


@pytest.mark.slow
def test_a_window_is_compared_with_the_data_of_the_training(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with store.serving(MODEL) as log:
        log(table(7, 300), np.zeros(300))
        found = log.compare(rules={"psi.max": "<= 0.2"})
        assert found.ok
        assert (found["reference"]["ref"], found["current"]["ref"]) == ("churn/train:v1", "churn/model/serving")
        assert found.ref == "churn/model/drift:v1"
        used = {one.ref: one.role for one in store.artifact(str(found.ref)).inputs}
        assert used["churn/model/serving:v1"] == "current"
        log(table(8, 900, shift=2.0), np.zeros(900))
        assert not log.compare(rules={"psi.max": "<= 0.2"})
    words = ["drift", "--serving", MODEL, "--since", "1h", "--rule", "psi.max <= 0.2", "--store", store.url]
    assert main(words) == 1
    assert "NO " in capsys.readouterr().out
    gate = [{"names": "churn/*", "alias": "live", "all": [{"report": "drift", "field": "psi.max", "is": "<= 0.2"}]}]
    store.registry.gates(gate, reason="x")
    assert not store.registry.check("churn/model:v1", "live")
    assert (
        main([*words[:3], "--since", "2h", "--until", "1h", "--rule", "psi.max <= 9", "--no-record", "--store", store.url]) == 1
    )
    store.put({"w": 3}, "other/model", kind="model")
    with store.serving("other/model") as log:
        log({"x": 1})
    with pytest.raises(NotFoundError, match="pass the reference"):
        log.compare()
    assert log.compare({"x": [1]}, record=False)["psi"]["max"] == 0.0


def test_what_a_log_cannot_be_opened_with_is_refused_at_once(store: Store) -> None:
    for options in ({"sample": 0}, {"sample": 2}, {"memory": 1}, {"flush": 0}, {"name": "a//b"}):
        with pytest.raises(InvalidInputError):
            store.serving(MODEL, **options)
    with pytest.raises(NotFoundError):
        store.serving("churn/none")
    unnamed = store.put({"w": 7}).ref
    with pytest.raises(InvalidInputError, match="pass name="):
        store.serving(unnamed)
    reader = artifactstore.open(store.url, "r", cache=None)
    with pytest.raises(RefusedError), reader.serving(MODEL):
        pass
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(store.serving(MODEL))


def test_a_run_of_the_server_has_nothing_to_do_with_its_log(store: Store) -> None:
    with store.run("server", code=False) as run, store.serving(MODEL) as log:
        log({"n": 1})
        log.flush()
    assert store.artifact("churn/model/serving:v1").run != run.id
    assert run.status == "finished"


def test_the_first_call_of_many_starts_two_threads(store: Store) -> None:
    log = store.serving(MODEL)
    before = threading.active_count()
    log({"n": 1})
    log({"n": 2})
    assert threading.active_count() == before + 2
    log.close()
    assert threading.active_count() == before
    assert json.dumps(log.counts)
    assert repr(log) == "Serving('churn/model/serving', model='churn/model:v1')"


def test_a_segment_of_a_newer_format_is_told_from_damage(store: Store, tmp_path: Path) -> None:
    with store.serving(MODEL) as log:
        log({"n": 1})
    path = store.get("churn/model/serving", to=tmp_path / "old") / "segment.parquet"
    record = {**segment.read_record(path, "x"), "format": 2}
    newer = tmp_path / "segment.parquet"
    newer.write_bytes(segment.encode(segment.read_table(path, "x"), record, "blake3").data)
    store.put(newer, "churn/model/serving", kind="serving", metadata=segment.metadata_of(record))
    with pytest.raises(FormatError, match="format 2 of inference logs"):
        store.served(MODEL)
    with pytest.raises(FormatError):
        store.serving(MODEL).verify()
