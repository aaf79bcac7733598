"""Display of an artifact: a line for terminals, a small card for notebooks."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

from artifactstore.display.distributions import distribution
from artifactstore.display.folded_files import folded_tree
from artifactstore.display.html_renderer import CARD, as_html
from artifactstore.display.outline import Block, Column, Inline, Line, Lines, Pairs, Section, Span, Table
from artifactstore.display.values import counted, format_size, format_value, moment, short_digest

__all__ = ["SHOWN", "TABLES", "card", "card_outline", "line", "profile_table", "record_outline", "tree"]

SHOWN: Final = 200  # files of a tree, columns of a table, and lines of metrics and metadata
TABLES: Final = 10  # tables whose columns are shown: each needs its profile read
_FOLDED: Final = 50_000  # files that are looked at to fold them
_OPEN: Final = 12  # columns of an only table that are shown at once
_CHARTS: Final = 40  # columns of a card whose bars have a text under the pointer
_CELL: Final = 24  # characters of a cell that are shown
_ZEROS: Final = re.compile(r"(?<=^[0-9]{4}-[0-9]{2}-[0-9]{2}) 00:00:00(\.0+)?$|(?<=:[0-9]{2})\.0+$")  # of times
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
    aliases: Mapping[str, datetime | None],
    tainted: bool = False,
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
        aliases: that point to it, with the time since when, if known.
        tainted: whether it is marked as not to be used.
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
                *(part for alias, since in [*aliases.items()][:_INPUTS] for part in (_alias(alias, since), " ")),
                *((Span("tainted: do not use", "bad"), " ") if tainted else ()),
                Span(short_digest(digest), "code", tip=digest),
            ]
        ),
        Line(" · ".join(part for part in about if part), dim=True),
    ]
    made: dict[str, Any] = {
        "aliases": tuple(f"{alias} since {moment(since)[:16]} UTC" for alias, since in aliases.items() if since is not None)
    }
    made |= {key: value for key, value in (origin or {}).items() if value}
    words = (
        (key, value if isinstance(value, str) else ", ".join(value[:_INPUTS]) + (" …" if len(value) > _INPUTS else ""))
        for key, value in made.items()
    )
    pairs: list[tuple[Inline, Inline]] = [(key, text[:_LONG]) for key, text in words if text]
    for heading, values in sections.items():
        pairs += [(_named(heading, key), _value(value)) for key, value in values.items()]
    if pairs:
        blocks.append(Pairs(pairs[:SHOWN], more=_more(len(pairs))))
    charts = _CHARTS
    for path, profile in profiles.items():
        alone = tables == 1 and len(profile["schema"]["fields"]) <= _OPEN
        blocks.append(_columns(profile, path if count > 1 else "", charts, is_open=alone))
        charts -= len(profile["schema"]["fields"])
    if tables > len(profiles):
        blocks.append(Line(f"… {tables - len(profiles):,} more tables", dim=True))
    return [*blocks, *tree(files, count)]


def _alias(alias: str, since: datetime | None) -> Span:
    return Span(alias[:_LONG], "tag", tip="" if since is None else f"since {moment(since)} UTC")


def _named(heading: str, key: str) -> Inline:
    return [Span(f"{heading} ", "dim"), key[:_LONG]]


def _value(value: Any) -> Inline:
    """Return a value of metrics or metadata: a text as it is, whatever else as JSON."""
    if isinstance(value, float):
        return Span(f"{value:.6g}", tip=repr(value))
    return (value if isinstance(value, str) else format_value(value))[:_LONG]


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


def profile_table(profile: Mapping[str, Any], charts: int | None = None) -> Table:
    """Return a row for each column in a profile; the first 200 columns.

    Args:
        profile: the profile of a table.
        charts: draw the distribution of each column, of this many with a text for each bar; None: draw none.
    """
    fields = profile["schema"]["fields"]
    rows: list[list[Inline]] = []
    for number, field in enumerate(fields[:SHOWN]):
        column = profile["columns"].get(field["name"], {})
        sampled = "~" if profile["every"] > 1 else ""
        different = f"{sampled}{column['distinct']:,}" if "distinct" in column else ""
        values = (_shown(column.get(key)) for key in ("min", "max", "mean", "std"))
        drawn = [] if charts is None else [distribution(profile, field["name"], field["type"], tips=number < charts)]
        rows.append([_shown(field["name"]), field["type"], *drawn, f"{column.get('nulls', 0):,}", different, *values])
    titles = ["COLUMN", "TYPE", *([] if charts is None else ["DISTRIBUTION"])]
    numbers = ("MISSING", "DISTINCT", "MIN", "MAX", "MEAN", "STD")
    return Table([*(Column(title) for title in titles), *(Column(title, align="right") for title in numbers)], rows)


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else _ZEROS.sub("", str(value))
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _columns(profile: Mapping[str, Any], path: str, charts: int, *, is_open: bool) -> Section:
    """Return the columns of a table; the path tells several files apart."""
    title = (f"{path}: " if path else "") + f"{profile['rows']:,} rows, {len(profile['schema']['fields']):,} columns"
    return Section(title, [profile_table(profile, charts)], is_open=is_open)


def tree(files: Iterable[tuple[str, int]], count: int) -> Iterator[Section]:
    """Yield the files as a tree of at most 200 lines, those whose names follow one pattern as one; nothing if there are none."""
    seen = list(islice(files, _FOLDED))
    lines = list(folded_tree(seen))
    if not lines:
        return
    more = [f"… {len(lines) - SHOWN:,} more lines"] if len(lines) > SHOWN else []
    more += [f"… {count - len(seen):,} more files"] if count > len(seen) else []
    yield Section(counted(count, "files"), [Lines([*lines[:SHOWN], *more])], is_open=False)
