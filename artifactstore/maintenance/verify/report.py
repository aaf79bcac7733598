"""Results of verify, as values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from artifactstore.display.displayed import Displayed
from artifactstore.model.fields import malformed

if TYPE_CHECKING:
    from artifactstore.display.outline import Block
    from artifactstore.model.schema import Txn

__all__ = ["Finding", "Report"]

_NAMED: Final = 5  # versions that a finding names in its text


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a note.

    Attributes:
        severity: `damage` (content or history is not what was written) and `breach` (something has effect and breaks a rule) make
            a report not ok; `note` does not.
        what: description: what, where and what to do.
        location: the object, and the offset in it where known.
        artifacts: digests of the affected artifacts, as far as known.
        rule: what was checked: chain, anchor, content, derived (segments, snapshots), copy, fields, void, gate, retention,
            approval, signature, origin (facts of another store), clock or mirror.
        versions: those of the affected artifacts that were not removed, as `name:v3`.
    """

    severity: str
    what: str
    location: str
    artifacts: tuple[str, ...] = ()
    rule: str = "content"
    versions: tuple[str, ...] = ()


@dataclass(slots=True)
class Report(Displayed):
    """The result of verify; displayed as text and HTML.

    Attributes:
        level: quick, frames or full.
        findings: in the order found.
        checked: kind of object → number checked.
        not_checked: what was left out, as text.
        head: the last entry and the digest of its bytes, `12:blake3:ab…`: an anchor for a later `verify`. Without an anchor,
            the deletion of entries at the end goes unnoticed.
        unfinished: whether the store is a copy that has not reached its target head: what it lacks is not damage.
    """

    level: str
    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)
    head: str = ""
    unfinished: bool = False

    @property
    def ok(self) -> bool:
        """Whether neither damage nor a breach was found."""
        return all(one.severity == "note" for one in self.findings)

    @property
    def damaged(self) -> bool:
        """Whether damage was found."""
        return any(one.severity == "damage" for one in self.findings)

    def damage(self, what: str, location: str, artifacts: Iterable[str] = (), *, rule: str = "content") -> None:
        """Add a finding of damage."""
        self.findings.append(Finding("damage", what, location, tuple(artifacts), rule))

    def note(self, what: str, location: str, artifacts: Iterable[str] = (), *, rule: str) -> None:
        """Add a note."""
        self.findings.append(Finding("note", what, location, tuple(artifacts), rule))

    def missing(self, key: str, artifacts: Iterable[str], by: str = "", *, obstacle: str = "") -> None:
        """Add a missing object: damage, except in an unfinished copy, unless something else is in its place."""
        if obstacle:
            self.damage(f"{key}{by and ','}{by} is missing: {obstacle}, with `artifactstore repair`", key, artifacts)
        elif self.unfinished:
            self.note(f"{key} is not here yet: run sync again", key, artifacts, rule="copy")
        else:
            self.damage(f"{key}{by and ','}{by} is missing; restore it from a copy of the store", key, artifacts)

    def note_fields(self, txn: "Txn", key: str) -> None:
        """Report the fields of facts that readers ignore because they do not have the form that the format requires."""
        for fact in txn["facts"]:
            if bad := malformed(fact):
                what = f"a {fact['fact']!r} fact by {txn['actor']} has malformed fields, which count as absent: {', '.join(bad)}"
                self.note(what, key, rule="fields")

    def name_versions(self, refs: Callable[[str], Iterable[str]]) -> None:
        """Add the versions that each finding hits.

        Args:
            refs: returns the versions of a digest.
        """
        for at, one in enumerate(self.findings):
            found = tuple(dict.fromkeys(ref for digest in one.artifacts for ref in refs(digest)))
            if found:
                hits = ""
                if one.severity == "damage":
                    hits = f"; it hits {', '.join(found[:_NAMED])}" + (
                        f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                    )
                self.findings[at] = replace(one, what=one.what + hits, versions=found)

    def count(self, what: str, many: int = 1) -> None:
        """Count checked objects."""
        self.checked[what] = self.checked.get(what, 0) + many

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Note, Span  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.values import counted  # noqa: PLC0415 - as above

        findings = [Line([Span(one.severity, "" if one.severity == "note" else "bad"), f": {one.what}"]) for one in self.findings]
        verdict = Span("ok", "good") if self.ok else Span("DAMAGED" if self.damaged else "BREACH", "bad")
        counts = ", ".join(counted(many, what) for what, many in self.checked.items())
        notes = [Note(f"not checked: {one}") for one in self.not_checked]
        return [*findings, Line([verdict, f": {counts}"]), Line(f"head: {self.head}"), *notes]
