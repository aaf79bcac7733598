"""The columns of lists: those that commands print, and those of the records that notebooks show.

A column takes its cell from a record; a table is made of any choice of them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from artifactstore.display import registry_lists
from artifactstore.display.outline import Block, Column, Inline, Line, Span, Table, column_of
from artifactstore.display.text_renderer import WIDTH, inline_text, table_lines
from artifactstore.display.values import counted, duration, format_size, format_value, moment

__all__ = ["LISTS", "cell", "list_outline", "narrowed", "run_columns"]

_DIGEST: Final = 15  # characters of a digest: enough to pass it on
_COMMIT: Final = 10
_RUN: Final = 12

_KIND: Final = column_of("KIND", "kind")
_REF: Final = Column("REF", lambda row: row.ref)
_HASH: Final = Column("DIGEST", lambda row: row.digest[:_DIGEST])
_PATH: Final = Column("PATH", lambda row: row.path + (f" -> {row.target}" if row.target else ""))
_SIZE: Final = column_of("SIZE", "size", format_size, align="right")
_TIME: Final = column_of("TIME (UTC)", "time", moment)
_ACTOR: Final = Column("ACTOR", lambda row: row.actor)


def _remarks(row: Any) -> str:
    words = [*row.aliases, *(["(removed)"] if row.removed else []), *(["(tainted)"] if row.tainted else [])]
    return " ".join(words) + (f"  {row.reason}" if row.reason else "")


def _pointers(aliases: Mapping[str, int]) -> str:
    return " ".join([f"{alias}=v{k}" for alias, k in aliases.items()]) if aliases else ""


def _commit(row: Any) -> str:
    return (row.code.get("commit") or "")[:_COMMIT] + (" dirty" if row.code.get("dirty") else "")


def _plain_metrics(measured: Mapping[str, Any]) -> str:
    shown = [f"{key}={_plain(value)}" for key, value in [*measured.items()][:_DICT]]
    return ", ".join(shown) + (" …" if len(measured) > _DICT else "")


def _subject(event: Any) -> str:
    what = event.name or (event.digest or "")[:_DIGEST]
    if event.fact == "received":
        what = f"store {event.fields['store'][:8]}, entry {event.fields['seq']}"
    if event.alias:
        what += f":{event.alias}" + (f" -> v{event.version}" if event.version else "")
    elif event.version:
        what += f":v{event.version}"
    if not what:
        measured = event.fields.get("metrics")
        what = _plain_metrics(measured) if isinstance(measured, Mapping) else str(event.fields.get("run", ""))[:_RUN]
    if event.origin is not None:
        store, _, entry = event.origin.partition(":")
        what += f" (from store {store[:8]}, entry {entry})"
    return what if event.outcome == "committed" else f"{what} ({event.outcome})"


def _audited(event: Any) -> Inline:
    """Return what a fact is about, with the whole digest under the pointer; what has no effect is marked."""
    return Span(_subject(event), "" if event.outcome == "committed" else "bad", tip=event.digest or "")


def _value(event: Any, value: Any) -> Inline:
    return f"v{value}" if event.fact == "aliased" and value is not None else cell(value)


def _did(row: Any) -> Inline:
    """Return what a transaction did; what had no effect is marked, with why."""
    if row.outcome == "committed":
        return str(row.what)
    return Span(f"VOID {row.what} ({row.outcome.removeprefix('void: ')})", "bad")


def _did_and_why(row: Any) -> Inline:
    why = f' "{row.reason}"' if row.reason else ""
    did = _did(row)
    return replace(did, text=did.text + why) if isinstance(did, Span) else f"{did}{why}"


def _status(check: Any) -> Inline:
    return Span(check.status, {"ok": "good", "warn": "warning", "fail": "bad"}.get(check.status, "dim"))  # type: ignore[arg-type]


_ENTRY: Final = Column("ENTRY", lambda row: str(row.seq))
_ZONED: Final = Column("TIME", lambda row: f"{moment(row.time)}Z")  # a log is cut, filtered and mailed: each time has its zone
_REASON: Final = Column("REASON", lambda row: row.reason or "", fit="wrap")
_REMARKS: Final = Column("ALIASES", _remarks, fit="wrap")

LISTS: Final = {
    "names": (
        column_of("NAME", "name"),
        column_of("NEWEST", "versions", "v{}".format),
        _KIND,
        _SIZE,
        _TIME,
        column_of("ALIASES", "aliases", _pointers),
    ),
    "newest": (_REF, _HASH, _KIND, _SIZE, _TIME, _REMARKS),
    "long files": (Column("DIGEST", lambda row: (row.digest or row.type)[:_DIGEST]), _SIZE, _PATH),
    "files": (_SIZE, _PATH),
    "versions": (Column("VERSION", lambda row: f"v{row.version}"), _HASH, _SIZE, _TIME, _ACTOR, _REMARKS),
    "found": (
        _REF,
        _KIND,
        _SIZE,
        Column("METRICS", lambda row: " ".join(f"{name}={value:g}" for name, value in row.metrics.items()), fit="wrap"),
    ),
    "log": (_ENTRY, _ZONED, _ACTOR, Column("WHAT", _did, fit="wrap"), _REASON),
    "narrow log": (
        _ENTRY,
        Column("TIME", lambda row: f"{moment(row.time)[:16]}Z"),
        _ACTOR,
        Column("WHAT", _did_and_why, fit="wrap"),
    ),
    "events": (
        _ENTRY,
        _ZONED,
        _ACTOR,
        Column("FACT", lambda event: event.fact),
        Column("WHAT", _subject),
        _REASON,
    ),
    "audit": (
        _ENTRY,
        _ZONED,
        Column("ACTOR", lambda event: f"{event.actor} ({event.identity})"),
        Column("FACT", lambda event: event.fact),
        Column("WHAT", _audited, fit="wrap"),
        Column("BEFORE", lambda event: _value(event, event.before), fit="wrap"),
        Column("AFTER", lambda event: _value(event, event.after), fit="wrap"),
        _REASON,
        Column("CLOCK", lambda event: "" if event.clock is None else f"{duration(event.clock)} behind"),
    ),
    "runs": (
        Column("RUN", lambda row: row.id[:_RUN]),
        Column("NAME", lambda row: row.name),
        Column("STATUS", lambda row: row.status),
        Column("STARTED (UTC)", lambda row: moment(row.started)),
        Column("SECONDS", lambda row: "" if row.seconds is None else f"{row.seconds:.1f}", align="right"),
        Column("COMMIT", _commit),
    ),
    "impact": (
        Column("REF", lambda row: row.label),
        _KIND,
        Column("ALIASES", lambda row: " ".join(row.aliases)),
        Column("", lambda row: Span("tainted", "bad") if row.tainted else ""),
    ),
    "checks": (
        Column("STATUS", _status),
        Column("CHECK", lambda check: check.name),
        Column("WHAT HAPPENED", lambda check: " ".join(check.happened.split()), fit="wrap"),
    ),
    "settings": (
        Column("SETTING", lambda row: row[0]),
        Column("VALUE", lambda row: row[1]),
        Column("FROM", lambda row: row[2], fit="wrap"),
    ),
    "cache": (Column("what", lambda row: row[0]), Column("bytes", lambda row: format_size(row[1]))),
    **registry_lists.LISTS,
}


# -- lists of records in Python: as text, and in notebooks

_TEXT: Final = 48  # characters of a text in a list
_DICT: Final = 3  # entries of a dict in a list
_METRICS: Final = 4  # metrics that have a column
_ANY_DIGEST: Final = re.compile(r"(blake3|sha256):[0-9a-f]{32,}")
_HEAD_SHARE: Final = 0.8  # of the rows that are shown; the others are the last ones


def cell(value: Any) -> Inline:
    """Return the cell of any value: short, with the full value under the pointer; empty for what has none."""
    if value is None or value in ({}, (), [], ""):
        return ""
    if isinstance(value, datetime):
        return Span(moment(value)[:16], tip=f"{moment(value)} UTC")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return Span(f"{value:.4g}", tip=repr(value))
    if isinstance(value, str) and _ANY_DIGEST.fullmatch(value):
        return Span(value[:_DIGEST], "code", tip=value)
    if isinstance(value, Mapping):
        words = [f"{key}={_plain(one)}" for key, one in [*value.items()][:_DICT]]
        return _short(", ".join(words) + (f" … {len(value) - _DICT:,} more" if len(value) > _DICT else ""))
    if isinstance(value, tuple | list):
        return _short(", ".join(map(_plain, value)))
    return _short(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return format_value(value)
    except (TypeError, ValueError):
        return str(value)


def _short(text: str) -> Inline:
    return text if len(text) <= _TEXT else Span(text[: _TEXT - 1].rstrip() + "…", tip=text[:2000])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def run_columns(paths: Sequence[str], value: Callable[[Any, str], Any], rows: Sequence[Any]) -> list[Column]:
    """Return the columns of a table of runs; numbers are aligned on the right.

    Args:
        paths: fields of runs, such as `metrics.auc`; the title is `auc` if no other field has this name.
        value: returns a field of a run.
        rows: some of the runs.
    """
    names = Counter(path.rpartition(".")[2] for path in paths)

    def column(path: str) -> Column:
        short = path.partition(".")[2] if names[path.rpartition(".")[2]] == 1 else ""
        right = all(one is None or _is_number(one) for one in (value(row, path) for row in rows))
        make = _RUN_CELLS.get(path, cell)
        return Column(
            _RUN_TITLES.get(path, short or path),
            lambda row: make(value(row, path)),
            align="right" if right else "left",
            fit="keep" if path == "name" else "cut",
        )

    return [column(path) for path in paths]


def _field(title: str, name: str, make: Callable[[Any], Inline] = cell, **look: Any) -> Column:
    return Column(title, lambda row: make(getattr(row, name, None)), **look)


def _metrics(rows: Sequence[Any], name: str = "metrics") -> list[Column]:
    """Return a column for each of the most frequent metrics, and one for the rest."""
    many = Counter(metric for row in rows for metric in getattr(row, name))
    first = [metric for metric, _ in many.most_common(_METRICS)]

    def column(metric: str) -> Column:
        return Column(metric, lambda row: cell(getattr(row, name).get(metric)), align="right")

    rest = Column(
        "METRICS", lambda row: cell({key: one for key, one in getattr(row, name).items() if key not in first}), fit="cut"
    )
    return [*map(column, first), rest]


def _marks(row: Any) -> Inline:
    marks: list[Inline] = [alias + " " for alias in row.aliases]
    marks += [Span("removed ", "dim")] if getattr(row, "removed", False) else []
    marks += [Span("tainted ", "bad")] if getattr(row, "tainted", False) else []
    return marks


def _state(status: str) -> Inline:
    return Span(status, {"failed": "bad", "running": "warning", "abandoned": "warning"}.get(status, ""))  # type: ignore[arg-type]


def _short_id(text: str) -> Inline:
    return Span(text[:_RUN], "code", tip=text)


def _took(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


_RUN_TITLES: Final = {
    "name": "NAME",
    "status": "STATUS",
    "seconds": "TOOK",
    "started": "STARTED (UTC)",
    "code.commit": "COMMIT",
    "id": "RUN",
}


_SIZED: Final = _field("SIZE", "size", lambda size: "" if size is None else format_size(size), align="right")
_PUT: Final = _field("PUT (UTC)", "time")
_BY: Final = _field("ACTOR", "actor", fit="cut")
_KINDS: Final = _field("KIND", "kind", fit="cut")
_HASHED: Final = _field("DIGEST", "digest")
_RECORDS: Final[Mapping[str, tuple[str, Callable[[Sequence[Any]], list[Column]]]]] = {
    "Name": ("names", lambda _rows: [
        _field("NAME", "name"), Column("NEWEST", lambda row: f"v{row.versions}", align="right"),
        Column("ALIASES", lambda row: cell(_pointers(row.aliases)), fit="cut"),
        _KINDS, _SIZED, _PUT,
    ]),
    "Version": ("versions", lambda rows: [
        _REF, Column("ALIASES", _marks), *_metrics(rows), _SIZED, _PUT, _BY, _KINDS, _field("REASON", "reason", fit="cut"), _HASHED,
        _field("METADATA", "metadata", fit="cut"),
    ]),
    "Event": ("events", lambda _rows: [
        Column("ENTRY", lambda row: f"{row.seq:,}", align="right"), _field("TIME (UTC)", "time"), _field("FACT", "fact", fit="cut"),
        Column("WHAT", lambda row: cell(_subject(row))), _BY, _field("REASON", "reason", fit="cut"),
    ]),
    "Transaction": ("transactions", lambda _rows: [
        Column("ENTRY", lambda row: f"{row.seq:,}", align="right"), _field("TIME (UTC)", "time"),
        Column("WHAT", _did, fit="wrap", least=40),
        _BY, _field("REASON", "reason", fit="cut"),
    ]),
    "RunInfo": ("runs", lambda rows: [
        _field("NAME", "name"), Column("STATUS", lambda row: _state(row.status)), *_metrics(rows),
        _field("TOOK", "seconds", _took, align="right"), _field("STARTED (UTC)", "started"),
        _field("PARAMS", "params", fit="cut"), Column("COMMIT", lambda row: cell(_commit(row))), _field("RUN", "id", _short_id), _BY,
    ]),
    "Input": ("artifacts", lambda _rows: [_field("REF", "ref"), _field("ROLE", "role", fit="cut"), _KINDS, _HASHED]),
    "Node": ("nodes", lambda _rows: [
        Column("REF", lambda row: cell(row.about or row.label)), _field("KIND", "kind"), Column("ALIASES", _marks),
        Column("", lambda row: "run" if row.type == "run" else ""), _field("ID", "id", lambda text: cell(text) if _ANY_DIGEST.fullmatch(text) else _short_id(text)),
    ]),
    "Point": ("values", lambda _rows: [
        _field("STEP", "step", align="right"), _field("VALUE", "value", align="right"), _field("TIME (UTC)", "time"),
    ]),
    "File": ("files", lambda _rows: [
        _field("PATH", "path", str), _SIZED, Column("", lambda row: "executable" if row.executable else "" if row.type == "file" else row.type),
        _field("TARGET", "target"), _HASHED,
    ]),
    **registry_lists.RECORDS,
}  # fmt: skip


_RUN_CELLS: Final[Mapping[str, Callable[[Any], Inline]]] = {
    "id": _short_id, "parent": lambda text: "" if text is None else _short_id(text), "status": _state, "seconds": _took,
    "code.commit": lambda text: cell(text and text[:_COMMIT]),
}  # fmt: skip


def list_outline(
    kind: str, rows: Sequence[Any], fields: Sequence[str], *, most: int, columns: Sequence[Column] | None = None
) -> list[Block]:
    """Return the outline of a list of records: their number, the first and the last ones, and how to see the others.

    Args:
        kind: the name of their class.
        rows: the records.
        fields: the fields of the class, for one without a list of columns.
        most: number of records that are shown.
        columns: the columns, instead of those of the class.
    """
    plural, make = _RECORDS.get(kind, ("rows", lambda _rows: [_any_column(rows, name) for name in fields]))
    many = len(rows)
    if not many:
        return [Line(f"no {plural}", dim=True)]
    head = many if many <= most else round(most * _HEAD_SHARE)
    tail = 0 if many <= most else most - head
    shown = [*rows[:head], *(rows[many - tail :] if tail else ())]
    chosen = list(columns) if columns is not None else make(shown)
    cells = [[column.cell(row) for column in chosen] for row in shown]
    filled = [i for i in range(len(chosen)) if i == 0 or columns is not None or any(inline_text(row[i]) for row in cells)]
    lines = [[row[i] for i in filled] for row in cells]
    left = many - len(shown)
    if left:
        wide = next((at for at, i in enumerate(filled) if chosen[i].align == "left"), 0)
        lines.insert(head, ["" if at != wide else Span(f"… and {left:,} more", "dim") for at in range(len(filled))])
    hint = f"see all with .to_pandas(), or a part with [{head}:{min(many, head + most)}]" if left else ""
    return [Line(counted(many, plural), dim=True), Table([chosen[i] for i in filled], lines, more=hint)]


def _any_column(rows: Sequence[Any], name: str) -> Column:
    right = all(value is None or _is_number(value) for value in (getattr(row, name) for row in rows[:100]))
    return _field(name.upper().replace("_", " "), name, align="right" if right else "left", fit="cut")


def narrowed(blocks: Iterable[Block], width: int = WIDTH) -> Iterator[Block]:
    """Yield an outline whose tables leave out their last columns until they fit; they name what is left out."""
    for block in blocks:
        if not isinstance(block, Table):
            yield block
            continue
        most = len(block.columns)
        while most > 1 and _width_of(block, most, width) > width:
            most -= 1
        gone = [column.title.lower() for column in block.columns[most:] if column.title]
        more = "; ".join(part for part in (f"not shown: {', '.join(gone)}" if gone else "", block.more) if part)
        yield Table(block.columns[:most], [row[:most] for row in block.rows], more=more)


def _width_of(table: Table, most: int, width: int) -> int:
    """Return the width of the first columns; those that wrap are as narrow as they need to be."""
    columns = [column if column.fit == "wrap" else replace(column, fit="keep") for column in table.columns[:most]]
    header, lines = table_lines(Table(columns, [row[:most] for row in table.rows]), width)
    return max(map(len, (header, *lines)))
