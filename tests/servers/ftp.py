"""An FTP server, as a place that fsspec knows and this library does not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.place import free_port, running

USER, PASSWORD = "somebody", "an-ftp-password-nobody-may-see"


@pytest.fixture(scope="session")
def ftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The server's URL and the options to get in."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(port), "-w", "-u", USER, "-P", PASSWORD,
               "-d", str(tmp_path_factory.mktemp("ftp"))]  # fmt: skip
    with running(command, port, tmp_path_factory.mktemp("ftp-log") / "log"):
        yield f"ftp://127.0.0.1:{port}", {"username": USER, "password": PASSWORD}


@pytest.fixture
def ftp_place(ftp_server: tuple[str, dict[str, str]], tmp_path: Path) -> tuple[str, dict[str, str]]:
    """An empty place there."""
    return f"{ftp_server[0]}/{tmp_path.name}", ftp_server[1]
