"""MLflow's own server, as a program."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import artifactstore

__all__ = ["OURS", "served"]

OURS: Final = {"PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}  # for programs in other folders


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run `mlflow server` over a database in a folder; gives its URL and process."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.sqlite"]
    command += ["--workers", "1", "--host", "127.0.0.1", "--port", str(port), *options]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | OURS, start_new_session=True)
        try:
            for attempt in range(1800):  # its start takes long where tests run beside each other
                assert attempt < 1799, "the server does not answer"
                assert server.poll() is None, (folder / "server.log").read_text()[-3000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", server
        finally:
            stop(server)


def stop(server: "subprocess.Popen[bytes]", signal: int = 15) -> None:
    """End the server and its workers, unless they have ended."""
    if server.poll() is None:
        os.killpg(server.pid, signal)
        server.wait(30)
