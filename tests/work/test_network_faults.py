"""A whole store over connections that break: nothing is lost, nothing is there twice, and each error says what to do."""

import json
import os
import random
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import artifactstore
from artifactstore.errors import ArtifactStoreError, BackendError, OutcomeUnknownError
from artifactstore.store import Store
from tests.servers.moto import SECRET_KEY
from tests.servers.proxy import BENIGN, DAMAGE, LIES, Exchange, FaultProxy, scripted, seeded, seeds
from tests.warm import Warm
from tests.work.tree import tree


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What waits says so after some seconds; that is meant here."""
    warnings.filterwarnings("ignore", "s3://.*does not answer", UserWarning)


def direct(server: str, url: str) -> Store:
    """Open a store past the proxy."""
    return artifactstore.open(url, cache=None, storage_options={"endpoint_url": server})


def check(store: Store, contents: dict[str, list[bytes]]) -> None:
    """Each acknowledged put is there, once, and in its order; the chain holds and every byte is right."""
    assert {one.name: one.versions for one in store.names()} == {name: len(data) for name, data in contents.items()}
    for name, data in contents.items():
        assert [store.get(one.ref) for one in store.versions(name)] == data
    assert len(store.log(fact="versioned")) == sum(map(len, contents.values()))
    report = store.verify(level="full")
    assert report.ok, report.findings


def settle(store: Store, error: OutcomeUnknownError) -> bool:
    """Whether a put of which nobody knew has happened, as the error tells to find out."""
    assert "artifactstore log --txn" in str(error)
    return str(store.log(txn=error.txn).outcome) == "committed"


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(3))
def test_puts_over_a_bad_network_take_effect_exactly_once(s3_server, s3_url, monkeypatch, seed):
    draw = random.Random(seed)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", draw.choice(("1", "60")))
    contents: dict[str, list[bytes]] = {}
    with FaultProxy(s3_server, seeded(seed, 0.25, (*BENIGN, *DAMAGE)), late=draw.choice((0.05, 0.5))) as proxy:
        clean = direct(s3_server, s3_url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with proxy.still():
            store = artifactstore.open(s3_url, cache=None)
        for _ in range(12):
            if draw.random() < 0.2:
                with suppress(BackendError):  # its patience may be over here, too
                    store = artifactstore.open(s3_url, cache=None)  # cold
            name = draw.choice("abc")
            data = draw.randbytes(draw.choice((3, 2000, 300_000)))
            try:
                assert store.put(data, name).version == len(contents.get(name, [])) + 1
                contents.setdefault(name, []).append(data)
            except OutcomeUnknownError as error:
                proxy.settle()
                if settle(clean, error):
                    contents.setdefault(name, []).append(data)
            except BackendError as error:
                if not error.transient:
                    raise
            if contents:
                name = draw.choice(sorted(contents))
                try:
                    assert store.get(name) == contents[name][-1]
                except BackendError as error:
                    if not error.transient:
                        raise
        proxy.settle()
        check(clean, contents)


@pytest.mark.slow
def test_folders_of_many_packs_come_and_go_over_a_bad_network(s3_server, s3_url, folder: Path, tmp_path: Path, monkeypatch):
    """It takes long: only folders of some 75 MB are several packs."""
    draw = random.Random(1)
    for number in range(3):
        (folder / f"large-{number}").write_bytes(draw.randbytes(25_000_000))
    with FaultProxy(s3_server, seeded(2, 0.2, (*BENIGN, *DAMAGE)), late=0.2) as proxy:
        clean = direct(s3_server, s3_url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(s3_url, cache=None)
        put = store.put(folder, "data")
        assert tree(Path(artifactstore.open(s3_url, cache=None).get("data", to=tmp_path / "back"))) == tree(folder)
        store.alias("data:v1", "production", expect=None)
        proxy.settle()
        assert put.version == 1
        assert sum(one.fault != "ok" for one in proxy.log) > 5
        assert any(one.fault in DAMAGE for one in proxy.log)
        assert [one.digest for one in clean.versions("data")] == [put.digest]
        assert clean.verify(level="full").ok
        copy = tmp_path / "copy"
        store.maintenance.sync(copy)
        assert artifactstore.open(copy, "r").verify(level="full").ok


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
def test_no_yes_of_something_else_is_believed(s3_server, s3_url, monkeypatch, lie):
    """Each kind of object that a put writes is once answered by something that isn't the server."""
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(s3_url, cache=None)
        data = [os.urandom(200_000)]
        store.put(data[0], "name")
        for kind in ("packs/", "manifests/", "journal/"):
            proxy.plan = scripted(f"{lie} {lie}", partial(_puts_of, kind))
            data.append(os.urandom(200_000))
            assert store.put(data[-1], "name").version == len(data)
        proxy.plan = scripted("")
        check(artifactstore.open(s3_url, cache=None), {"name": data})


@pytest.mark.slow
@pytest.mark.parametrize("size", [100_000, 20_000_000])
@pytest.mark.parametrize("cache", [None, "cache"])
def test_what_was_damaged_on_its_way_here_is_no_damage_and_is_not_kept(*, faulty_s3, s3_server, tmp_path, size, cache):
    proxy, s3_url = faulty_s3
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    direct(s3_server, s3_url).put(tmp_path / "file", "name")
    kept = None if cache is None else tmp_path / cache
    store = artifactstore.open(s3_url, cache=kept)
    proxy.plan = scripted("flipped", lambda one: "/packs/" in one.path)
    assert (Path(store.get("name", to=tmp_path / "first")) / "file").read_bytes() == data
    assert sum(one.fault == "flipped" for one in proxy.log) == 1
    proxy.plan = scripted("truncated flipped", lambda one: "/manifests/" in one.path or "/packs/" in one.path)
    other = artifactstore.open(s3_url, cache=None if kept is None else tmp_path / "other-cache")
    with other.open_file("name", "file") as file:
        assert file.read() == data
    proxy.plan = scripted("")
    again = artifactstore.open(s3_url, cache=kept)
    assert (Path(again.get("name", to=tmp_path / "second")) / "file").read_bytes() == data


