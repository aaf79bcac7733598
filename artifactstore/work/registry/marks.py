"""Words and numbers about stored content outside of a put or a run: descriptions of versions and names, and measures."""

from collections.abc import Mapping
from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import Resolved, names
from artifactstore.errors import InvalidInputError
from artifactstore.model.facts import Fact
from artifactstore.model.json_values import json_value
from artifactstore.model.reference import check_name
from artifactstore.work.get.artifact import Artifact, of_resolved
from artifactstore.work.registry.arguments import check_whole
from artifactstore.work.runs.json_safe import numbers
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session

__all__ = ["describe", "measure"]


def _metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InvalidInputError(f"metadata must be a dict with str keys, got {metadata!r:.200}")
    found: dict[str, Any] = json_value(dict(metadata), "metadata")
    return found


def _optional(reason: Any) -> str | None:
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("reason must be a str of at most 10,000 characters")
    return reason


@one_state()
def describe(session: Session, ref: str, metadata: Any, *, of: Any = "version", merge: Any = True, reason: Any = None) -> Any:
    """Describe a version or a name; see `Registry.describe`."""
    session.check_writable()
    news, why = _metadata(metadata), _optional(reason)
    if of not in {"version", "name"}:
        raise InvalidInputError(f"of={of!r:.100}: expected 'version' or 'name'")
    if not isinstance(merge, bool):
        raise InvalidInputError(f"merge={merge!r:.100}: expected True or False")
    session.core()
    if of == "name":
        return _describe_name(session, check_name(ref), news, merge=merge, reason=why)
    found = check_whole(session.resolve(ref, tainted=True), ref)

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            before = _before(state, found)
            after = {**before, **news} if merge else news
            fact: Fact = {"fact": "described", "name": found.name, "metadata": after}
            fact |= {"digest": found.digest} if found.name is None else {"version": found.version}
            return Prepared([] if after == before else [fact], state.head, found.digest)

    commit(session, Step(prepare), reason=why)
    with session.state(fresh=False) as state:
        return of_resolved(session, state, found)


def _before(state: State, found: Resolved) -> dict[str, Any]:
    if found.name is not None and found.version is not None:
        return dict(state.names[found.name][found.version - 1].get("metadata", {}))
    row = state.unnamed.get(found.digest)
    if row is None:
        raise InvalidInputError(f"{found.digest} has no put without a name that could be described: pass NAME:v3")
    return dict(row.get("metadata", {}))


def _describe_name(session: Session, name: str, news: dict[str, Any], *, merge: bool, reason: str | None) -> Any:
    session.resolve(name, tainted=True)  # a typo must not make a name

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            rows = state.name_metadata.get(name)
            before = rows[-1]["metadata"] if rows else {}
            after = {**before, **news} if merge else news
            fact: Fact = {"fact": "described", "name": name, "metadata": after}
            return Prepared([] if after == before else [fact], state.head, "")

    commit(session, Step(prepare), reason=reason)
    with session.state(fresh=False) as state:
        return next(one for one in names(state, name) if one.name == name)


@one_state()
def measure(session: Session, ref: str, metrics: Any, *, on: str | None = None, reason: Any = None) -> Artifact:
    """Measure an artifact outside of a run; see `Registry.measure`."""
    session.check_writable()
    why = _optional(reason)
    if not isinstance(metrics, Mapping) or not metrics:
        raise InvalidInputError(f"metrics must be a dict of numbers that is not empty, got {metrics!r:.200}")
    finite, odd, refused = numbers(metrics)
    if refused:
        name, text = next(iter(refused.items()))
        raise InvalidInputError(f"the metric {name!r}: {text}")
    session.core()
    found = check_whole(session.resolve(ref, tainted=True), ref)
    fact: Fact = {"fact": "measured", "digest": found.digest, "metrics": finite}
    fact |= {"not_finite": odd} if odd else {}
    if on is not None:
        fact["on"] = session.resolve(on).digest

    commit(session, one_fact(session, fact, found.digest), reason=why)
    with session.state(fresh=False) as state:
        return of_resolved(session, state, found)
