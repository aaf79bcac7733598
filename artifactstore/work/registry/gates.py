"""Gates of a store: those in force, and new versions of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.rules import RuleError, check_gate
from artifactstore.catalog.rows import Rows
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_time
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_alias
from artifactstore.signing.envelope import GATE
from artifactstore.work.registry.arguments import required_reason
from artifactstore.work.registry.rule_files import RuleTables, check_pattern, load_rules
from artifactstore.work.registry.signatures.keys import signed
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session

__all__ = ["Gate", "gates"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate in force.

    Attributes:
        names: pattern of the names that it is for.
        alias: the alias that it guards.
        rules: what must hold, as recorded.
        version: k of its versions; each change, also a lift, makes one.
        entry: the entry that set it.
        time: when.
        actor: who.
        reason: why.
        signed: whether its change carries a signature.
    """

    names: str
    alias: str
    rules: Mapping[str, Any]
    version: int
    entry: int
    time: datetime
    actor: str
    reason: str | None
    signed: bool = False


def gates(session: Session, rules: Any = None, *, reason: Any = None, signer: Any = None) -> Rows[Gate]:
    """Return the gates in force, after setting those that are passed; see `Registry.gates`."""
    if rules is None:
        if reason is not None or signer is not None:
            raise InvalidInputError("reason= and signer= are for a change: pass rules=, too")
    else:
        _set(session, load_rules(rules, "gate"), required_reason(reason, "the gates change"), signer)
    with session.query_state() as state:
        return Rows(Gate, list(_in_force(state)))


def _in_force(state: State) -> Any:
    found = ((names, alias, rows) for alias, by_names in state.gates.items() for names, rows in by_names.items())
    for names, alias, rows in sorted(found, key=itemgetter(0, 1)):
        row = rows[-1]
        if row["rules"] is not None:
            about = row["seq"], parse_time(row["time"]), row["actor"], row.get("reason")
            yield Gate(names, alias, row["rules"], len(rows), *about, "signature" in row)


def _set(session: Session, tables: RuleTables, reason: str, signer: Any) -> None:
    session.check_writable()
    if session.batch() is not None:
        raise InvalidInputError("gates cannot change inside a batch")
    wanted = [_checked(tables, number, dict(table)) for number, table in enumerate(tables.tables)]
    seen: set[tuple[str, str]] = set()
    for number, (names, alias, _) in enumerate(wanted):
        if (names, alias) in seen:
            raise tables.error(number, "alias", f"{names} has two gates for {alias} here: put both into one")
        seen.add((names, alias))

    def prepare(_core: Core) -> Prepared:
        facts: list[Fact] = []
        with session.state() as state:
            head = state.head
            for names, alias, rules in wanted:
                rows = state.gates.get(alias, {}).get(names)
                now = rows[-1]["rules"] if rows else None
                if canonical_json(now) != canonical_json(rules):
                    facts.append({"fact": "gated", "names": names, "alias": alias, "rules": rules})
        for fact in facts if signer is not None else ():
            about = {key: fact[key] for key in ("names", "alias", "rules")}
            fact["signature"] = signed(session, {**about, "reason": reason}, signer, GATE)
        return Prepared(facts, head, "")

    commit(session, Step(prepare), reason=reason)


def _checked(tables: RuleTables, number: int, table: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Return names, alias and rules of a table; the rules are None if they lift the gate."""
    for key in ("names", "alias"):
        if not isinstance(table.get(key), str):
            raise tables.error(number, key if key in table else "", f"a gate needs {key} = '…'")
    names, alias = table.pop("names"), table.pop("alias")
    try:
        check_pattern(names)
        check_alias(alias)
        check_gate(table)
        # As it will be read back: a date or a tuple has no form in JSON.
        canonical_json(table)
    except RuleError as error:
        raise tables.error(number, error.path, str(error)) from error
    except InvalidInputError as error:
        raise tables.error(number, "names" if "pattern" in str(error) else "alias", str(error)) from error
    return names, alias, None if not (table.get("all") or table.get("any")) else table
