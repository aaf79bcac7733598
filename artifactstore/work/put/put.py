"""Put: stores a source on disk or in memory under a name."""

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Unpack

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import Version
from artifactstore.content.manifests.compact_lists import Digests, OptionalDigests, Texts
from artifactstore.content.manifests.listing_lines import plain_lines
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import FalseChunksError, check_reused
from artifactstore.content.side_content import store_side
from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.ingested import Ingested
from artifactstore.content.write.memory_source import definitely_new, digest_in_memory, hash_first
from artifactstore.content.write.read_ahead import first_false_file
from artifactstore.content.write.source import Source
from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Fact
from artifactstore.model.listing import Extra, identify_lines, plain_line
from artifactstore.objects.trust import record_own
from artifactstore.runtime.remarks import remark
from artifactstore.work.get.artifact import Artifact, of_committed
from artifactstore.work.put.arguments import (
    Description,
    PutOptions,
    PutRequest,
    check_options,
    checked_request,
    facts_of,
    take_onto,
)
from artifactstore.work.put.copy import copy
from artifactstore.work.put.filters import hint_secret
from artifactstore.work.put.known_content import candidates, distrust, fresh_hooks, known_chunks, proves, store_manifest
from artifactstore.work.put.parts import Parts
from artifactstore.work.put.resume import Uploads
from artifactstore.work.put.sources import PutSource, find, find_onto, found_object, is_object
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.origins import remember
from artifactstore.work.session.prepared import Prepared, Staged, Step
from artifactstore.work.session.refused import recorded_refusals
from artifactstore.work.session.session import Session
from artifactstore.work.session.write_guard import refuse_if_moved
from artifactstore.work.tracking.current_run import current, is_in_run
from artifactstore.work.workers.crew import check_executor

if TYPE_CHECKING:
    from artifactstore.work.put.distribute import Distributed
    from artifactstore.work.session.manifests import Proves

__all__ = ["PutSource", "found_object", "listed", "prepare", "put", "put_listed"]


def put(
    session: Session, source: Any, name: str | None = None, *, options: PutOptions | None = None, **described: Unpack[Description]
) -> Artifact:
    """Store `source` and record it; see `Store.put`. In a run, an object whose put fails is kept on this machine."""
    try:
        return _put(session, source, name, options=options, **described)
    except Exception as error:
        if (
            source is not None
            and is_object(source, options or {})
            and not isinstance(source, Artifact | Version | Parts)
            and is_in_run(session)
        ):
            from artifactstore.work.put.keep import keep  # noqa: PLC0415 - only for a put that has failed

            keep(source, {"name": name, **described}, options or {}, error, stored=_put)
        raise


def _put(
    session: Session, source: Any, name: str | None, *, options: PutOptions | None, **described: Unpack[Description]
) -> Artifact:
    session.check_writable()
    left: dict[str, Any] = dict(options or {})
    executor = check_executor(left.pop("executor", None))
    request = checked_request(source, name, options=left, **described)
    given = take_onto(left)
    kind, reason = described.get("kind"), described.get("reason")
    if isinstance(source, Artifact | Version):
        if left:
            raise InvalidInputError(f"{', '.join(sorted(left))} cannot be used: {source.ref} is copied as it is")
        return copy(session, source, request, kind, reason)
    found = listed(session, source, request, left, given)
    if found.onto is not None:
        request = found.onto.request(request, kind)
    if executor is not None and found.parts is not None:
        raise InvalidInputError("executor= cannot be used: the content is stored already")
    found.executor = executor
    made = put_listed(session, found, request, reason)
    if found.root and found.onto is None:
        chosen = check_options(left, is_object=False)
        remember(session, found.root, made, how="put", exclude=chosen.get("exclude", ()), links=chosen.get("links", "keep"))
    if found.profiling is not None and (lacking := found.profiling.lacking(made)) is not None:
        remark(lacking)
    if kind is not None and made.kind != kind:
        remark(f"{made.ref} stays of the kind {made.kind!r}: the same content is there already")
    return made


