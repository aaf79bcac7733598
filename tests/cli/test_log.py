"""The audit trail as people read it: a row a transaction, newest first; and as it happens."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.catalog.actions import Naming, action
from artifactstore.cli import main
from artifactstore.cli.options import time_of
from artifactstore.cli.registry.arguments import day
from artifactstore.errors import BackendError
from artifactstore.model.encoding import format_time
from artifactstore.work.queries.log import Following
from artifactstore.work.session.as_of import _limit_of
from tests.warm import Warm

D1, D2, D3 = ("blake3:" + one * 64 for one in "123")
IDS = {"manifest": "m" * 32}
NAMES = {D1: "churn/model:v7", D2: "churn/raw:v2"}
POINTED = {("churn/model", "production"): 6}


def words(*facts: Any) -> str:
    """Return what a transaction of such facts did; a fact may be given with its version."""
    naming = Naming(
        artifact=lambda digest: NAMES.get(digest, digest[:15]),
        run=lambda run: {"r1": "train"}.get(run, run),
        pointed=lambda name, alias: POINTED.get((name, alias)),
        version=lambda fact: 3 if "name" in fact else None,
    )
    return action([one if isinstance(one, tuple) else (one, None) for one in facts], naming)


def versioned(name: str | None, digest: str, version: int | None = None) -> Any:
    return {"fact": "versioned", "name": name, "digest": digest, "kind": "data"}, version


def stored(digest: str) -> Any:
    return {"fact": "stored", "digest": digest}


def of_run(kind: str, **more: Any) -> Any:
    return {"fact": kind, "run": "r1", **more}


def received(*facts: Any, seq: int = 9) -> Any:
    return {"fact": "received", "store": "4d3c1a2b" * 4, "seq": seq, "actor": "bob", "facts": [*facts]}


PUT = (stored(D1), versioned("churn/model", D1, 7))
LOSS = of_run("measured", metrics={"loss": 0.5})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (PUT, "put churn/model:v7"),
        (
            (*PUT, of_run("produced", digest=D1, name="churn/model"), {"fact": "measured", "digest": D1, "metrics": {"auc": 0.91}}),
            "put churn/model:v7 · run train · auc 0.91",
        ),
        ((*PUT, of_run("produced", digest=D1), LOSS, LOSS), "put churn/model:v7 · run train · logged loss (2 values)"),
        (
            (*PUT, {"fact": "aliased", "name": "churn/model", "alias": "production", "digest": D1}),
            "put churn/model:v7 · alias churn/model production v6 -> blake3:11111111",
        ),
        (
            (*PUT, ({"fact": "described", "name": "churn/model", "version": 7, "metadata": {"a": 1}}, 7), stored(D3), versioned(None, D3)),
            "put churn/model:v7",
        ),
        (
            (*PUT, {"fact": "measured", "digest": D1, "metrics": {"loss": 0.5}}, of_run("produced", digest=D1), LOSS),
            "put churn/model:v7 · run train · loss 0.5",
        ),
        ([versioned(f"n{i}", D3, 1) for i in range(5)], "put n0:v1, n1:v1, n2:v1 and 2 more"),
        ((({"fact": "aliased", "name": "churn/model", "alias": "production", "version": 7}, 7),), "alias churn/model production v6 -> v7"),
        ((({"fact": "aliased", "name": "n", "alias": "best", "version": 1}, 1),), "alias n best -> v1"),
        (({"fact": "aliased", "name": "churn/model", "alias": "production", "version": None},), "unalias churn/model production (was v6)"),
        (({"fact": "aliased", "name": "n", "alias": "gone", "version": None},), "unalias n gone"),
        (({"fact": "tainted", "digest": D1},), "taint churn/model:v7"),
        (({"fact": "cleared", "digest": D3},), "untaint blake3:33333333"),
        ((of_run("started", name="train"),), "run train started (r1)"),
        ((of_run("finished", status="finished", seconds=12.34),), "run train finished after 12.3 s (r1)"),
        ((of_run("finished", status="failed", seconds=1, error="ValueError: x"),), "run train failed after 1.0 s (r1): ValueError: x"),
        ((of_run("started", name="train"), of_run("finished", status="finished")), "run train started, finished (r1)"),
        ((of_run("used", digest=D2, name="churn/raw", version=2), of_run("used", digest=D3)), "run train used churn/raw:v2, blake3:33333333"),
        ((LOSS, of_run("used", digest=D2)), "run train logged loss"),
        ((of_run("measured", metrics={}, not_finite={"loss": "nan"}),), "run train"),
        (({"fact": "measured", "digest": D1, "metrics": {"auc": 0.5}, "by": "r1"},), "run train · measure churn/model:v7 auc 0.5"),
        (({"fact": "measured", "digest": D1, "metrics": {}, "not_finite": {"auc": "nan"}},), "measure churn/model:v7 auc nan"),
        ((({"fact": "described", "name": "n", "version": 2, "metadata": {"owner": 1, "tags": 2}}, 2),), "describe n:v2 (owner, tags)"),
        (({"fact": "described", "name": None, "digest": D3, "metadata": {}},), "describe blake3:33333333"),
        (({"fact": "approved", "digest": D1, "verdict": "approved", "alias": "production"},), "approve churn/model:v7 for production (claimed)"),
        (({"fact": "approved", "digest": D1, "verdict": "rejected"},), "reject churn/model:v7 (claimed)"),
        (
            ({"fact": "approved", "digest": D1, "verdict": "approved", "role": "qa", "meaning": "review", "signature": {}},),
            "approve churn/model:v7 as qa (signature of something else)",
        ),
        (({"fact": "approved", "digest": D1, "verdict": "approved", "meaning": "review"},), "approve churn/model:v7 (claimed, review)"),
        (({"fact": "gated", "names": "churn/*", "alias": "production", "rules": {"all": [{}, {}]}},), "gate churn/* production: 2 conditions"),
        (({"fact": "gated", "names": "n", "alias": "a", "rules": {"any": [{}]}},), "gate n a: any of 1 condition"),
        (({"fact": "gated", "names": "n", "alias": "a", "rules": {"any": 3}},), "gate n a: any of unknown rules"),
        (({"fact": "gated", "names": "n", "alias": "a", "rules": None},), "lift gate n a"),
        (({"fact": "retained", "names": "s/*", "rules": {"keep_last": 5, "keep_days": 9}},), "retention s/*: keep_days 9, keep_last 5"),
        (({"fact": "retained", "names": "s/*", "rules": None},), "lift retention s/*"),
        (
            (({"fact": "refused", "action": "promote", "name": "n", "version": 2, "alias": "live", "reasons": ["auc is 1", "no"]}, 2),),
            "refuse promote n:v2 live: auc is 1; no",
        ),
        (({"fact": "refused", "action": "release", "reasons": ["it lasts"]},), "refuse release: it lasts"),
        (({"fact": "signed", "digest": D1, "type": "oms", "key": "sha256:0123456789abcdef", "bundle": {}},), "sign churn/model:v7 (oms, key sha256:01234567)"),
        (({"fact": "anchored", "seq": 12, "entry": D2},), "anchor entry 12"),
        (({"fact": "damaged", "digest": D1, "manifest": "a" * 32},), "mark churn/model:v7 as damaged"),
        (({"fact": "anchored", "seq": 12, "entry": D2, "signature": {}},), "anchor entry 12 (signed by something else)"),
        (({"fact": "held", "hold": "a" * 32, "digest": D1, "until": "2027-12-31T00:00:00.000000Z"},), "hold churn/model:v7 until 2027-12-31"),
        (
            (({"fact": "aliased", "name": "churn/model", "alias": "production", "version": 7, "verdict": {"conditions": [{"ok": True}]}}, 7),),
            "promote churn/model production v6 -> v7 (1 of 1 condition met)",
        ),
        (
            (({"fact": "aliased", "name": "churn/model", "alias": "production", "version": 5, "rollback": {"quotes": 12}}, 5),),
            "roll back churn/model production v6 -> v5 (as since entry 12)",
        ),
        (({"fact": "held", "hold": "a" * 32, "digest": D1},), "hold churn/model:v7"),
        (({"fact": "released", "hold": "a" * 32},), "release hold aaaaaaaa"),
        ((({"fact": "removed", "name": "n", "version": 2}, 2),), "remove n:v2"),
        (({"fact": "removed", "digest": D2},), "remove churn/raw:v2"),
        (({"fact": "condemned", "packs": ["p"] * 3, "manifests": []},), "condemn 3 packs and 0 manifests"),
        (({"fact": "moved_to", "url": "s3://b/new"},), "move the store to s3://b/new"),
        (({"fact": "snapshot", "seq": 120},), "publish a snapshot of entry 120"),
        (({"fact": "relocated", "digest": D1},), "relocate churn/model:v7"),
        ((stored(D3),), "store blake3:33333333"),
        ((stored(D3), versioned(None, D3)), "store blake3:33333333"),
        (({"fact": "blessed", "name": "n", "alias": "x"},), "blessed n x"),
        (({"fact": "blessed", "name": 3, "digest": {}, "run": [1]},), "blessed"),
        ((received(versioned("n", D3)[0]),), "receive entry 9, by bob of store 4d3c1a2b: put n:v3"),
        ((received(),), "receive entry 9, by bob of store 4d3c1a2b: nothing"),
        ((received(versioned("n", D3)[0]), received(seq=12)), "receive 2 transactions of store 4d3c1a2b: put n:v3"),
        ((*PUT, *PUT), "put churn/model:v7"),
        ((versioned("n", D3),), "put n@blake3:33333333"),
    ],
)  # fmt: skip
def test_a_transaction_is_one_phrase(facts: Any, expected: str):
    assert words(*facts) == expected


def test_a_long_text_is_cut():
    assert len(words(of_run("finished", status="failed", error="x" * 10_000))) < 150
    assert len(words(*[versioned("n" * 500, D3, 1)])) < 150


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with a dozen of entries; tests only read it."""
    store = artifactstore.open(tmp_path_factory.mktemp("log") / "store", cache=None)
    store.put({"rows": 3}, "churn/raw", reason="from the warehouse")
    with store.run("train", params={"lr": 1}, code=False) as run:
        run.get("churn/raw")
        run.log(loss=0.5)
        run.log(loss=0.25)
        run.put(b"weights", "churn/model", kind="model", metrics={"auc": 0.91})
    store.alias("churn/model:v1", "production", reason="CR-1")
    store.put(b"other", "churn/model")
    store.alias("churn/model:v2", "production", reason="CR-2")
    store.registry.unalias("churn/model", "production", "withdrawn")
    store.registry.taint("churn/model:v1", "wrong labels")
    for number in range(30):
        store.put(f"{number}".encode(), f"many/{number:02}")
    return store.url


