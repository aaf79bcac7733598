"""The report of a self-test: values, and how they are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from artifactstore.display.displayed import Displayed

if TYPE_CHECKING:
    from artifactstore.display.outline import Block, Inline

__all__ = ["Check", "Report", "Status", "judged", "skipped"]

Status = Literal["ok", "warn", "fail", "skipped"]
_ROLES: Final[Mapping[Status, Literal["good", "warning", "bad", "dim"]]] = {
    "ok": "good",
    "warn": "warning",
    "fail": "bad",
    "skipped": "dim",
}
_PARTS: Final = {
    "IQ": "Installation: what is here is what was released",
    "OQ-A": "Known answers: digests, codecs, formats, and a store of an earlier version",
    "OQ-B": "Location: what a store needs of it, as `artifactstore doctor` checks it",
    "OQ-C": "Location: the core of the contract of backends",
    "OQ-D": "Restore drill",
}
_STYLE: Final = (
    "@page{size:A4 landscape;margin:12mm}@media print{body{font-size:8pt}tr{break-inside:avoid}h2{break-after:avoid}"
    "td,th{white-space:normal!important;overflow-wrap:break-word!important}}"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its result.

    Attributes:
        id: it never changes its meaning: `OQ-A-03`.
        title: what was checked.
        requirement: what it shows; R… are the requirements of docs/compliance.md.
        expected: the right result.
        seen: the result.
        status: `ok`; `warn`: it works, but look at it; `fail`; `skipped`: `seen` has the reason.
    """

    id: str
    title: str
    requirement: str
    expected: str
    seen: str
    status: Status


@dataclass(frozen=True, slots=True)
class Report(Displayed):
    """The result of a self-test; displayed as text and HTML.

    Attributes:
        url: the location, without credentials; empty if none was tested.
        time: when it began, UTC.
        host: the machine.
        actor: who ran it, as the machine knows it.
        versions: of Python, of this library and of what it uses.
        checks: in order.
    """

    url: str
    time: str
    host: str
    actor: str
    versions: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(one.status != "fail" for one in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "ok": self.ok,
            "url": self.url,
            "time": self.time,
            "host": self.host,
            "actor": self.actor,
            "versions": dict(self.versions),
            "checks": [{name: getattr(one, name) for name in Check.__dataclass_fields__} for one in self.checks],
        }

    def summary(self) -> str:
        """Return the result in one line."""
        return f"{'passed' if self.ok else 'FAILED'}: {_counted(self.checks)}; {self.url or 'no location'}, {self.time}"

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Section  # noqa: PLC0415 - programs look at the values

        blocks: list[Block] = []
        for part, title in _PARTS.items():
            rows = [one for one in self.checks if one.id.startswith(f"{part}-")]
            if rows:
                bad = [one for one in rows if one.status in {"warn", "fail"}]
                body: list[Block] = [
                    Line(f"{one.status}: {one.id} {one.title}: expected {one.expected}, got {one.seen}") for one in bad
                ]
                blocks.append(Section(f"{title}: {_counted(rows)}", body))
        return [*blocks, Line(self.summary())]

    def page(self) -> str:
        """Return the report as a page that needs nothing from elsewhere."""
        from artifactstore.display.html_renderer import as_html, document  # noqa: PLC0415 - as above
        from artifactstore.display.outline import Column, Heading, Line, Pairs, Span, table_of  # noqa: PLC0415 - as above

        def status(one: Check) -> "Inline":
            return Span(one.status, _ROLES[one.status])

        title = f"Self-test of artifactstore, {self.time[:10]}"
        about = [("Result", self.summary()), ("Began (UTC)", self.time), ("Machine", self.host), ("Run by", self.actor)]
        about += [("Location", self.url or "none")]
        blocks: list[Block] = [
            Heading(title),
            Pairs([(name, Span(text, "strong") if name == "Result" else text) for name, text in about]),
            Line(
                "It supplies evidence for an installation and an operational qualification (IQ, OQ). Whether the system is fit for "
                "its use is for its owner to decide: docs/compliance.md has the requirements, and what is outside of a library.",
                dim=True,
            ),
            Heading("Versions", 2),
            Pairs([*self.versions.items()]),
        ]
        columns = (
            Column("Id", lambda one: Span(one.id, "label")),
            Column("Check", lambda one: one.title, fit="wrap"),
            Column("Shows", lambda one: one.requirement, fit="wrap"),
            Column("Expected", lambda one: one.expected, fit="wrap"),
            Column("Seen", lambda one: one.seen, fit="wrap"),
            Column("Status", status),
        )
        for part, words in _PARTS.items():
            rows = [one for one in self.checks if one.id.startswith(f"{part}-")]
            blocks += [Heading(words, 2), table_of(rows, columns) if rows else Line("Not tested.")]
        blocks += [Heading("Reviewed by", 2), Pairs([("Name", ""), ("Date", ""), ("Signature", "")])]
        look = "font-family:sans-serif;line-height:1.45;max-width:80em;margin:1em auto;padding:0 1em"
        return document(title, as_html(blocks, look=look), style=_STYLE)


def _counted(checks: Sequence[Check]) -> str:
    counts = {status: sum(one.status == status for one in checks) for status in _ROLES}
    return ", ".join(f"{many} {status}" for status, many in counts.items() if many)


def judged(ident: str, title: str, requirement: str, expected: str, see: Callable[..., object], *given: Any) -> Check:
    """Run a check: it is ok if `see(*given)` reads as what is expected."""
    try:
        seen = str(see(*given))
    except Exception as error:  # noqa: BLE001 - a check that crashes has failed, and the others go on
        return Check(ident, title, requirement, expected, f"{type(error).__name__}: {error}", "fail")
    return Check(ident, title, requirement, expected, seen, "ok" if seen == expected else "fail")


def skipped(ident: str, title: str, requirement: str, why: str) -> Check:
    """Return a check that was not tried."""
    return Check(ident, title, requirement, "", why, "skipped")
