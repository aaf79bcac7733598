"""What each fact changed: the value before it and after it, of what facts can change more than once.

Follows facts in the order of entries, and keeps only the current values. Received facts change what the fold lets them change
(`fold.received`): what was recorded here stays.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from artifactstore.model.facts import Fact

__all__ = ["NO_CHANGE", "Change", "Changes"]


class Change(NamedTuple):
    """A value before and after a fact; both None where a fact changes no value."""

    before: Any
    after: Any


NO_CHANGE: Final = Change(None, None)


class Changes:
    """The current values of what was followed so far."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], Any] = {}
        self._foreign: set[tuple[str, ...]] = set()  # values that were received, which later received facts may change
        self._gates: set[tuple[str, str]] = set()  # pattern of names, alias
        self._newest: dict[str, int] = {}  # name → its newest version: what it holds already makes no new one
        self._touched: set[tuple[str, ...]] = set()  # values that may have changed since `to_json` returned all
        self._named: set[str] = set()  # names likewise

    def to_json(self, *, newer: bool) -> dict[str, Any]:
        """Return everything as JSON values, or what may have changed since this was last done."""
        keys, names = (self._touched, self._named) if newer else ({*self._values, *self._foreign}, {*self._newest})
        if not newer:
            self._touched, self._named = set(), set()
        return {
            "values": [[[*key], self._values.get(key), key in self._values, self._foreign_of(key)] for key in sorted(keys)],
            "gates": sorted(map(list, self._gates)),
            "newest": {name: self._newest[name] for name in sorted(names) if name in self._newest},
        }

    def _foreign_of(self, key: tuple[str, ...]) -> list[str] | bool:
        """Return whether a value was received; of metrics, which of them."""
        if key[0] == "metrics" and len(key) == 2:
            return [metric for metric in self._values.get(key, ()) if (*key, metric) in self._foreign]
        return key in self._foreign

    def load(self, saved: Mapping[str, Any], *, newer: bool) -> None:
        """Apply the output of `to_json`."""
        for parts, value, known, foreign in saved["values"]:
            key = tuple(parts)
            self._values.pop(key, None)
            if known:
                self._values[key] = value
            if isinstance(foreign, list):
                self._foreign -= {(*key, metric) for metric in value or ()}
                self._foreign |= {(*key, metric) for metric in foreign}
            elif len(key) != 3 or key[0] != "metrics":
                (self._foreign.add if foreign else self._foreign.discard)(key)
            if newer:
                self._touched.add(key)
        self._gates = {(names, alias) for names, alias in saved["gates"]}
        self._newest |= saved["newest"]
        if newer:
            self._named |= {*saved["newest"]}

    def pointed(self, name: str, alias: str) -> int | None:
        """Return the version that an alias points to now, or None."""
        value: int | None = self._values.get(("alias", name, alias))
        return value

    def follow(self, fact: Fact, version: int | None, *, actor: str, reason: str | None, own: bool, takes_effect: bool) -> Change:
        """Follow the next fact.

        Args:
            fact: the fact, without malformed fields.
            version: the number of the version that it names, or None.
            actor: of its transaction.
            reason: of it or its transaction, or None.
            own: whether it was recorded here, not received.
            takes_effect: whether its transaction is not void; if it is, both values are the one that stays.
        """
        kind = fact["fact"]
        handler = _HANDLERS.get(kind)
        if handler is None:
            return NO_CHANGE
        key, value = handler(fact, version, actor, reason)
        if key is None or (kind == "versioned" and not (takes_effect and self._is_new(fact, version, key, own=own))):
            return NO_CHANGE
        if kind == "measured":
            return self._measure(key, value, own=own, takes_effect=takes_effect)
        if kind in {"held", "released"} and (not own or (kind == "released" and key not in self._values)):
            key = (*key, "received")
        before = self._values.get(key)
        if not takes_effect or not (own or self._may_receive(fact, key, version)):
            return Change(before, before)
        self._set(key, value, own=own)
        if kind == "gated":
            (self._gates.discard if value is None else self._gates.add)((fact["names"], fact["alias"]))
        return NO_CHANGE if kind == "versioned" else Change(before, value)

    def _set(self, key: tuple[str, ...], value: Any, *, own: bool) -> None:
        self._touched.add(key)
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        if not own:
            self._foreign.add(key)
        elif self._foreign:
            self._foreign.discard(key)

    def _is_new(self, fact: Fact, version: int | None, key: tuple[str, ...], *, own: bool) -> bool:
        """Return whether a put made a version, or may replace what an unnamed put recorded."""
        name = fact["name"]
        if name is None:
            return own or key in self._foreign or key not in self._values
        known = version is None or version <= self._newest.get(name, 0)
        if version is not None:
            self._newest[name] = max(version, self._newest.get(name, 0))
            self._named.add(name)
        return not known

    def _may_receive(self, fact: Fact, key: tuple[str, ...], version: int | None) -> bool:
        """Return whether a received fact changes a value."""
        kind = fact["fact"]
        if kind == "aliased":
            gated = any(one == fact["alias"] and fnmatchcase(fact["name"], names) for names, one in self._gates)
            return not gated and (version is not None or (fact.get("version") is None and "digest" not in fact))
        if kind in {"gated", "retained"}:
            return False  # rules of another store mean nothing here
        if kind == "described":
            return key in self._foreign
        return kind not in {"tainted", "cleared"} or key in self._foreign or key not in self._values

    def _measure(self, key: tuple[str, ...], metrics: Mapping[str, Any], *, own: bool, takes_effect: bool) -> Change:
        """Return the previous values of the metrics, and those afterwards."""
        known: dict[str, Any] = self._values.get(key, {})
        before = {metric: known[metric] for metric in metrics if metric in known}
        if not takes_effect:
            return Change(before, before)
        for metric, value in metrics.items():
            mark = (*key, metric)
            if own or metric not in known or mark in self._foreign:
                known[metric] = value
                if not own:
                    self._foreign.add(mark)
                elif self._foreign:
                    self._foreign.discard(mark)
        self._values[key] = known
        self._touched.add(key)
        return Change(before, {metric: known[metric] for metric in metrics})


