from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore.journal import segments
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.journal.segments import Segment, choose, list_segments, read_raw
from artifactstore.model.digest import Digest

from .making import CONFIG, TIME, Memory, digest, fill, journal_of, measured, txn


def _sealed(entries: int, **more: Any) -> Memory:
    backend = Memory()
    fill(backend, entries, **more)
    journal = journal_of(backend)
    journal.catch_up()
    journal.seal()
    return backend


def _entry_reads(backend: Memory) -> int:
    return sum(verb == "read" and key.startswith("journal/") for verb, key in backend.log)


def test_a_segment_covers_all_but_the_head() -> None:
    (segment,) = list_segments(_sealed(300))
    assert (segment.first, segment.last) == (1, 299)


def test_few_entries_are_not_sealed() -> None:
    assert list_segments(_sealed(256)) == []


def test_a_segment_spares_reading_entries() -> None:
    backend = _sealed(600)
    backend.log.clear()
    journal = journal_of(backend)
    assert journal.catch_up() == 600
    assert _entry_reads(backend) == 2


def test_deleting_segments_changes_nothing() -> None:
    backend = _sealed(600)
    with_segment = journal_of(backend)
    with_segment.catch_up()
    for segment in list_segments(backend):
        backend.delete(segment.key)
    without = journal_of(backend)
    without.catch_up()
    assert with_segment.fold.dump() == without.fold.dump()
    assert with_segment.digest == without.digest


@pytest.mark.slow
def test_segments_are_merged_so_that_few_are_left_to_read() -> None:
    backend = Memory()
    raws = fill(backend, 3000)
    for seq in range(2, 3001):
        backend.delete(entry_key(seq))
    journal = journal_of(backend)
    for seq in range(2, 3001):
        backend.write(entry_key(seq), raws[seq - 1])
        if seq % 100 == 0:
            journal.catch_up()
            journal.seal()
    assert len(choose(list_segments(backend), 0)) <= 4
    assert len(list_segments(backend)) < 14
    backend.log.clear()
    assert journal_of(backend).catch_up() == 3000
    assert _entry_reads(backend) < 300


@pytest.mark.slow
@pytest.mark.parametrize("forge", ["other chain", "no parquet", "short", "not an entry", "newer format", "foreign algorithm"])
def test_a_forged_segment_is_not_believed(forge: str) -> None:
    backend = Memory()
    raws = fill(backend, 600)
    true = journal_of(backend)
    true.catch_up()
    forged = Memory()
    bad = fill(forged, 599, make=lambda seq: [txn(seq, measured("evil"))])
    if forge == "short":
        bad = bad[:-1]
    elif forge == "not an entry":
        bad[0] = bad[0].replace(b'"seq":1', b'"seq":-1')
        bad = _chained(bad)
    elif forge == "newer format":
        bad[0] = bad[0].replace(b'"format":1', b'"format":2')
        bad = _chained(bad)
    elif forge == "foreign algorithm":
        bad[0] = bad[0].replace(b'"previous":"blake3:', b'"previous":"md5:')
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"raw": bad}), sink)
    data = b"nothing" if forge == "no parquet" else sink.getvalue().to_pybytes()
    backend.write(f"segments/1-{1:012d}-{599:012d}-{Digest.of(bad[-1]).hex}.parquet", data)
    journal = journal_of(backend)
    assert journal.catch_up() == 600
    assert journal.fold.dump() == true.fold.dump()
    assert [raw for _, raw in journal.raw_entries()] == raws


def _chained(raws: list[bytes]) -> list[bytes]:
    done: list[bytes] = []
    for raw in raws:
        at = raw.index(b'"previous":"') + 12
        done.append(raw if not done else raw[:at] + str(Digest.of(done[-1])).encode() + raw[raw.index(b'"', at) :])
    return done


def test_a_segment_that_reaches_beyond_the_head_is_not_believed() -> None:
    backend = _sealed(600)
    for seq in (599, 600):
        backend.delete(entry_key(seq))
    journal = journal_of(backend)
    assert journal.catch_up() == 598


