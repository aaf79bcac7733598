"""Anchors: the end of a journal, noted outside of it, signed if wanted: a later `verify` finds whether history was cut or made anew."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.journal.heads import format_head
from artifactstore.model.encoding import format_time, parse_time
from artifactstore.model.facts import Fact
from artifactstore.runtime.atomic_files import durable, name_new, refuse_existing, staged
from artifactstore.signing.envelope import ANCHOR, MEANINGS
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import target_of

__all__ = ["Anchor", "anchor"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of a journal at one time; `verify(anchor=…)` takes it, its text, or a file with it.

    Attributes:
        store: the id of the store.
        seq: the entry.
        entry: the digest of its bytes.
        time: when it was noted, UTC.
        text: `<entry>:<digest>`, as `store.head`.
        meaning: of the signature: review, approval, authorship or responsibility; or None.
        reason: why, or None.
        signature: a DSSE envelope, or None.
    """

    store: str
    seq: int
    entry: str
    time: datetime
    text: str
    meaning: str | None = None
    reason: str | None = None
    signature: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, as a file has it."""
        given = {"meaning": self.meaning, "reason": self.reason, "signature": self.signature}
        found = {"store": self.store, "seq": self.seq, "entry": self.entry, "time": format_time(self.time), "text": self.text}
        return found | {key: value for key, value in given.items() if value is not None}


@one_state()
def anchor(
    session: Session, to: Any = None, *, put: Any = None, signer: Any = None, meaning: Any = None, reason: Any = None
) -> Anchor:
    """Note the end of the journal; see `Registry.anchor`.

    Args:
        session: the store.
        to: a new file, or None.
        put: stores JSON values under a name in another store, or None.
        signer: signs it.
        meaning: of the signature.
        reason: why.
    """
    session.check_writable()
    if meaning is not None and (meaning not in MEANINGS or signer is None):
        expected = (
            f"expected one of {', '.join(MEANINGS)}" if meaning not in MEANINGS else "only a signature has one: pass signer="
        )
        raise InvalidInputError(f"meaning={meaning!r:.100}: {expected}")
    if reason is not None and (not isinstance(reason, str) or not reason.strip() or len(reason) > 10_000):
        raise InvalidInputError("reason must be a str of 1 to 10,000 characters")
    if session.batch() is not None:
        raise InvalidInputError("anchor cannot be used inside a batch: what it notes is not committed yet")
    target = None if to is None else target_of(session.url, to, what="to", kind="an anchor")
    if target is not None:
        refuse_existing(target)
    core = session.core()
    with session.state() as state:
        seq, entry = state.head, str(core.journal.digest)
        now = max(str(state.header["time"]), format_time(datetime.now(UTC)))
    if not seq:
        raise InvalidInputError(f"the store at {session.url} is empty: there is nothing to anchor")
    payload = {"store": core.config.store, "seq": seq, "entry": entry, "time": now, "meaning": meaning, "reason": reason}
    signature = None if signer is None else _signed(payload, signer)
    made = Anchor(core.config.store, seq, entry, parse_time(now), format_head(seq, entry), meaning, reason, signature)
    fact: Fact = {"fact": "anchored", "seq": seq, "entry": entry}
    fact |= {key: value for key, value in (("meaning", meaning), ("signature", signature)) if value is not None}

    with ExitStack() as stack:
        # Written before it is recorded: a full disk, or another store that refuses it, leaves nothing behind here.
        part = None if target is None else stack.enter_context(staged(target))
        if part is not None:
            with durable(part) as file:
                file.write((json.dumps(made.to_json(), indent=1, sort_keys=True) + "\n").encode())
        if put is not None:
            put(made.to_json(), f"anchors/{made.store}")
        commit(session, one_fact(session, fact), reason=reason)
        if part is not None and target is not None:
            name_new(part, target)
    return made


def _signed(payload: dict[str, Any], signer: Any) -> Any:
    from artifactstore.signing.registered import signer_of  # noqa: PLC0415 - most anchors are not signed
    from artifactstore.signing.verify import make_envelope  # noqa: PLC0415 - as above

    chosen = signer_of(signer)
    return make_envelope({**payload, "name": chosen.name}, chosen, ANCHOR)
