"""What every test gets: its own home, caches and identity. The servers that tests talk to are fixtures of `tests/servers/`."""

import os
import signal
from pathlib import Path

import pytest

from artifactstore.work.capture import program

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start and stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.servers.moto",
    "tests.servers.iam",
    "tests.servers.azurite",
    "tests.servers.s3_others",
    "tests.servers.proxy",
    "tests.servers.gcs",
    "tests.servers.sshd",
    "tests.servers.ftp",
]


# The modules of the tests are no part of the programs that they look at.
program.PASSED.append(str(Path(__file__).parent) + os.sep)


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's files, settings, credentials or caches, and none sees another's."""
    home = tmp_path_factory.mktemp("home")
    for name in [
        name
        for name in os.environ
        if name.startswith(
            (
                "ARTIFACTSTORE_",
                "AWS_",
                "AZURE_",
                "GOOGLE_",
                "GCSFS_",
                "STORAGE_EMULATOR_HOST",
                "NO_GCE_CHECK",
                "CLOUDSDK_",
                "OPENLINEAGE_",
                "FSSPEC_",
            )
        )
    ]:
        monkeypatch.delenv(name)
    for name, folder in {
        "HOME": "",
        "USERPROFILE": "",
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "config",
        "XDG_STATE_HOME": "state",
        "LOCALAPPDATA": "local",
        "ARTIFACTSTORE_CACHE": "artifactstore-cache",
    }.items():
        monkeypatch.setenv(name, str(home / folder))
    return home
