"""The command `artifactstore`: answers go to stdout, messages to stderr; exit codes never change (docs/reference/cli.md)."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if arguments is None and sys.argv[1:2] == ["__complete"]:
        from artifactstore.cli.completion.answer import answer  # noqa: PLC0415 - a shell asks, which has no time for more

        return answer(sys.argv[2:], _load_commands)
    try:
        from artifactstore.cli import process, runner  # noqa: PLC0415 - so that importing this module is cheap

        process.is_main_process = arguments is None
        code = runner.run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # before a command has begun: while modules are being loaded
        sys.stderr.write("interrupted\n")
        return 130
    if process.is_main_process:
        process.leave(code)
    return code


def _load_commands() -> None:
    from artifactstore.cli import runner  # noqa: PLC0415 - as above

    runner.load_commands()
