"""Commands in this process, and what they print."""

from collections.abc import Callable

import pytest

from artifactstore.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs a command and returns its exit code, stdout and stderr; modules extend it by a store."""

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(words))
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run
