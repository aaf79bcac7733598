"""The page of a dossier for people: what it is, who did what when and why, and from what it was made; needs nothing from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from artifactstore.display.html_renderer import Markup, as_html, document, element
from artifactstore.display.outline import BREAK, Block, Column, Heading, Inline, Line, Lines, Pairs, Section, Span, table_of
from artifactstore.display.values import counted, format_size
from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION
from artifactstore.work.export.html_preview import item_table, run_table
from artifactstore.work.export.record import Item, Record

__all__ = ["Story", "page"]

_LOOK: Final = "font-family:sans-serif;line-height:1.45;max-width:80em;margin:1em auto;padding:0 1em"
_STYLE: Final = (
    "figure{max-width:80em;margin:1em auto;padding:0 1em;overflow-x:auto}"
    "@page{size:A4 landscape;margin:12mm}"
    "@media print{body{font-size:8pt}details>*{display:block}h2,h3{break-after:avoid}tr{break-inside:avoid}"
    "figure{overflow:visible}figure svg{width:100%!important;max-width:100%!important;height:auto!important}"
    "td,th{white-space:normal!important;overflow-wrap:break-word!important}}"
)
_ROWS: Final = 500  # facts that the page lists
_WORDS: Final = {
    "aliased": "alias moved",
    "approved": "judged",
    "cleared": "taint taken back",
    "gated": "gate set",
    "held": "put on hold",
    "released": "hold ended",
    "retained": "retention set",
    "tainted": "marked as not to be used",
    "versioned": "put",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What the journal says of the artifacts of a dossier, as JSON values; see `dossier.facts`.

    Attributes:
        facts: the facts that people ask for, in order.
        left_out: how many others facts.jsonl has.
        approvals: approvals and rejections.
        verdicts: of gates.
        moves: of the aliases of the artifact's names.
        signatures: of the files of artifacts.
        head: the entry up to which the journal was read.
        time: of that entry.
    """

    facts: Sequence[Mapping[str, Any]]
    left_out: int
    approvals: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]
    moves: Sequence[Mapping[str, Any]]
    signatures: Sequence[Mapping[str, Any]]
    head: str
    time: str


def page(record: Record, folders: Mapping[str, str], story: Story, picture: str) -> str:
    """Render the page.

    Args:
        record: the record.
        folders: digest → folder of each artifact whose files are in the dossier.
        story: what the journal says.
        picture: the lineage as SVG.
    """
    main = record.items.get(record.start)
    title = f"Dossier of {record.title}"
    first: list[Block] = [Heading(title), *_preface(record, story)]
    if main is not None:
        first += [Heading("What it is", 2), *_artifact(main, folders, story)]
        first += [Heading("Where it is in use, and why", 2), *_use(main, story)]
    first += [Heading("Approvals and signatures", 2), *_approvals(story), Heading("What it was made from", 2)]
    second: list[Block] = [
        Heading("Runs", 3),
        run_table(record),
        Heading("Artifacts", 3),
        item_table(record, folders),
        Heading("What happened, in order", 2),
        *_history(record, story),
        Heading("How to check this dossier", 2),
        *_checks(record),
    ]
    body = as_html(first, look=_LOOK) + element("figure", Markup(picture)) + as_html(second, look=_LOOK)
    return document(title, Markup(body), style=_STYLE)


def _preface(record: Record, story: Story) -> Iterator[Block]:
    yield Line(
        [
            f"What the store records of {record.title} and of everything that it was made from, up to entry ",
            f"{story.head.partition(':')[0]} of its journal ({_moment(story.time)} UTC), with the files themselves. ",
            "All times are UTC.",
        ]
    )
    yield Pairs(
        [
            ("Store", Span(record.url, "code")),
            ("Id of the store", Span(record.store, "code")),
            ("Last entry", Span(story.head, "code")),
            ("Written by", f"artifactstore {VERSION}"),
        ]
    )
    if any(one.tainted for one in record.items.values()):
        yield Line(Span("Something in here is marked as not to be used (tainted): see what happened.", "bad"))