def test_an_unknown_format_and_nonsense_are_skipped() -> None:
    backend = _sealed(600)
    for key in (
        f"segments/2-{1:012d}-{900:012d}-{'0' * 64}.parquet",
        f"segments/1-{9:012d}-{3:012d}-{'0' * 64}.parquet",
        f"segments/1-{0:012d}-{3:012d}-{'0' * 64}.parquet",
        "segments/readme.txt",
    ):
        backend.write(key, b"?")
    assert len(list_segments(backend)) == 1
    assert journal_of(backend).catch_up() == 600


def test_a_longer_segment_hides_those_it_covers() -> None:
    short, long, last = (Segment(a, b, "", f"{a}-{b}") for a, b in [(1, 300), (1, 900), (850, 1200)])
    assert choose([short, last, long], 0) == [long, last]
    assert choose([short, last, long], 1000) == [last]
    assert choose([last], 0) == []


def test_raw_bytes_come_back_as_they_were_stored() -> None:
    backend = Memory()
    raws = fill(backend, 300)
    journal = journal_of(backend)
    journal.catch_up()
    journal.seal()
    (segment,) = list_segments(backend)
    assert read_raw(backend.read(segment.key), segment, Digest.of(CONFIG.raw)) == raws[:299]
    assert read_raw(backend.read(segment.key), segment, Digest.of(b"other")) is None


def test_columns_show_the_facts() -> None:
    facts: list[dict[str, Any]] = [
        {"fact": "versioned", "name": "x", "digest": digest("a"), "kind": "data"},
        {"fact": "of tomorrow", "name": 5, "version": "six", "manifest": {"deep": [1.5]}},
    ]
    backend = _sealed(300, make=lambda seq: [txn(seq, *facts), txn(seq, reason="because")])
    (segment,) = list_segments(backend)
    rows = pq.read_table(pa.BufferReader(backend.read(segment.key))).to_pylist()
    assert len(rows) == 299 * 3
    assert (rows[0]["fact"], rows[0]["name"], rows[0]["digest"]) == ("versioned", "x", digest("a"))
    assert (rows[1]["fact"], rows[1]["name"], rows[1]["version"]) == ("of tomorrow", None, None)
    assert rows[2]["reason"] == "because"


def test_an_entry_without_transactions_is_sealed_too() -> None:
    backend = _sealed(300, make=lambda seq: [] if seq % 2 else [txn(seq)])
    backend.log.clear()
    assert journal_of(backend).catch_up() == 300
    assert _entry_reads(backend) == 2


def test_a_segment_of_a_tail_follows_a_kept_start() -> None:
    backend = Memory()
    raws = fill(backend, 300)
    journal = journal_of(backend)
    journal.catch_up()
    previous = Digest.of(raws[-1])
    for seq in range(301, 700):
        raw = encode_entry(seq, previous, writer="0" * 32, time=TIME, txns=[txn(seq)])
        backend.write(entry_key(seq), raw)
        previous = Digest.of(raw)
    journal.catch_up()
    journal.seal()
    assert journal_of(backend).catch_up() == 699


@pytest.mark.parametrize("loss", ["an entry", "a byte of one"])
def test_a_segment_that_no_reader_would_believe_is_not_written(monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    add = segments._add_rows

    def lose(rows: dict[str, list[object]], seq: int, raw: bytes) -> None:
        add(rows, seq, raw)
        if seq == 7:
            rows["raw"][-1] = None if loss == "an entry" else raw[:-1]

    monkeypatch.setattr(segments, "_add_rows", lose)
    assert list_segments(_sealed(300)) == []


@pytest.mark.parametrize("claim", [{"digest": "0" * 64}, {"last": 300}, {"last": 298}, {"first": 2}, {"first": 2, "last": 300}])
def test_a_segment_is_believed_only_for_what_its_key_says(claim: dict[str, Any]) -> None:
    backend = _sealed(300)
    (segment,) = list_segments(backend)
    data = backend.read(segment.key)
    for previous in (None, Digest.of(CONFIG.raw)):
        assert read_raw(data, segment, previous) is not None
        fine = claim == {"first": 2, "last": 300}  # as many: whether they join the journal is for who reads it to see
        assert (read_raw(data, replace(segment, **claim), previous) is not None) is fine
