"""Display of an artifact: a line for terminals, a small card for notebooks. No scripts, everything escaped."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from artifactstore.display.values import format_size
from artifactstore.printable import html, visible

__all__ = ["SHOWN", "TABLES", "card", "line", "profile_table", "tree"]

SHOWN: Final = 200  # files of a tree, and lines of metrics and metadata
TABLES: Final = 10  # tables whose columns are shown: each needs its profile read
_CELL: Final = 24  # characters of a cell that are shown
_LONG: Final = 500  # characters of a text that are shown
_SHORT: Final = 12  # hexadecimal digits of a digest that are shown
# Colours are inherited from the page: the same card is read on white and on black.
_BOX: Final = "border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.6em .9em;max-width:46em;line-height:1.45"
_DIM: Final = "opacity:.7"
_TAG: Final = "border:1px solid rgba(128,128,128,.6);border-radius:4px;padding:0 .4em;margin-left:.5em;font-size:85%"


def _short(digest: str) -> str:
    algorithm, _, number = digest.partition(":")
    return f"{algorithm}:{number[:_SHORT]}…"


def _files(count: int) -> str:
    return f"{count:,} file" + ("" if count == 1 else "s")


def line(ref: str, digest: str, count: int, size: int, *, new: bool | None) -> str:
    """Return `churn/features:v3  blake3:ab12…  3 files  12.0 MB  (unchanged)`.

    Args:
        ref: of the artifact; if it is the digest itself, the digest is not repeated.
        digest: of the artifact.
        count: the number of its files.
        size: of all files, in bytes.
        new: whether a put recorded anything; None if it was not put by this call.
    """
    first = _short(digest) if ref == digest else f"{ref}  {_short(digest)}"
    return f"{first}  {_files(count)}  {format_size(size)}" + ("  (unchanged)" if new is False else "")


def card(
    ref: str,
    digest: str,
    *,
    kind: str,
    count: int,
    size: int,
    time: datetime | None,
    actor: str | None,
    sections: Mapping[str, Mapping[str, Any]],
    files: Iterable[tuple[str, int]],
    profiles: Mapping[str, Mapping[str, Any]],
    tables: int,
) -> str:
    """Render the card of an artifact as HTML.

    Args:
        ref: its reference.
        digest: its digest.
        kind: data, model, code …
        count: the number of its files.
        size: of all files, in bytes.
        time: when it was put.
        actor: of its put.
        sections: heading → name → value, such as metrics and metadata.
        files: (path, size) of each, by path.
        profiles: of the first tables, by the path of their file.
        tables: the number of tables with a profile.
    """
    name = "" if ref == digest else f"<b>{html(ref)}</b>"
    when = f"{time:%Y-%m-%d %H:%M} UTC" if time is not None else ""
    by = " · ".join([_files(count), format_size(size), *(html(part[:_LONG]) for part in (when, actor or "") if part)])
    pairs = [(heading, key, value) for heading, values in sections.items() for key, value in values.items()]
    rows = "".join(
        f'<tr><td style="{_DIM};text-align:left">{html(heading)}: {html(key[:_LONG])}</td>'
        f'<td style="text-align:left">{html(str(value)[:_LONG])}</td></tr>'
        for heading, key, value in pairs[:SHOWN]
    )
    if len(pairs) > SHOWN:
        rows += f'<tr><td style="{_DIM};text-align:left">… {len(pairs) - SHOWN:,} more</td></tr>'
    table = f'<table style="margin:.4em 0 0;color:inherit">{rows}</table>' if rows else ""
    columns = "".join(_columns(profile, path if count > 1 else "") for path, profile in profiles.items())
    if tables > len(profiles):
        columns += f'<div style="{_DIM};margin-top:.4em">… {tables - len(profiles):,} more tables</div>'
    return (
        f'<div style="{_BOX}">{name}<span style="{_TAG}">{html(kind[:_LONG])}</span> '
        f'<code title="{html(digest)}" style="{_DIM};background:none;color:inherit">{html(_short(digest))}</code>'
        f'<div style="{_DIM}">{by}</div>{table}{columns}{tree(files, count)}</div>'
    )


def profile_table(profile: Mapping[str, Any]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Return a heading and one row of text for each column in a profile; the first 200 columns."""
    rows = []
    for field in profile["schema"]["fields"][:SHOWN]:
        column = profile["columns"].get(field["name"], {})
        sampled = "~" if profile["every"] > 1 else ""
        different = f"{sampled}{column['distinct']:,}" if "distinct" in column else ""
        values = (_shown(column.get(key)) for key in ("min", "max", "mean", "std"))
        rows.append((_shown(field["name"]), field["type"], f"{column.get('nulls', 0):,}", *values, different))
    return ("COLUMN", "TYPE", "MISSING", "MIN", "MAX", "MEAN", "STD", "DIFFERENT"), rows


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return visible(text if len(text) <= _CELL else text[: _CELL - 1] + "…")


def _columns(profile: Mapping[str, Any], path: str) -> str:
    """Render the columns of a table as expandable HTML; the path tells several files apart."""
    which = f"{html(path)}: " if path else ""
    heading, rows = profile_table(profile)
    head = "".join(f'<th style="text-align:left;{_DIM}">{html(word.lower())}</th>' for word in heading)
    body = "".join("<tr>" + "".join(f'<td style="text-align:left">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    more = len(profile["schema"]["fields"])
    return (
        f'<details style="margin-top:.4em"><summary>{which}{profile["rows"]:,} rows, {more:,} columns</summary>'
        f'<div style="overflow-x:auto"><table style="margin:.3em 0 0;color:inherit"><tr>{head}</tr>{body}</table></div></details>'
    )


def tree(files: Iterable[tuple[str, int]], count: int) -> str:
    """Render files as an expandable tree of HTML, folders with their contents, the first 200 files."""
    lines: list[str] = []
    above: list[str] = []
    for number, (path, size) in enumerate(files):
        if number == SHOWN:
            break
        *folders, name = path.split("/")
        same = 0
        while same < min(len(folders), len(above)) and folders[same] == above[same]:
            same += 1
        lines += ["  " * depth + html(visible(folders[depth])) + "/" for depth in range(same, len(folders))]
        above = folders
        lines.append("  " * len(folders) + f'{html(visible(name))}  <span style="{_DIM}">{format_size(size)}</span>')
    if not lines:
        return ""
    if count > SHOWN:
        lines.append(f"… {count - SHOWN:,} more")
    inside = "\n".join(lines)
    return (
        f'<details style="margin-top:.4em"><summary>{_files(count)}</summary>'
        f'<pre style="margin:.3em 0 0;background:none;color:inherit;overflow-x:auto">{inside}</pre></details>'
    )
