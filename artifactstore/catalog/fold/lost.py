"""What facts say of lost bytes: a mark by `repair`, or a pack that was condemned without its manifest, as no clean-up does.

The fold never judges by it: such a fact has no power over others. Whoever stores, shares chunks or appends does.
"""

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from artifactstore.catalog.fold.judge import Void
    from artifactstore.model.schema import Txn

__all__ = ["is_robbed", "is_whole", "relies_on_lost"]


class Content(Protocol):
    """The part of the state that is about bytes."""

    header: dict[str, Any]
    holders: MutableMapping[str, list[str]]
    manifests: MutableMapping[str, list[Any]]
    condemned_packs: dict[str, int]
    damaged: dict[str, int]


def is_whole(state: Content, manifest: str) -> bool:
    """Return whether no fact says that bytes of an uncondemned manifest are lost."""
    return manifest not in state.damaged and not is_robbed(state, manifest)


def is_robbed(state: Content, manifest: str, since: int = 0) -> bool:
    """Return whether an entry after `since` condemned a pack of an uncondemned manifest."""
    condemned = state.condemned_packs
    return bool(condemned) and any(condemned.get(pack, 0) > since for pack in state.manifests[manifest][2])


def relies_on_lost(state: Content, txn: "Mapping[str, Any] | Txn") -> "Void | None":
    """Return why a transaction should not be appended: what it relies on was found lost since its references were checked.

    Args:
        state: the state before it, or with it.
        txn: the transaction; `checked`, if it is there, is the entry at which its references were checked, else its base.
    """
    since: Any = txn.get("checked", txn["base"])
    facts = txn["facts"]
    lost = {one for one, seq in state.damaged.items() if seq > since}
    if not lost and state.header["condemned"] <= since:
        return None
    from artifactstore.catalog.fold.judge import Void  # noqa: PLC0415 - a kept fold that is read needs no rules

    packs = {pack for one in lost for pack in state.manifests[one][2]}
    stored = {fact["digest"] for fact in facts if fact["fact"] == "stored"}
    for fact in facts:
        if fact["fact"] == "stored" and not packs.isdisjoint(fact["packs"]):
            return Void("holder", f"packs of {fact['digest']} were found damaged since entry {since}", fact)
        if fact["fact"] == "versioned" and fact["digest"] not in stored:
            holders = state.holders.get(fact["digest"], ())
            found = any(one in lost or is_robbed(state, one, since) for one in holders)
            if found and not any(is_whole(state, one) for one in holders):
                return Void("holder", f"{fact['digest']} was found lost since entry {since}", fact)
    return None
