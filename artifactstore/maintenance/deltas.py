"""Deltas: what a writer that seals publishes of the fold's gain, on what was published before (decision 0061).

Opening them, and deriving them from entries: by who publishes, by `verify` and by `repair`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.catalog.fold.deltas import derive, join_layers, open_layers
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.layer import Layer, Span
from artifactstore.catalog.spill.layered import LayeredTables
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.errors import CorruptionError
from artifactstore.journal.chain import join
from artifactstore.journal.fetch import fetch_run, read_many
from artifactstore.journal.journal import Journal
from artifactstore.journal.snapshots import Snapshot
from artifactstore.model.digest import Digest

__all__ = ["Derived", "delta_fault", "derive_delta", "open_members"]

_NEVER: Final = 2**62
Whole = Callable[[Snapshot], tuple[State, str] | None]


class Derived:
    """A delta that was derived from entries.

    Attributes:
        data: its bytes.
        state: the state after its last entry, opened on the layers before it.
        span: what it spans.
    """

    def __init__(self, data: bytes, state: State, span: Span) -> None:
        self.data = data
        self.state = state
        self.span = span


def open_members(
    backend: Backend,
    algorithm: str,
    members: Sequence[Snapshot],
    open_whole: Whole,
    held: Mapping[str, Layer] = {},
) -> LayeredTables:
    """Open deltas on one another, and on a whole snapshot if one is the first.

    Args:
        backend: the store's.
        algorithm: of its digests.
        members: the oldest first.
        open_whole: opens a whole snapshot.
        held: layers that were opened before, by digest.

    Raises:
        CorruptionError: one does not match its digest, or is not what its pointer says; names that digest.
    """
    deltas = [one for one in members if one.since is not None]
    wanted = [one for one in deltas if one.digest not in held]
    found = dict(zip(wanted, read_many(backend, [one.content for one in wanted]), strict=True))
    layers = [held.get(one.digest) or _layer(one, found.get(one), algorithm) for one in deltas]
    bottom, at = None, (0, "")
    store = layers[0].span.store if layers else ""
    if len(deltas) < len(members):
        opened = open_whole(members[0])
        if opened is None or not isinstance(opened[0].base, SqliteTables):
            raise CorruptionError(f"{members[0].content} is damaged or missing", digest=members[0].digest)
        bottom, at, store = opened[0].base, (opened[0].head, opened[1]), str(opened[0].header["store"])
    try:
        return join_layers(layers, store, bottom, at)
    except ValueError as error:
        raise CorruptionError(f"{deltas[-1].content} is not on what is before it ({error})", digest=deltas[-1].digest) from error


def _layer(delta: Snapshot, data: bytes | None, algorithm: str) -> Layer:
    if data is None or str(Digest.of(data, algorithm)) != delta.digest:
        raise CorruptionError(f"{delta.content} is damaged or missing", digest=delta.digest)
    try:
        layer = Layer(data)
    except ValueError as error:
        raise CorruptionError(f"{delta.content} cannot be read ({error})", digest=delta.digest) from error
    layer.digest = delta.digest
    if (layer.span.since, layer.span.seq) != (delta.since, delta.seq):
        raise CorruptionError(f"{delta.content} spans other entries than its pointer says", digest=delta.digest)
    return layer


def derive_delta(journal: Journal, below: LayeredTables, end: int, *, longest: int = _NEVER, recent: bool = False) -> Derived:
    """Derive a delta from the entries behind the layers below.

    Args:
        journal: the store's.
        below: the layers; none for a delta that begins with the journal.
        end: the last entry.
        longest: entries that are folded for it; the last may be an earlier one.
        recent: use the entries as this process has read them, or segments; else each is read.

    Raises:
        CorruptionError: an entry is damaged, or does not follow what the layers end with.
        ValueError: the delta is larger than readers accept.
    """
    state = open_layers(below)
    state.SETTLE = _NEVER  # what is changed is what is wanted
    before = ""
    if below.layers:
        before = below.layers[-1].span.entry
    elif below.bottom is not None:
        before = below.bottom.texts()["entry"].decode()
    since = state.head
    end = min(end, since + longest)
    previous = Digest.parse(before) if before else Digest.of(journal.config.raw, journal.config.digest)
    each = enumerate(fetch_run(journal.backend, since + 1, end, end=end), since + 1)
    for seq, raw in journal.raw_entries(since + 1, end, recent=True) if recent else each:
        state.apply(journal.complete(join(raw, seq, previous)))
        previous = Digest.of(raw, journal.config.digest)
    span = Span(below.store, State.LAYOUT, since, before, end, str(previous))
    return Derived(derive(state, below, span), state, span)


def delta_fault(journal: Journal, delta: Snapshot, open_whole: Whole) -> str | None:
    """Return what is wrong with a delta, or None: it is derived again from the entries.

    Args:
        journal: the store's, whose chain is verified.
        delta: the delta, with what it is on, which was checked before.
        open_whole: opens a whole snapshot.
    """
    try:
        tables = open_members(journal.backend, journal.config.digest, delta.members, open_whole)
    except CorruptionError as error:
        if error.digest == delta.digest:
            return "is damaged or missing"
        return None  # what it is on is: it is never opened
    layer = tables.layers[-1]
    below = LayeredTables(tables.layers[:-1], tables.bottom, journal.config.store)
    try:
        true = derive_delta(journal, below, delta.seq)
        found = layer.difference(Layer(true.data))
    except (CorruptionError, ValueError, KeyError, TypeError) as error:
        found = str(error)
    return None if found is None else f"differs from the journal ({found})"
