"""Output: plain lines and small tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from artifactstore.display.values import format_size
from artifactstore.model.fields import finite
from artifactstore.printable import json_escaped, visible

__all__ = [
    "as_json",
    "counted",
    "document",
    "echo",
    "echo_error",
    "format_size",
    "moment",
    "put_line",
    "record",
    "table",
    "visible",
]


def echo(text: object = "", *, lines: bool = False) -> None:
    """Print a part of the answer; it cannot steer the terminal, nor look like another line.

    Args:
        text: one line, or several if `lines`.
        lines: keep line feeds.
    """
    print(visible(str(text), lines=lines))


def echo_error(text: object) -> None:
    """Print a message to stderr; its further lines are indented, so that none looks like another message."""
    print(visible(str(text), lines=True).replace("\n", "\n  "), file=sys.stderr)


def document(text: str) -> None:
    """Print a document that is already escaped: HTML, SVG, Mermaid."""
    print(text, end="")


def moment(time: datetime) -> str:
    """Format a time in UTC to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


def record(value: Any) -> Any:
    """Convert a record to JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: record(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [record(item) for item in value]
    if isinstance(value, dict):
        return {str(key): record(item) for key, item in value.items()}
    return value


def as_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json_escaped(json.dumps(finite(value), ensure_ascii=False, allow_nan=False, indent=1)) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; its header goes to stderr, so that stdout has the rows only."""
    lines = [[visible(str(cell)) for cell in row] for row in rows]
    widths = [max([len(title), *(len(line[i]) for line in lines)]) for i, title in enumerate(header)]
    if sys.stderr.isatty() and sys.stdout.isatty() and lines:
        print(_line(header, widths), file=sys.stderr)
    for line in lines:
        print(_line(line, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def counted(many: int, plural: str) -> str:
    """Format a number of things: `1 entry`, `2 entries`."""
    if many != 1:
        return f"{many} {plural}"
    return f"1 {plural.removesuffix('ies')}y" if plural.endswith("ies") else f"1 {plural.removesuffix('s')}"


def put_line(artifact: Any) -> str:
    """Describe the result of a put in one line."""
    what = f"{artifact.ref}  {artifact.digest[:15]}…  {counted(artifact.count, 'files')}, {format_size(artifact.size)}"
    if not artifact.new:
        return f"{what}: unchanged, 0 uploaded"
    return f"{what}: {format_size(artifact.uploaded)} uploaded"
