"""Writes a dossier: the files first, one artifact at a time, then what the journal says of them, then the sums of all that."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.audit import Event, Filter, Walk
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import reachable
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.journal.heads import format_head
from artifactstore.maintenance.sync.object_copy import digest_at
from artifactstore.model.encoding import canonical_json
from artifactstore.model.graph import Graph
from artifactstore.model.listing import plain_line
from artifactstore.printable import visible
from artifactstore.runtime.atomic_files import durable, name_new, staged
from artifactstore.work.export import ml_bom, ro_crate
from artifactstore.work.export.collect import collect
from artifactstore.work.export.dossier import facts
from artifactstore.work.export.dossier.page import Story, page
from artifactstore.work.export.dossier.readme import readme
from artifactstore.work.export.files import ZipWriter, check_free
from artifactstore.work.export.record import Item, Record, RunOf, as_text
from artifactstore.work.get.provenance import describe_environments
from artifactstore.work.queries.drawing import Drawing
from artifactstore.work.session.session import Session

__all__ = ["Judge", "write_dossier"]

Judge = Callable[..., Iterable[Any]]
_SUMS: Final = "SHA256SUMS"
_BUNDLE: Final = "store.zip"
_QUIET: Final = frozenset({"stored", "relocated", "started", "finished", "used", "produced"})  # facts that the page leaves out
_SHOWN: Final = 10_000  # facts that are kept for the page
_NOTES: Final = tuple(
    ro_crate.FileNote(*row)
    for row in (
        ("README.txt", "text/plain", "How to read and check this dossier without any library."),
        ("anchor.json", "application/json", "The last entry of the store's journal when this was written."),
        ("approvals.json", "application/json", "Approvals, rejections and their signatures."),
        ("bom.cdx.json", "application/vnd.cyclonedx+json", "The bill of materials, CycloneDX 1.6."),
        ("facts.jsonl", "application/jsonl", "Every fact of the journal about these artifacts and runs."),
        ("lineage.svg", "image/svg+xml", "What was made from what."),
        (_SUMS, "text/plain", "The SHA-256 of every other file."),
        ("verdicts.json", "application/json", "The verdicts of gates on moves of aliases."),
    )
)


def write_dossier(
    session: Session,
    start: str,
    target: Path,
    *,
    is_run: bool,
    license: str | None,  # noqa: A002 - the standard's word
    bundle: Path | None,
    approvals: Judge,
) -> None:
    """Write a dossier.

    Args:
        session: the store.
        start: a digest, or a run's id.
        target: the zip file.
        is_run: whether `start` is a run.
        license: of the crate: a URL, or text.
        bundle: a bundle of the store, to be included; or None.
        approvals: judges the approvals of an artifact; they have `entry`, `actor`, `name` and `status`.

    Raises:
        AlreadyExistsError: the target exists.
        CorruptionError: bytes do not match their digest; nothing was written.
        BackendError: the store cannot be read, or the target cannot be written.
    """
    check_free(target)
    with session.query_state() as state:
        last, time = state.head, str(state.header["time"])
        graph = _graph(state, start, is_run=is_run)
    record = collect(session, start, is_run=is_run, look=("files", "environment"))
    head = format_head(last, digest_at(session.core().journal, last))
    items = [record.items[one] for one in record.items if one in graph.nodes]
    folders = {one.digest: _folder(one) for one in items if one.there}
    subject = facts.Subject.of(items, (run.ref.id for run in record.runs))
    with staged(target) as part:
        with durable(part) as file, ZipWriter(file) as archive:
            record = replace(record, items=dict(_with_files(session, record, folders, archive, target)))
            for name, text in _environments(record.runs, folders):
                archive.add(name, text)
            with staged(target) as lines:
                collected = _write_facts(session, subject, last, lines)
                archive.add_file("facts.jsonl", lines)
            story = _story(
                record, folders, collected, _statuses(session, record, collected.marks, approvals), head=head, time=time
            )
            texts = _texts(session, record, graph, folders, story, license=license, bundle=bundle is not None)
            if bundle is not None:
                archive.add_file(_BUNDLE, bundle)
            for name, data in texts:
                archive.add(name, data)
            sums = "".join(plain_line(digest, name) for name, digest in sorted(archive.sums.items()))
            archive.add(_SUMS, sums.encode())
        name_new(part, target)


def _graph(state: State, start: str, *, is_run: bool) -> Graph:
    """Return what it was made from; of a run what it used and made."""
    graph = reachable(state, start, up=True, steps=1 if is_run else None)
    if is_run:
        made = reachable(state, start, up=False, steps=1)
        graph.nodes |= made.nodes
        graph.edges = [*graph.edges, *made.edges]
    return graph


def _folder(item: Item) -> str:
    return ro_crate.folder_of(item, "environment" if item.kind == "environment" and item.naming is None else "files")


def _with_files(
    session: Session, record: Record, folders: Mapping[str, str], archive: ZipWriter, target: Path
) -> Iterator[tuple[str, Item]]:
    """Add the files and listings of artifacts; yield every artifact, with the SHA-256 of all files that were added.

    Raises:
        CorruptionError: a file does not have the SHA-256 that was recorded with it.
    """
    for digest, item in record.items.items():
        folder = folders.get(digest)
        if folder is None:
            yield digest, item
            continue
        archive.add_artifact(session, item, folder)
        with staged(target) as text:
            session.with_manifest(digest, partial(_write_listing, path=text))
            archive.add_file(f"listings/{folder.partition('/')[2]}.txt", text)
        parts = []
        for one in item.parts or ():
            found = archive.sums[f"{folder}/{one.path}"]
            if one.sha256 is not None and one.sha256 != found:
                text_ = f"{item.ref}/{one.path} has the SHA-256 {found}, but {one.sha256} was recorded with it"
                raise CorruptionError(f"{text_}: run `artifactstore verify`", digest=digest, location=one.path)
            parts.append(replace(one, sha256=found))
        yield digest, replace(item, parts=tuple(parts))


def _write_listing(manifest: Manifest, path: Path) -> None:
    """Write the text of which an artifact's digest is the digest."""
    with path.open("wb") as file:
        for row, digest in zip(manifest.paths, manifest.digests, strict=True):
            file.write(plain_line(digest.hex(), row).encode())
        file.writelines(manifest.extra.lines())


