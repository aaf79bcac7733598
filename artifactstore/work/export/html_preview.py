"""The HTML page of a crate: its contents for people without a crate reader."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from artifactstore.display.values import format_size
from artifactstore.model.encoding import canonical_json
from artifactstore.printable import html
from artifactstore.work.export.record import Edge, Item, Record, RunOf
from artifactstore.work.export.ro_crate import METADATA, folder_of

__all__ = ["page"]

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{text-align:left;vertical-align:top;padding:.3em .8em;border-top:1px solid #ccc}code{font-size:90%}"
)


def page(record: Record, *, inside: bool) -> str:
    """Render the page."""
    title = html(f"Provenance of {record.title}")
    runs = "".join(_run(record, run) for run in record.runs)
    items = "".join(_item(item, inside=inside) for item in record.items.values())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>From the store <code>{html(record.url)}</code>. The same for programs: <a href="{METADATA}">{METADATA}</a>.</p>
<h2>Runs</h2>
{_table(("Run", "Began (UTC)", "Ended", "By", "Code", "Used", "Made"), runs) if runs else "<p>No run is recorded.</p>"}
<h2>Artifacts</h2>
{_table(("Artifact", "Kind", "Size", "Digest"), items)}
</body>
</html>
"""


def _table(heads: Iterable[str], rows: str) -> str:
    return f"<table>\n<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>\n{rows}</table>"


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _run(record: Record, run: RunOf) -> str:
    about = html(run.ref.name) + "".join(f"<br>{html(f'{key} = {_shown(value)}')}" for key, value in sorted(run.params.items()))
    end = f"{_moment(run.finished or '')} {run.status}" + (f": {run.error}" if run.error else "")
    commit = run.code.get("commit") or "not recorded"
    code = f"<code>{html(str(commit)[:12])}</code>" + (" with changes" if run.code.get("dirty") else "")
    return _row(
        about,
        html(_moment(run.ref.started)),
        html(end),
        html(run.actor),
        code,
        _edges(record, run.inputs),
        _edges(record, run.outputs),
    )


def _moment(time: str) -> str:
    return time[:19].replace("T", " ")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _edges(record: Record, edges: Iterable[Edge]) -> str:
    return "<br>".join(html(record.items[edge.digest].title) for edge in edges)


def _item(item: Item, *, inside: bool) -> str:
    name = html(item.title)
    shown = f'<a href="{quote(folder_of(item))}/">{name}</a>' if inside and item.there else name
    size = (
        "not in the store"
        if item.size is None
        else f"{format_size(item.size)}, {item.count} file{'' if item.count == 1 else 's'}"
    )
    return _row(shown, html(item.kind), size, f"<code>{html(item.digest)}</code>")
