"""What a comparison of two tables found: as JSON that gates read, as text, Markdown and HTML."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from artifactstore.display.displayed import Displayed
from artifactstore.printable import markdown
from artifactstore.work.monitoring.rules import Rule

if TYPE_CHECKING:
    from artifactstore.display.outline import Block, Inline
    from artifactstore.work.get.artifact import Artifact

__all__ = ["Drift"]

_SHOWN: Final = 50  # columns that a report prints
_NAMED: Final = 20  # columns that a note names
_QUALITIES: Final = ("accuracy", "auc", "brier", "rmse", "mae")


@dataclass(frozen=True, slots=True)
class Drift(Displayed):
    """How far one table is from another; true if every rule holds.

    Attributes:
        ok: whether every rule holds; without rules it does.
        rules: each rule with the value that it found.
        artifact: the stored report; None if it was not recorded.
    """

    ok: bool
    rules: tuple[Rule, ...]
    artifact: "Artifact | None"
    _record: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def breaches(self) -> tuple[str, ...]:
        """Each rule that does not hold, in words."""
        return tuple(one.text for one in self.rules if not one.ok)

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """Column → its measures: psi, ks, ks_p, js, missing, new_categories, and others."""
        found: Mapping[str, Mapping[str, Any]] = self._record["columns"]
        return found

    @property
    def ref(self) -> str | None:
        """The reference of the stored report."""
        return None if self.artifact is None else self.artifact.ref

    def __getitem__(self, name: str) -> Any:
        """Return a part of the report: `drift["psi"]["max"]`."""
        return self._record[name]

    def to_json(self) -> dict[str, Any]:
        """Return the report as it is stored."""
        return json.loads(json.dumps(self._record))  # type: ignore[no-any-return]

    def to_markdown(self) -> str:
        """Return it as Markdown, such as for the summary of a CI job."""
        lines = [f"### {markdown(self._title())}", ""]
        if self.rules:
            lines += ["| | rule |", "|---|---|"]
            lines += [f"| {'✅' if one.ok else '❌'} | {markdown(one.text)} |" for one in self.rules]
            lines.append("")
        lines += ["| column | PSI | KS | p | JS | missing | new | |", "|---|--:|--:|--:|--:|--:|--:|---|"]
        lines += [f"| {' | '.join(map(markdown, row))} |" for row in self._rows()]
        lines += ["", *(f"{markdown(note)}  " for note in self._notes())]
        return "\n".join(lines).rstrip() + "\n"

    def _title(self) -> str:
        sides = ((self._record[side], side) for side in ("reference", "current"))
        old, new = (one.get("ref") or one.get("file") or f"a {side} table in memory" for one, side in sides)
        rows = self._record["rows"]
        return f"{new} ({rows['current']:,} rows) against {old} ({rows['reference']:,} rows)"

    def _rows(self) -> list[list[str]]:
        listed = [item for item in self.columns.items() if item[1]["status"] != "new"]
        order = sorted(listed, key=lambda item: (item[1]["status"] == "compared", -(item[1].get("psi") or 0)))
        found = []
        for name, one in order[:_SHOWN]:
            numbers = [_number(one.get(key)) for key in ("psi", "ks", "ks_p", "js")]
            note = "" if one["status"] == "compared" else one["status"]
            if one["status"] == "type changed":
                note += f": {one['types'][0]} to {one['types'][1]}"
            elif one.get("new"):
                note = f"new: {', '.join(one['new'])}"
            elif one.get("out_of_range"):
                note = f"{one['out_of_range']:.2%} out of range"
            gaps = one.get("missing")
            fresh = one.get("new_categories")
            found.append([name, *numbers, "" if gaps is None else f"{gaps:.2%}", "" if fresh is None else f"{fresh:,}", note])
        return found

    def _notes(self) -> list[str]:
        record = self._record
        found = ((name, record[name]) for name in _QUALITIES if isinstance(record.get(name), Mapping))
        notes = [f"{name}: {_number(one['reference'])} to {_number(one['current'])}" for name, one in found]
        for status, side in (("missing", "current"), ("new", "reference")):
            names = [name for name, one in self.columns.items() if one["status"] == status]
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                notes.append(f"columns that the {side} table lacks: {', '.join(names[:_NAMED])}{more}")
        listed = sum(one["status"] != "new" for one in self.columns.values())
        if listed > _SHOWN:
            notes.append(f"{listed - _SHOWN} more columns are in the JSON")
        if record["approximate"]:
            notes.append("approximate: a side is known by its profile, or has more distinct values than are kept")
        return notes

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Column, Line, Note, Span, Table  # noqa: PLC0415 - programs look at the values

        blocks: list[Block] = [Line(self._title())]
        if self.rules:
            shown: list[list[Inline]] = [[Span("yes", "good") if one.ok else Span("NO", "bad"), one.text] for one in self.rules]
            blocks.append(Table((Column(""), Column("RULE", fit="wrap")), shown))
        titles = ("COLUMN", "PSI", "KS", "P", "JS", "MISSING", "NEW", "NOTE")
        columns = tuple(
            Column(title, align="left" if title in {"COLUMN", "NOTE"} else "right", fit="cut" if title == "NOTE" else "keep")
            for title in titles
        )
        blocks.append(Table(columns, self._rows()))
        return [*blocks, *(Note(note) for note in self._notes())]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
