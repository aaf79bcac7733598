"""Display of an artifact: a line for terminals, a small card for notebooks."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from artifactstore.display.html_renderer import CARD, as_html
from artifactstore.display.outline import Block, Column, Inline, Line, Lines, Pairs, Section, Span, Table
from artifactstore.display.values import counted, format_size, moment, short_digest

__all__ = ["SHOWN", "TABLES", "card", "card_outline", "line", "profile_table", "record_outline", "tree"]

SHOWN: Final = 200  # files of a tree, columns of a table, and lines of metrics and metadata
TABLES: Final = 10  # tables whose columns are shown: each needs its profile read
_CELL: Final = 24  # characters of a cell that are shown
_WORD: Final = 9  # characters of a field's name
_INPUTS: Final = 10  # inputs of a card
_LONG: Final = 500  # characters of a text that are shown


def line(ref: str, digest: str, count: int, size: int, *, new: bool | None) -> str:
    """Return `churn/features:v3  blake3:ab12…  3 files  12.0 MB  (unchanged)`.

    Args:
        ref: of the artifact; if it is the digest itself, the digest is not repeated.
        digest: of the artifact.
        count: the number of its files.
        size: of all files, in bytes.
        new: whether a put recorded anything; None if it was not put by this call.
    """
    first = short_digest(digest) if ref == digest else f"{ref}  {short_digest(digest)}"
    return f"{first}  {counted(count, 'files')}  {format_size(size)}" + ("  (unchanged)" if new is False else "")


def card(ref: str, digest: str, **about: Any) -> str:
    """Render the card of an artifact as HTML; see `card_outline`."""
    return as_html(card_outline(ref, digest, **about), look=CARD)


def card_outline(
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
    aliases: Iterable[str] = (),
    origin: Mapping[str, Any] | None = None,
) -> list[Block]:
    """Return the outline of an artifact's card.

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
        aliases: that point to it.
        origin: name → value, or a tuple of lines: the run, commit, environment and inputs that it was made with.
    """
    name: list[Inline] = [] if ref == digest else [Span(ref, "strong"), " "]
    when = f"{moment(time)[:16]} UTC" if time is not None else ""
    about = (counted(count, "files"), format_size(size), when, (actor or "")[:_LONG])
    blocks: list[Block] = [
        Line(
            [
                *name,
                Span(kind[:_LONG], "tag"),
                " ",
                *(part for alias in aliases for part in (Span(alias[:_LONG], "tag"), " ")),
                Span(short_digest(digest), "code", tip=digest),
            ]
        ),
        Line(" · ".join(part for part in about if part), dim=True),
    ]
    made = {key: value for key, value in (origin or {}).items() if value}
    if made:
        words = (
            (key, value if isinstance(value, str) else ", ".join(value[:_INPUTS]) + (" …" if len(value) > _INPUTS else ""))
            for key, value in made.items()
        )
        blocks.append(Pairs([(key, text[:_LONG]) for key, text in words]))
    pairs = [
        (f"{heading}: {key[:_LONG]}", str(value)[:_LONG]) for heading, values in sections.items() for key, value in values.items()
    ]
    if pairs:
        blocks.append(Pairs(pairs[:SHOWN], more=_more(len(pairs))))
    blocks += [_columns(profile, path if count > 1 else "") for path, profile in profiles.items()]
    if tables > len(profiles):
        blocks.append(Line(f"… {tables - len(profiles):,} more tables", dim=True))
    return [*blocks, *tree(files, count)]


def record_outline(
    facts: Mapping[str, Any], profile: Mapping[str, Any] | None, profiles: Mapping[str, Mapping[str, Any]]
) -> Iterator[Block]:
    """Yield the outline of a record, of an artifact or of a run.

    Args:
        facts: name → value, or a tuple of lines; what is empty or False is left out.
        profile: of the artifact as a table, or None.
        profiles: of tables in it, by the path of their file.
    """
    rows: list[tuple[Inline, Inline]] = []
    for key, value in facts.items():
        if value in (None, {}, (), False, ""):
            continue
        lines = value if isinstance(value, tuple) else (value,)
        rows += [(key if number == 0 else "", _as_value(one)) for number, one in enumerate(lines[:SHOWN])]
        if len(lines) > SHOWN:
            rows.append(("", _more(len(lines))))
    yield Pairs(rows, width=_WORD)
    if profile is not None:
        yield from _profile_outline(profile)
        return
    for path in [*profiles][:TABLES]:
        yield from (Line(""), Line(path), *_profile_outline(profiles[path]))
    if len(profiles) > TABLES:
        yield from (Line(""), Line(f"… {len(profiles) - TABLES:,} more tables: --json lists all of them"))


def _as_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | bool) else str(value)


def _profile_outline(profile: Mapping[str, Any]) -> tuple[Block, ...]:
    return Pairs([("rows", f"{profile['rows']:,}")], width=_WORD), Line(""), profile_table(profile)


def _more(many: int) -> str:
    return f"… {many - SHOWN:,} more" if many > SHOWN else ""


def profile_table(profile: Mapping[str, Any]) -> Table:
    """Return a row for each column in a profile; the first 200 columns."""
    fields = profile["schema"]["fields"]
    rows = []
    for field in fields[:SHOWN]:
        column = profile["columns"].get(field["name"], {})
        sampled = "~" if profile["every"] > 1 else ""
        different = f"{sampled}{column['distinct']:,}" if "distinct" in column else ""
        values = (_shown(column.get(key)) for key in ("min", "max", "mean", "std"))
        rows.append((_shown(field["name"]), field["type"], f"{column.get('nulls', 0):,}", *values, different))
    titles = ("COLUMN", "TYPE", "MISSING", "MIN", "MAX", "MEAN", "STD", "DIFFERENT")
    return Table([Column(title) for title in titles], rows)


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _columns(profile: Mapping[str, Any], path: str) -> Section:
    """Return the columns of a table; the path tells several files apart."""
    title = (f"{path}: " if path else "") + f"{profile['rows']:,} rows, {len(profile['schema']['fields']):,} columns"
    return Section(title, [profile_table(profile)], is_open=False)


def tree(files: Iterable[tuple[str, int]], count: int) -> Iterator[Section]:
    """Yield the first 200 files as a tree, folders with their contents; nothing if there are none."""
    lines: list[Inline] = []
    above: list[str] = []
    for number, (path, size) in enumerate(files):
        if number == SHOWN:
            break
        *folders, name = path.split("/")
        same = 0
        while same < min(len(folders), len(above)) and folders[same] == above[same]:
            same += 1
        lines += ["  " * depth + folders[depth] + "/" for depth in range(same, len(folders))]
        above = folders
        lines.append(["  " * len(folders), name, "  ", Span(format_size(size), "dim")])
    if lines:
        yield Section(counted(count, "files"), [Lines([*lines, *filter(None, [_more(count)])])], is_open=False)
