"""Verdicts: what the gates of an alias say of a version, condition by condition."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from artifactstore.display.displayed import Displayed
from artifactstore.display.junit import junit_xml
from artifactstore.printable import markdown

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Condition", "Verdict"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a verdict.

    Attributes:
        ok: whether it is met.
        text: it in words, with value and limit.
        value: what was found, or None.
        limit: what was asked, or None.
        judged: on what: facts, content or keys.
        rule: the rule, as recorded in the gate.
        gate: index of its gate in `Verdict.gates`.
        parts: the conditions of an `all`, `any` or `not`.
    """

    ok: bool
    text: str
    value: Any
    limit: Any
    judged: str
    rule: Mapping[str, Any]
    gate: int = 0
    parts: tuple["Condition", ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Condition":
        """Return the condition of its JSON form."""
        return cls(
            bool(record["ok"]),
            str(record["text"]),
            record.get("value"),
            record.get("limit"),
            str(record["judged"]),
            record["rule"],
            int(record.get("gate", 0)),
            tuple(map(cls.of, record.get("parts", ()))),
        )


@dataclass(frozen=True, slots=True)
class Verdict(Displayed):
    """What the gates of an alias say of a version; true if they let it pass.

    Attributes:
        ok: whether the alias may point to it.
        ref: the version.
        digest: its digest.
        alias: the alias.
        at: the entry that it was judged on.
        gates: the gates in force: {names, alias, version, entry}.
        conditions: what was asked, in order.
        keys: digest of the keys by which signatures were checked, or None.
        quotes: of a rollback, the entry of the verdict or move that it goes back to.
    """

    ok: bool
    ref: str
    digest: str
    alias: str
    at: int
    gates: tuple[Mapping[str, Any], ...] = ()
    conditions: tuple[Condition, ...] = ()
    keys: str | None = None
    quotes: int | None = None
    _record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Verdict":
        """Return the verdict of its JSON form."""
        conditions = tuple(map(Condition.of, record["conditions"]))
        return cls(
            bool(record["ok"]),
            record["ref"],
            record["digest"],
            record["alias"],
            int(record["at"]),
            tuple(record["gates"]),
            conditions,
            record.get("keys"),
            record.get("quotes"),
            dict(record),
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why it does not pass: each condition that is not met, in words."""
        return tuple(one.text for one in self.conditions if not one.ok)

    def __bool__(self) -> bool:
        return self.ok

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, as it is recorded with a promotion."""
        return json.loads(json.dumps(self._record))  # type: ignore[no-any-return]

    def to_markdown(self) -> str:
        """Return it as Markdown, such as for the summary of a CI job."""
        word = "passes" if self.ok else "does not pass"
        lines = [f"### {markdown(self.ref)} {word} for `{markdown(self.alias)}`", ""]
        if self.conditions:
            lines += ["| | condition | judged on |", "|---|---|---|"]
            lines += [f"| {'✅' if one.ok else '❌'} | {markdown(one.text)} | {one.judged} |" for one in self.conditions]
        else:
            lines.append("no gate is in force" if not self.gates else "nothing was asked")
        return "\n".join(lines) + "\n"

    def to_junit(self) -> str:
        """Return it as JUnit XML: a test case for each condition."""
        cases = [
            (f"{number}. {json.dumps(dict(one.rule), sort_keys=True)}", one.ok, one.text)
            for number, one in enumerate(self.conditions, 1)
        ]
        return junit_xml(f"gate {self.ref} {self.alias}", f"{self.ref} {self.alias}", cases)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Span, table_of  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.registry_lists import LISTS  # noqa: PLC0415 - as above

        if self.quotes is not None:
            return [Line(f"{self.ref} is {self.alias} again, as since entry {self.quotes}")]
        word = Span("passes", "good") if self.ok else Span("does not pass", "bad")
        head = Line([f"{self.ref} ", word, f" for {self.alias}" + ("" if self.gates else ": no gate is in force")])
        return [head, table_of(self.conditions, LISTS["conditions"])] if self.conditions else [head]
