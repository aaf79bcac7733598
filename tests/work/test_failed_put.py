"""A put that fails in the midst of a large file leaves nothing behind that a program's end would wait for."""

import os
import threading
from pathlib import Path

import pytest

from artifactstore.store import Store


def test_a_failed_put_leaves_no_thread_behind(store: Store, tmp_path: Path):
    (tmp_path / "large.bin").write_bytes(os.urandom(60_000_000))
    store.put(b"x", "first")

    def watch(what: str, total: int):
        def tell(more: int) -> None:
            raise RuntimeError("the caller's own")

        return tell

    store._session.watch = watch
    with pytest.raises(RuntimeError, match="own") as caught:
        store.put(tmp_path / "large.bin", "large")
    left = [one.name for one in threading.enumerate() if one.name.startswith(("artifactstore-read", "artifactstore-hash"))]
    assert left == []
    assert caught.value.__traceback__ is not None  # it keeps all frames alive, as whoever reports an error does
