"""GitHub Actions: the summary of a step, and annotations, by the environment file and the workflow commands that it documents.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands: `%`, CR and LF are escaped in a message, `:` and
`,` in a property as well; a line of output that begins with `::`, or contains `##[`, may be a command.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artifactstore.printable import visible

if TYPE_CHECKING:
    from artifactstore.work.registry.verdict import Verdict

__all__ = ["annotate", "annotation", "publish", "summarize"]

_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
_MESSAGE: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY: Final = {**_MESSAGE, ":": "%3A", ",": "%2C"}


def publish(verdict: "Verdict", *, to_stderr: bool) -> None:
    """Append a verdict to the summary of the step, and annotate each condition that is not met; elsewhere do nothing.

    Args:
        verdict: the verdict.
        to_stderr: keep stdout for the answer: the runner reads commands from both.
    """
    if not summarize(verdict.to_markdown()):
        return
    for reason in verdict.reasons:
        annotate(f"gate {verdict.alias}: {verdict.ref}", reason, to_stderr=to_stderr)


def summarize(text: str) -> bool:
    """Append Markdown to the summary of the step; return whether there is one."""
    summary = os.environ.get(_SUMMARY)
    if not summary:
        return False
    with Path(summary).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return True


def annotate(title: str, message: str, *, to_stderr: bool) -> None:
    """Show an error in the job; the runner reads stdout and stderr."""
    print(annotation(title, message), file=sys.stderr if to_stderr else sys.stdout)


def annotation(title: str, message: str) -> str:
    """Return the workflow command that shows an error: one line, whatever the texts contain."""
    return f"::error title={_escaped(title, _PROPERTY)}::{_escaped(message, _MESSAGE)}"


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(one, one) for one in visible(text))
