"""What every test gets: its own home, caches and identity. The servers that tests talk to are fixtures of `tests/servers/`."""

import os
import signal
import sys
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


_SEEN: dict[str, object] = {}  # modules that were looked at, by name


@pytest.fixture(autouse=True)
def _passed_over() -> None:
    """No run of a test counts modules that other tests have imported, from their temporary folders, as part of its program."""
    for name, module in list(sys.modules.items()):
        if _SEEN.get(name) is module:
            continue
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str) and "site-packages" not in path and not path.startswith((sys.base_prefix, *program.PASSED)):
            program.PASSED.append(path)
        _SEEN[name] = module


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
