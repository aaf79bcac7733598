"""Tables of what was said about artifacts and names: approvals, signatures, rules, holds, taints, damage.

These facts are folded without a look at what they stand beside; those that make versions and lineage are the state's part.
"""

from artifactstore.catalog.fold.received import hold_key, is_own
from artifactstore.catalog.fold.tables import Tables
from artifactstore.model.facts import Fact

__all__ = ["Standing"]


class Standing(Tables):
    """The part of the state that folds such facts."""

    def _fold_approved(self, fact: Fact, stamp: Fact) -> None:
        fields = ("verdict", "meaning", "role", "alias", "name", "signature")
        self._push(self.approvals, fact["digest"], {**{key: fact[key] for key in fields if key in fact}, **stamp})

    def _fold_signed(self, fact: Fact, stamp: Fact) -> None:
        self._push(self.signed, fact["digest"], {"type": fact["type"], "key": fact["key"], **stamp})

    def _fold_gated(self, fact: Fact, stamp: Fact) -> None:
        if fact["alias"] not in self.gates:
            self._set(self.gates, fact["alias"], {})
        self._push(self.gates[fact["alias"]], fact["names"], {**_rules_of(fact), **stamp})

    def _fold_retained(self, fact: Fact, stamp: Fact) -> None:
        self._push(self.retention, fact["names"], {**_rules_of(fact), **stamp})

    def _fold_held(self, fact: Fact, stamp: Fact) -> None:
        row = {key: fact[key] for key in ("digest", "until") if key in fact}
        self._set(self.holds, hold_key(stamp, fact["hold"]), {**row, **stamp})

    def _fold_released(self, fact: Fact, stamp: Fact) -> None:
        self._drop(self.holds, hold_key(stamp, fact["hold"]))
        if is_own(stamp):
            self._drop(self.holds, f"received/{fact['hold']}")

    def _fold_tainted(self, fact: Fact, stamp: Fact) -> None:
        own, received = self.tainted.get(fact["digest"], [None, None])
        row = {key: value for key, value in stamp.items() if key != "txn"} | {"spread": fact.get("spread", True)}
        self._set(self.tainted, fact["digest"], [row, received] if is_own(stamp) else [own, row])

    def _fold_cleared(self, fact: Fact, stamp: Fact) -> None:
        own = self.tainted.get(fact["digest"], [None])[0]
        if is_own(stamp) or own is None:
            self._drop(self.tainted, fact["digest"])
        else:
            self._set(self.tainted, fact["digest"], [own, None])

    def _fold_damaged(self, fact: Fact, stamp: Fact) -> None:
        if fact["manifest"] in self.holders.get(fact["digest"], ()):
            self._set(self.damaged, fact["manifest"], stamp["seq"])


def _rules_of(fact: Fact) -> Fact:
    return {key: fact[key] for key in ("rules", "signature") if key in fact}
