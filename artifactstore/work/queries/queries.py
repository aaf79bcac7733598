"""Queries of an open store: names, versions, find, head."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, TypedDict

from artifactstore.catalog import versions as catalog
from artifactstore.catalog.fold.times import warn_of_resets
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Name, Version
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.journal.heads import format_head
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.reference import as_reference, check_name, full_name
from artifactstore.runtime.loading import gc_paused
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path

__all__ = ["Conditions", "find", "head", "names", "versions"]


def names(session: Session, prefix: Any = "") -> Rows[Name]:
    """Return all names that begin with `prefix`, or that match it, if it is a pattern."""
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be a str, got {type(prefix).__name__}")
    prefix = full_name(prefix)
    literal = re.split(r"[*?[]", prefix, maxsplit=1)[0]  # no name has one of these
    with session.query_state() as state, gc_paused():
        found = catalog.names(state, literal)
        return Rows(Name, found if literal == prefix else [one for one in found if fnmatchcase(one.name, prefix)])


def key_completions(session: Session) -> list[str]:
    """Return what a notebook may offer in `store["…"]`: names, and names with their aliases.

    A remote store is not asked: the names are those that this process or the cache has.
    """
    core = session.core()
    if session.view is None and session.backend.is_remote:
        core.journal.use_cached_fold()
        held = session.state(fresh=False)
    else:
        held = session.query_state()
    with held as state:
        aliases = [f"{name}:{alias}" for name, moves in state.aliases.items() for alias in moves if moves[alias][-1]["version"]]
        return sorted([*state.names, *aliases])


def versions(session: Session, name: str) -> Rows[Version]:
    """Return all versions of a name."""
    name = check_name(name)
    with session.query_state() as state:
        return Rows(Version, catalog.versions(state, name))


class Conditions(TypedDict, total=False):
    """Conditions of `find`.

    Attributes:
        name: a name or a pattern (`churn/*`).
        text: words that its name, description, tags, metadata, aliases or the parameters of its run contain, in any case.
        alias: an alias: versions that it points to now.
        tag: `KEY`, `KEY=VALUE`, or a dict of tags.
        kind: data, model, code …
        metadata: keys and the values that they must have, or a set of values of which any will do. A dotted key is a key as it
            is (`mlflow.run_id`), or leads to a nested value. Texts and whole numbers under dotted keys are indexed: such a
            condition reads only the versions that have the value, unless more than a thousand do.
        metrics: metric → condition, for example `{"auc": ">= 0.9"}`; the newest value counts.
        file: a local file, or a file's digest: versions that contain exactly these bytes.
        uses: a reference: versions made from it, directly or indirectly.
        code: a commit, or its first digits (at least 7): versions that a run of it produced.
        run: a run's id (or its beginning, as for `lineage`), its name, or a pattern of names: versions that it produced.
        since: an aware datetime: versions put at this time or later.
    """

    name: str | None
    text: str | None
    alias: str | None
    tag: str | Mapping[str, Any] | None
    kind: str | None
    metadata: Mapping[str, Any] | None
    metrics: Mapping[str, str | float] | None
    file: str | os.PathLike[str] | None
    uses: str | None
    code: str | None
    run: str | None
    since: datetime | None


_METRICS = "metrics={'auc': '>= 0.9'}"
_MEANT = {  # conditions that people type, and those that do the same
    **dict.fromkeys(("query", "q", "search", "contains", "description", "keyword", "words"), "text="),
    **dict.fromkeys(("metric", "auc", "accuracy", "acc", "loss", "f1", "rmse", "score", "where"), _METRICS),
    **dict.fromkeys(("tags", "label", "labels", "stage"), "tag={'stage': 'raw'}, or alias="),
    **dict.fromkeys(("aliases", "version", "latest"), "alias=, or get(ref, version=3)"),
    **dict.fromkeys(("meta", "properties", "config"), "metadata={'key': value}"),
    **dict.fromkeys(("type", "artifact_type"), "kind="),
    **dict.fromkeys(("after", "created_after", "from_", "start", "date", "created_at"), "since="),
    **dict.fromkeys(("before", "until", "end"), "store.at(moment).find(…)"),
    **dict.fromkeys(("params", "param", "hyperparameters"), "store.runs(where='params.lr < 0.1')"),
    **dict.fromkeys(("digest", "hash", "sha256", "path", "filename"), "file="),
    **dict.fromkeys(("commit", "git", "git_commit", "sha"), "code="),
    **dict.fromkeys(("inputs", "input", "parent", "used"), "uses="),
    **dict.fromkeys(("names", "prefix", "pattern", "like"), "name='churn/*'"),
    **dict.fromkeys(("run_id", "producer", "created_by"), "run="),
    **dict.fromkeys(("limit", "max_results", "n"), "a slice, [:5]"),
    **dict.fromkeys(("sort", "order_by"), "sorted(…, key=…), or store.runs(sort='-auc')"),
}


@one_state()
def find(session: Session, conditions: Conditions) -> Rows[Version]:
    """Return the versions that meet all conditions; see `Store.find`."""
    from artifactstore.catalog import find as finding  # noqa: PLC0415 - a list of names needs none of it

    given: dict[str, Any] = {key: value for key, value in conditions.items() if value is not None}
    if unknown := sorted(set(given) - set(Conditions.__annotations__)):
        known = ", ".join(sorted(Conditions.__annotations__))
        hints = "".join(f"; for {one}= use {_MEANT[one]}" for one in unknown if one in _MEANT)
        raise InvalidInputError(f"find has no condition {', '.join(unknown)}{hints}; expected {known}")
    core = session.core()
    if isinstance(given.get("name"), str):
        given["name"] = full_name(given["name"])
    file, uses = given.pop("file", None), given.pop("uses", None)
    if uses is not None:
        given["uses"] = session.resolve(as_reference(uses)).digest
    with session.query_state() as state:
        found = list(finding.find(state, **given))
        if "since" in given:
            warn_of_resets(state.header, "find(since=)")
    if file is not None:
        wanted = _file_digest(file, core.algorithm)
        holding = {digest for digest in dict.fromkeys(one.digest for one in found) if _holds(session, digest, wanted)}
        found = [one for one in found if one.digest in holding]
    return Rows(Version, found)


def _holds(session: Session, digest: str, wanted: bytes) -> bool:
    try:
        return session.with_manifest(digest, lambda manifest: wanted in manifest.digests)
    except NotFoundError:
        return False  # removed in the meantime


def _file_digest(file: Any, algorithm: str) -> bytes:
    """Return the raw digest of a file on disk, or of a digest in text form."""
    text = str(local_path(file, "file"))
    if isinstance(file, str) and text.startswith(("blake3:", "sha256:")):
        digest = Digest.parse(text)
        if digest.algorithm != algorithm:
            raise InvalidInputError(f"{text} cannot be looked up: this store has {algorithm} digests")
        return digest.raw
    from artifactstore.content.write.source import from_file, open_unchanged  # noqa: PLC0415 - only for a file of this machine

    source = from_file(text)
    hasher = new_hasher(algorithm)
    with open_unchanged(source) as fd:
        while block := os.read(fd, 2**20):
            hasher.update(block)
    return hasher.digest()


def head(session: Session) -> str:
    """Return the last entry and its digest, for a view of the past the last entry of that time."""
    from artifactstore.maintenance.sync.object_copy import digest_at  # noqa: PLC0415 - only for this question

    journal = session.core().journal
    with session.state() as state:
        return format_head(state.head, digest_at(journal, state.head))
