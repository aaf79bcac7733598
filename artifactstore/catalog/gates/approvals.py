"""Approvals on facts: which count, which do not and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from artifactstore.catalog.ancestry import code_of, makers
from artifactstore.signing.envelope import payload_of, speaks_of

__all__ = ["Counted", "authors", "counted", "judgements", "rejections", "status_of"]


@dataclass(slots=True)
class Counted:
    """Approvals that count for one condition.

    Attributes:
        actors: who gave them.
        entries: where they are recorded.
        claimed: who gave those that are not signed.
        not_counted: why others do not count, in words.
    """

    actors: set[str] = field(default_factory=set)
    entries: set[int] = field(default_factory=set)
    claimed: list[str] = field(default_factory=list)
    not_counted: list[str] = field(default_factory=list)


def authors(state: Any, name: str | None, number: int | None, digest: str) -> set[str]:
    """Return who made a version, in lower case: who put it, whose runs made it, author and committer of their commits.

    Of a person in a commit, `Ann Lee <ann@example.org>`, the whole, the name, the address and the part before the `@` count.
    """
    found = set()
    if name is not None and number is not None:
        found.add(str(state.names[name][number - 1]["actor"]))
    else:
        found |= {str(state.names[one][k - 1]["actor"]) for one, k, _ in state.versions_by_digest.get(digest, ())}
        if digest in state.unnamed:
            found.add(str(state.unnamed[digest]["actor"]))
    for run in makers(state, digest):
        row = state.runs.get(run)
        if row is not None:
            found.add(str(row["actor"]))
        _, code = code_of(state, run)
        for person in (code.get("author"), code.get("committer")):
            found |= set(_names_of(person)) if isinstance(person, str) else set()
    return {one.casefold() for one in found if one}


def _names_of(person: str) -> Iterator[str]:
    before, _, rest = person.partition("<")
    address = rest.rstrip("> ").strip()
    yield from (person.strip(), before.strip(), address, address.partition("@")[0])


def judgements(state: Any, digest: str, alias: str | None) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """Return the newest judgement of each actor on an artifact, with its index; `alias`: one for another alias does not count."""
    found: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for index, row in enumerate(state.approvals.get(digest, ())):
        if "from" in row and "signature" not in row:
            continue  # what another store says of who approved there means nothing here
        if row.get("alias") in {None, alias} or alias is None:
            found.pop(row["actor"], None)
            found[row["actor"]] = index, row
    return found


def rejections(state: Any, digest: str, alias: str | None) -> list[Mapping[str, Any]]:
    """Return the rejections that no approval by the same actor has withdrawn."""
    return (
        [row for _, row in judgements(state, digest, alias).values() if row["verdict"] == "rejected"] if state.approvals else []
    )


def status_of(state: Any, name: str | None, number: int | None, digest: str, index: int) -> str:
    """Return what facts say of an approval: `claimed`, `stale`, `by an author` or `transplanted`."""
    row = state.approvals[digest][index]
    own = {**row, "digest": digest}
    if "signature" in row and not speaks_of(payload_of(row["signature"]), own, store=row.get("from", state.header["store"])):
        return "transplanted"
    if row["verdict"] == "approved" and str(row["actor"]).casefold() in authors(state, name, number, digest):
        return "by an author"
    changed = state.changed.get(digest, 0)
    if name is not None and number is not None:
        changed = max(changed, int(state.names[name][number - 1].get("approvals", 0)))
    return "stale" if row["verdict"] == "approved" and index < changed else "claimed"


def counted(state: Any, rule: Mapping[str, Any], *, name: str, number: int, digest: str, alias: str) -> Counted:
    """Return the approvals that count for a condition: by different people, none an author, none older than the last change."""
    found = Counted()
    for actor, (index, row) in judgements(state, digest, alias).items():
        if row["verdict"] != "approved":
            found.not_counted.append(f"{actor} has rejected it")
            continue
        status = status_of(state, name, number, digest, index)
        if status != "claimed":
            word = {"stale": "is older than the last change", "by an author": "is by an author"}.get(
                status, "belongs to another fact"
            )
            found.not_counted.append(f"that of {actor} {word}")
        elif rule.get("signed") and "signature" not in row:
            found.not_counted.append(f"that of {actor} is not signed")
        elif "role" in rule and row.get("role") != rule["role"]:
            found.not_counted.append(f"that of {actor} is of {row['role'] if row.get('role') else 'no role'}")
        elif "meaning" in rule and row.get("meaning", "approval") != rule["meaning"]:
            found.not_counted.append(f"that of {actor} means {row.get('meaning', 'approval')}")
        else:
            found.actors.add(actor.casefold())
            found.entries.add(int(row["seq"]))
            if "signature" not in row:
                found.claimed.append(actor)
    return found