def listed(
    session: Session, source: Any, request: PutRequest, options: Mapping[str, Any], onto: dict[str, Any] | None = None
) -> PutSource:
    """List the source of a put, with what its options ask for; `onto` is what `take_onto` has taken out of them.

    Raises:
        InvalidInputError: it does not exist, cannot be stored, or an option does not apply to it.
    """
    an_object = onto is None and is_object(source, options) and not isinstance(source, Parts)
    chosen = check_options(options, is_object=an_object)
    found = find(session, source, chosen, request) if onto is None else find_onto(session, source, chosen, request, onto)
    found.verify, found.sha256 = chosen.get("verify", False), chosen.get("sha256", False)
    if isinstance(source, str) and "://" in source and "?" not in source and not found.root:
        found.url = source, chosen.get("source_options", {})
    if not an_object and chosen.get("profile", False):
        from artifactstore.work.put.profiling import Profiling  # noqa: PLC0415 - profiling, which few puts of files need

        found.profiling = Profiling(found.folder.files, full=chosen["profile"] == "full", single=found.single)
    return found


def put_listed(session: Session, found: PutSource, request: PutRequest, reason: str | None, *, own: bool = True) -> Artifact:
    """Store a source that is listed already, and record it; `own`: it was made in this process, which then trusts it."""
    outcome: list[bool] = []
    tracker = current(session)
    steps = tracker.take_pending() if tracker is not None else []

    def store(core: Core) -> Prepared:
        prepared = prepare(session, core, found, request)
        if own and found.format is not None:
            record_own(prepared.digest)
        outcome.append(bool(prepared.facts))
        return prepared

    batch = session.batch()
    step = Step(store, reason=reason if batch is not None else None)
    steps.append(step if tracker is None else tracker.with_edges(step, request.name))
    if batch is not None:
        prepared = [batch.add(one) for one in steps][-1]
        made = _uncommitted(session, prepared, request, found, new=outcome[-1])
    else:
        try:
            with recorded_refusals(session, reason=reason):
                prepared = commit(session, *steps, reason=reason)[-1]
        finally:
            if found.onto is not None:
                found.onto.end()
        made = of_committed(
            session, prepared.digest, request.name, new=outcome[-1], uploaded=prepared.uploaded, content=prepared.content
        )
    for mark in found.kept.marks if found.kept is not None else ():
        session.core().checked.add("mark", mark, prepared.digest)
    return made


# -- storing


def prepare(session: Session, core: Core, found: PutSource, request: PutRequest) -> Prepared:
    """Upload missing content; return the facts to append."""
    with session.state() as state:
        refuse_if_moved(session.url, state)
        alive_at = state.head
        wanted = candidates(state, request.name)
        if found.onto is not None:
            alive_at = found.onto.begin(state)
        elif found.parts is not None:
            alive_at = found.parts.begin(state)
        elif found.hint and not found.may_be_empty and not found.folder.files and not found.folder.links:
            _refuse_emptied(state, request)
    folder = found.folder
    stats = core.stats if not found.rehash else None
    if found.digests is not None:
        known_digests: Sequence[bytes | None] = found.digests
    elif stats is not None and found.root:
        known_digests = stats.lookup(found.root, folder.files)
    else:
        known_digests = _memory_digests(session, core, folder.files)
    if found.hint and not found.single:
        found.hint = False
        hint_secret(path for path, digest in zip(folder.paths, known_digests, strict=True) if digest is None)
    if found.likely_known:
        known_digests = hash_first(folder.files, known_digests, core.algorithm)
    if found.onto is None and found.parts is None and folder.files and all(digest is not None for digest in known_digests):
        content, digest = map(str, _identity(found, known_digests, core.algorithm))
        held = session.holds(digest, read=found.verify, proves=partial(first_false_file, folder.files))
        if held and not _lacks_sha256(session, found, digest):
            with session.state(fresh=False) as state:
                facts = facts_of(state, request, digest, [], single=found.single)
            return Prepared(facts, alive_at, digest, content=content)
    if found.base is not None:
        wanted.insert(0, session.resolve(found.base).digest)
    shared: Sequence[Manifest] = ()
    if found.onto is not None:
        shared = found.onto.known()
        wanted = list(dict.fromkeys([*filter(None, [found.onto.digest]), *wanted]))
    distrusted: set[str] = set()
    while True:
        try:
            return _store(session, core, found, request, (wanted, known_digests, alive_at, distrusted), shared=shared)
        except FalseChunksError as error:
            distrust(session, distrusted, error)


