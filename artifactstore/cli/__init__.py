"""The command `artifactstore`: answers go to stdout, messages to stderr; exit codes never change (docs/reference/cli.md)."""

import sys
from typing import Final

__all__ = ["EXIT_CODES", "main"]

EXIT_CODES: Final = {
    "ok": 0,
    "no": 1,
    "invalid_input": 2,
    "not_found": 3,
    "backend": 4,
    "outcome_unknown": 4,
    "corruption": 5,
    "format": 5,
    "refused": 6,
    "untrusted": 6,
    "unsupported": 6,
    "conflict": 7,
    "condemned_before_commit": 7,
    "already_exists": 7,
    "crash": 70,
    "interrupted": 130,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from artifactstore.cli import runner  # noqa: PLC0415 - so that importing this room costs nothing

    runner.alone = arguments is None
    code = runner.run(sys.argv[1:] if arguments is None else arguments)
    if runner.alone:
        runner.leave(code)
    return code
