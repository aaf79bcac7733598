"""What every test gets: its own home, caches and identity. The servers that tests talk to are fixtures of `tests/servers/`."""

import itertools
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactstore.work.runs import json_safe
from artifactstore.work.runs.capture import program
from tests.unsynced import unsync

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
    "tests.servers.slurm",
]


def pytest_xdist_auto_num_workers() -> int | None:
    """One process more than there are cores, where they are few: a quarter of the time, tests wait for other processes."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1 if cores <= 4 else cores


# The modules of the tests are no part of the programs that they look at.
program.PASSED.append(str(Path(__file__).parent) + os.sep)


_NUMBERS = itertools.count()
_SEEN: dict[str, object] = {}  # modules that were looked at, by name


@pytest.fixture(autouse=True)
def _passed_over() -> None:
    """No run of a test counts modules that other tests have imported, from their temporary folders, as part of its program."""
    for name, module in sys.modules.copy().items():
        if _SEEN.get(name) is module:
            continue
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str) and "site-packages" not in path and not path.startswith((sys.base_prefix, *program.PASSED)):
            program.PASSED.append(path)
        _SEEN[name] = module


@pytest.fixture(autouse=True)
def _warned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that a process gives once for each parameter was not given by an earlier test."""
    monkeypatch.setattr(json_safe, "_warned", set())


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        unsync(patch)
        yield


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Make a folder with a number of its own; pytest's would list all of the others for it, each time."""
    made = factory.getbasetemp() / f"{name}{next(_NUMBERS)}"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder."""
    return _folder(tmp_path_factory, re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one certificate: each client of S3 parses all that it is to trust, and the servers here speak no TLS."""
    import certifi

    path = _folder(tmp_path_factory, "trusted") / "one.pem"
    end = "-----END CERTIFICATE-----\n"
    path.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    return path


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, one_authority: Path) -> Path:
    """No test sees the user's files, settings, credentials or caches, and none sees another's."""
    home = _folder(tmp_path_factory, "home")
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
    monkeypatch.setenv("AWS_CA_BUNDLE", str(one_authority))
    return home
