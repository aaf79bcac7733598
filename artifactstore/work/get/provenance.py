"""Where an artifact came from, in one record: who, when, the run, the commit, the environment in a word, the inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import Input, code_of, companions, inputs_of, is_companion, outputs_of
from artifactstore.catalog.standing import Standing, standing
from artifactstore.display.values import counted, short_digest
from artifactstore.errors import ArtifactStoreError
from artifactstore.model.encoding import parse_time
from artifactstore.model.graph import Graph
from artifactstore.work.get.get import stored_value
from artifactstore.work.get.taint_check import taint_above
from artifactstore.work.session.session import Session

__all__ = [
    "Provenance",
    "describe_environments",
    "environment_in_a_word",
    "environment_of",
    "provenance",
    "provenance_of_run",
]

# Packages that are named before others: what trained it, or holds its data.
_NOTABLE: Final = ("torch", "tensorflow", "jax", "keras", "xgboost", "lightgbm", "scikit-learn", "polars", "pandas", "numpy")
_NAMED: Final = 2
_DESCRIBED: Final = 20  # environments of a graph that are read
_RUN: Final = 12  # characters of an id
_COMMIT: Final = 10  # digits of a commit
_MOST: Final = 100_000  # files of two versions that are compared


@dataclass(frozen=True)
class Provenance:
    """Where an artifact came from.

    Attributes:
        run: id, name and status of the newest run that produced it; empty if none did.
        code: the recorded state of its code: commit, branch, dirty …
        code_digest: the artifact of its code, or None.
        environment: digest of the artifact of its environment, or None.
        environment_text: `Python 3.12.1 · torch 2.13.0 · 48 packages`; None if it was not recorded or cannot be read.
        inputs: what the run used, without code and environment.
        outputs: what the run produced, by the names that it gave.
        aliases: alias → since when it points to the version.
        moved: alias → who moved it there, and why if a reason was given.
        shared: (number of files that are those of the version before, that version), or None.
        standing: its approvals, the gates of its name's aliases, and what keeps it.
        tainted_above: the nearest tainted artifact that it was made from, and why that is; empty if there is none.
    """

    run: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    code_digest: str | None = None
    environment: str | None = None
    environment_text: str | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Input, ...] = ()
    aliases: Mapping[str, datetime] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[int, str] | None = None
    standing: Standing = field(default_factory=Standing)
    tainted_above: str = ""

    def lines(self) -> dict[str, Any]:
        """Return it for people: name → text, or a tuple of lines."""
        run = self.run
        shared = None if self.shared is None else f"{counted(self.shared[0], 'files')} with {self.shared[1]}"
        return {
            "run": f"{run['name']} {run['id'][:_RUN]} ({run['status']})" if run else None,
            "code": self.commit or (short_digest(self.code_digest) if self.code_digest is not None else None),
            "env": self.environment_text,
            "inputs": tuple(f"{one.ref} ({one.role})" if one.role else one.ref for one in self.inputs),
            "shares": shared,
            **self.standing.lines(),
        }

    @property
    def commit(self) -> str | None:
        """The commit and branch in short: `3f2a91c08d main, uncommitted changes`."""
        commit = self.code.get("commit")
        if commit is None:
            return None
        words = f"{commit[:_COMMIT]} {self.code.get('branch', '')}".rstrip()
        return f"{words}, uncommitted changes" if self.code.get("dirty") else words


def provenance(session: Session, digest: str, name: str | None, version: int | None) -> Provenance:
    """Return where an artifact came from.

    Args:
        session: the store.
        digest: its digest.
        name: its name, or None.
        version: its number, or None.
    """
    with session.query_state() as state:
        runs = [run for run in state.produced_by.get(digest, ()) if run in state.runs]
        about = _of_run(state, runs[-1]) if runs else {}
        aliases, moved = {}, {}
        for alias, moves in sorted(state.aliases.get(name, {}).items()) if name is not None else ():
            if moves and moves[-1]["version"] == version:
                aliases[alias] = parse_time(moves[-1]["time"])
                moved[alias] = moves[-1]["actor"] + (f": {moves[-1]['reason']}" if moves[-1].get("reason") else "")
        before = _before(state, name, version)
        stands = standing(state, digest, name, version)
        above = taint_above(state, digest)
    environment = about.get("environment")
    return Provenance(
        **about,
        environment_text=environment_of(session, environment),
        aliases=aliases,
        moved=moved,
        shared=_shared(session, digest, before),
        standing=stands,
        tainted_above=above,
    )


def provenance_of_run(session: Session, run: str) -> Provenance:
    """Return what a run used."""
    with session.query_state() as state:
        about = _of_run(state, run)
    return Provenance(**about, environment_text=environment_of(session, about["environment"]))


def _of_run(state: State, run: str) -> dict[str, Any]:
    row, (code_digest, code) = state.runs[run], code_of(state, run)
    beside = {edge["digest"] for edge in state.edges.get(run, ()) if is_companion(edge)}
    return {
        "run": {"id": run, "name": row["name"], "status": row.get("status", "running")},
        "code": code,
        "code_digest": code_digest,
        "environment": companions(state, run).get("environment"),
        "inputs": tuple(one for one in inputs_of(state, run) if one.digest not in beside),
        "outputs": tuple(outputs_of(state, run)),
    }


def _before(state: State, name: str | None, version: int | None) -> tuple[str, str] | None:
    """Return the digest and the reference of the version before that is still there."""
    rows = state.names.get(name, ()) if name is not None else ()
    for number in range((version or 1) - 1, 0, -1):
        if "removed" not in rows[number - 1]:
            digest = rows[number - 1]["digest"]
            return (digest, f"{name}:v{number}") if state.stored.get(digest, {}).get("files", 0) <= _MOST else None
    return None


def _shared(session: Session, digest: str, before: tuple[str, str] | None) -> tuple[int, str] | None:
    if before is None:
        return None
    try:
        known = session.with_manifest(before[0], lambda manifest: set(manifest.digests) if len(manifest.paths) <= _MOST else None)
        if known is None:
            return None
        many = session.with_manifest(digest, lambda manifest: sum(one in known for one in manifest.digests))
    except ArtifactStoreError:
        return None  # removed meanwhile, or unreachable: the record says the rest
    return many, before[1]


def environment_of(session: Session, digest: str | None) -> str | None:
    """Return an environment by its digest in words; None if there is none, or it cannot be read."""
    if digest is None:
        return None
    try:
        return environment_in_a_word(stored_value(session, digest))
    except ArtifactStoreError:
        return None


def describe_environments(session: Session, graph: Graph) -> None:
    """Add what the environments of a graph are, in words; of the nearest ones, as each is read."""
    environments = [node for node in graph.nodes.values() if node.kind == "environment" and node.name is None]
    for node in [one for one in environments[:_DESCRIBED] if not one.about]:
        words = environment_of(session, node.id)
        if words is not None:
            graph.nodes[node.id] = replace(node, about=words)


def environment_in_a_word(recorded: Any) -> str | None:
    """Return a recorded environment in short: `Python 3.12.1 · torch 2.13.0 · 48 packages`."""
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("python"), Mapping):
        return None
    packages = {str(name): str(version) for name, version in _packages(recorded)}
    notable = [f"{name} {packages[name]}" for name in _NOTABLE if name in packages][:_NAMED]
    python = recorded["python"]
    first = f"{'Python' if python.get('implementation', 'CPython') == 'CPython' else python['implementation']} {python.get('version')}"
    return " · ".join([first, *notable, f"{len(packages):,} packages"])


def _packages(recorded: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for one in recorded.get("packages") or ():
        if isinstance(one, Mapping) and "name" in one:
            yield one["name"], one.get("version")
