"""A put that takes others' transactions along is killed at each of its calls: what was posted takes effect once, by whoever comes next."""

import itertools
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.base import Backend, Stored
from artifactstore.backend.connect import connect
from artifactstore.journal.chain import inbox_key
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store
from artifactstore.work.session import session as session_module
from tests.journal.making import txn
from tests.maintenance.killed import Deadly, KillingBackend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class Killing(KillingBackend):
    """Counts reads and listings, too."""

    def read(self, key: str) -> bytes:
        found: list[bytes] = []
        self.deadly.before_and_after(lambda: found.append(self.inner.read(key)))
        return found[0]

    def list(self, prefix: str) -> Iterator[Stored]:
        found: list[Stored] = []
        self.deadly.before_and_after(lambda: found.extend(self.inner.list(prefix)))
        return iter(found)


def _crowded(store: Store) -> Store:
    """Let a store expect other writers, as after a lost race."""
    store._session.core_to_write().appender._turns._until = math.inf
    return store


def _post(store: Store, digest: str) -> list[str]:
    """Post what two writers that died could not append; returns the ids."""
    head, ids = store._session.core().journal.catch_up(), list[str]()
    for name in ("theirs", "others"):
        record = txn(head + 1, {"fact": "versioned", "name": name, "digest": digest, "kind": "data"})
        store._session.backend.write(inbox_key(record["txn"], head, head), canonical_json(record))
        ids.append(record["txn"])
    return ids


def _put_killed(folder: Path, at: int, *, after: bool) -> bool:
    """Put in a process of its own that is killed at its `at`-th call; True if it was."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        deadly = Deadly(10**9, after=after)

        def deadly_connect(*args: Any, **options: Any) -> Backend:
            return Killing(connect(*args, **options), deadly)

        vars(session_module)["connect"] = deadly_connect
        store = _crowded(artifactstore.open(str(folder), cache=None))
        deadly.left = at
        store.put(b"own" * 20_000, "own")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_it_was(tmp_path: Path, *, after: bool) -> None:
    killed = True
    for at in itertools.count(1):
        if not killed:
            break
        folder = tmp_path / f"{at}"
        store = artifactstore.create(str(folder))
        digest = store.put(b"1", "first").digest
        ids = _post(store, digest)
        killed = _put_killed(folder, at, after=after)
        assert store.verify(level="full").ok
        assert {"theirs", "others"} <= {one.name for one in store.names()} or killed
        _crowded(artifactstore.open(str(folder), cache=None)).put(b"later", "later")
        names = {one.name: one.versions for one in store.names()}
        assert {name: names[name] for name in ("first", "theirs", "others", "later")} == dict.fromkeys(
            ("first", "theirs", "others", "later"), 1
        )
        assert names.get("own", 0) in {0, 1}
        entries = [[one["txn"] for one in entry["txns"]] for entry in store._session.core().journal.entries()]
        for one in ids:
            assert sum(entry.count(one) for entry in entries) == 1
            assert store.log(txn=f"{one}-1").outcome == "committed"
        if "own" in names:
            assert store.get("own") == b"own" * 20_000
    assert at > 6
