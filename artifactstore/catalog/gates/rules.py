"""The grammar of gates: which rules there are, and what each may say (docs/reference/format.md, "Gates").

A gate is `{"all": [RULE, …]}` or `{"any": [RULE, …]}`, and may demand a reason (`"reason": true`). A RULE is one condition, or one of
`{"all": […]}`, `{"any": […]}`, `{"not": RULE}`. What a rule means is `evaluate`'s part.
"""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import combinations
from typing import Any, Final

from artifactstore.catalog.comparison import Comparison
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.reference import Reference
from artifactstore.runtime.records import dataclass
from artifactstore.signing.envelope import MEANINGS

__all__ = ["JUDGED", "RuleError", "check_gate", "is_gate", "kind_of"]

_DEEPEST: Final = 16  # levels of all, any and not
_MOST: Final = 1000  # conditions of one gate
JUDGED: Final[Mapping[str, str]] = {  # what each condition is judged on, unless signatures are asked for
    "metric": "facts", "run": "facts", "lineage": "facts", "reads": "facts", "code": "facts", "taint": "facts",
    "criteria": "facts", "age": "facts", "approvals": "facts",
    "evaluated": "content", "report": "content", "format": "content",
    "signature": "keys",
}  # fmt: skip


class RuleError(InvalidInputError):
    """A rule that means nothing.

    Attributes:
        path: keys and indices that lead to it in its gate.
    """

    def __init__(self, text: str, path: tuple[str | int, ...]) -> None:
        super().__init__(text)
        self.path = path


def kind_of(rule: Mapping[str, Any]) -> str:
    """Return the kind of a valid rule: its condition, or `all`, `any`, `not`."""
    return next(kind for kind in _KINDS if kind in rule)


# -- values

_Check = Callable[[Any], str | None]  # what a value must be, or None if it is that


def _word(*allowed: str) -> _Check:
    return lambda value: None if value in allowed and isinstance(value, str) else f"must be {' or '.join(map(repr, allowed))}"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() and len(value) <= 1000 else "must be a text that is not empty"


