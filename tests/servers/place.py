"""Where servers that are no Python packages lie, and how one is started and ended."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

# Resolved at import: each test gets a home of its own later.
SERVERS = Path(os.environ.get("ARTIFACTSTORE_TEST_SERVERS", "~/.cache/artifactstore-test-servers")).expanduser()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    seconds: float = 60,
    ready: Callable[[], object] = lambda: True,
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server until the block ends; it answers on `port`, and `ready` raises no more, when the block begins."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        try:
            deadline = time.monotonic() + seconds
            while True:
                with contextlib.suppress(Exception), socket.create_connection(("127.0.0.1", port), timeout=1):
                    ready()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command[0]} does not answer: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
