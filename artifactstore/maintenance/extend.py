"""Publishing deltas: whoever has sealed a segment publishes what the fold has gained since the last delta (decision 0061).

Log-structured: as many deltas of about one length become one. It is derived data, and the put that leads to it has been
committed: a failure leaves it to the next writer.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Final

from artifactstore.catalog.fold.deltas import differing, merge_layers
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.layer import Layer
from artifactstore.catalog.spill.layered import LayeredTables
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, CorruptionError
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import join
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import Sealed
from artifactstore.journal.snapshots import Snapshot, published, snapshots_of
from artifactstore.maintenance.deltas import Derived, derive_delta, open_members
from artifactstore.maintenance.snapshot import open_snapshot
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.runtime.remarks import remark

__all__ = ["Publisher"]

STRIDE: Final = 1024  # entries behind the last delta from which there is another one: they are folded in a tenth of a second
SHARE: Final = 64  # and at least this part of all entries: the longer a history, the fewer deltas
LONGEST: Final = 16_384  # entries that one writer folds for it
TOGETHER: Final = 8  # deltas of about one length that become one
WIDEST: Final = 131_072  # entries of one that is made of several: some 2 s
_PATIENCE: Final = 2.0  # seconds for sending one
_READING: Final = 5.0  # seconds for reading what it is on, once a process
_WHOLE: Final = 64 * 2**20  # bytes of a whole snapshot that deltas are put on
_HELD: Final = 64 * 2**20  # bytes of deltas that a process holds until it publishes the next


class Publisher:
    """Publishes deltas for one process.

    Args:
        journal: the store's.
        appender: appends the facts that vouch for them.
    """

    def __init__(self, journal: Journal, appender: Appender) -> None:
        self._journal = journal
        self._appender = appender
        self._held: dict[str, Layer] = {}  # those of the chain that this process has extended, by digest
        self._warned = False

    def extend(self, sealed: Sealed) -> Snapshot | None:
        """Publish a delta, if enough entries follow the last; None if not, or if it was not possible.

        Args:
            sealed: what this process has sealed just now.
        """
        with suppress(ArtifactStoreError, OSError, ValueError, KeyError, TypeError):
            return self._extend(sealed)
        return None

    def _extend(self, sealed: Sealed) -> Snapshot | None:
        journal = self._journal
        with journal.lock:
            head = journal.head
        below = self._below(sealed, head)
        if below is None:
            return None
        made = derive_delta(journal, below, head, longest=LONGEST, recent=True)
        if not self._is_right(made):
            return None
        data, since = made.data, made.span.since
        layers = [*below.layers, Layer(data)]
        first = _merged_from(layers)
        if first < len(layers) - 1 and sum(one.size for one in layers[first:]) <= sealed.speed * _PATIENCE:
            below = LayeredTables(layers[:first], below.bottom, below.store)
            data, since = merge_layers(layers[first:], below), layers[first].span.since
            layers[first:] = [Layer(data)]
        if not _is_readable(layers[-1]) or len(data) > sealed.speed * _PATIENCE:
            return None
        done = self._publish(data, since, made.span.seq)
        layers[-1].digest = done.digest
        few = sum(one.size for one in layers) <= _HELD
        self._held = {one.digest: one for one in layers} if few else {}
        return done

    def _below(self, sealed: Sealed, head: int) -> LayeredTables | None:
        """Open the newest snapshot for which the own fold vouches; None if too few entries follow it, or it takes too long."""
        journal, algorithm, derived = self._journal, self._journal.config.digest, sealed.derived
        # Whole ones of long histories have gigabytes: a put does not read these.
        refused = {one.key for one in published(derived, State.LAYOUT) if one.since is None and one.size > _WHOLE}
        while True:
            found = next((one for one in snapshots_of(derived, State.LAYOUT, refused) if one.seq <= head), None)
            members = () if found is None else found.members
            with journal.lock:
                bad = [one.key for one in members if not journal.fold.vouches(one.digest, one.seq)]
                base = journal.fold.base
            if not bad:
                if head - (0 if found is None else found.seq) < max(STRIDE, head // SHARE):
                    return None
                if found is None:
                    return LayeredTables((), store=journal.fold.header["store"])
                held = {**self._held, **({one.digest: one for one in base.layers} if isinstance(base, LayeredTables) else {})}
                if sum(one.size for one in members if one.digest not in held) > sealed.speed * _READING:
                    return None
                opener = partial(open_snapshot, journal.backend, algorithm)
                try:
                    return open_members(journal.cached_backend, algorithm, members, opener, held)
                except CorruptionError as error:
                    bad = [one.key for one in members if one.digest == error.digest]
                    if not bad:
                        raise
            refused.update(bad)

    def _is_right(self, made: Derived) -> bool:
        """Whether a derived state is the own fold: what others have published before may be false."""
        journal, state, previous = self._journal, made.state, Digest.parse(made.span.entry)
        with journal.lock:
            if journal.head - state.head > STRIDE:
                return True  # of a long history a part is published, and what comes behind that is compared
            for seq, raw in journal.raw_entries(state.head + 1, recent=True):  # other threads have appended meanwhile
                state.apply(journal.complete(join(raw, seq, previous)))
                previous = Digest.of(raw, journal.config.digest)
            found = "its last entry" if previous != journal.digest else differing(state, journal.fold)
        if found is not None and not self._warned:
            self._warned = True
            text = f"the published snapshots of {journal.backend.url} differ from the journal ({found}): `artifactstore verify` finds where"
            remark(text)
        return found is None

    def _publish(self, data: bytes, since: int, seq: int) -> Snapshot:
        """Make it durable, then vouch for it in the journal, then let listings lead to it.

        Raises:
            ArtifactStoreError: the backend failed; what was written is litter.
        """
        journal = self._journal
        digest = str(Digest.of(data, journal.config.digest))
        candidate = Snapshot(State.LAYOUT, seq, 0, digest, len(data), since)
        with suppress(AlreadyExistsError):
            journal.backend.create(candidate.content, data)
        done = self._appender.commit([candidate.fact], birth=seq, alive_at=seq, refuse=_refuse)
        pointer = replace(candidate, entry=done.seq)
        with suppress(AlreadyExistsError):
            journal.backend.create(pointer.key, canonical_json({"format": 1, **pointer.fact, "entry": done.seq}))
        return pointer


def _merged_from(layers: Sequence[Layer]) -> int:
    """Return the first of the newest layers that should become one: as many as there are of about one length."""
    lengths = [one.span.seq - one.span.since for one in layers]
    first, length = len(layers) - 1, lengths[-1]
    while True:
        begin, total = first, length
        while begin and lengths[begin - 1] < 4 * length and total + lengths[begin - 1] <= WIDEST:
            begin -= 1
            total += lengths[begin]
        if first - begin + 1 < TOGETHER:
            return first
        first, length = begin, total


def _is_readable(layer: Layer) -> bool:
    """Whether readers can read all of a layer."""
    for table in layer.tables():
        for (key, _), (following, _) in pairwise(layer.rows(table)):
            if key >= following:
                return False
    return True


def _refuse(void: object) -> Exception:
    return BackendError(f"the snapshot cannot be recorded here: {void}")