def _artifact(main: Item, folders: Mapping[str, str], story: Story) -> Iterator[Block]:
    naming = main.naming
    put = next((one for one in story.facts if one["fact"] == "versioned" and one["digest"] == main.digest), None)
    rows: list[tuple[Inline, Inline]] = [("Artifact", Span(main.ref, "strong")), ("Kind", main.kind)]
    rows.append(("Digest", Span(main.digest, "code")))
    if main.size is not None:
        rows.append(("Size", f"{format_size(main.size)}, {counted(main.count or 0, 'files')}"))
    if main.digest in folders:
        rows.append(("Files", Span(folders[main.digest], link=f"{quote(folders[main.digest])}/")))
    if main.time is not None:
        identity = f" ({put['identity']})" if put is not None else ""
        rows.append(("Put", f"{_moment(main.time)} by {main.actor}{identity}"))
    if naming is not None:
        rows += [("Reason", naming.reason)] if naming.reason else []
        rows.append(("Aliases", ", ".join(naming.aliases) or "none points to it"))
    if main.tainted:
        rows.append(("Taint", Span("tainted: not to be used", "bad")))
    measured = {name for name, _, _ in main.measures}
    rows += [(name, f"{_shown(value)}" + (f", measured on {on}" if on else "")) for name, value, on in main.measures]
    rows += [(name, _shown(value)) for name, value in sorted(main.metrics.items()) if name not in measured]
    rows += [(name, _shown(value)) for name, value in sorted(main.words.items())]
    yield Pairs(rows)


def _use(main: Item, story: Story) -> Iterator[Block]:
    if not story.moves:
        yield Line("No alias has pointed to a version of its name.")
        return
    yield table_of(
        story.moves,
        (
            Column("Alias", lambda one: Span(str(one["alias"]), "strong")),
            Column("From", lambda one: _version(one["before"])),
            Column("To", lambda one: _version(one["after"])),
            Column("When (UTC)", lambda one: _moment(one["time"])),
            Column("By", _person),
            Column("Why", lambda one: one["reason"] or "no reason was recorded", fit="wrap"),
            Column("Outcome", lambda one: _outcome(str(one["outcome"])), fit="wrap"),
            Column("Verdict", _verdict),
            Column("Entry", lambda one: str(one["entry"]), "right"),
        ),
    )
    numbers = {one.number for one in main.namings}
    for one in story.moves:
        if one["verdict"] is not None and one["after"] in numbers:
            yield from _conditions(one)


def _conditions(move: Mapping[str, Any]) -> Iterator[Block]:
    verdict = move["verdict"]
    rows = [one for one in verdict.get("conditions", ()) if isinstance(one, Mapping)]
    answer = "yes" if verdict.get("ok") is True else "no"
    title = f"{move['alias']}, {_moment(move['time'])}: the gates answered {answer} to {_version(move['after'])}"
    columns = (
        Column("Met", lambda one: Span("yes", "good") if one.get("ok") is True else Span("no", "bad")),
        Column("Condition", lambda one: _shown(one.get("text", one.get("rule"))), fit="wrap"),
        Column("Value", lambda one: _shown(one.get("value")), "right"),
        Column("Limit", lambda one: _shown(one.get("limit"))),
        Column("Judged by", lambda one: _shown(one.get("judged"))),
    )
    yield Section(title, [table_of(rows, columns) if rows else Line("There was no condition.")], is_open=True)


def _approvals(story: Story) -> Iterator[Block]:
    if story.signatures:
        yield table_of(
            story.signatures,
            (
                Column("Name", lambda one: Span(str(one["name"]), "strong")),
                Column("Date and time (UTC)", lambda one: _moment(one["time"])),
                Column("Meaning", lambda _: "signature of the files (OpenSSF Model Signing)", fit="wrap"),
                Column("Of", lambda one: str(one["ref"])),
                Column("Account", _person),
                Column("Why", lambda one: one["reason"] or "", fit="wrap"),
                Column("Key", lambda one: Span(_shown(one["key"])[:23], "code", tip=_shown(one["key"])), fit="wrap"),
                Column(
                    "Bundle",
                    lambda one: Span(str(one["file"]), link=quote(str(one["file"]))) if one["file"] else "without effect",
                ),
            ),
        )
    if not story.approvals:
        yield Line("No approval is recorded." if story.signatures else "None is recorded.")
        return
    yield table_of(
        story.approvals,
        (
            Column("Name", lambda one: Span(str(one["name"]), "strong")),
            Column("Date and time (UTC)", lambda one: _moment(one["time"])),
            Column("Meaning", lambda one: _shown(one["meaning"])),
            Column("Verdict", lambda one: Span(_shown(one["verdict"]), "good" if one["verdict"] == "approved" else "bad")),
            Column("Of", lambda one: str(one["ref"])),
            Column("Role", lambda one: _shown(one["role"] or "")),
            Column("Account", _person),
            Column("Why", lambda one: one["reason"] or "", fit="wrap"),
            Column("Signature", lambda one: _shown(one["status"])),
            Column("Entry", lambda one: str(one["entry"]), "right"),
        ),
    )
    if any(one["status"] == "claimed" for one in story.approvals):
        yield Line(
            "claimed: the name is what the account said of itself; no signature was checked against a known key.", dim=True
        )