def _comparison(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be text such as '>= 0.9'"
    try:
        Comparison.parse(value)
    except InvalidInputError:
        return "must be OP NUMBER, such as '>= 0.9', with one of >= <= == != > <"
    return None


def _reference(value: Any) -> str | None:
    try:
        found = Reference.parse(value)
    except InvalidInputError as error:
        return str(error)
    return "must be a whole artifact, not a path in one" if found.path is not None else None


def _baseline(value: Any) -> str | None:
    """An alias of the same name, or a reference."""
    return _reference(value)  # an alias has the form of a name


def _count(value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and 1 <= value <= 1000 else "must be a whole number of at least 1"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


@dataclass(frozen=True, slots=True)
class _Form:
    """The fields of one kind of rule."""

    required: Mapping[str, _Check]
    optional: Mapping[str, _Check]


def _form(required: Mapping[str, _Check], **optional: _Check) -> _Form:
    return _Form(required, optional)


# The first that occurs in a rule is its kind: `evaluated` has a metric, too.
_KINDS: Final[Mapping[str, _Form | None]] = {
    "all": None,
    "any": None,
    "not": None,
    "evaluated": _form({"evaluated": _word("apart"), "metric": _text}),
    "metric": _form({"metric": _text, "is": _comparison}, on=_reference, of=_baseline),
    "run": _form({"run": _word("finished")}),
    "lineage": _form({"lineage": _word("complete")}),
    "reads": _form({"reads": _word("tracked")}),
    "code": _form({"code": _word("committed", "clean")}, branch=_text, tag=_text),
    "taint": _form({"taint": _word("none")}),
    "report": _form({"report": _text, "field": _text, "is": _comparison}),
    "criteria": _form({"criteria": _reference}),
    "format": _form({"format": _word("safe")}),
    "age": _form({"age": _comparison}),
    "approvals": _form({"approvals": _count}, role=_text, meaning=_word(*MEANINGS), signed=_truth),
    "signature": _form({"signature": _text}),
}


# -- checking


def check_gate(rules: Any) -> None:
    """Check the rules of a gate.

    Raises:
        RuleError: an unknown or contradictory rule, or a value of another form; `.path` leads to it.
    """
    if not isinstance(rules, Mapping):
        raise RuleError("the rules of a gate must be {all = […]} or {any = […]}", ())
    keys = set(rules) - {"reason"}
    if unknown := sorted(keys - {"all", "any"}):
        raise RuleError(
            f"a gate has no {unknown[0]!r}{_nearest(unknown[0], ('all', 'any', 'reason', 'names', 'alias'))}", (unknown[0],)
        )
    if len(keys) != 1:
        raise RuleError("a gate needs either all = […] or any = […]", ())
    if "reason" in rules and not isinstance(rules["reason"], bool):
        raise RuleError("reason must be true or false", ("reason",))
    (top,) = keys
    _check_list(rules[top], (top,), 0)
    if sum(1 for _ in _leaves(rules)) > _MOST:
        raise RuleError(f"a gate has at most {_MOST} conditions", ())
    _check_contradictions(rules)


def is_gate(rules: Any) -> bool:
    """Return whether rules can be judged: another writer may have recorded anything."""
    try:
        check_gate(rules)
    except InvalidInputError:
        return False
    return True


def _check_list(value: Any, path: tuple[str | int, ...], depth: int) -> None:
    if not isinstance(value, list | tuple):
        raise RuleError(f"{path[-1]} must be a list of conditions", path)
    if depth > _DEEPEST:
        raise RuleError(f"conditions are nested more than {_DEEPEST} levels deep", path)
    for number, one in enumerate(value):
        _check_rule(one, (*path, number), depth + 1)


def _check_rule(rule: Any, path: tuple[str | int, ...], depth: int) -> None:
    if not isinstance(rule, Mapping) or not all(isinstance(key, str) for key in rule):
        raise RuleError("a condition must be a table such as { metric = 'auc', is = '>= 0.9' }", path)
    kind = next((one for one in _KINDS if one in rule), None)
    if kind is None:
        key = next(iter(rule), "")
        raise RuleError(
            f"no condition is called {key!r}{_nearest(key, _KINDS)}" if key else "a condition must not be empty", (*path, key)
        )
    form = _KINDS[kind]
    if form is None:
        if len(rule) > 1:
            raise RuleError(f"{kind} stands alone: put the other conditions into a list of their own", (*path, kind))
        if kind == "not":
            if depth > _DEEPEST:
                raise RuleError(f"conditions are nested more than {_DEEPEST} levels deep", path)
            _check_rule(rule[kind], (*path, kind), depth + 1)
        else:
            _check_list(rule[kind], (*path, kind), depth)
            if not rule[kind]:
                raise RuleError(f"{kind} must not be empty inside of a gate", (*path, kind))
        return
    known = {**form.required, **form.optional}
    for key, value in rule.items():
        if key not in known:
            raise RuleError(f"the condition {kind} has no {key!r}{_nearest(key, known)}", (*path, key))
        if (fault := known[key](value)) is not None:
            raise RuleError(f"{key} = {value!r:.100}: {fault}", (*path, key))
    for key in form.required:
        if key not in rule:
            raise RuleError(f"the condition {kind} needs {key!r}", (*path, kind))


def _nearest(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), n=3)
    return f"; the nearest is {near[0]!r}" if near else f"; expected one of {', '.join(known)}"


def _leaves(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("all", "any"):
        for one in rule.get(key, ()):
            yield from _leaves(one)
    if "not" in rule:
        yield from _leaves(rule["not"])
    if not {"all", "any", "not"} & set(rule):
        yield rule


def _together(rule: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[tuple[Mapping[str, Any], tuple[str | int, ...]]]:
    """Yield the conditions that must all hold where a rule holds."""
    if "all" in rule:
        for number, one in enumerate(rule["all"]):
            yield from _together(one, (*path, "all", number))
    elif "any" not in rule:
        yield rule, path


def _check_contradictions(rule: Mapping[str, Any], path: tuple[str | int, ...] = ()) -> None:
    """Refuse conditions that no version can meet at once, as far as that can be seen.

    Raises:
        RuleError: names both.
    """
    for (one, _), (other, where) in combinations(_together(rule, path), 2):
        if _contradict(one, other) or _contradict(other, one):
            first, second = (canonical_json(dict(each)).decode() for each in (one, other))
            raise RuleError(f"{first} and {second} contradict each other: no version can meet both", where)
    for key in ("all", "any"):
        for number, inner in enumerate(rule.get(key, ())):
            if {"all", "any", "not"} & set(inner):
                _check_contradictions(inner, (*path, key, number))


def _contradict(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if "not" in other and canonical_json(dict(other["not"])) == canonical_json(dict(one)):
        return True
    if not {"is", "age"} & set(one) or not {"is", "age"} & set(other):
        return False
    subjects = ({key: value for key, value in each.items() if key not in {"is", "age"}} for each in (one, other))
    if next(subjects) != next(subjects) or ("age" in one) != ("age" in other):
        return False
    limits = [Comparison.parse(each["age"] if "age" in each else each["is"]) for each in (one, other)]
    return limits[0].contradicts(limits[1])
