"""Where an artifact stands with the registry: its approvals, the gates of the aliases that mean it, what keeps it; from the fold alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from artifactstore.catalog.fold.judge import holds_on
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.approvals import status_of
from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.display.registry_lists import approval_line
from artifactstore.runtime.records import dataclass
from artifactstore.signing.envelope import payload_of

__all__ = ["Standing", "printed_name", "standing", "why_held"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an artifact stands, in words.

    Attributes:
        approvals: approvals and rejections, with what they are worth on facts: a signature is only *claimed* without keys.
        signatures: of the model, each only *claimed* without keys.
        gates: gated aliases of its name, with what is recorded of their last move to it.
        holds: which holds keep it.
    """

    approvals: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()

    def lines(self) -> dict[str, tuple[str, ...]]:
        """Return it for people: name → lines."""
        return {"approvals": self.approvals, "signatures": self.signatures, "gates": self.gates, "held": self.holds}


def standing(state: State, digest: str, name: str | None, number: int | None) -> Standing:
    """Return where an artifact stands.

    Args:
        state: the store.
        digest: its digest.
        name: its name, or None.
        number: its number, or None.
    """
    gates = () if name is None or number is None or not state.gates else tuple(_gates(state, name, number))
    judged = tuple(_approvals(state, digest, name, number))
    return Standing(judged, tuple(_signatures(state, digest)), gates, tuple(why_held(state, digest)))


def printed_name(row: Mapping[str, Any]) -> str:
    """Return the printed name of who approved: that in the signature, or the actor."""
    payload = payload_of(row["signature"]) if "signature" in row else None
    printed = payload.get("name") if payload is not None else None
    return printed if isinstance(printed, str) else str(row["actor"])


def _approvals(state: State, digest: str, name: str | None, number: int | None) -> Iterator[str]:
    for index, row in enumerate(state.approvals.get(digest, ())):
        yield approval_line(
            row["verdict"],
            printed_name(row),
            status_of(state, name, number, digest, index),
            _time(row),
            row.get("meaning", "approval"),
            role=row.get("role"),
            actor=row["actor"],
            reason=row.get("reason"),
        )


def _signatures(state: State, digest: str) -> Iterator[str]:
    for row in state.signed.get(digest, ()):
        reason = f": {row['reason']}" if row.get("reason") else ""
        yield f"model signature ({row['type']}), claimed, by {row['actor']} on {_time(row)} with key {row['key'][:23]}{reason}"


def _time(row: Mapping[str, Any]) -> str:
    return str(row["time"])[:19].replace("T", " ")


def _gates(state: State, name: str, number: int) -> Iterator[str]:
    for alias in sorted(state.gates):
        gates = gates_of(state, name, alias)
        if not gates:
            continue
        moves = state.aliases.get(name, {}).get(alias, ())
        own = moves[-1] if moves and moves[-1]["version"] == number else None
        which = ", ".join(f"{gate['names']} (version {gate['version']})" for gate in gates)
        if own is None:
            yield f"{alias}: not judged; asked by {which}"
        elif own.get("rollback"):
            yield f"{alias}: rolled back to in entry {own['seq']}, as since entry {own['rollback']}; asked by {which}"
        elif own["seq"] < max(gate["entry"] for gate in gates):
            yield f"{alias}: not judged by the present gates, which are newer than its move in entry {own['seq']}: {which}"
        else:
            yield f"{alias}: passed in entry {own['seq']}; asked by {which}"


def why_held(state: State, digest: str) -> list[str]:
    """Return which holds keep an artifact, in words: on it, or on something that was made from it."""
    found = []
    for key, one in holds_on(state, digest).items():
        row: Mapping[str, Any] = state.holds[key]
        known = state.versions_by_digest.get(one)
        label = f"{known[-1][0]}:v{known[-1][1]}" if known else one
        about = "it" if one == digest else f"{label}, which was made from it,"
        text = f"{about} is held ({key[-32:]}) by {row['actor']} since {row['time'][:10]}"
        text += f" until {row['until'][:10]}" if "until" in row else ""
        found.append(text + (f": {row['reason']}" if row.get("reason") else ""))
    return found
