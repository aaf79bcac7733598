"""Debian's docker-registry, unpacked beside the tests, for as long as they run."""

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.place import SERVERS, free_port, running

PROGRAM = SERVERS / "docker-registry/usr/bin/docker-registry"


@contextmanager
def docker_registry(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """Run a registry on a free port; gives its host.

    Args:
        folder: of its files.
        htpasswd: lines of a file of users; without any, nobody has to log in.
    """
    if not PROGRAM.exists():
        pytest.skip("docker-registry is not installed: .ci/run unpacks it")
    port = free_port()
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n{auth}"
    )

    def ready() -> None:
        if not htpasswd:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()

    with running([str(PROGRAM), "serve", str(config)], port, folder / "log", ready=ready):
        yield f"127.0.0.1:{port}"


def bcrypt_line(user: str, password: str) -> str:
    """A line of an htpasswd file; without a program that makes one the test is skipped."""
    try:
        made = subprocess.run(["htpasswd", "-nbB", user, password], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        bcrypt = pytest.importorskip("bcrypt")
        return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=b'2a')).decode()}\n"
    return made.stdout.strip() + "\n"
