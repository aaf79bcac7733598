"""What a transaction did, in words: `put churn/model:v7 · run train · auc 0.91`. The texts may be hostile: who shows them escapes them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from artifactstore.display.values import counted
from artifactstore.model.facts import Fact
from artifactstore.model.fields import sane
from artifactstore.runtime.records import dataclass
from artifactstore.signing.envelope import ANCHOR, payload_of, speaks_of

__all__ = ["KINDS", "Naming", "action"]

_LISTED: Final = 3  # names, and metrics, that are listed
_LONG: Final = 80  # characters of a name or a message
_DIGEST: Final = 15  # characters of a digest: enough to pass it on
_ID: Final = 8  # characters of the id of a store or of a run without a name


@dataclass(frozen=True, slots=True)
class Naming:
    """How the words of a transaction name things.

    Attributes:
        artifact: digest → `NAME:vK`, or the digest's beginning.
        run: id → the run's name.
        pointed: (name, alias) → the version that the alias pointed to before the transaction, or None.
        version: a fact of another store, which was received → the number of its version here, or None.
        store: the id of the store, or empty: then no signature is compared with it.
    """

    artifact: Callable[[str], str]
    run: Callable[[str], str]
    pointed: Callable[[str, str], int | None]
    version: Callable[[Fact], int | None]
    store: str = ""


def action(facts: Sequence[tuple[Fact, int | None]], naming: Naming) -> str:
    """Return what the facts of a transaction did, each given with the number of its version."""
    of: dict[str, list[tuple[Fact, int | None]]] = {}
    for fact, version in facts:
        of.setdefault(fact["fact"], []).append((fact, version))
    puts = {_target(fact, version, naming): fact["digest"] for fact, version in of.get("versioned", ()) if _is_named(fact)}
    phrases = [
        *([f"put {_listed(puts)}"] if puts else ()),
        *chain.from_iterable(word(fact, version, naming) for kind, word in _WORDS.items() for fact, version in of.get(kind, ())),
        *_received([fact for fact, _ in of.get("received", ())], naming),
        *_described((one for one in of.get("described", ()) if _target(*one, naming) not in puts), naming),
        *_runs(facts, naming, alone=not puts),
        *_measured([fact for fact, _ in of.get("measured", ()) if "digest" in fact], {*puts.values()}, naming),
        *(_logged((fact for fact, _ in facts), known=_metrics_of(of)) if puts else ()),
        *(f"{kind} {_subject(fact, naming)}".rstrip() for kind, found in of.items() if kind not in KINDS for fact, _ in found),
    ]
    return " · ".join(phrases) or _content(of, naming)


def _is_named(fact: Fact) -> bool:
    return isinstance(fact.get("name"), str)


def _short(text: Any) -> str:
    shown = str(text)
    return shown if len(shown) <= _LONG else shown[: _LONG - 1] + "…"


def _listed(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(map(_short, names[:_LISTED])) + more


def _target(fact: Fact, version: int | None, naming: Naming) -> str:
    """Return the version that a fact names."""
    if _is_named(fact) and version is not None:
        return f"{fact['name']}:v{version}"
    if _is_named(fact) and "digest" in fact:
        return f"{fact['name']}@{fact['digest'][:_DIGEST]}"  # it has no version: the transaction is void
    return naming.artifact(fact["digest"]) if "digest" in fact else str(fact.get("name") or "")


def _subject(fact: Fact, naming: Naming) -> str:
    """Return what a fact of an unknown kind is about, whatever its fields are."""
    digest = fact.get("digest")
    words = [fact["name"]] if _is_named(fact) else [naming.artifact(digest)] if isinstance(digest, str) else []
    return _short(" ".join([*words, *([fact["alias"]] if isinstance(fact.get("alias"), str) else [])]))


# -- one phrase a fact


def _aliased(fact: Fact, version: int | None, naming: Naming) -> Iterator[str]:
    before, ends = naming.pointed(fact["name"], fact["alias"]), fact.get("version") is None and "digest" not in fact
    what = _short(f"{fact['name']} {fact['alias']}")
    if ends:
        yield f"unalias {what}" + ("" if before is None else f" (was v{before})")
        return
    target = fact.get("digest", "")[:_DIGEST] if version is None else f"v{version}"
    verb, why = "alias", ""
    if isinstance(rollback := fact.get("rollback"), dict):
        verb, why = "roll back", f" (as since entry {rollback.get('quotes')})"
    elif isinstance(verdict := fact.get("verdict"), dict):
        verb, why = "promote", f" ({_judged(verdict)})"
    yield f"{verb} {what} " + ("" if before is None else f"v{before} ") + f"-> {target}{_short(why)}"


def _judged(verdict: Fact) -> str:
    """Return what a recorded verdict says: it may contain anything."""
    conditions = verdict.get("conditions")
    found = conditions if isinstance(conditions, list) else []
    met = sum(isinstance(one, dict) and one.get("ok") is True for one in found)
    return f"{met} of {counted(len(found), 'conditions')} met"


def _verb(word: str) -> Callable[[Fact, int | None, Naming], Iterator[str]]:
    def phrase(fact: Fact, version: int | None, naming: Naming) -> Iterator[str]:
        yield f"{word} {_short(_target(fact, version, naming))}"

    return phrase


def _approved(fact: Fact, _version: int | None, naming: Naming) -> Iterator[str]:
    verb = "approve" if fact["verdict"] == "approved" else "reject"
    role = f" as {_short(fact['role'])}" if "role" in fact else ""
    alias = f" for {_short(fact['alias'])}" if "alias" in fact else ""
    yield f"{verb} {_short(naming.artifact(fact['digest']))}{role}{alias} ({_signature(fact, naming)})"


def _signature(fact: Fact, naming: Naming) -> str:
    """Return whether an approval is signed: printed name, time and meaning; nothing is verified here."""
    meaning = str(fact.get("meaning", "approval"))
    if "signature" not in fact:
        return "claimed" if meaning == "approval" else f"claimed, {_short(meaning)}"
    payload = payload_of(fact["signature"])
    if payload is None or not speaks_of(payload, fact, store=naming.store or payload["store"]):
        return "signature of something else"
    return f"signed by {_short(payload['name'])}, {_short(payload['meaning'])}, {payload['time'][:19].replace('T', ' ')}Z"


def _held(fact: Fact, version: int | None, naming: Naming) -> Iterator[str]:
    yield f"hold {_short(_target(fact, version, naming))}" + (f" until {fact['until'][:10]}" if "until" in fact else "")


def _gated(fact: Fact, _version: int | None, _naming: Naming) -> Iterator[str]:
    what, rules = _short(f"{fact['names']} {fact['alias']}"), fact["rules"]
    if rules is None:
        yield f"lift gate {what}"
        return
    found = rules.get("all", rules.get("any"))
    many = counted(len(found), "conditions") if isinstance(found, list) else "unknown rules"
    yield f"gate {what}: {'any of ' if 'any' in rules else ''}{many}"


def _retained(fact: Fact, _version: int | None, _naming: Naming) -> Iterator[str]:
    rules = fact["rules"]
    what = None if rules is None else ", ".join(f"{name} {value}" for name, value in sorted(rules.items()))
    yield f"lift retention {_short(fact['names'])}" if what is None else f"retention {_short(fact['names'])}: {_short(what)}"


def _refused(fact: Fact, version: int | None, naming: Naming) -> Iterator[str]:
    alias = fact["alias"] if isinstance(fact.get("alias"), str) else ""
    words = [_short(one) for one in ("refuse", fact["action"], _target(fact, version, naming), alias) if one]
    yield f"{' '.join(words)}: {_short('; '.join(fact['reasons']))}"


def _signed(fact: Fact, version: int | None, naming: Naming) -> Iterator[str]:
    yield f"sign {_short(_target(fact, version, naming))} ({_short(fact['type'])}, key {_short(fact['key'][:_DIGEST])})"


def _anchored(fact: Fact, _version: int | None, _naming: Naming) -> Iterator[str]:
    signed = ""
    if "signature" in fact:
        payload = payload_of(fact["signature"], ANCHOR)
        signed = " (signed by something else)" if payload is None else f" (signed by {_short(payload['name'])})"
    yield f"anchor entry {fact['seq']}{signed}"


def _condemned(fact: Fact, _version: int | None, _naming: Naming) -> Iterator[str]:
    yield f"condemn {len(fact['packs']):,} packs and {len(fact['manifests']):,} manifests"


_WORDS: Final[Mapping[str, Callable[[Fact, int | None, Naming], Iterator[str]]]] = {
    "aliased": _aliased,
    "tainted": _verb("taint"),
    "cleared": _verb("untaint"),
    "approved": _approved,
    "signed": _signed,
    "refused": _refused,
    "gated": _gated,
    "retained": _retained,
    "anchored": _anchored,
    "damaged": lambda fact, _version, naming: iter([f"mark {_short(_target(fact, None, naming))} as damaged"]),
    "held": _held,
    "released": lambda fact, _version, _naming: iter([f"release hold {fact['hold'][:_ID]}"]),
    "removed": _verb("remove"),
    "relocated": _verb("relocate"),
    "condemned": _condemned,
    "moved_to": lambda fact, _version, _naming: iter([f"move the store to {_short(fact['url'])}"]),
    "snapshot": lambda fact, _version, _naming: iter([f"publish a snapshot of entry {fact['seq']}"]),
}
KINDS: Final = frozenset(
    {*_WORDS, "received", "stored", "versioned", "described", "measured", "started", "finished", "used", "produced"}
)


# -- one phrase for several facts


def _received(found: Sequence[Fact], naming: Naming) -> Iterator[str]:
    """Yield a phrase for the transactions of each other store: of one all that it did, of several what they put."""
    of: dict[str, list[Fact]] = {}
    for fact in found:
        of.setdefault(fact["store"], []).append(fact)
    for store, txns in of.items():
        there = replace(naming, store=store)  # signatures were made for the store that the facts come from
        numbered = [[(one, naming.version(one)) for one in map(sane, txn["facts"])] for txn in txns]
        if len(txns) == 1:
            what, did = f"entry {txns[0]['seq']}, by {_short(txns[0]['actor'])}", action(numbered[0], there)
        else:
            puts = (one for facts in numbered for one in facts if one[0]["fact"] == "versioned" and _is_named(one[0]))
            names = _listed(_target(*one, naming) for one in puts)
            what, did = f"{len(txns):,} transactions", f"put {names}" if names else ""
        yield f"receive {what} of store {store[:_ID]}" + (f": {did}" if did else "")


def _described(found: Iterable[tuple[Fact, int | None]], naming: Naming) -> Iterator[str]:
    for fact, version in found:
        yield f"describe {_short(_target(fact, version, naming))}" + (
            f" ({_listed(fact['metadata'])})" if fact["metadata"] else ""
        )


def _runs(facts: Sequence[tuple[Fact, int | None]], naming: Naming, *, alone: bool) -> Iterator[str]:
    """Yield a phrase for each run: how it began and ended, what it logged; what it used if there is nothing else to say."""
    of: dict[str, list[Fact]] = {}
    for fact, _ in facts:
        run = fact.get("run", fact.get("by") if fact["fact"] == "measured" else None)
        if isinstance(run, str) and fact["fact"] in KINDS:
            of.setdefault(run, []).append(fact)
    for run, found in of.items():
        started = next((fact["name"] for fact in found if fact["fact"] == "started"), None)
        words = [] if started is None else ["started"]
        words += [_ended(fact) for fact in found if fact["fact"] == "finished"]
        end = next((f": {_short(fact['error'])}" for fact in found if fact.get("error")), "")
        shown = f" ({run[:_ID]})" if words else ""
        used = [fact for fact in found if fact["fact"] == "used"]
        if not words and alone:
            words = [*_logged(found)] or (
                ["used " + _listed(_target(fact, fact.get("version"), naming) for fact in used)] if used else []
            )
        yield f"run {_short(started or naming.run(run))} {', '.join(words)}".rstrip() + shown + end


def _metrics_of(of: Mapping[str, Sequence[tuple[Fact, int | None]]]) -> set[str]:
    return {metric for fact, _ in of.get("measured", ()) if "digest" in fact for metric in fact["metrics"]}


def _logged(found: Iterable[Fact], known: Collection[str] = ()) -> Iterator[str]:
    """Yield what a run logged; `known` metrics are listed elsewhere."""
    many: dict[str, int] = {}
    for fact in found:
        for metric in fact["metrics"] if fact["fact"] == "measured" and "digest" not in fact else ():
            if metric not in known:
                many[metric] = many.get(metric, 0) + 1
    if many:
        yield "logged " + _listed(f"{metric} ({times} values)" if times > 1 else metric for metric, times in many.items())


def _ended(fact: Fact) -> str:
    return f"{fact['status']}" + (f" after {fact['seconds']:.1f} s" if "seconds" in fact else "")


def _measured(found: Sequence[Fact], put: set[str], naming: Naming) -> Iterator[str]:
    """Yield the metrics of artifacts; the artifact is named unless it is the only one put."""
    of: dict[str, dict[str, float]] = {}
    for fact in found:
        of.setdefault(fact["digest"], {}).update({**fact["metrics"], **fact.get("not_finite", {})})
    for digest, metrics in of.items():
        words = _listed(
            f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}" for name, value in metrics.items()
        )
        yield words if put == {digest} else f"measure {_short(naming.artifact(digest))} {words}"


def _content(of: Mapping[str, Sequence[tuple[Fact, int | None]]], naming: Naming) -> str:
    """Return the words for a transaction that stored content without a name, and nothing else."""
    unnamed = of.get("versioned") or of.get("stored") or ()
    return f"store {_listed(_target(fact, version, naming) for fact, version in unnamed)}" if unnamed else "nothing"
