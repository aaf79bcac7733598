"""Signatures on record, judged by the caller's keys: of approvals, models, gates and anchors."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.journal.chain import entry_key
from artifactstore.maintenance.verify.report import Finding
from artifactstore.model.fields import sane
from artifactstore.signing.envelope import ANCHOR, APPROVAL, GATE, payload_of, speaks_of

if TYPE_CHECKING:
    from artifactstore.model.schema import Txn

__all__ = ["signature_findings"]

_SAME: Final = {GATE: ("names", "alias", "rules"), ANCHOR: ("seq", "entry", "meaning")}  # what payload and fact must agree in


def signature_findings(txn: "Txn", seq: int, time: str, *, store: str, keys: Any) -> Iterator[Finding]:
    """Yield the signatures of a transaction that belong to something else, or do not count by the keys.

    Args:
        txn: a transaction with effect.
        seq: its entry.
        time: of that entry.
        store: the id of the store.
        keys: those that count; None: only what needs none is found.
    """
    for fact, origin in _signed(txn, store):
        found = _fault(fact, txn, time, store=origin, keys=keys)
        if found is not None:
            severity, text = found
            digest = fact.get("digest")
            about = f"the signature of {_about(fact)} in entry {seq} by {txn['actor']}"
            yield Finding(severity, f"{about} {text}", entry_key(seq), (digest,) if isinstance(digest, str) else (), "signature")


def _signed(txn: "Txn", store: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the facts that carry a signature, each with the id of the store that it was made for."""
    for raw in txn["facts"]:
        fact = sane(raw)
        inner = [(sane(one), fact["store"]) for one in fact["facts"]] if fact["fact"] == "received" else [(fact, store)]
        yield from (pair for pair in inner if pair[0].get("fact") == "signed" or "signature" in pair[0])


def _about(fact: Mapping[str, Any]) -> str:
    if fact["fact"] == "gated":
        return f"the gate {fact['names']} {fact['alias']}"
    if fact["fact"] == "anchored":
        return f"the anchor of entry {fact['seq']}"
    what = {"approved": "the approval", "signed": "the model"}[fact["fact"]]
    return f"{what} of {fact['digest']}" if fact["fact"] == "approved" else f"{what} {fact['digest']}"


def _fault(fact: Mapping[str, Any], txn: "Txn", time: str, *, store: str, keys: Any) -> tuple[str, str] | None:
    """Return severity and text of what is wrong with the signature of a fact, or None."""
    kind = {"approved": APPROVAL, "gated": GATE, "anchored": ANCHOR, "signed": None}.get(fact["fact"], "")
    if kind == "":
        return None
    if kind is None:
        if keys is None:
            return None
        from artifactstore.signing.oms import verify_oms  # noqa: PLC0415 - loads cryptography only where there are keys
        from artifactstore.signing.verify import TRANSPLANTED  # noqa: PLC0415 - as above

        # Its files are compared where a gate asks for the signature, and by `model_signing`: here no content is read.
        worth = verify_oms(fact["bundle"], None, keys, time=time, digest=fact["digest"])
        if worth.status == TRANSPLANTED:
            return "breach", f"belongs to something else: {worth.text}"
    else:
        payload = payload_of(fact["signature"], kind)
        if kind == APPROVAL:
            fits = speaks_of(payload, fact, store=store)
        else:
            fits = payload is not None and payload["store"] == store
            fits = fits and payload is not None and all(payload.get(key) == fact.get(key) for key in _SAME[kind])
        if not fits:
            return "breach", "belongs to something else: it was transplanted, and counts nowhere"
        if keys is None:
            return None
        from artifactstore.signing.verify import verify_envelope  # noqa: PLC0415 - as above

        role = fact.get("role")
        worth = verify_envelope(fact["signature"], keys, role=role, actor=txn["actor"], time=time, payload_type=kind)
    return None if worth else ("note", f"does not count ({worth.status}): {worth.text}")
