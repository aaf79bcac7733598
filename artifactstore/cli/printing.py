"""Output: lines, reports and tables for people, JSON for programs; the answer goes to stdout, remarks go to stderr."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from artifactstore.display.displayed import Displayed, outline_of
from artifactstore.display.values import counted, format_size
from artifactstore.model.fields import finite
from artifactstore.printable import json_escaped, visible

if TYPE_CHECKING:
    from artifactstore.display.outline import Block, Table, Tree

__all__ = [
    "as_json",
    "document",
    "echo",
    "echo_error",
    "error_as_json",
    "listed",
    "outline",
    "page",
    "put_line",
    "record",
    "report",
    "table",
    "tree",
    "width",
]

_COMMAND: Final = re.compile(r"^( *)(::)|##\[", re.MULTILINE)  # of GitHub Actions
_REPLACED: Final = 4  # columns that the replacement of two ellipses takes


def echo(text: object = "", *, lines: bool = False) -> None:
    """Print a part of the answer; it cannot steer the terminal, nor look like another line.

    Args:
        text: one line, or several if `lines`.
        lines: keep line feeds.
    """
    print(_in_job(visible(str(text), lines=lines)))


def echo_error(text: object) -> None:
    """Print a message to stderr; its further lines are indented, so that none looks like another message."""
    print(_in_job(visible(str(text), lines=True).replace("\n", "\n  ")), file=sys.stderr)


def _in_job(text: str) -> str:
    """Return lines that are no workflow commands: in a job of GitHub Actions `::` at a beginning, and `##[` anywhere, make one."""
    if not (os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITHUB_STEP_SUMMARY")):
        return text
    return _COMMAND.sub(lambda match: f"{match[1]}: :" if match[2] else "## [", text)


def document(text: str) -> None:
    """Print a document that is already escaped: HTML, SVG, Mermaid."""
    print(text, end="")


def record(value: Any) -> Any:
    """Convert a record to JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: record(getattr(value, one.name)) for one in fields(value) if one.repr}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [record(item) for item in value]
    if isinstance(value, dict):
        return {str(key): record(item) for key, item in value.items()}
    return value


def as_json(value: Any, *, indent: int | None = 1) -> None:
    """Print one JSON document; without `indent` on one line. A terminal that lacks characters gets their escapes."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    sys.stdout.write(_json(value, ensure_ascii=plain, indent=indent) + "\n")


def error_as_json(value: Any) -> None:
    """Print one JSON document on one line to stderr."""
    print(_json(value, ensure_ascii=True), file=sys.stderr)


def _json(value: Any, *, ensure_ascii: bool, indent: int | None = None) -> str:
    """Return a value as JSON without invisible characters, and without what a CI system takes for a command."""
    text = json_escaped(json.dumps(finite(value), ensure_ascii=ensure_ascii, allow_nan=False, indent=indent))
    return text.replace("##[", "##\\u005b")


def report(shown: Displayed) -> None:
    """Print a report; its notes go to stderr."""
    outline(outline_of(shown))


def outline(blocks: Iterable["Block"]) -> None:
    """Print an outline; its notes go to stderr."""
    from artifactstore.cli.flags import in_flags  # noqa: PLC0415 - only for what prints a report
    from artifactstore.display.outline import Note, Table, Tree  # noqa: PLC0415 - as above
    from artifactstore.display.text_renderer import as_text  # noqa: PLC0415 - as above

    for block in blocks:
        if isinstance(block, Note):
            echo_error(in_flags(as_text([block])))
        elif isinstance(block, Table):
            table(block)
        elif isinstance(block, Tree):
            tree(block)
        else:
            print(_in_job(as_text([block])))


def page(title: str, shown: Displayed) -> None:
    """Print a report as a page."""
    from artifactstore.display import html_renderer  # noqa: PLC0415 - only for pages

    document(html_renderer.document(title, html_renderer.as_html(outline_of(shown))))


def listed(records: Iterable[Any], name: str) -> None:
    """Print records as a table with the columns of the list `name` (`display/lists.py`)."""
    from artifactstore.display.lists import LISTS  # noqa: PLC0415 - only for tables
    from artifactstore.display.outline import table_of  # noqa: PLC0415 - as above

    table(table_of(records, LISTS[name]))


def table(made: "Table", *, header: bool = True) -> None:
    """Print a table: on a terminal as wide as that, with its header on stderr, so that stdout has the rows only."""
    from artifactstore.display.text_renderer import table_lines  # noqa: PLC0415 - only for tables

    seen = sys.stdout.isatty()
    titles, lines = table_lines(made, width(), colours=_has_colours())
    if header and seen and sys.stderr.isatty() and lines:
        print(titles, file=sys.stderr)
    if lines:
        print(_in_job("\n".join(lines)))


def tree(made: "Tree") -> None:
    """Print a tree, on a terminal as wide as that."""
    from artifactstore.display.text_renderer import tree_lines  # noqa: PLC0415 - only for trees

    for line in tree_lines(made, width(), colours=_has_colours()):
        print(_in_job(line))


def width() -> int | None:
    """Return the number of columns of the terminal; None: the answer goes to a program, or into a file."""
    if not sys.stdout.isatty():
        return None
    columns = shutil.get_terminal_size().columns
    # Signs that the terminal does not have are replaced by longer ones (`process.ready_streams`).
    return columns if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" else columns - _REPLACED


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def put_line(artifact: Any) -> str:
    """Describe the result of a put in one line."""
    ref = artifact.ref if artifact.ref == artifact.digest else f"{artifact.ref}  {artifact.digest[:15]}…"
    what = f"{ref}  {counted(artifact.count, 'files')}, {format_size(artifact.size)}"
    if not artifact.new:
        return f"{what}: unchanged, 0 uploaded"
    return f"{what}: {format_size(artifact.uploaded)} uploaded"
