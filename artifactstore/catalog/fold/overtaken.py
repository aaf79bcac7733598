"""What makes a posted transaction useless for ever: the rule of those that append for others (docs/reference/protocol.md, rule 4).

A move of an alias can be void now and valid again later: the alias comes back, its gate is lifted. Its writer has reported a
failure by then, so a writer that appends for others asks for more than the fold does: nothing that the move depends on may have
changed since it was posted. What has, stays so.
"""

from collections.abc import Mapping
from typing import Any

from artifactstore.catalog.fold.judge import Facts, Void

__all__ = ["overtaken"]


def overtaken(state: Facts, txn: Mapping[str, Any]) -> Void | None:
    """Return why no other writer may append a transaction any more, or None.

    Args:
        state: the state that it would be appended to.
        txn: the transaction as it was posted, with its facts; its base is the head that its writer judged it on.
    """
    for fact in txn["facts"]:
        if fact["fact"] != "aliased":
            continue
        name, alias = fact["name"], fact["alias"]
        if alias in state.gates:
            return Void("gate", f"the alias {alias} is or was gated: only its own writer may move {name}:{alias}", fact)
        moves = state.aliases.get(name, {}).get(alias)
        if moves and moves[-1]["seq"] > txn["base"]:
            return Void("expect", f"{name}:{alias} was moved in entry {moves[-1]['seq']}, after {txn['base']}", fact)
    return None