Call = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def call(history: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("ARTIFACTSTORE_URL", history)

    def run(*words: str) -> tuple[int, list[str], str]:
        capfd.readouterr()
        code = main(list(words))
        printed = capfd.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run


def test_the_newest_is_first_and_each_time_has_its_zone(call: Call):
    code, lines, err = call("log")
    assert code == 0
    rows = [line.split("  ") for line in lines]
    assert [int(row[0]) for row in rows] == sorted((int(row[0]) for row in rows), reverse=True)
    assert len(lines) == int(rows[0][0])
    assert all(re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  ", line) for line in lines)
    assert re.fullmatch(r"head: \d+:blake3:[0-9a-f]{64}\n", err)
    found = [re.split(r"  +", line, maxsplit=3)[3] for line in lines[::-1]]
    assert re.fullmatch(r"put churn/raw:v1 +from the warehouse", found[0])
    assert re.fullmatch(r"run train started \([0-9a-f]{8}\)", found[1])
    assert found[2] == "put churn/model:v1 · run train · auc 0.91 · logged loss (2 values)"
    assert re.fullmatch(r"run train finished after \d+\.\d s \([0-9a-f]{8}\)", found[3])
    assert [re.sub(" +", " ", one) for one in found[4:9]] == [
        "alias churn/model production -> v1 CR-1",
        "put churn/model:v2",
        "alias churn/model production v1 -> v2 CR-2",
        "unalias churn/model production (was v2) withdrawn",
        "taint churn/model:v1 wrong labels",
    ]


@pytest.mark.parametrize(
    ("options", "shown", "older"),
    [
        (["-n", "2"], 2, 37), (["--limit", "38"], 38, 1), (["-n", "39"], 39, 0), (["-n", "500"], 39, 0), (["-n", "0"], 0, 39), (["--all"], 39, 0),
        (["--name", "churn/model"], 5, 0), (["--alias", "production", "-n", "1"], 1, 2), (["--name", "churn/raw"], 2, 0), (["--at", "5"], 5, 0),
        (["churn/model"], 5, 0), (["churn/model:production"], 3, 0), (["churn/model:production", "--alias", "production"], 3, 0), (["churn/"], 6, 0),
        (["--name", "churn/*"], 6, 0), (["many/"], 30, 0), (["--name", "many/"], 30, 0), (["--name", "many/0?", "-n", "2"], 2, 8), (["--since", "2h"], 39, 0), (["--since", "1w", "-n", "38"], 38, 1),
        (["--until", "1h"], 0, 0), (["--until", "yesterday"], 0, 0), (["--since", "yesterday"], 39, 0), (["--until", "today"], 39, 0), (["--since", "today", "--until", "today"], 39, 0),
        (["--fact", "tainted"], 1, 0), (["--actor", "nobody else"], 0, 0), (["--since", "2020-01-01", "-n", "3"], 3, 36),
        (["--until", "2020-01-01T00:00:00Z"], 0, 0), (["--fact", "versioned", "--name", "churn/model"], 2, 0),
    ],
)  # fmt: skip
def test_a_limit_says_how_many_it_leaves_out(call: Call, options: list[str], shown: int, older: int):
    code, lines, err = call("log", *options)
    assert (code, len(lines)) == (0, shown)
    notes = [line for line in err.splitlines() if "not shown" in line]
    transactions = "transaction" if older == 1 else "transactions"
    assert notes == ([f"{older} older {transactions} not shown: --all shows all"] if older else [])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_a_time_without_a_zone_is_utc_wherever_the_machine_is(zone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        for text in ("2026-11-30", "20261130", "today"):
            first, last = time_of(text), time_of(text, end=True)
            that = "2026-11-30" if text.startswith("2") else today
            assert first == datetime.fromisoformat(f"{that}T00:00:00+00:00")
            assert last == datetime.fromisoformat(f"{that}T23:59:59.999999+00:00")
        assert time_of("yesterday") == datetime.fromisoformat(f"{today}T00:00:00+00:00") - timedelta(days=1)
        for text in ("2026-11-30T10:00", "2026-11-30 10:00", "2026-11-30T10:00:00Z", "2026-11-30T19:00+09:00"):
            wanted = datetime(2026, 11, 30, 10, tzinfo=UTC)
            assert (time_of(text), time_of(text, end=True), day(text)) == (wanted, wanted, wanted)
            assert _limit_of(text, 0) == format_time(wanted)
        assert day("2026-11-30") == date(2026, 11, 30)
        assert _limit_of("2026-11-30", 0) == "2026-11-30T23:59:59.999999Z"
        assert time_of("1h") == pytest.approx(datetime.now(UTC) - timedelta(hours=1), abs=timedelta(minutes=1))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_log_in_which_nothing_matches_says_so(call: Call):
    code, lines, err = call("log", "churn/model", "--actor", "another")
    assert (code, lines, err.splitlines()[0]) == (0, [], "no transaction matches")
    assert "no transaction matches; kinds of facts are aliased, anchored, approved," in call("log", "--fact", "alased")[2]
    code, lines, err = call("log", "churn/modle")
    assert (code, lines) == (3, [])
    assert "churn/model" in err


def test_a_pattern_in_python_is_one_of_names(history: str):
    store = artifactstore.open(history, "r")
    assert {one.name for one in store.log(name="churn/*")} == {"churn/raw", "churn/model"}
    assert len(store.log(name="churn/")) == 0


def test_facts_are_a_row_each_and_json_stays_a_record_a_fact(call: Call, history: str):
    _, facts, _ = call("log", "--facts", "--name", "churn/model")
    assert [line.split()[4] for line in facts] == ["aliased", "aliased", "versioned", "aliased", "produced", "versioned"]
    assert "churn/model:production -> v2" in facts[1]
    assert call("log", "--facts", "-n", "2")[1] == call("log", "--facts")[1][:2]
    records = json.loads("\n".join(call("log", "--json")[1]))
    log = artifactstore.open(history, "r").log()
    assert [one["seq"] for one in records] == [one.seq for one in log]
    assert [one["fact"] for one in records] == [one.fact for one in log]
    assert [one["seq"] for one in json.loads("\n".join(call("log", "--json", "-n", "3")[1]))] == [39, 39, 38]
    txn = log[0].txn
    code, lines, _ = call("log", "--txn", txn)
    assert (code, lines[-1]) == (0, "outcome: committed")
    assert json.loads("\n".join(call("log", "--txn", txn, "--json")[1]))["outcome"] == "committed"


def test_a_log_in_python_has_the_same_words(history: str):
    store = artifactstore.open(history, "r")
    log = store.log(name="churn/model", since=datetime(2020, 1, 1, tzinfo=UTC))
    assert [one.what for one in log.transactions][:2] == [
        "put churn/model:v1 · run train · auc 0.91 · logged loss (2 values)",
        "alias churn/model production -> v1",
    ]
    assert [event for one in log.transactions for event in one.events] == list(log)
    assert isinstance(log.transactions[0], artifactstore.Transaction)
    assert "  unalias churn/model production (was v2)  " in str(log.transactions)
    assert "unalias churn/model production (was v2)" in log.transactions._repr_html_()
    short = store.log(limit=3)
    assert (len(short), [one.seq for one in short]) == (3, [38, 39, 39])
    assert [one.seq for one in short.transactions] == [38, 39]
    assert len(store.log(limit=0)) == len(store.log(limit=0).transactions) == 0
    pytest.importorskip("pandas")
    assert list(log.transactions.to_pandas()["what"]) == [one.what for one in log.transactions]


def test_what_had_no_effect_is_marked_with_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    from tests.work.test_odd_facts import append

    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(b"a", "n")
    store.put(b"b", "n")
    store.alias("n:v1", "best")
    append(store, {"fact": "aliased", "name": "n", "alias": "best", "version": 2, "expect": 5})
    store.alias("n:v2", "best")
    monkeypatch.setenv("ARTIFACTSTORE_URL", store.url)
    assert main(["log"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "VOID alias n best v1 -> v2 (expect: " in lines[1]
    assert lines[0].endswith("alias n best v1 -> v2")
    assert "VOID" not in lines[0] + lines[2]


@pytest.mark.parametrize(
    "options",
    [["-n", "-1"], ["--all", "-n", "3"], ["--follow", "--at", "3"], ["--follow", "--until", "2030-01-01"], ["-f", "--txn", "x"], ["--since", "soon"],
     ["--since", "999999999w"], ["--since", "2 h"], ["churn/model:v1"], ["churn/model:"], ["churn/model", "--name", "other"], ["churn/model:a", "--alias", "b"]],
)  # fmt: skip
def test_contradictory_options_are_refused(call: Call, options: list[str]):
    code, lines, err = call("log", *options)
    assert (code, lines) == (2, [])
    assert err.startswith("error: ")


# -- as it happens


def lines_of(process: Warm, many: int) -> list[str]:
    """Wait until a process has printed so many lines."""
    deadline = time.monotonic() + 60
    while len(found := process.output.splitlines()) < many and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["put a:v1", "put a:v2", "put b:v1", "alias a best -> v1"]),
        (["-n", "1", "--name", "a"], ["put a:v2", "alias a best -> v1"]),
        (["-n", "1", "--facts"], ["stored", "versioned", "stored", "versioned", "aliased"]),
        (["-n", "1", "--json"], ["stored", "versioned", "stored", "versioned", "aliased"]),
    ],
    ids=["all", "one name", "facts", "json"],
)
def test_following_prints_what_comes_and_ends_cleanly(tmp_path: Path, options: list[str], expected: list[str]):
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(b"1", "a")
    store.put(b"2", "a")
    with following(store.url, *options) as process:
        lines_of(process, {"": 2, "-n1": 1, "-n0": 0}["".join(options[:2])])
        time.sleep(0.5)  # it looks once, finds nothing, and goes on
        store.put(b"3", "b")
        store.alias("a:v1", "best")
        found = lines_of(process, len(expected))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 130
    assert len(found) == len(expected)
    for line, what in zip(found, expected, strict=True):
        assert (json.loads(line)["fact"] == what) if "--json" in options else (f"  {what}" in line)
    assert "Traceback" not in process.errors
    assert process.output.splitlines() == found


class following:  # noqa: N801 - used as a function
    def __init__(self, url: str, *options: str) -> None:
        self._process = Warm("-m", "artifactstore", "log", "--follow", *options, "--store", url)

    def __enter__(self) -> Warm:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()


def test_a_reader_that_has_enough_ends_it(tmp_path: Path):
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(b"1", "a")
    command = f"{sys.executable} -m artifactstore log --follow --store {store.url} | head -n 1"
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "put a:v1" in process.stdout.readline()
    store.put(b"2", "a")  # the next line meets a closed pipe
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


class Away:
    """A journal whose backend is away at some of its steps."""

    def __init__(self, journal: Any, errors: Iterator[BackendError | None]) -> None:
        self._journal, self._errors = journal, errors

    def catch_up(self) -> int:
        error = next(self._errors, None)
        if error is not None:
            raise error
        return int(self._journal.catch_up())

    def entries(self, first: int, last: int) -> Iterator[Any]:
        for number, entry in enumerate(self._journal.entries(first, last)):
            error = next(self._errors, None)
            if error is not None and number:
                raise error
            yield entry


def test_an_outage_loses_and_repeats_nothing(history: str):
    store = artifactstore.open(history, "r")
    gone = BackendError("away", transient=True)
    for at in range(1, 45, 4):
        wanted = Following(store._session, {}, None)
        wanted._journal = Away(wanted._journal, iter([*[None] * at, gone, None, gone]))  # type: ignore[assignment]
        found: list[Any] = []
        for _ in range(5):
            try:
                found += wanted.step()
            except BackendError:
                continue
        assert [one.seq for one in found] == list(range(1, 40)), at


def test_following_goes_on_after_an_outage_and_says_it_once(
    history: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    from artifactstore.cli.history import cmd_log

    steps: Iterator[Any] = iter(
        [["first"], BackendError("away", transient=True), BackendError("away", transient=True), KeyboardInterrupt()]
    )

    def step(_self: Following) -> Any:
        found = next(steps)
        if isinstance(found, BaseException):
            raise found
        return []

    monkeypatch.setattr(Following, "step", step)
    monkeypatch.setattr(cmd_log, "_PAUSE", 0)
    assert main(["log", "--follow", "--store", history]) == 130
    assert capfd.readouterr().err.splitlines()[0] == "note: away; trying again"
    steps = iter([BackendError("denied", transient=False)])
    assert main(["log", "--follow", "--store", history]) == 4


def test_a_terminal_shows_a_screen_of_it_in_80_columns(history: str):
    main_end, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "ARTIFACTSTORE_URL": history, "NO_COLOR": "1"}
    done = subprocess.Popen([sys.executable, "-m", "artifactstore", "log"], stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while True:
        try:
            block = os.read(main_end, 4096)
        except OSError:
            break
        seen += block
    os.close(main_end)
    assert done.wait() == 0
    lines = seen.decode().splitlines()
    assert lines[0].split() == ["ENTRY", "TIME", "ACTOR", "WHAT"]
    assert all(len(line) <= 80 for line in lines if not line.startswith("head: "))
    assert "9 older transactions not shown: --all shows all" in lines
    assert len(lines) == 33
