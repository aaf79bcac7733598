"""Collects the record of an export from the fold, manifests and side content."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import code_of, reachable
from artifactstore.catalog.runs.info import jobs_of
from artifactstore.catalog.runs.parent import ParentRun, parent_of_job
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import parse_json
from artifactstore.objects.tables.profile_names import own_profile
from artifactstore.work.export.record import Edge, Item, Naming, Part, Record, RunOf, RunRef
from artifactstore.work.get.get import stored_value
from artifactstore.work.session.session import Session

__all__ = ["collect"]


def collect(session: Session, start: str, *, is_run: bool, look: Collection[str] = ()) -> Record:
    """Collect the record of an export.

    Args:
        session: the store.
        start: a digest, whose upstream is exported; or a run's id: then that run only.
        is_run: whether `start` is a run.
        look: parts to read in addition, at a request per artifact: `profile` of tables, `sha256` of the files of
            models, `files` of everything, `environment` of runs.

    Raises:
        BackendError: the store is unreachable.
        CorruptionError: side content of an artifact is damaged.
    """
    core = session.core()
    url = session.url if "://" in session.url else Path(session.url).absolute().as_uri()
    with session.query_state() as state:
        if is_run:
            found = [start]
        else:
            nodes = reachable(state, start, up=True).nodes.values()
            found = [node.id for node in nodes if node.type == "run" and node.id in state.runs]
        runs = sorted((_run(state, core.config.store, run) for run in found), key=lambda run: (run.ref.started, run.ref.id))
        wanted: dict[str, None] = {} if is_run else {start: None}
        for run in runs:
            own = [one for one in (run.code_digest, run.environment_digest) if one is not None]
            wanted |= dict.fromkeys([*(edge.digest for edge in (*run.inputs, *run.outputs)), *own])
        kinds = {run.code_digest: "code" for run in runs} | {run.environment_digest: "environment" for run in runs}
        items = {digest: _item(state, digest, kinds.get(digest, "data")) for digest in wanted}
    title = next((run.ref.name for run in runs), start) if is_run else items[start].title
    looked = {digest: _looked(session, item, look) for digest, item in items.items()}
    if "environment" in look:
        runs = [replace(run, environment=_environment(session, run, looked)) for run in runs]
    return Record(core.config.store, url, start, title, tuple(runs), looked)


def _ref(state: State, store: str, run: str) -> RunRef:
    row = state.runs[run]
    home = row.get("from", store) if not is_own(row) else store
    return RunRef(run, row["name"], row["time"], uuid5(NAMESPACE_URL, f"artifactstore:{home}/{run}"))


def _run(state: State, store: str, run: str) -> RunOf:
    row = state.runs[run]
    parents: list[RunRef] = []
    above = row.get("parent")
    while above is not None and above in state.runs and all(above != one.id for one in parents) and above != run:
        parents.append(_ref(state, store, above))
        above = state.runs[above].get("parent")
    own_jobs = _started_by(state, [_ref(state, store, run)])
    started_by = own_jobs[0] if own_jobs else None
    around = _started_by(state, parents)
    top = next(iter([*own_jobs, *around]), None)
    code_digest, about = code_of(state, run)
    edges = state.edges.get(run, ())
    environment = next((edge["digest"] for edge in edges if _is_environment(state, edge)), None)
    own = {code_digest, environment}
    return RunOf(
        ref=_ref(state, store, run),
        status=row.get("status", "running"),
        finished=row.get("finished"),
        seconds=row.get("seconds"),
        actor=row["actor"],
        params=row.get("params", {}),
        parents=tuple(parents),
        above=started_by if started_by not in around else None,
        top=None if top is None else top.root or top,
        error=row.get("error"),
        command=tuple(row.get("command", ())),
        metrics=dict(sorted(state.metrics.get(f"run:{run}", {}).items())),
        code=about,
        code_digest=code_digest,
        environment_digest=environment,
        inputs=_edges(edge for edge in edges if edge["fact"] == "used" and edge["digest"] not in own),
        outputs=_edges(edge for edge in edges if edge["fact"] == "produced"),
    )


def _started_by(state: State, runs: Sequence[RunRef]) -> list[ParentRun]:
    """Return the runs of other systems that started some runs: of each run, that of its newest job first."""
    jobs = (job for run in runs for job in reversed(jobs_of(state.runs[run.id])))
    return [found for job in jobs if (found := parent_of_job(job)) is not None]


def _is_environment(state: State, edge: Mapping[str, Any]) -> bool:
    """Return True if an edge is to the captured environment of a run, not to an artifact that was used in that role."""
    if edge["fact"] != "used" or edge.get("role") != "environment" or "name" in edge:
        return False
    return bool(state.unnamed.get(edge["digest"], {}).get("kind", "environment") == "environment")


def _edges(edges: Iterable[Mapping[str, Any]]) -> tuple[Edge, ...]:
    found: dict[str, Edge] = {}
    for edge in edges:
        found.setdefault(edge["digest"], Edge(edge["digest"], edge.get("name"), edge.get("role")))
    return tuple(found.values())


def _item(state: State, digest: str, kind: str) -> Item:
    namings = tuple(_naming(state, name, number) for name, number, _ in state.versions_by_digest.get(digest, ()))
    row = state.unnamed.get(digest)
    if row is None and namings:
        row = state.names[namings[-1].name][namings[-1].number - 1]
    stored = state.stored.get(digest, {})
    first = min(namings, key=lambda one: one.time) if namings else None
    return Item(
        digest=digest,
        kind=kind if row is None else row.get("kind", "data"),
        size=stored.get("size"),
        count=stored.get("files"),
        format=stored.get("format"),
        namings=namings,
        time=first.time if first is not None else row["time"] if row is not None else None,
        actor=first.actor if first is not None else row["actor"] if row is not None else None,
        metrics=dict(sorted(state.metrics.get(digest, {}).items())),
        measures=tuple(_measures(state, digest)),
        tainted=digest in state.tainted,
        there=state.alive(digest) and not (row is not None and "removed" in row and all(one.removed for one in namings)),
    )


def _naming(state: State, name: str, number: int) -> Naming:
    row = state.names[name][number - 1]
    moves = state.aliases.get(name, {})
    return Naming(
        name=name,
        number=number,
        time=row["time"],
        actor=row["actor"],
        reason=row.get("reason"),
        aliases=tuple(sorted(alias for alias, steps in moves.items() if steps and steps[-1]["version"] == number)),
        metadata=row.get("metadata", {}),
        removed="removed" in row,
        of_name=about[-1]["metadata"] if (about := state.name_metadata.get(name)) else {},
    )


def _measures(state: State, digest: str) -> Iterator[tuple[str, float, str | None]]:
    for metric, rows in sorted(state.measures.get(digest, {}).items()):
        for on, value, *_ in rows:
            if value is not None:
                versions = state.versions_by_digest.get(on) if on is not None else None
                yield metric, value, f"{versions[-1][0]}:v{versions[-1][1]}" if versions else on


def _looked(session: Session, item: Item, look: Collection[str]) -> Item:
    """Add what is in an artifact's manifest and side content."""
    # Only the manifest of a file records whether it has a profile.
    profile = "profile" in look and (item.format == "table" or (item.format is None and item.count == 1))
    files = "files" in look or ("sha256" in look and (item.kind == "model" or item.algorithm == "sha256"))
    if not item.there or not (profile or files):
        return item

    def use(manifest: Manifest) -> Item:
        backend = session.core().cached_backend
        found = item
        if profile:
            found = replace(found, profile=_json(read_side(backend, manifest, own_profile(manifest)), "profile", item))
        if files:
            found = replace(found, parts=_parts(manifest, read_side(backend, manifest, "sha256")))
        return found

    try:
        return session.with_manifest(item.digest, use)
    except NotFoundError:  # removed since, in a view of the past
        return replace(item, there=False)