def _environments(runs: Iterable[RunOf], folders: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the packages of the runs, as requirements."""
    found = {run.environment_digest: run.environment for run in runs if run.environment_digest in folders}
    for digest, environment in found.items():
        packages = (environment or {}).get("packages")
        rows = [one for one in packages if isinstance(one, Mapping)] if isinstance(packages, list) else []
        lines = [f"{one.get('name')}=={one.get('version')}\n" for one in rows]
        yield f"{folders[str(digest)]}.requirements.txt", visible("".join(lines), lines=True).encode()


@dataclass(frozen=True, slots=True)
class _Collected:
    """What was written to `facts.jsonl`.

    Attributes:
        shown: those that the page shows.
        left_out: number of the others.
        marks: approvals, moves of aliases and refused attempts.
    """

    shown: Sequence[Mapping[str, Any]]
    left_out: int
    marks: Sequence[Event]


def _write_facts(session: Session, subject: facts.Subject, last: int, path: Path) -> _Collected:
    """Write `facts.jsonl`, and return what else is needed of it."""
    shown: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN)
    marks: list[Event] = []
    many = 0
    entries = session.core().journal.entries(last=last)
    with path.open("wb") as file:
        for event in subject.events(Walk(session.core().config.store).events(entries, Filter())):
            line = facts.record_of(event)
            file.write(canonical_json(line) + b"\n")
            many += 1
            if event.fact not in _QUIET and "step" not in event.fields:
                shown.append(line)
            if event.fact in {"approved", "aliased", "refused", "signed"}:
                marks.append(event)
    return _Collected([*shown], many - len(shown), marks)


def _statuses(session: Session, record: Record, marks: Iterable[Event], approvals: Judge) -> facts.Statuses:
    """Return what the approvals are worth, as `registry.approvals` shows it."""
    found: dict[tuple[str | None, int, str], tuple[str, str]] = {}
    for digest in dict.fromkeys(event.digest for event in marks if event.fact == "approved" and event.digest in record.items):
        item = record.items[str(digest)]
        for ref in dict.fromkeys((item.ref, item.digest)):
            with suppress(NotFoundError):  # of what was removed, an approval is only claimed
                found |= {(item.digest, one.entry, one.actor): (one.name, one.status) for one in approvals(session, ref)}
                break
    return found


def _story(
    record: Record, folders: Mapping[str, str], collected: _Collected, statuses: facts.Statuses, *, head: str, time: str
) -> Story:
    refs = {digest: item.ref for digest, item in record.items.items()}
    main = record.items.get(record.start)
    return Story(
        facts=collected.shown,
        left_out=collected.left_out,
        approvals=facts.approvals(collected.marks, refs, statuses),
        verdicts=facts.verdicts(collected.marks),
        moves=facts.moves(collected.marks, () if main is None else {one.name for one in main.namings}),
        signatures=facts.signatures(collected.marks, refs, folders),
        head=head,
        time=time,
    )


def _texts(
    session: Session,
    record: Record,
    graph: Graph,
    folders: Mapping[str, str],
    story: Story,
    *,
    license: str | None,  # noqa: A002 - the standard's word
    bundle: bool,
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that describe the dossier."""
    describe_environments(session, graph)
    picture = Drawing(graph, record.start, up=None if record.start not in record.items else True).svg()
    seq, _, entry = story.head.partition(":")
    anchor = {"store": record.store, "url": record.url, "seq": int(seq), "entry": entry, "time": story.time, "text": story.head}
    others = [name for name, _ in _environments(record.runs, folders)]
    others += [f"listings/{folder.partition('/')[2]}.txt" for folder in folders.values()]
    notes = [*_NOTES, *(ro_crate.FileNote(name, "text/plain", "") for name in others)]
    signed = {str(one["file"]): canonical_json(one["bundle"]) for one in story.signatures if one["file"] is not None}
    notes += [ro_crate.FileNote(name, "application/json", "A signature of files: OpenSSF Model Signing.") for name in signed]
    yield from signed.items()
    if bundle:
        notes.append(ro_crate.FileNote(_BUNDLE, "application/zip", "The whole store, for the program artifactstore."))
    yield "README.txt", readme(record, head=story.head, time=story.time, bundle=bundle).encode()
    yield "anchor.json", as_text(anchor).encode()
    yield "approvals.json", as_text([*story.approvals], lines=False).encode()
    try:
        yield "bom.cdx.json", as_text(ml_bom.document(record)).encode()
    except InvalidInputError:  # a run that made nothing
        notes = [one for one in notes if one.name != "bom.cdx.json"]
    yield "lineage.svg", picture.encode()
    yield ro_crate.METADATA, as_text(ro_crate.metadata(record, folders, notes, license=license)).encode()
    yield ro_crate.PREVIEW, page(record, folders, story, picture).encode()
    yield "verdicts.json", as_text([*story.verdicts], lines=False).encode()
