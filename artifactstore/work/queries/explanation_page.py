"""An explanation of differences as collapsible HTML. No scripts, everything escaped."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from artifactstore.printable import html
from artifactstore.work.queries.explanation_text import CODES, PARTS, code_title, pair, said

if TYPE_CHECKING:
    from artifactstore.work.queries.explain import CodeChange, InputChange, Why
    from artifactstore.work.queries.recorded_values import Difference

__all__ = ["page"]

_CELL: Final = "padding:.1em .8em .1em 0;text-align:left;vertical-align:top"
_CODE: Final = "overflow-x:auto;border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.5em .7em;line-height:1.35"
# Readable on white and on black.
_COLOURS: Final = {"+": "#1a8a4a", "-": "#d1453b"}


def page(found: "Why", told: set[str] | None = None) -> str:
    """Render as one element; patches in `told` were shown before and are not repeated."""
    parts = "".join(_parts(found, set() if told is None else told))
    return f'<div style="max-width:64em;line-height:1.45;font-family:sans-serif">{parts}</div>'


def _parts(found: "Why", told: set[str]) -> Iterator[str]:
    ending = " are the same" if found.equal else ""
    yield f"<div><b>{html(found.a)}</b> → <b>{html(found.b)}</b>{ending}</div>"
    for part, title in PARTS.items():
        rows = getattr(found, part)
        if rows:
            yield _fold(f"{title} ({len(rows)})", _table(rows), is_open=len(rows) < 20)
    for part in CODES:
        code: CodeChange | None = getattr(found, part)
        if code is not None:
            yield _code(part, code, told)
    for one in found.inputs:
        yield _input(one, told)
    if found.same:
        yield f'<div style="opacity:.7">the same: {html(", ".join(found.same))}</div>'
    yield from (f'<div style="opacity:.7">unknown: {html(one)}</div>' for one in found.unknown)
    if found.compared:
        ending = f"; not recorded: {', '.join(found.lacking)}" if found.lacking else ""
        yield f'<div style="opacity:.7">compared: {html(", ".join(found.compared) + ending)}</div>'


def _code(part: str, code: "CodeChange", told: set[str]) -> str:
    title = f"{part}: {code_title(code)}" if part == "code" else part
    if code.patch in told:
        return f"<div>{html(title)}: as above</div>"
    told.add(code.patch or title)
    files = "".join(
        f"<div>{html(sign)} <code>{html(path)}</code>" + ("" if added is None else f" +{added} -{gone}") + "</div>"
        for sign, path, added, gone in code.files
    )
    lines = "".join(f"<span{_colour(line)}>{html(line)}</span>\n" for line in code.patch.splitlines())
    patch = f'<pre style="{_CODE}">{lines}</pre>' if lines else ""
    return _fold(title, files + patch, is_open=len(code.patch) < 20_000)


def _fold(title: str, body: str, *, is_open: bool) -> str:
    mark = " open" if is_open else ""
    return f'<details{mark} style="margin:.3em 0 .3em .6em"><summary>{html(title)}</summary><div style="margin-left:1.1em">{body}</div></details>'


def _sides(one: "Difference") -> tuple[str, str]:
    if one.old is not None and one.new is not None:
        return pair(one.old, one.new)
    old, new = ("—" if value is None else said(value) for value in (one.old, one.new))
    return old, new


def _table(rows: "tuple[Difference, ...]") -> str:
    lines = "".join(
        f'<tr><td style="{_CELL}"><code>{html(one.key)}</code></td>'
        f'<td style="{_CELL}">{html(old)}</td><td style="{_CELL}">→</td><td style="{_CELL}">{html(new)}</td></tr>'
        for one in rows
        for old, new in [_sides(one)]
    )
    return f'<table style="border-collapse:collapse">{lines}</table>'


def _colour(line: str) -> str:
    colour = _COLOURS.get(line[:1])
    return f' style="color:{colour}"' if colour else ""


def _input(one: "InputChange", told: set[str]) -> str:
    names = (
        f"{one.old} → {one.new}" if one.old and one.new else f"{one.old} (only before)" if one.old else f"{one.new} (only now)"
    )
    lines = "\n".join((*one.inside, *one.files))
    body = f'<pre style="{_CODE}">{html(lines)}</pre>' if lines else ""
    if one.why is not None and not one.why.equal:
        body += page(one.why, told)
    return _fold(f"input {one.role}: {names}", body, is_open=True)