def _store(
    session: Session,
    core: Core,
    found: PutSource,
    request: PutRequest,
    known_before: tuple[Sequence[str], Sequence[bytes | None], int, Collection[str]],
    *,
    shared: Sequence[Manifest],
) -> Prepared:
    """Upload missing content, relying on the likeliest manifests except shunned ones.

    Raises:
        FalseChunksError: one of those manifests is false.
    """
    wanted, known_digests, alive_at, distrusted = known_before
    folder = found.folder
    total = folder.size
    known = known_chunks(session, wanted, total, without=distrusted)
    earlier = known.manifests
    for manifest in shared:
        known.add(manifest)
    uploads = Uploads(session)
    if "" not in distrusted:
        known.add(uploads.known)
    started = time.time_ns()
    sha256 = (request.kind == "model" or found.sha256) and core.algorithm != "sha256"
    reads = sha256 and found.digests is None  # a stream's was computed while it was stored
    others: Distributed | Parts | None = found.parts
    if found.executor is not None:
        from artifactstore.work.put.distribute import distribute  # noqa: PLC0415 - only for a put by several workers

        others = distribute(session, found.executor, folder, known_digests, known, sha256=sha256, url=found.url)
        known_digests = others.digests
        sha256 = sha256 and len(others.sha256) < len(folder.files)
        reads = reads and sha256
    for one in others.manifests if others is not None else ():
        known.add(one)
    made_by = ingest(
        session.backend,
        folder,
        algorithm=core.algorithm,
        chunkers=core.config.chunkers,
        known=known,
        digests=known_digests,
        series=earlier,
        sha256=reads,
        ledger=uploads.ledger,
        footers=core.footers,
        progress=session.watch("put", total),
    )
    with uploads, made_by as done:
        own, hashed = done.packs, done.hashed
        if others is not None:
            own, hashed, done.sha256 = {*own, *others.packs}, chain(hashed, others.hashed), done.sha256 or others.sha256
            for one in others.manifests:
                done.manifest.deltas |= one.deltas
        check_reused(done.manifest, own, known, core.footers, read=found.verify)
        noting = threading.Thread(target=core.stats.store, args=(hashed,), kwargs={"hashed_at": started})
        noting.start()
        laid = 0 if found.onto is None else found.onto.lay(done, sha256=sha256)
        identified, staged, stored, size = _finish_manifest(session, found, done)
        content, made = map(str, identified)
    noting.join()
    with session.state(fresh=False) as state:
        facts = facts_of(state, request, made, stored, single=found.single)
    if found.onto is not None:
        facts = found.onto.facts(facts)
    uploaded = done.uploaded + laid + size + (0 if others is None else others.uploaded)
    return Prepared(facts, alive_at, made, staged, uploaded, uploads, content)


def _refuse_emptied(state: State, request: PutRequest) -> None:
    """Refuse a folder without files if the newest version has some: an unmounted disk looks like that.

    Raises:
        InvalidInputError: names the version.
    """
    rows = state.names.get(request.name, []) if request.name is not None else []
    held = [(number, row) for number, row in enumerate(rows, 1) if "removed" not in row]
    if held and (files := int(state.stored.get(held[-1][1]["digest"], {}).get("files", 0))):
        raise InvalidInputError(
            f"the source has no files, but {request.name}:v{held[-1][0]} has {files}: check that it is mounted and that exclude= does "
            "not leave out everything; pass allow_empty=True to store it as it is"
        )


