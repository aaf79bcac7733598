"""Verify: does everything that the journal refers to exist, and does it match the journal?

Checks the bytes as stored, not derived data; damage is listed, never raised.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.times import ClockCheck
from artifactstore.content.manifests.manifest import Manifest, is_large, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.errors import ArtifactStoreError, InvalidInputError, NotFoundError
from artifactstore.journal.chain import entry_key, join
from artifactstore.journal.fetch import fetch_run, last_listed, read_or_none
from artifactstore.journal.heads import format_head
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import read_replica_status
from artifactstore.journal.segments import list_segments, segment_fault
from artifactstore.journal.snapshots import Snapshot
from artifactstore.maintenance.deltas import delta_fault
from artifactstore.maintenance.snapshot import fault_of, list_published, open_snapshot
from artifactstore.maintenance.verify.anchors import read_anchors
from artifactstore.maintenance.verify.frames import check_frames
from artifactstore.maintenance.verify.history import History, Judge
from artifactstore.maintenance.verify.packs import check_files, check_packs, reraise_if_unreachable
from artifactstore.maintenance.verify.report import Finding, Report
from artifactstore.maintenance.verify.resume import NOTHING, Resume
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY, parse_config
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    from artifactstore.model.schema import Txn

__all__ = ["LEVELS", "verify"]

LEVELS: Final = ("quick", "frames", "full")
_PASSES: Final = 5  # over what other processes moved meanwhile


def verify(
    journal: Journal,
    *,
    digest: str | None = None,
    level: str = "quick",
    fraction: Any = 1.0,
    anchor: Any = None,
    keys: Any = None,
    judge: Judge | None = None,
    watch: Callable[..., Callable[..., None]] = lambda *_: lambda *_: None,
    record: Path | None = None,
) -> Report:
    """Check a store, or one artifact of it.

    Args:
        journal: the store's.
        digest: only this artifact and the journal; by default all artifacts with a manifest.
        level: `quick` reads the journal, every manifest and the list of packs; `frames` also every pack, against its
            checksums; `full` also decodes every chunk and checks every file against its digest.
        fraction: share of the packs or artifacts that `frames` and `full` read, chosen at random.
        anchor: `<entry>:<digest>` recorded earlier: that entry must still have that digest. Or the path of a file of such lines, or of
            an anchor file; or a list of these.
        keys: whose signatures count, of anchor files.
        judge: finds what has effect and breaks a rule; called as `history.History.see`.
        watch: called with an operation and its bytes and files in all; returns what is called with those done.
        record: a file of this machine's cache: a run of `frames` that is interrupted notes there what it has read.

    Raises:
        InvalidInputError: an invalid level, fraction or anchor.
        BackendError: the backend cannot be reached.
    """
    if level not in LEVELS:
        raise InvalidInputError(f"level= must be one of {', '.join(LEVELS)}, got {level!r}")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise InvalidInputError(f"fraction= must be above 0 and at most 1, got {fraction!r}")
    report = Report(level)
    recorded: dict[str, str] = {}
    anchors = read_anchors(anchor, journal.config.store, keys, report)
    if (known := journal.known.noted()) is not None:
        anchors.setdefault(known[0], {})[known[1]] = "the cache of this machine"
    state = _check_journal(journal, report, anchors, recorded, judge)
    _check_standing(journal, state, report)
    sampled = digest is not None or fraction < 1
    resume = Resume(record, {"level": level, "fraction": fraction, "digest": digest}) if level == "frames" else NOTHING
    content = _Content(journal, report, recorded, level, fraction, watch=watch, sampled=sampled, resume=resume)
    content.check(state, [*state.holders] if digest is None else [digest])
    if level == "full":
        _check_segments(journal, state, report)
    if level == "quick":
        report.not_checked.append("the bytes in packs: level='frames' checks their checksums, level='full' every digest")
    if fraction < 1:
        report.not_checked.append(f"{1 - fraction:.0%} of the content, chosen at random")
    if digest is not None:
        report.not_checked.append("all other artifacts")
    report.name_versions(lambda one: _refs(state, one))
    return report


class _Content:
    """Checks what is stored, also while other processes move and free it.

    Args:
        journal: the store's.
        report: receives the faults.
        recorded: the entry that recorded each artifact and each manifest.
        level: as for `verify`.
        fraction: likewise.
        watch: likewise.
        sampled: whether only some artifacts are checked.
        resume: what an interrupted run has read.
    """

    def __init__(
        self,
        journal: Journal,
        report: Report,
        recorded: dict[str, str],
        level: str,
        fraction: float,
        *,
        watch: Callable[..., Callable[..., None]],
        sampled: bool,
        resume: Resume = NOTHING,
    ) -> None:
        self._journal = journal
        self._report = report
        self._recorded = recorded
        self._level = level
        self._fraction = fraction
        self._watch = watch
        self._sampled = sampled
        self._resume = resume

    def check(self, state: State, wanted: Sequence[str]) -> None:
        """Check artifacts; again those that were removed or moved elsewhere meanwhile, whose bytes may have vanished for that."""
        for _ in range(_PASSES):
            before = {one: tuple(state.holders.get(one, ())) for one in wanted}
            self._check(state, wanted)
            state = self._latest(state)
            moved = {one for one, holders in before.items() if holders != tuple(state.holders.get(one, ()))}
            if not moved:
                return
            self._report.findings = [
                one for one in self._report.findings if one.rule != "content" or not moved.intersection(one.artifacts)
            ]
            wanted, self._sampled = sorted(moved), True
        self._report.not_checked.append(f"{len(wanted)} artifacts that were moved again and again while this ran")

    def _latest(self, state: State) -> State:
        """Return the state at the head; the given one if the journal cannot be read any more, which is a finding already."""
        try:
            if read_or_none(self._journal.backend, entry_key(state.head + 1)) is None:
                return state  # its own fold may be far behind
            self._journal.catch_up()
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            return state
        latest: State = self._journal.fold
        return latest

    def _check(self, state: State, wanted: Sequence[str]) -> None:
        report, backend = self._report, self._journal.backend
        manifests = _check_manifests(self._journal, state, report, wanted, self._recorded)
        packs, lacking = check_packs(backend, manifests, report)
        for one in lacking:
            if report.unfinished:
                del manifests[one]
        if self._level == "frames":
            resume, self._resume = self._resume, NOTHING
            check_frames(
                backend, manifests, report, self._recorded, fraction=self._fraction, watch=self._watch, packs=packs, resume=resume
            )
        elif self._level == "full":
            check_files(self._journal, manifests, report, self._fraction, self._watch)
            which = "none" if self._sampled else "unused"  # else others' frames would count as unused
            check_frames(backend, manifests, report, self._recorded, fraction=self._fraction, frames=which)


def _check_journal(
    journal: Journal,
    report: Report,
    anchors: Mapping[int, Mapping[str, str]],
    recorded: dict[str, str],
    judge: Judge | None,
) -> State:
    """Read every entry as stored (never a segment), check the chain, judge every transaction.

    `recorded` gets the recording entry of each manifest, and of the facts about each digest.
    """
    config = journal.config
    state = State(config.store)
    try:
        raw = journal.backend.read(CONFIG_KEY)
        if raw != config.raw:
            report.damage(f"{CONFIG_KEY} has changed since this store was opened", CONFIG_KEY, rule="chain")
        parse_config(raw, CONFIG_KEY)
    except ArtifactStoreError as error:
        reraise_if_unreachable(error)
        report.damage(str(error), CONFIG_KEY, rule="chain")
    previous = Digest.of(config.raw, config.digest)
    seq = 0
    history = History(state, report, judge)
    ahead = ClockCheck(journal.backend.storage_time() or datetime.now(UTC))
    snapshots = list_published(journal.backend)
    wrong: list[tuple[Snapshot, str]] = []
    try:
        for seq, raw in enumerate(fetch_run(journal.backend, 1, last_listed(journal.backend, 1)), 1):
            entry = journal.complete(join(raw, seq, previous))
            previous = Digest.of(raw, config.digest)
            outcomes = history.apply(entry)
            ahead.check(entry, state.header)
            report.count("entries")
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                report.count("transactions")
                report.note_fields(txn, entry_key(seq))
                if void is None:
                    _note(txn, seq, recorded)
            for snapshot in (one for one in snapshots if one.seq == seq and one.since is None):
                report.count("snapshots")
                wrong += [(snapshot, fault) for fault in [fault_of(journal, snapshot, state, str(previous))] if fault]
            for noted, where in anchors.get(seq, {}).items():
                if noted != str(previous):
                    what = f"the journal has {format_head(seq, previous)}, {where} has {format_head(seq, noted)}: history was changed"
                    report.damage(what, entry_key(seq), rule="anchor")
    except ArtifactStoreError as error:
        reraise_if_unreachable(error)
        report.damage(str(error), getattr(error, "location", "") or entry_key(seq + 1), rule="chain")
    if state.head == seq and (obstacle := journal.backend.obstacle(key := entry_key(seq + 1))):
        report.damage(f"nothing can be appended as {key}: {obstacle}, with `artifactstore repair`", key, rule="chain")
    report.findings += (Finding("note", what, entry_key(one), rule="clock") for one, what in ahead.found())
    history.finish()
    wrong += _faulty_deltas(journal, snapshots, state, report)
    for snapshot, fault in wrong:
        text = f"the snapshot of entry {snapshot.seq} {fault}: delete it, it is only derived"
        if state.vouches(snapshot.digest, snapshot.seq):
            report.damage(
                f"{text}, and find out which writer recorded it in entry {snapshot.entry}", snapshot.key, rule="derived"
            )
        else:
            report.note(f"{text}; no reader uses it, since no fact vouches for it", snapshot.key, rule="derived")
    report.head = format_head(state.head, previous)
    for seq in sorted(one for one in anchors if one > state.head):
        for noted, where in anchors[seq].items():
            what = f"{where} names {format_head(seq, noted)}, the journal ends with {report.head}: entries are missing"
            report.damage(what, entry_key(state.head + 1), rule="anchor")
    return state


def _faulty_deltas(
    journal: Journal, snapshots: Iterable[Snapshot], state: State, report: Report
) -> Iterator[tuple[Snapshot, str]]:
    """Derive each delta again that the journal vouches for, those that others are on first; yield those that differ."""
    for one in snapshots:
        if one.since is not None and not state.vouches(one.digest, one.seq):
            report.count("snapshots")
            yield one, "is not what a fact vouches for"
    deltas = (one for one in reversed(list_published(journal.backend, state)) if one.since is not None)
    for one in deltas:
        report.count("snapshots")
        fault = delta_fault(journal, one, partial(open_snapshot, journal.backend, journal.config.digest))
        if fault is not None:
            yield one, fault


def _refs(state: State, digest: str) -> list[str]:
    """Return the versions of an artifact that were not removed."""
    rows = state.versions_by_digest.get(digest, ())
    return [f"{name}:v{number}" for name, number, _ in rows if "removed" not in state.names[name][number - 1]]


def _note(txn: "Txn", seq: int, recorded: dict[str, str]) -> None:
    for fact in txn["facts"]:
        if fact["fact"] in {"stored", "relocated"}:
            by = f" recorded in entry {seq} by {txn['actor']}"
            recorded[fact["manifest"] if fact["fact"] == "stored" else fact["to"]] = by
            if fact["fact"] == "stored":
                recorded[f"stored {fact['digest']}"] = by


def _check_standing(journal: Journal, state: State, report: Report) -> None:
    try:
        status = read_replica_status(journal.backend, journal.config.store)
    except ArtifactStoreError as error:
        reraise_if_unreachable(error)
        report.damage(str(error), getattr(error, "location", "") or "replica/", rule="copy")
        return
    if status.target is not None and not status.reached(state.head):
        report.unfinished = True
        report.not_checked.append(f"entries after {state.head}: this is an unfinished copy up to entry {status.target[0]}")


def _check_manifests(
    journal: Journal, state: State, report: Report, artifacts: Sequence[str], recorded: dict[str, str]
) -> dict[str, Manifest]:
    """Read every manifest that holds an artifact; return digest → the manifest that a get uses.

    Args:
        journal: the store's.
        state: its fold.
        report: receives the faults.
        artifacts: digests; one without a manifest is left out.
        recorded: manifest id → the entry that recorded it; receives the same for each digest.
    """
    wanted = [(one, holder) for one in artifacts for holder in reversed(state.holders.get(one, ()))]

    def check(item: tuple[str, str]) -> tuple[Manifest | None, str]:
        one, holder = item
        key = manifest_key(holder)
        try:
            fact = state.stored.get(one, {})
            large = is_large(int(fact.get("files", 0)), int(fact.get("size", 0)))
            raw = (journal.backend.read_large if large else journal.backend.read)(key)
            expected = state.manifests[holder][1]
            if str(Digest.of(raw, journal.config.digest)) != expected:
                return None, f"{key} does not match its digest in the journal: it was changed or truncated"
            manifest = decode(raw, key, algorithm=journal.config.digest)
        except NotFoundError:
            return None, ""
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            return None, str(error)
        if manifest.digest != one:
            return None, f"{key} was recorded as the manifest of {one}, but is that of {manifest.digest}: no get uses it"
        return manifest, ""

    found: dict[str, Manifest] = {}
    with Pool(max(1, min(8, journal.backend.concurrency))) as pool:
        checked = map(check, wanted) if journal.backend.concurrency < 2 else pool.map(check, wanted)
        for (one, holder), (manifest, fault) in zip(wanted, checked, strict=True):
            report.count("manifests")
            key, by = manifest_key(holder), recorded.get(holder, "")
            if manifest is None and one in found:
                what = f"{key} {'is missing' if not fault else 'is damaged'}; it was{by or ' recorded here'}, and a newer one is used instead"
                report.note(what, key, [one], rule="content")
            elif manifest is None and not fault:
                report.missing(key, [one], by, obstacle=journal.backend.obstacle(key))
            elif manifest is None:
                report.damage(f"{fault}; it was{by or ' recorded here'}; restore it from a copy of the store", key, [one])
            elif one not in found:
                report.count("artifacts")
                found[one] = manifest
                _check_fact(one, manifest, state, report, recorded)
                if set(manifest.packs) - set(state.manifests[holder][2]):
                    report.damage(f"the manifest of {one},{by}, uses packs that its fact does not list", key, [one])
                if manifest.clash is not None:
                    _note_clash(one, manifest.clash, report, key)
                recorded[one] = by
    return found


def _note_clash(digest: str, clash: tuple[str, str], report: Report, key: str) -> None:
    first, second = clash
    what = f"it has {first!r} twice" if first == second else f"{second!r} is inside {first!r}, which is not a folder"
    report.damage(
        f"the artifact {digest} cannot be restored as a whole: {what}; read its files one by one, put them again under other names, "
        "and remove this version",
        key,
        [digest],
    )


def _check_fact(digest: str, manifest: Manifest, state: State, report: Report, recorded: Mapping[str, str]) -> None:
    """Compare the journal's facts about an artifact with the artifact."""
    content = str(manifest.identify()[0])
    true = {"size": manifest.size, "files": len(manifest.paths), "content": content, "format": manifest.format}
    expected = {"content": digest, "format": None, **state.stored.get(digest, {})}
    for name, value in true.items():
        if expected.get(name) != value:
            text = f"the journal has {name}={expected.get(name)!r} for {digest}, its manifest {value!r}"
            report.damage(f"{text}; the former was{recorded.get(f'stored {digest}', ' recorded here')}", digest, [digest])


def _check_segments(journal: Journal, state: State, report: Report) -> None:
    """Compare segments with the journal: this version never relies on unchecked segments, but other readers may use their columns."""
    try:
        found = list_segments(journal.backend)
    except ArtifactStoreError as error:
        reraise_if_unreachable(error)
        report.damage(f"segments/ cannot be listed: {error}", "segments/", rule="derived")
        return
    for segment in found:
        report.count("segments")
        try:
            last = None if segment.last > state.head else journal.backend.read(entry_key(segment.last))
            fault = segment_fault(journal.backend.read(segment.key), segment, last)
        except NotFoundError:
            continue  # merged meanwhile, or a missing entry that was reported
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            fault = f"cannot be read: {error}"
        if fault is not None:
            report.damage(f"the segment {segment.key} {fault}: delete it, it is only derived", segment.key, rule="derived")