def _parts(manifest: Manifest, lines: bytes | None) -> tuple[Part, ...]:
    """Return the files; the lines of SHA-256 digests are in the order of the manifest's paths."""
    digests = [Digest(manifest.algorithm, raw) for raw in manifest.digests]
    others: Sequence[str | None] = [None] * len(digests)
    if manifest.algorithm == "sha256":
        others = [digest.hex for digest in digests]
    elif lines is not None:
        others = [line.removeprefix(b"\\")[:64].decode() for line in lines.split(b"\n")[:-1]]
    rows = zip(manifest.paths, manifest.sizes, digests, others, strict=True)
    return tuple(Part(path, size, str(digest), other) for path, size, digest, other in rows)


def _environment(session: Session, run: RunOf, items: Mapping[str, Item]) -> Mapping[str, Any] | None:
    digest = run.environment_digest
    if digest is None or not items[digest].there:
        return None

    found = stored_value(session, digest)
    return found if isinstance(found, Mapping) else None


def _json(raw: bytes | None, what: str, item: Item) -> Mapping[str, Any] | None:
    if raw is None:
        return None
    try:
        found = parse_json(raw, f"the {what}")
    except InvalidInputError as error:
        raise CorruptionError(f"cannot read the {what} of {item.ref}: {error}", digest=item.digest) from error
    return found if isinstance(found, Mapping) else None