def _finish_manifest(
    session: Session, found: PutSource, done: Ingested
) -> tuple[tuple[Digest, Digest], Staged | None, list[Fact], int]:
    """Write the manifest and side content, if the content is new; its last packs may still be uploading.

    Returns:
        The digests of the listing and of the artifact, the manifest if it was written, the facts to record, and the bytes written.
    """
    manifest = done.manifest
    manifest.modes, manifest.format = found.modes or manifest.modes, found.format
    content, identity = identified = manifest.identify()
    digest = str(identity)
    batch = session.batch()
    staged = batch is not None and digest in batch.staged and not _lacks_sha256(session, found, digest)
    if staged or _holds(session, found, done, digest):
        return identified, None, [], 0
    side_bytes = store_side(session.backend, manifest, _side_content(found, done))
    fact, size = store_manifest(session, manifest, content, identity)
    return identified, Staged(manifest), [fact], side_bytes + size


def _holds(session: Session, found: PutSource, done: Ingested, digest: str) -> bool:
    shown: Proves = partial(first_false_file, done.files, own=done.manifest)
    if found.onto is not None:
        shown = found.onto.proves
    elif found.parts is not None:
        shown = partial(proves, session, done.manifest)
    held = session.holds(digest, read=found.verify, proves=shown)
    return held and not _lacks_sha256(session, found, digest)


def _lacks_sha256(session: Session, found: PutSource, digest: str) -> bool:
    """Return whether stored content lacks the SHA-256 digests that were asked for: then it gets a manifest that has them."""
    if not found.sha256 or digest.startswith("sha256:"):
        return False
    return session.with_manifest(digest, lambda manifest: bool(len(manifest.paths)) and "sha256" not in manifest.side)


def _memory_digests(session: Session, core: Core, files: Sequence[Source]) -> list[bytes | None]:
    """Hash what is in memory at once: content that another name has must not be uploaded again.

    Writing to a folder is cheap, so content that is unlikely to be known there is hashed only as it is written.
    """
    hooks = None if session.backend.is_remote else fresh_hooks(session)
    return [
        None
        if hooks is not None and definitely_new(one, core.config.chunkers, core.algorithm, hooks)
        else digest_in_memory(one, core.algorithm)
        for one in files
    ]


def _side_content(found: PutSource, done: Ingested) -> Iterator[tuple[str, bytes]]:
    """Yield the side content."""
    if found.kept is not None:
        for make in found.kept.late:
            make()
        yield from found.kept.side.items()
    if done.sha256:
        yield "sha256", "".join(plain_line(done.sha256[path].hex(), path) for path in done.manifest.paths).encode()
    if found.profiling is not None:
        yield from found.profiling.look()


def _identity(found: PutSource, digests: Sequence[bytes | None], algorithm: str) -> tuple[Digest, Digest]:
    """Compute the digests of the listing and of the artifact from files whose digests are all known."""
    folder = found.folder
    executables = [one.path for one in folder.files if one.executable] if found.modes else ()
    extra = Extra(folder.folders, folder.links, executables, found.format)
    paths = folder.paths if isinstance(folder.paths, Texts) else Texts(folder.paths)
    known = digests.digests if isinstance(digests, OptionalDigests) else Digests(one for one in digests if one is not None)
    return identify_lines(plain_lines(paths, known), extra, algorithm)


# -- results


def _uncommitted(session: Session, prepared: Prepared, request: PutRequest, found: PutSource, *, new: bool) -> Artifact:
    if prepared.staged is not None:
        size, files = prepared.staged.manifest.size, len(prepared.staged.manifest.paths)
    else:
        size, files = found.folder.size, len(found.folder.files)
    record = Version(
        name=request.name,
        version=None,
        digest=prepared.digest,
        kind=request.kind,
        size=size,
        files=files,
        time=datetime.now(UTC),
        actor=session.core().appender.author.actor,
        metadata=request.metadata or {},
        metrics=request.metrics,
        file=found.single,
    )
    return Artifact(session, record, new=new, uploaded=prepared.uploaded)
