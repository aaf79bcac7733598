"""The HTML page of a crate: its contents for people without a crate reader."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

from artifactstore.display.html_renderer import as_html, document
from artifactstore.display.outline import BREAK, Block, Column, Heading, Inline, Line, Span, table_of
from artifactstore.display.values import counted, format_size
from artifactstore.model.encoding import canonical_json
from artifactstore.work.export.record import Edge, Item, Record, RunOf
from artifactstore.work.export.ro_crate import METADATA

__all__ = ["item_table", "page", "run_table"]

_LOOK: Final = "font-family:sans-serif;line-height:1.45;max-width:90em;margin:2em auto;padding:0 1em"


def page(record: Record, folders: Mapping[str, str]) -> str:
    """Render the page; `folders` has the folder of each artifact whose files are in the crate."""
    title = f"Provenance of {record.title}"
    blocks: list[Block] = [
        Heading(title),
        Line(["From the store ", Span(record.url, "code"), ". The same for programs: ", Span(METADATA, link=METADATA), "."]),
        Heading("Runs", 2),
        run_table(record),
        Heading("Artifacts", 2),
        item_table(record, folders),
    ]
    return document(title, as_html(blocks, look=_LOOK))


def run_table(record: Record) -> Block:
    """Return the runs of a record as a table."""
    return table_of(record.runs, _run_columns(record)) if record.runs else Line("No run is recorded.")


def item_table(record: Record, folders: Mapping[str, str]) -> Block:
    """Return the artifacts of a record as a table, with links to their folders."""
    return table_of(record.items.values(), _item_columns(folders))


def _run_columns(record: Record) -> tuple[Column, ...]:
    return (
        Column(
            "Run",
            lambda run: _stacked([run.ref.name, *(f"{key} = {_shown(value)}" for key, value in sorted(run.params.items()))]),
            fit="wrap",
        ),
        Column("Began (UTC)", lambda run: _moment(run.ref.started)),
        Column("Ended", _end, fit="wrap"),
        Column("By", lambda run: run.actor),
        Column("Code", _code),
        Column("Used", lambda run: _edges(record, run.inputs)),
        Column("Made", lambda run: _edges(record, run.outputs)),
    )


def _item_columns(folders: Mapping[str, str]) -> tuple[Column, ...]:
    def link(item: Item) -> str:
        return f"{quote(folders[item.digest])}/" if item.digest in folders else ""

    return (
        Column("Artifact", lambda item: Span(item.title, link=link(item))),
        Column("Kind", lambda item: item.kind),
        Column("Size", _size),
        Column("Digest", lambda item: Span(item.digest, "code")),
    )


def _stacked(lines: Iterable[Inline]) -> list[Inline]:
    return [*chain.from_iterable((line, BREAK) for line in lines)][:-1]


def _end(run: RunOf) -> str:
    return f"{_moment(run.finished or '')} {run.status}" + (f": {run.error}" if run.error else "")


def _code(run: RunOf) -> list[Inline]:
    commit = run.code.get("commit") or "not recorded"
    return [Span(str(commit)[:12], "code"), " with changes" if run.code.get("dirty") else ""]


def _moment(time: str) -> str:
    return time[:19].replace("T", " ")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _edges(record: Record, edges: Iterable[Edge]) -> list[Inline]:
    return _stacked(record.items[edge.digest].title for edge in edges)


def _size(item: Item) -> str:
    return "not in the store" if item.size is None else f"{format_size(item.size)}, {counted(item.count or 0, 'files')}"
