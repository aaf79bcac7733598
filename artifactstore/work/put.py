"""Putting: something on disk or in memory becomes content, and the content gets a name."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.state import State
from artifactstore.catalog.versions import Resolved, Version
from artifactstore.content.ingest import Ingested, ingest
from artifactstore.content.memory import memory_digest, surely_new
from artifactstore.content.side import store_side
from artifactstore.content.source import Folder, Source, check_folder, from_far, from_file, scan
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Fact
from artifactstore.model.listing import Extra, case_clashes, check_tree, identify, plain_line
from artifactstore.model.loading import LOADING
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.choice import write_object
from artifactstore.objects.trust import note_own
from artifactstore.work.artifact import Artifact, of_resolved
from artifactstore.work.commit import Prepared, Staged, commit, with_reason
from artifactstore.work.place import local_path, matches
from artifactstore.work.said import PutOptions, Said, check_options, check_said
from artifactstore.work.session import Core, Session
from artifactstore.work.standing import check_moved
from artifactstore.work.storing import candidates, fresh_hooks, known_chunks, store_manifest
from artifactstore.work.tracking import current
from artifactstore.work.uploads import Uploads

if TYPE_CHECKING:
    from artifactstore.work.profiling import Profiling

__all__ = ["Found", "found_object", "prepare", "put"]

_HINTED: Final = (".git", "__pycache__", ".ipynb_checkpoints")


@dataclass(slots=True)
class Found:
    """What is to be stored."""

    folder: Folder
    single: bool = False
    modes: bool = False
    format: str | None = None
    root: str = ""
    rehash: bool = False
    base: str | None = None
    clashes: list[tuple[str, str]] = field(default_factory=list)
    kept: WriteFolder | None = None
    profiling: "Profiling | None" = None


def put(
    session: Session,
    source: Any,
    name: str | None = None,
    *,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    reason: str | None = None,
    options: PutOptions | None = None,
) -> Artifact:
    """Store `source` and record it; see `Store.put`."""
    session.check_writable()
    is_object = _is_object(source, options or {})
    chosen = check_options(options or {}, is_object=is_object)
    said = check_said(source, name, kind=kind, metadata=metadata, metrics=metrics, reason=reason)
    found = _find(session, source, chosen, said)
    if not is_object and chosen.get("profile", False):
        from artifactstore.work.profiling import Profiling  # noqa: PLC0415 - what profiles, which few puts of files need

        found.profiling = Profiling(found.folder.files, full=chosen["profile"] == "full", single=found.single)
    outcome: list[bool] = []

    tracker = current(session)
    makers = tracker.take_makers() if tracker is not None else []

    def make(core: Core) -> Prepared:
        prepared = prepare(session, core, found, said)
        if found.format is not None:
            note_own(prepared.digest)
        outcome.append(bool(prepared.facts))
        return prepared if tracker is None else tracker.with_edges(prepared, name)

    batch = session.batch()
    if batch is not None:
        for maker in makers:
            batch.add(maker)
        prepared = batch.add(make if reason is None else lambda core: with_reason(make(core), reason))
        made = _uncommitted(session, prepared, said, found, new=outcome[-1])
    else:
        prepared = commit(session, lambda core: [*(maker(core) for maker in makers), make(core)], reason=reason)[-1]
        made = _committed(session, prepared, said, new=outcome[-1])
    if found.profiling is not None and (lacking := found.profiling.lacking(made)) is not None:
        warnings.warn(lacking, UserWarning, stacklevel=3)
    if kind is not None and made.kind != kind:
        warnings.warn(f"{made.ref} stays of the kind {made.kind!r}: the same content is there already", UserWarning, stacklevel=3)
    return made


def _is_object(source: Any, options: Mapping[str, Any]) -> bool:
    return "format" in options or not isinstance(source, str | os.PathLike)


def _find(session: Session, source: Any, options: PutOptions, said: Said) -> Found:
    if isinstance(source, str) and "://" in source and "format" not in options:
        return _far(source, options)
    if "source_options" in options:
        raise InvalidInputError("source_options= is for URLs; this is none")
    modes = options.get("modes", said.kind == "code")
    if _is_object(source, options):
        for option in ("exclude", "links", "modes", "rehash"):
            if option in options:
                raise InvalidInputError(f"{option}= is for files and folders; this is an object")
        return found_object(source, options)
    path = _path(source, said.name)
    found = Found(Folder(), modes=modes, root=str(path), rehash=options.get("rehash", False), base=options.get("base"))
    own = Path(session.url)
    if "://" not in session.url and (path == own.resolve() or own.resolve() in path.parents):
        raise InvalidInputError(f"{path} is the store itself, or a part of it: it can't be put into itself")
    if path.is_dir():
        found.folder = _scan(session, path, options)
        check_folder(found.folder)
        found.clashes = list(case_clashes(_all_paths(found.folder)))
        if found.clashes:
            first, second = found.clashes[0]
            text = f"{len(found.clashes)} names differ only by case ({first!r} and {second!r}): this can't be got back on Windows or macOS"
            warnings.warn(text, UserWarning, stacklevel=5)
    else:
        # The path as given, not what a link at the top leads to, names the file.
        found.folder.files.append(replace(from_file(str(path)), path=_base_name(source)))
        found.single = True
    return found


def found_object(source: Any, options: PutOptions) -> Found:
    """Write an object as files; large ones among them wait on disk for as long as the folder lives."""
    written = WriteFolder()
    own = {option: value for option, value in options.items() if option not in ("format", "base")}
    name = write_object(source, written, options.get("format"), own)
    files = sorted(written.sources, key=lambda one: one.path.encode())
    try:
        check_tree([one.path for one in files], (), ())
    except InvalidInputError as error:
        raise InvalidInputError(f"the format {name!r} wrote files that one artifact cannot hold: {error}") from error
    return Found(Folder(files=files), format=name, base=options.get("base"), kept=written)


def _far(url: str, options: PutOptions) -> Found:
    """Find what lies behind a URL: a folder or one file, which are read from there as they are stored."""
    from artifactstore.backend.origin import Origin  # noqa: PLC0415 - fsspec, which local files don't need

    for option in ("links", "modes", "rehash"):
        if option in options:
            raise InvalidInputError(f"{option}= is for files and folders of this machine; this is a URL")
    with LOADING:
        origin = Origin(url, options.get("source_options"))
    files, single = origin.files()
    excluded = _excluder(options)
    wanted = [
        from_far(one.path, one.url, one.size, one)
        for one in files
        # A listing of objects never stops at a folder: each one above decides, too.
        if not any(excluded(top) for top in accumulate(one.path.split("/"), "{}/{}".format))
    ]
    folder = Folder(files=wanted)
    check_folder(folder, lambda path: [one.place for one in files if one.path == path])
    return Found(folder, base=options.get("base"), single=single)


def _all_paths(folder: Folder) -> list[str]:
    return [one.path for one in folder.files] + [path for path, _ in folder.links] + folder.folders


def _base_name(source: str | os.PathLike[str]) -> str:
    return from_file(os.path.abspath(local_path(source, "source"))).path  # noqa: PTH100 - links must stay


def _path(source: Any, name: str | None) -> Path:
    path = local_path(source, "source")
    text = os.fspath(source)
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "to store the text itself, say format='text'"
        if name is not None and os.path.exists(name):  # noqa: PTH110 - any failure means no
            hint = f"the arguments look swapped: put({name!r}, {text[:200]!r})"
        raise InvalidInputError(f"no such path: {text[:200]!r}; {hint}") from error


def _excluder(options: PutOptions) -> Callable[[str], bool]:
    """Return what tells whether a file or folder is left out, by its path or by its name alone."""
    patterns = [pattern.rstrip("/") for pattern in options.get("exclude", ())]
    if not patterns:
        return lambda _: False
    return lambda path: any(matches(path, pattern) or matches(path.rpartition("/")[2], pattern) for pattern in patterns)


def _scan(session: Session, path: Path, options: PutOptions) -> Folder:
    excluded = _excluder(options)
    hinted: list[str] = []

    def keep(inner: str, is_folder: bool) -> bool:  # noqa: FBT001 - the scanner's interface
        if excluded(inner):
            return False
        if is_folder and not hinted and inner.rpartition("/")[2] in _HINTED:
            hinted.append(inner)
        return True

    refuse = b""
    if "://" not in session.url and os.path.isdir(session.url):  # noqa: PTH112
        st = os.stat(session.url)  # noqa: PTH116
        refuse = st.st_dev.to_bytes(8, "little") + st.st_ino.to_bytes(8, "little")
    folder = scan(str(path), keep=keep, links=options.get("links", "keep"), refuse=refuse)
    if hinted:
        text = f"{hinted[0]} goes in too; exclude=[{hinted[0].rpartition('/')[2]!r}] leaves it out"
        warnings.warn(text, UserWarning, stacklevel=6)
    return folder


# -- storing


def prepare(session: Session, core: Core, found: Found, said: Said) -> Prepared:
    """Store what is not there yet and say what has to be appended."""
    with session.reading() as state:
        check_moved(session.url, state)
        alive_at = state.head
        wanted = candidates(state, said.name)
    folder = found.folder
    stats = core.stats if not found.rehash else None
    if stats is not None and found.root:
        known_digests = stats.lookup(found.root, folder.files)
    else:
        known_digests = _memory_digests(session, core, folder.files)
    if folder.files and all(digest is not None for digest in known_digests):
        digest = _identity(found, [one for one in known_digests if one is not None], core.algorithm)
        with session.reading(fresh=False) as state:
            if state.alive(str(digest)):
                return Prepared(_facts(state, said, str(digest), found, []), alive_at, str(digest))
    if found.base is not None:
        wanted.insert(0, session.resolve(found.base).digest)
    known = known_chunks(session, wanted, sum(one.size for one in folder.files))
    earlier = known.manifests
    uploads = Uploads(session)
    known.add(uploads.known)
    started = time.time_ns()
    total = sum(one.size for one in folder.files)
    concluded: list[tuple[str, Staged | None, list[Fact], int]] = []
    noting: list[threading.Thread] = []

    def meanwhile(done: Ingested) -> None:
        noting.append(threading.Thread(target=core.stats.store, args=(done.hashed,), kwargs={"hashed_at": started}))
        noting[0].start()
        concluded.append(_conclude(session, found, done))

    with uploads:
        done = ingest(
            session.backend,
            folder,
            algorithm=core.algorithm,
            chunkers=core.config.chunkers,
            known=known,
            digests=known_digests,
            series=earlier,
            sha256=said.kind == "model" and core.algorithm != "sha256",
            ledger=uploads.ledger,
            progress=session.watch("put", total),
            meanwhile=meanwhile,
        )
    noting[0].join()
    ((made, staged, stored, size),) = concluded
    with session.reading(fresh=False) as state:
        facts = _facts(state, said, made, found, stored)
    return Prepared(facts, alive_at, made, staged, done.uploaded + size, lambda committed: uploads.ended(committed=committed))


def _conclude(session: Session, found: Found, done: Ingested) -> tuple[str, Staged | None, list[Fact], int]:
    """Write a manifest, and what is known beside the files, if the content is new; its last packs may be on their way.

    Returns:
        The artifact's digest, and of what was written the manifest, what its storing has to be told by, and bytes.
    """
    manifest = done.manifest
    manifest.modes, manifest.format = found.modes, found.format
    content, identity = manifest.identify()
    digest = str(identity)
    with session.reading(fresh=False) as state:
        alive = state.alive(digest)
    batch = session.batch()
    if alive or (batch is not None and digest in batch.staged):
        return digest, None, [], 0
    beside = store_side(session.backend, manifest, _beside(found, done))
    fact, size = store_manifest(session, manifest, content, identity)
    return digest, Staged(manifest), [fact], beside + size


def _memory_digests(session: Session, core: Core, files: Sequence[Source]) -> list[bytes | None]:
    """Hash what is in memory at once: content that some other name holds already must not be uploaded again.

    Writing to a folder costs little, so what can hardly be known there is hashed only as it is written.
    """
    hooks = None if session.backend.far else fresh_hooks(session)
    return [
        None
        if hooks is not None and surely_new(one, core.config.chunkers, core.algorithm, hooks)
        else memory_digest(one, core.algorithm)
        for one in files
    ]


def _beside(found: Found, done: Ingested) -> Iterator[tuple[str, bytes]]:
    """Yield what is known beside the files."""
    if found.kept is not None:
        yield from found.kept.side.items()
    if done.sha256:
        yield "sha256", "".join(plain_line(done.sha256[path].hex(), path) for path in done.manifest.paths).encode()
    if found.profiling is not None:
        yield from found.profiling.look()


def _identity(found: Found, digests: Sequence[bytes], algorithm: str) -> Digest:
    folder = found.folder
    executables = [one.path for one in folder.files if one.executable] if found.modes else ()
    extra = Extra(folder.folders, folder.links, executables, found.format)
    return identify(zip((one.path for one in folder.files), digests, strict=True), extra, algorithm)[1]


def _facts(state: State, said: Said, digest: str, found: Found, stored: list[Fact]) -> list[Fact]:
    """What has to be appended so that the store says what the caller said: nothing, if it says so already."""
    facts = list(stored)
    rows = state.names.get(said.name, []) if said.name is not None else []
    if said.name is not None:
        same = bool(rows) and rows[-1]["digest"] == digest and "removed" not in rows[-1]
        metadata = rows[-1].get("metadata", {}) if same else None
        subject: Fact = {"name": said.name, "version": len(rows)}
    else:
        same = digest in state.unnamed
        metadata = state.unnamed[digest].get("metadata", {}) if same else None
        subject = {"name": None, "digest": digest}
    if not same:
        fact: Fact = {"fact": "versioned", "name": said.name, "digest": digest, "kind": said.kind}
        if found.single:
            fact["file"] = True
        if said.metadata:
            fact["metadata"] = said.metadata
        facts.append(fact)
    elif said.metadata is not None and canonical_json(said.metadata) != canonical_json(metadata):  # True is not 1 here
        facts.append({"fact": "described", **subject, "metadata": said.metadata})
    measured = state.metrics.get(digest, {})
    fresh = {metric: value for metric, value in said.metrics.items() if measured.get(metric) != value}
    if fresh:
        facts.append({"fact": "measured", "digest": digest, "metrics": fresh})
    return facts


# -- what comes back


def _committed(session: Session, prepared: Prepared, said: Said, *, new: bool) -> Artifact:
    if said.name is None:
        return of_resolved(session, Resolved(prepared.digest), new=new, uploaded=prepared.uploaded)
    with session.reading(fresh=False) as state:
        number = state.version_of({"name": said.name, "digest": prepared.digest})
    if number is None:
        raise ConflictError(f"{said.name} lost the version that this put made: someone removed it meanwhile; put again")
    return of_resolved(session, Resolved(prepared.digest, said.name, number), new=new, uploaded=prepared.uploaded)


def _uncommitted(session: Session, prepared: Prepared, said: Said, found: Found, *, new: bool) -> Artifact:
    size, files = sum(one.size for one in found.folder.files), len(found.folder.files)
    record = Version(
        name=said.name,
        version=None,
        digest=prepared.digest,
        kind=said.kind,
        size=size,
        files=files,
        time=datetime.now(UTC),
        actor=session.core().appender.author.actor,
        metadata=said.metadata or {},
        metrics=said.metrics,
        file=found.single,
    )
    return Artifact(session, record, new=new, uploaded=prepared.uploaded)
