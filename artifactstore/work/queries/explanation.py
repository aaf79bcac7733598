"""An explanation of the differences between two artifacts: its values, and their outline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.catalog.runs.info import RunInfo
from artifactstore.display.displayed import Displayed
from artifactstore.display.outline import ARROW, Block, Change, Changes, Inline, Line, Lines, Section, Span
from artifactstore.display.values import format_pair, format_value

__all__ = ["CODES", "PARTS", "CodeChange", "Difference", "InputChange", "Why"]


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
class Why(Displayed):
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

    def _outline(self) -> list[Block]:
        return [_explanation(self, set())]

    def __repr__(self) -> str:
        return str(self)

    def to_html(self) -> str:
        """Render as collapsible HTML, without scripts."""
        return self._repr_html_()

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
_LINES: Final = 60  # of a patch that text shows
_FOLDED: Final = 20  # values from which on a page folds them
_FOLDED_CODE: Final = 20_000  # characters of a patch, likewise


def _explanation(found: Why, seen: set[str]) -> Section:
    """Return the outline; patches in `seen` were shown before and are not repeated."""
    title: list[Inline] = [Span(found.a, "strong"), " ", ARROW, " ", Span(found.b, "strong")]
    return Section([*title, ": the same" if found.equal else ""], [*_parts(found, seen)])


def _parts(found: Why, seen: set[str]) -> Iterator[Block]:
    for part, title in PARTS.items():
        rows: Sequence[Difference] = getattr(found, part)
        if rows:
            yield Section(title, [Changes([_change(one) for one in rows])], is_open=len(rows) < _FOLDED, count=len(rows))
    for part in CODES:
        code: CodeChange | None = getattr(found, part)
        if code is not None:
            yield _code(part, code, seen)
    if found.inputs:
        yield Section("inputs", [_input(one, seen) for one in found.inputs], is_open=True, count=len(found.inputs))
    if found.same:
        yield Line("the same: " + ", ".join(found.same), dim=True)
    yield from (Line(f"unknown: {one}", dim=True) for one in found.unknown)
    if not found.compared:
        return
    parts = (found.equal, found.inputs, *(getattr(found, part) for part in (*PARTS, *CODES)), found.unknown)
    if not any(parts):
        yield Line("nothing that was recorded differs: look for randomness, threads, or what was read outside the store")
    ending = f"; not recorded: {', '.join(found.lacking)}" if found.lacking else ""
    yield Line(f"compared: {', '.join(found.compared)}{ending}", dim=True)


def _change(one: Difference) -> Change:
    if one.old is None:
        return Change("+", one.key, new=format_value(one.new))
    if one.new is None:
        return Change("-", one.key, old=format_value(one.old))
    return Change("~", one.key, *format_pair(one.old, one.new))


def _code(part: str, code: CodeChange, seen: set[str]) -> Block:
    sides = [
        (commit or "no commit")[:12] + (" with changes" if dirty else "")
        for commit, dirty in ((code.old, code.old_dirty), (code.new, code.new_dirty))
    ]
    now: list[Inline] = [" ", ARROW, " ", sides[1]] if sides[0] != sides[1] else []
    commits: list[Inline] = [sides[0], *now]
    title: list[Inline] = [part, "  ", *(commits if part == "code" else [])]
    if code.patch in seen:
        return Line([*title, ": as above"])
    seen.add(code.patch or repr(title))
    files = [Change(sign, path, note="" if added is None else f"+{added} -{gone}") for sign, path, added, gone in code.files]
    patch = Lines(code.patch.splitlines(), is_patch=True, limit=_LINES, indent=2)
    return Section(title, [Changes(files), *([patch] if patch.lines else [])], is_open=len(code.patch) < _FOLDED_CODE)


def _input(one: InputChange, seen: set[str]) -> Section:
    sign = "~" if one.old and one.new else "+" if one.new else "-"
    names: list[Inline] = [one.old, " ", ARROW, " ", one.new] if one.old and one.new else [one.old or one.new or ""]
    body: list[Block] = [Lines([*one.inside, *one.files])] if one.inside or one.files else []
    if one.why is not None and not one.why.equal:
        body.append(_explanation(one.why, seen))
    return Section([f"{sign} {one.role}: ", *names], body, is_open=True, indent=4)