PUTTER = """
import json, sys, warnings, artifactstore
warnings.simplefilter("ignore")
url, number, puts = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = artifactstore.open(url, cache=None)
print("ready", flush=True)
sys.stdin.readline()
for n in range(puts):
    said = {"data": f"{number}-{n}"}
    try:
        said["version"] = store.put(said["data"].encode(), "shared").version
    except artifactstore.OutcomeUnknownError as error:
        said["txn"] = error.txn
    except artifactstore.BackendError as error:
        said["failed"] = str(error)
        assert error.transient, error
    print(json.dumps(said), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1))
def test_eight_processes_commit_at_once_over_a_bad_network(s3_server, s3_url, monkeypatch, seed):
    """It takes long: eight processes try again whatever fails, each at its own times."""
    clean = direct(s3_server, s3_url)
    clean.put(b"first", "shared")
    with FaultProxy(s3_server, seeded(seed, 0.15), late=0.3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "60")
        putters = [Warm("-c", PUTTER, s3_url, str(n), "4") for n in range(8)]
        for putter in putters:
            putter.until("ready\n")
        for putter in putters:
            putter.say("go\n")
        assert [putter.wait(240) for putter in putters] == [0] * 8
        outputs = [putter.output.removeprefix("ready\n") for putter in putters]
        said = [json.loads(line) for output in outputs for line in output.splitlines()]
        proxy.settle()
        kinds = {one.fault for one in proxy.log}
        assert {"lost-reply", "503", "cut-request", "cut-reply"} <= kinds
    assert len(said) == 32
    there = {clean.get(one.ref).decode(): one.version for one in clean.versions("shared")}
    assert list(there.values()) == list(range(1, len(clean.versions("shared")) + 1))  # nothing twice
    del there["first"]
    for one in said:
        if "version" in one:
            assert there.pop(one["data"]) == one["version"]
        elif "txn" in one:
            assert (one["data"] in there) == (str(clean.log(txn=one["txn"]).outcome) == "committed")
            there.pop(one["data"], None)
        else:
            assert one["data"] not in there
    assert not there
    report = clean.verify(level="full")
    assert report.ok, report.findings


@pytest.mark.slow
@pytest.mark.parametrize("script", ["lost-reply lost-reply", "503", "500 500", "late", "cut-reply cut-reply", "sent-twice"])
def test_the_first_put_of_all_survives_a_fault_while_the_store_is_made(s3_server, s3_url, monkeypatch, script):
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.plan = scripted(script, lambda one: one.verb == "PUT" and one.path.endswith("/store.json"))
        store = artifactstore.open(s3_url, cache=None)
        assert store.put(b"first", "name").version == 1
        proxy.settle()
        check(direct(s3_server, s3_url), {"name": [b"first"]})


def test_expired_credentials_in_the_middle_of_a_put_are_told_and_nothing_is_half_there(s3_server, s3_url, monkeypatch):
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(s3_url, cache=None)
        store.put(b"first", "name")
        proxy.plan = lambda one: "expired" if "/manifests/" in one.path and one.verb == "PUT" else "ok"
        with pytest.raises(BackendError, match=r"ExpiredToken.*log in again") as caught:
            store.put(os.urandom(100_000), "name")
        assert not caught.value.transient
        assert SECRET_KEY not in str(caught.value)
        proxy.plan = scripted("")
        check(artifactstore.open(s3_url, cache=None), {"name": [b"first"]})
        assert store.put(b"second", "name").version == 2


def test_a_throttled_minute_is_sat_out_with_few_requests(s3_server, s3_url, monkeypatch):
    """A minute is scaled to two seconds here: the server says SlowDown to everything for that long."""
    import time

    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(s3_url, cache=None)
        store.put(b"first", "name")
        before, end = len(proxy.log), time.monotonic() + 2
        proxy.plan = lambda _: "slowdown" if time.monotonic() < end else "ok"
        assert store.put(os.urandom(300_000), "name").version == 2
        refused = [one for one in proxy.log[before:] if one.fault == "slowdown"]
        assert 2 <= len(refused) <= 20


def _puts_of(kind: str, one: Exchange) -> bool:
    return one.verb == "PUT" and f"/{kind}" in one.path


def _always(fault: str, _: object) -> str:
    return fault


def test_a_lasting_refusal_ends_each_verb_with_one_error(s3_server, s3_url, tmp_path: Path, monkeypatch):
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(s3_url, cache=None)
        store.put(os.urandom(100_000), "name")
        for fault in ("403", "skewed", "moved", "redirect"):
            proxy.plan = partial(_always, fault)
            for call in (
                lambda: store.put(b"second", "name"),
                lambda: store.get("name"),
                store.names,
                lambda: artifactstore.open(s3_url, cache=None).names(),
                lambda: store.alias("name:v1", "word"),
                lambda: store.maintenance.sync(tmp_path / "copy"),
            ):
                before = len(proxy.log)
                with pytest.raises(ArtifactStoreError, match=r"check|set ") as caught:
                    call()
                assert SECRET_KEY not in str(caught.value)
                assert len(proxy.log) - before < 25
        proxy.plan = scripted("")
        assert [one.versions for one in store.names()] == [1]