# -- one handler a kind of fact: returns the key of what it changes, and the value afterwards

_Found = tuple[tuple[str, ...] | None, Any]
_Handler = Callable[[Fact, int | None, str, str | None], _Found]


def _aliased(fact: Fact, version: int | None, _actor: str, _reason: str | None) -> _Found:
    return ("alias", fact["name"], fact["alias"]), version


def _gated(fact: Fact, _version: int | None, _actor: str, _reason: str | None) -> _Found:
    return ("gated", fact["names"], fact["alias"]), fact["rules"]


def _retained(fact: Fact, _version: int | None, _actor: str, _reason: str | None) -> _Found:
    return ("retained", fact["names"]), fact["rules"]


def _metadata_of(fact: Fact, version: int | None) -> tuple[str, ...] | None:
    name = fact.get("name")
    if name is None:
        return ("metadata", "", str(fact.get("digest")))
    if fact["fact"] == "described" and fact.get("version") is None and "digest" not in fact:
        return ("metadata", name)
    return None if version is None else ("metadata", name, str(version))


def _described(fact: Fact, version: int | None, _actor: str, _reason: str | None) -> _Found:
    return _metadata_of(fact, version), fact.get("metadata") or None


def _versioned(fact: Fact, version: int | None, _actor: str, _reason: str | None) -> _Found:
    """A version begins with the metadata that it was put with."""
    return _metadata_of(fact, version), fact.get("metadata") or None


def _measured(fact: Fact, _version: int | None, _actor: str, _reason: str | None) -> _Found:
    """The points of a run's series replace nothing."""
    return (("metrics", fact["digest"]) if "digest" in fact else None), {**fact["metrics"], **fact.get("not_finite", {})}


def _tainted(fact: Fact, _version: int | None, _actor: str, reason: str | None) -> _Found:
    spread = {} if fact.get("spread", True) else {"spread": False}
    return ("taint", fact["digest"]), {"reason": reason, **spread}


def _cleared(fact: Fact, _version: int | None, _actor: str, _reason: str | None) -> _Found:
    return ("taint", fact["digest"]), None


def _held(fact: Fact, _version: int | None, _actor: str, reason: str | None) -> _Found:
    until = {"until": fact["until"]} if "until" in fact else {}
    return ("hold", fact["hold"]), {"digest": fact["digest"], "reason": reason, **until}


def _released(fact: Fact, _version: int | None, _actor: str, _reason: str | None) -> _Found:
    return ("hold", fact["hold"]), None


def _approved(fact: Fact, _version: int | None, actor: str, _reason: str | None) -> _Found:
    return ("judgement", fact["digest"], actor, fact.get("alias", "")), fact["verdict"]


_HANDLERS: Final[Mapping[str, _Handler]] = {
    "aliased": _aliased,
    "gated": _gated,
    "retained": _retained,
    "described": _described,
    "versioned": _versioned,
    "measured": _measured,
    "tainted": _tainted,
    "cleared": _cleared,
    "held": _held,
    "released": _released,
    "approved": _approved,
}