def _history(record: Record, story: Story) -> Iterator[Block]:
    titles = {digest: item.title for digest, item in record.items.items()} | {
        run.ref.id: f"run {run.ref.name}" for run in record.runs
    }
    left = max(0, len(story.facts) - _ROWS)
    columns = (
        Column("Entry", lambda one: str(one["entry"]), "right"),
        Column("When (UTC)", lambda one: _moment(one["time"])),
        Column("By", _person),
        Column("What", lambda one: _WORDS.get(str(one["fact"]), str(one["fact"]))),
        Column("Of", lambda one: _of(one, titles), fit="wrap"),
        Column("Why", lambda one: one["reason"] or "", fit="wrap"),
        Column("Outcome", lambda one: _outcome(str(one["outcome"])), fit="wrap"),
    )
    more = [f"{left:,} older ones"] if left else []
    more += [f"{story.left_out:,} on storage, and on what runs read and logged"] if story.left_out else []
    yield Line(
        "In brackets: how the account is known. os: the user of the machine; claimed: its own word; oidc, certificate: verified.",
        dim=True,
    )
    yield table_of(story.facts[left:], columns, more=f"Not listed: {', '.join(more)}. facts.jsonl has all." if more else "")


def _checks(record: Record) -> Iterator[Block]:
    yield Line(
        "In a terminal, in the folder of this page: every file is as it was when the dossier was written, if this prints no FAILED."
    )
    yield Lines(["sha256sum -c SHA256SUMS"])
    tool = "sha256sum" if record.start.startswith("sha256:") else "b3sum"
    yield Line(
        f"An artifact's digest is that of its listing, in the folder listings: {tool} of that file. README.txt has the rest."
    )
    yield Line("The dossier is a copy, and is not signed itself: compare anchor.json with an anchor that was kept elsewhere.")
    files = [("facts.jsonl", "every fact, one a line"), ("approvals.json", "approvals and signatures"), ("verdicts.json", "verdicts of gates"),
             ("bom.cdx.json", "bill of materials, CycloneDX"), ("anchor.json", "the last entry"), ("environment", "packages of the runs"),
             ("ro-crate-metadata.json", "all of it for programs, RO-Crate")]  # fmt: skip
    yield Pairs([(Span(name, link=name), text) for name, text in files])


def _of(one: Mapping[str, Any], titles: Mapping[str, str]) -> Inline:
    """Return what a fact is of, and its value where there is one."""
    fields = one["fields"]
    if one["name"]:
        of = f"{one['name']}" + (f":v{one['version']}" if one["version"] is not None else "")
    else:
        of = str(one["digest"] or fields.get("names") or fields.get("run") or fields.get("hold") or "")
        of = titles.get(of, of)
    parts: list[Inline] = [of]
    if one["alias"]:
        parts += [" ", Span(str(one["alias"]), "tag")]
    for value in map(fields.get, ("verdict", "metrics", "metadata", "rules", "reasons")):
        if value not in (None, {}, []):
            answer = (
                f"the gates answered {'yes' if value.get('ok') is True else 'no'}"
                if isinstance(value, dict) and "ok" in value
                else ""
            )
            shown = answer or _shown(value)
            parts += [BREAK, Span(shown if len(shown) <= 300 else f"{shown[:300]} …", "dim")]
    return parts


def _verdict(move: Mapping[str, Any]) -> Inline:
    if move["rollback"] is not None:
        return f"rollback, as judged in entry {move['rollback'].get('quotes')}"
    if move["verdict"] is None:
        return "no gate"
    return Span("yes", "good") if move["verdict"].get("ok") is True else Span("no", "bad")


def _version(number: Any) -> str:
    return "nothing" if number is None else f"v{number}"


def _person(one: Mapping[str, Any]) -> str:
    return f"{one['actor']} ({one['identity']})" + (f", at {one['origin']}" if one["origin"] else "")


def _outcome(text: str) -> Inline:
    return Span(text, "good" if text == "committed" else "bad")


def _moment(time: str) -> str:
    return time[:19].replace("T", " ")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else canonical_json(value).decode()
