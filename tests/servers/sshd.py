"""OpenSSH's server, run by the current user on a free port, for as long as the tests run."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.place import free_port, running

HOST = "artifactstore-test-server"  # an alias of ~/.ssh/config


@dataclass
class Sshd:
    """A running server.

    Attributes:
        port: where it listens, on 127.0.0.1.
        folder: its keys: `host` and `host.pub`, the user's `user` and `user.pub`, and the `log`.
    """

    port: int
    folder: Path

    @property
    def known_hosts(self) -> str:
        """The line of known_hosts that knows it."""
        kind, key = (self.folder / "host.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def configure(self, home: Path) -> None:
        """Let `sftp://HOST` lead there for who lives in `home`."""
        ssh = home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        (ssh / "known_hosts").write_text(self.known_hosts)
        (ssh / "config").write_text(
            f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n  IdentityFile {self.folder / 'user'}\n"
        )


@contextmanager
def sshd(folder: Path, options: Sequence[str] = (), subsystem: str = "internal-sftp") -> Iterator[Sshd]:
    """Run a server with new keys."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's server is not installed (Debian: openssh-server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself in when root runs it
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        "\n".join([
            f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host'}", "PidFile none", "UsePAM no", "StrictModes no",
            f"AuthorizedKeysFile {folder / 'authorized_keys'}", "PasswordAuthentication no", "MaxStartups 200", "UseDNS no",
            f"Subsystem sftp {subsystem}", *options, "",
        ])
    )  # fmt: skip
    with running([program, "-D", "-e", "-f", str(config)], port, folder / "log"):
        yield Sshd(port, folder)


@pytest.fixture(scope="session")
def sshd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server as Debian sets it up."""
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def sftp_url(sshd_server: Sshd, isolated: Path, tmp_path: Path) -> str:
    """An empty place behind the server; `~/.ssh` leads there."""
    sshd_server.configure(isolated)
    return f"sftp://{HOST}{tmp_path}/some/prefix"
