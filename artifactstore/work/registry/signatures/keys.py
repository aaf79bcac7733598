"""Keys of the caller: whose signatures count, asked of `artifactstore.signing` only where there are keys."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.catalog.gates.conditions import Answer
from artifactstore.model.encoding import format_time
from artifactstore.work.registry.signatures.sha256 import sha256_of
from artifactstore.work.session.session import Session

__all__ = ["bundle_of", "load_keys", "signatures_count", "signed"]

_VARIABLE: Final = "ARTIFACTSTORE_KEYS"


def load_keys(value: Any) -> Any:
    """Return the keys that `keys=` means, `$ARTIFACTSTORE_KEYS` in its absence; None if there are none.

    Raises:
        InvalidInputError: malformed.
        UnsupportedError: the extra `sign` is not installed.
    """
    if value is None and not os.environ.get(_VARIABLE):
        return None
    from artifactstore.signing.keys import Keys  # noqa: PLC0415 - most stores know no signature

    return Keys.load(value)


def signed(session: Session, payload: Mapping[str, Any], signer: Any, payload_type: str | None = None) -> dict[str, Any]:
    """Sign what a fact says, for exactly this store and its present state; return the envelope.

    Args:
        session: the store.
        payload: what is signed, without store, name, time, head and entry; None values are left out.
        signer: a signer, or the path of a key.
        payload_type: of an approval by default.

    Raises:
        InvalidInputError: the signer cannot sign.
        UnsupportedError: the extra `sign` is not installed.
    """
    from artifactstore.signing.envelope import APPROVAL  # noqa: PLC0415 - as above
    from artifactstore.signing.registered import signer_of  # noqa: PLC0415 - as above
    from artifactstore.signing.verify import make_envelope  # noqa: PLC0415 - as above

    chosen, core = signer_of(signer), session.core()
    with session.state() as state:
        head, entry = state.head, str(core.journal.digest)
        now = max(state.header["time"], format_time(datetime.now(UTC)))
    own = {"store": core.config.store, "name": chosen.name, "time": now, "head": head, "entry": entry}
    return make_envelope({**payload, **own}, chosen, payload_type or APPROVAL)


def signatures_count(
    session: Session,
    rule: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    digest: str,
    keys: Any,
    *,
    made_by: Collection[str],
) -> Answer:
    """Judge signed approvals, or signatures of a model, by keys.

    Args:
        session: the store.
        rule: `approvals` with `signed`, or `signature`.
        rows: the approvals or signatures on record.
        digest: of the artifact.
        keys: those that count, or None.
        made_by: its authors, in lower case.
    """
    if keys is None:
        what = "signed approvals" if "approvals" in rule else f"a signature of role {rule['signature']}"
        return Answer(ok=False, text=f"asked is {what}: no keys were passed, and ${_VARIABLE} is not set")
    if "approvals" in rule:
        return _approvals(rule, rows, keys, made_by)
    from artifactstore.signing.oms import verify_oms  # noqa: PLC0415 - as above

    why = []
    files, _ = sha256_of(session, digest)
    for row in rows:
        bundle = bundle_of(session, row, digest)
        found = verify_oms(bundle, files, keys, time=row["time"], role=rule["signature"], digest=digest)
        if found:
            return Answer(ok=True, text=f"it is signed by {', '.join(found.names)}, of role {rule['signature']}")
        why.append(found.text)
    return Answer(ok=False, text=f"it has no signature of role {rule['signature']}: {'; '.join(dict.fromkeys(why))}")


def _approvals(rule: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], keys: Any, made_by: Collection[str]) -> Answer:
    """Count the owners of keys: two actors who sign with one key are one person, and an author stays one under any actor's name."""
    from artifactstore.signing.verify import verify_envelope  # noqa: PLC0415 - as above

    people: set[str] = set()
    why = []
    for row in rows:
        found = verify_envelope(row.get("signature"), keys, role=rule.get("role"), actor=row["actor"], time=row["time"])
        others = {name for name in found.names if name.casefold() not in made_by}
        if found and others:
            people |= others
        elif found:
            why.append(f"that of {row['actor']}: {', '.join(found.names)} is an author")
        else:
            why.append(f"that of {row['actor']}: {found.text}")
    count = rule["approvals"]
    text = f"signed approvals by known keys: {len(people)} of {count}" + (f" ({'; '.join(why)})" if why else "")
    return Answer(ok=len(people) >= count, text=text, value=len(people), limit=count)


def bundle_of(session: Session, row: Mapping[str, Any], digest: str) -> Any:
    """Return the bundle of a signature: it is in its entry, not in the fold."""
    return next(
        (fact["bundle"] for fact in _facts_of(session, row) if fact["fact"] == "signed" and fact["digest"] == digest), None
    )


def _facts_of(session: Session, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in session.core().journal.entries(row["seq"], last=row["seq"]):
        for txn in entry["txns"]:
            if txn["txn"] != row["txn"]:
                continue
            for fact in txn["facts"]:
                yield fact
                if fact["fact"] == "received":
                    yield from fact["facts"]
