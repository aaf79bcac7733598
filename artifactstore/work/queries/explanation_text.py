"""An explanation of differences as lines for a terminal."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from artifactstore.printable import as_lines

if TYPE_CHECKING:
    from artifactstore.work.queries.explain import CodeChange, InputChange, Why
    from artifactstore.work.queries.recorded_values import Difference

__all__ = ["CODES", "PARTS", "code_title", "pair", "said", "text"]

# Parts of an answer that are lists of values, and their titles.
PARTS: Final = {
    "metrics": "metrics",
    "params": "params",
    "packages": "packages",
    "environment": "environment",
    "around": "read around the store",
    "run": "run",
}
CODES: Final = ("code", "cells", "modules")  # parts that are texts
_LONGEST: Final = 80  # characters of a value
_LINES: Final = 60  # of a patch


def text(found: "Why") -> str:
    """Render as lines, nested explanations indented."""
    return as_lines(_lines(found, set()))


def said(value: Any) -> str:
    """Format a value for display."""
    return _part(f"{value:.6g}" if isinstance(value, float) else _whole(value), 0)


def pair(old: Any, new: Any) -> tuple[str, str]:
    """Format two different values so that their difference is visible."""
    shown = said(old), said(new)
    if normalize("NFC", shown[0]) != normalize("NFC", shown[1]):
        return shown
    whole = _whole(old), _whole(new)
    if whole[0] == whole[1] or normalize("NFC", whole[0]) == normalize("NFC", whole[1]):
        whole = json.dumps(old), json.dumps(new)  # 1 and "1"; accents in one character and in two
    alike = next((i for i, (one, other) in enumerate(zip(*whole, strict=False)) if one != other), min(map(len, whole)))
    begin = max(0, alike - _LONGEST // 2)
    return _part(whole[0], begin), _part(whole[1], begin)


def _whole(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(text: str, begin: int) -> str:
    end = begin + _LONGEST
    return ("…" if begin else "") + text[begin:end] + ("…" if len(text) > end else "")


def _change(one: "Difference") -> str:
    if one.old is None:
        return f"+ {one.key}: {said(one.new)}"
    if one.new is None:
        return f"- {one.key}: {said(one.old)}"
    return f"~ {one.key}: {' -> '.join(pair(one.old, one.new))}"


def code_title(code: "CodeChange") -> str:
    """Return the commits of the code."""
    sides = [
        (commit or "no commit")[:12] + (" with changes" if dirty else "")
        for commit, dirty in ((code.old, code.old_dirty), (code.new, code.new_dirty))
    ]
    return sides[0] + (" -> " + sides[1] if sides[0] != sides[1] else "")


def _lines(found: "Why", told: set[str]) -> Iterator[str]:
    yield f"{found.a} -> {found.b}" + (": the same" if found.equal else "")
    for part, title in PARTS.items():
        rows = getattr(found, part)
        if rows:
            yield f"  {title}"
            yield from (f"    {_change(one)}" for one in rows)
    for part in CODES:
        code: CodeChange | None = getattr(found, part)
        if code is not None:
            yield from _code(part, code, told)
    if found.inputs:
        yield "  inputs"
        for changed in found.inputs:
            yield from _input(changed, told)
    if found.same:
        yield "  the same: " + ", ".join(found.same)
    yield from (f"  unknown: {unknown}" for unknown in found.unknown)
    if not found.compared:
        return
    parts = (found.equal, found.inputs, *(getattr(found, part) for part in (*PARTS, *CODES)), found.unknown)
    if not any(parts):
        yield "  nothing that was recorded differs: look for randomness, threads, or what was read around the store"
    ending = f"; not recorded: {', '.join(found.lacking)}" if found.lacking else ""
    yield f"  compared: {', '.join(found.compared)}{ending}"


def _code(part: str, code: "CodeChange", told: set[str]) -> Iterator[str]:
    title = code_title(code) if part == "code" else ""
    if code.patch in told:
        yield f"  {part}  {title}: as above"
        return
    told.add(code.patch or f"{part} {title}")
    yield f"  {part}  {title}".rstrip()
    for sign, path, added, gone in code.files:
        yield f"    {sign} {path}" + ("" if added is None else f"  +{added} -{gone}")
    patch = code.patch.splitlines()
    yield from (f"      {line}" for line in patch[:_LINES])
    if len(patch) > _LINES:
        yield f"      … {len(patch) - _LINES} more lines"


def _input(one: "InputChange", told: set[str]) -> Iterator[str]:
    sign = "~" if one.old and one.new else "+" if one.new else "-"
    names = f"{one.old} -> {one.new}" if one.old and one.new else str(one.old or one.new)
    yield f"    {sign} {one.role}: {names}"
    yield from (f"        {line}" for line in (*one.inside, *one.files))
    if one.why is not None and not one.why.equal:
        yield from (f"        {line}" for line in _lines(one.why, told))
