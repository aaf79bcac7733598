"""An explanation of the differences between two artifacts: values, lines for a terminal, and collapsible HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.catalog.lineage import RunInfo
from artifactstore.display.values import format_pair, format_value
from artifactstore.printable import as_lines, html

__all__ = ["CODES", "PARTS", "CodeChange", "Difference", "InputChange", "Why", "page", "text"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs.

    Attributes:
        key: its name; dotted if nested.
        old: before; None where there was none.
        new: now; None where there is none.
    """

    key: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class CodeChange:
    """The difference between the code of two runs.

    Attributes:
        old: commit before, or None.
        new: commit now, or None.
        old_dirty: whether it had uncommitted changes.
        new_dirty: likewise.
        files: (sign, path, lines added, lines removed), the sign `+`, `-`, `~` or `>` (moved); None if not text.
        patch: the lines that differ, in the format of `git apply`.
    """

    old: str | None
    new: str | None
    old_dirty: bool
    new_dirty: bool
    files: tuple[tuple[str, str, int | None, int | None], ...]
    patch: str


@dataclass(frozen=True, slots=True)
class InputChange:
    """A changed input.

    Attributes:
        role: its role, or its name.
        old: before: `churn/raw:v3`; None if there was none.
        new: now; None if there is none.
        files: lines on the files that differ.
        inside: lines on the differences inside tables, tensors and JSON.
        why: why it differs, if runs produced both.
    """

    role: str
    old: str | None
    new: str | None
    files: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    why: "Why | None" = None


