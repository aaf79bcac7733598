"""What replicas and moves must look like, looked at from outside."""

import random
from pathlib import Path

import artifactstore
from artifactstore import RefusedError
from artifactstore.backend.connect import connect
from artifactstore.catalog.fold.state import State
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import read_replica_status
from artifactstore.model.facts import parse_config
from artifactstore.store import Store


def fill(url: str, seed: int = 1, puts: int = 6) -> Store:
    """A store with packs, inline content, aliases, a spilled transaction and a name with A, B, A."""
    dice = random.Random(seed)
    store = artifactstore.open(url, cache=None)
    big = [dice.randbytes(150_000) for _ in range(3)]
    for i in range(puts):
        store.put(big[i % 3] if i % 2 else f"{seed} {i}".encode(), f"name/{i % 2}", metrics={"m": i})
    store.put(big[0], "aba")
    store.put(big[1], "aba")
    store.put(big[0], "aba")
    store.alias("aba:v2", "best", reason="tried")
    with store.batch(reason="large"):
        for i in range(3):
            store.put(b"small %d" % i, f"spilled/{i}", metadata={"text": "x" * 400_000})
    return store


def objects(url: str, *prefixes: str) -> dict[str, bytes]:
    backend = connect(url)
    return {item.key: backend.read(item.key) for item in backend.list("") if item.key.startswith(prefixes or "")}


def entries(url: str) -> dict[str, bytes]:
    return objects(url, "journal/")


def is_writable(url: str) -> bool:
    """Tell from the objects alone whether a place may be written to."""
    backend = connect(url)
    try:
        config = parse_config(backend.read("store.json"), url)
    except artifactstore.NotFoundError:
        return False
    journal = Journal(backend, config, State)
    journal.catch_up()
    return read_replica_status(backend, config.store).writable and journal.fold.header["moved_to"] is None


def accepts_writes(url: str) -> bool:
    """Tell by trying; must agree with what the objects say."""
    try:
        artifactstore.open(url, cache=None).put(b"written", "written")
    except RefusedError:
        return False
    return True


def assert_whole_copy(source: str, target: str) -> None:
    """The target has every entry of the source, byte for byte, and all content verifies."""
    theirs, ours = entries(source), entries(target)
    assert theirs == ours
    for key, raw in objects(target, "packs/", "manifests/", "facts/").items():
        assert connect(source).read(key) == raw
    report = artifactstore.open(target, "r", cache=None).verify(level="full")
    assert report.findings == []
    assert not report.unfinished
    a, b = artifactstore.open(source, "r", cache=None), artifactstore.open(target, "r", cache=None)
    assert [(one.name, one.versions, one.aliases) for one in a.names()] == [
        (one.name, one.versions, one.aliases) for one in b.names()
    ]


def local(path: Path) -> str:
    return str(path)