@dataclass(frozen=True, slots=True)
class Why:
    """The differences between two artifacts, or two runs; prints as text, and shows in notebooks.

    Attributes:
        a: reference of the first.
        b: reference of the second.
        equal: whether they are the same content (the same run).
        runs: the runs that produced them, or None.
        metrics: of the artifacts and of their runs.
        params: of the runs.
        code: None if equal or unknown.
        cells: of notebooks, as executed; None if equal or unknown.
        modules: of the program outside its folder; likewise.
        run: other recorded values of the runs: name, command, status, started programs, branch …
        packages: name → versions.
        environment: Python, platform, processors, variables.
        around: files that were read without the store: path → digest, or bytes.
        inputs: the inputs that differ.
        same: the equal parts, in words.
        unknown: the parts that cannot be compared, in words.
        compared: the compared parts, in words.
        lacking: the parts that were not recorded, in words.
    """

    a: str
    b: str
    equal: bool
    runs: tuple[RunInfo | None, RunInfo | None] = (None, None)
    metrics: tuple[Difference, ...] = ()
    params: tuple[Difference, ...] = ()
    code: CodeChange | None = None
    packages: tuple[Difference, ...] = ()
    environment: tuple[Difference, ...] = ()
    around: tuple[Difference, ...] = ()
    inputs: tuple[InputChange, ...] = ()
    same: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    run: tuple[Difference, ...] = ()
    cells: CodeChange | None = None
    modules: CodeChange | None = None
    compared: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return str(self)

    def to_html(self) -> str:
        """Render as collapsible HTML, without scripts."""
        return page(self)

    _repr_html_ = to_html

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a JSON value."""
        seen: dict[str, Any] = {"a": self.a, "b": self.b, "equal": self.equal}
        seen["runs"] = [None if run is None else {"id": run.id, "name": run.name, "status": run.status} for run in self.runs]
        for part in PARTS:
            seen[part] = {one.key: [one.old, one.new] for one in getattr(self, part)}
        for part in CODES:
            code: CodeChange | None = getattr(self, part)
            seen[part] = None if code is None else {key: getattr(code, key) for key in CodeChange.__dataclass_fields__}
        seen["inputs"] = [
            {
                "role": one.role,
                "old": one.old,
                "new": one.new,
                "files": list(one.files),
                "inside": list(one.inside),
                "why": None if one.why is None else one.why.to_json(),
            }
            for one in self.inputs
        ]
        return {**seen, **{key: list(getattr(self, key)) for key in ("same", "unknown", "compared", "lacking")}}


# Parts of an answer that are lists of values, and their titles.
PARTS: Final = {
    "metrics": "metrics",
    "params": "params",
    "packages": "packages",
    "environment": "environment",
    "around": "read outside the store",
    "run": "run",
}
CODES: Final = ("code", "cells", "modules")  # parts that are texts
_LINES: Final = 60  # of a patch


def text(found: Why) -> str:
    """Render as lines, nested explanations indented."""
    return as_lines(_lines(found, set()))


def _change(one: Difference) -> str:
    if one.old is None:
        return f"+ {one.key}: {format_value(one.new)}"
    if one.new is None:
        return f"- {one.key}: {format_value(one.old)}"
    return f"~ {one.key}: {' -> '.join(format_pair(one.old, one.new))}"


def code_title(code: CodeChange) -> str:
    """Return the commits of the code."""
    sides = [
        (commit or "no commit")[:12] + (" with changes" if dirty else "")
        for commit, dirty in ((code.old, code.old_dirty), (code.new, code.new_dirty))
    ]
    return sides[0] + (" -> " + sides[1] if sides[0] != sides[1] else "")


def _lines(found: Why, seen: set[str]) -> Iterator[str]:
    yield f"{found.a} -> {found.b}" + (": the same" if found.equal else "")
    for part, title in PARTS.items():
        rows = getattr(found, part)
        if rows:
            yield f"  {title}"
            yield from (f"    {_change(one)}" for one in rows)
    for part in CODES:
        code: CodeChange | None = getattr(found, part)
        if code is not None:
            yield from _code(part, code, seen)
    if found.inputs:
        yield "  inputs"
        for changed in found.inputs:
            yield from _input(changed, seen)
    if found.same:
        yield "  the same: " + ", ".join(found.same)
    yield from (f"  unknown: {unknown}" for unknown in found.unknown)
    if not found.compared:
        return
    parts = (found.equal, found.inputs, *(getattr(found, part) for part in (*PARTS, *CODES)), found.unknown)
    if not any(parts):
        yield "  nothing that was recorded differs: look for randomness, threads, or what was read outside the store"
    ending = f"; not recorded: {', '.join(found.lacking)}" if found.lacking else ""
    yield f"  compared: {', '.join(found.compared)}{ending}"


def _code(part: str, code: CodeChange, seen: set[str]) -> Iterator[str]:
    title = code_title(code) if part == "code" else ""
    if code.patch in seen:
        yield f"  {part}  {title}: as above"
        return
    seen.add(code.patch or f"{part} {title}")
    yield f"  {part}  {title}".rstrip()
    for sign, path, added, gone in code.files:
        yield f"    {sign} {path}" + ("" if added is None else f"  +{added} -{gone}")
    patch = code.patch.splitlines()
    yield from (f"      {line}" for line in patch[:_LINES])
    if len(patch) > _LINES:
        yield f"      … {len(patch) - _LINES} more lines"


def _input(one: InputChange, seen: set[str]) -> Iterator[str]:
    sign = "~" if one.old and one.new else "+" if one.new else "-"
    names = f"{one.old} -> {one.new}" if one.old and one.new else str(one.old or one.new)
    yield f"    {sign} {one.role}: {names}"
    yield from (f"        {line}" for line in (*one.inside, *one.files))
    if one.why is not None and not one.why.equal:
        yield from (f"        {line}" for line in _lines(one.why, seen))


_CELL: Final = "padding:.1em .8em .1em 0;text-align:left;vertical-align:top"
_CODE: Final = "overflow-x:auto;border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.5em .7em;line-height:1.35"
# Readable on white and on black.
_COLOURS: Final = {"+": "#1a8a4a", "-": "#d1453b"}


def page(found: Why, seen: set[str] | None = None) -> str:
    """Render as one element; patches in `seen` were shown before and are not repeated."""
    parts = "".join(_parts(found, set() if seen is None else seen))
    return f'<div style="max-width:64em;line-height:1.45;font-family:sans-serif">{parts}</div>'


def _parts(found: Why, seen: set[str]) -> Iterator[str]:
    ending = " are the same" if found.equal else ""
    yield f"<div><b>{html(found.a)}</b> → <b>{html(found.b)}</b>{ending}</div>"
    for part, title in PARTS.items():
        rows = getattr(found, part)
        if rows:
            yield _fold(f"{title} ({len(rows)})", _table(rows), is_open=len(rows) < 20)
    for part in CODES:
        code: CodeChange | None = getattr(found, part)
        if code is not None:
            yield _code_html(part, code, seen)
    for one in found.inputs:
        yield _input_html(one, seen)
    if found.same:
        yield f'<div style="opacity:.7">the same: {html(", ".join(found.same))}</div>'
    yield from (f'<div style="opacity:.7">unknown: {html(one)}</div>' for one in found.unknown)
    if found.compared:
        ending = f"; not recorded: {', '.join(found.lacking)}" if found.lacking else ""
        yield f'<div style="opacity:.7">compared: {html(", ".join(found.compared) + ending)}</div>'


def _code_html(part: str, code: CodeChange, seen: set[str]) -> str:
    title = f"{part}: {code_title(code)}" if part == "code" else part
    if code.patch in seen:
        return f"<div>{html(title)}: as above</div>"
    seen.add(code.patch or title)
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


def _sides(one: Difference) -> tuple[str, str]:
    if one.old is not None and one.new is not None:
        return format_pair(one.old, one.new)
    old, new = ("—" if value is None else format_value(value) for value in (one.old, one.new))
    return old, new


def _table(rows: tuple[Difference, ...]) -> str:
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


def _input_html(one: InputChange, seen: set[str]) -> str:
    names = (
        f"{one.old} → {one.new}" if one.old and one.new else f"{one.old} (only before)" if one.old else f"{one.new} (only now)"
    )
    lines = "\n".join((*one.inside, *one.files))
    body = f'<pre style="{_CODE}">{html(lines)}</pre>' if lines else ""
    if one.why is not None and not one.why.equal:
        body += page(one.why, seen)
    return _fold(f"input {one.role}: {names}", body, is_open=True)
