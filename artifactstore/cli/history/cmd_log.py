"""The command `log`: what happened, the newest first; or as it happens."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, At, StoreUrl, app, opened, time_of
from artifactstore.display.values import counted
from artifactstore.errors import BackendError, InvalidInputError

__all__: list[str] = []

_ON_A_TERMINAL: Final = 30  # transactions, without a limit: a screen; a pipe gets all
_BEFORE: Final = 10  # transactions that --follow begins with, as `tail -f`
_WIDE: Final = 110  # columns of a terminal in which reasons have a column of their own
_PAUSE: Final = 1.0  # seconds between two looks at the store


@app.command()
def log(
    subject: Annotated[str | None, typer.Argument(metavar="NAME", help="As --name; NAME:ALIAS also as --alias.")] = None,
    name: Annotated[str | None, typer.Option(help="Only about this name, or a pattern (churn/*).")] = None,
    ref: Annotated[
        str | None,
        typer.Option(help="Only about this artifact, by digest or by any of its names: approvals, measures, taints, too."),
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Only about this alias.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only actions of this actor.")] = None,
    since: Annotated[
        str | None, typer.Option(help="From this time on: ISO 8601, or 2h, 3d, today, yesterday; UTC unless it has a zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time, likewise; of a day up to its end.")] = None,
    fact: Annotated[str | None, typer.Option(help="Only with this kind of fact.")] = None,
    txn: Annotated[str | None, typer.Option(help="A transaction, and its outcome.")] = None,
    number: Annotated[
        int | None, typer.Option("--limit", "-n", help="Only so many, the newest: transactions, with --facts or --json facts.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them; a terminal shows 30 without it.")] = False,
    facts: Annotated[bool, typer.Option("--facts", help="A row a fact, not a row a transaction.")] = False,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new ones as they are committed, until Ctrl-C; begins with 10, or -n.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row a fact as CSV, oldest first.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print a page with a row a fact, oldest first.")] = False,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the audit trail, newest first: what each transaction did, its time, actor and reason."""
    forms = [option for option, given in (("--csv", as_csv), ("--html", as_html), ("--json", as_json)) if given]
    if len(forms) > 1 or (following and forms not in ([], ["--json"])):
        raise InvalidInputError(f"{forms[0]} and {(*forms[1:], '--follow')[0]} contradict each other: pass one")
    if number is not None and (number < 0 or everything):
        raise InvalidInputError(f"--limit {number}: " + ("--all contradicts it" if everything else "must be a number, 0 or more"))
    if subject is not None:
        name, alias = _subject(subject, name, alias)
    elif name is not None and name.endswith("/"):
        name += "*"
    wanted: dict[str, Any] = {
        "ref": ref, "name": name, "alias": alias, "actor": actor, "since": time_of(since), "until": time_of(until, end=True), "fact": fact, "txn": txn,
    }  # fmt: skip
    if following:
        for option, given in (("--at", at), ("--until", until), ("--txn", txn)):
            if given is not None:
                raise InvalidInputError(f"{option} and --follow contradict each other: --follow prints what is still to come")
        with opened(store, "r") as store_:
            _follow(store_, wanted, None if everything else _BEFORE if number is None else number, facts=facts, as_json=as_json)
        return
    with opened(store, "r", at=at) as store_:
        if as_csv or as_html:
            found = store_.log(**wanted, limit=number)
            printing.document(found.to_csv() if as_csv else found.to_html())
        elif as_json or facts or txn is not None:
            _print_facts(store_, wanted, number, as_json=as_json)
        else:
            _print_transactions(store_, wanted, number, everything=everything)
        if not forms:
            printing.echo_error(f"head: {store_.head}")


def _subject(subject: str, name: str | None, alias: str | None) -> tuple[str, str | None]:
    """Return the name and the alias of NAME or NAME:ALIAS.

    Raises:
        InvalidInputError: it names a version, or an option says otherwise.
    """
    found, sign, word = subject.partition(":")
    if sign and (not word or re.fullmatch(r"v\d+|latest", word)):
        raise InvalidInputError(
            f"{subject!r}: expected NAME or NAME:ALIAS, for the log is of names: `artifactstore log {found}`, or "
            f"`artifactstore log --ref {subject}` for all that speaks of that version"
        )
    if name not in (None, found) or (sign and alias not in (None, word)):
        raise InvalidInputError(
            f"{subject} contradicts " + (f"--name {name}" if name not in (None, found) else f"--alias {alias}")
        )
    return (f"{found}*" if found.endswith("/") else found), (word if sign else alias)


def _print_transactions(store: Any, wanted: Any, number: int | None, *, everything: bool) -> None:
    from artifactstore.work.queries.log import transactions  # noqa: PLC0415 - `--help` must not load the store

    if number is None and not everything and sys.stdout.isatty():
        number = _ON_A_TERMINAL
    found, older = transactions(store._session, wanted, number)  # noqa: SLF001 - a limit counts transactions here, not facts
    printing.listed(found[::-1], _layout())
    if not found and not older:
        if wanted["name"] is not None and not any(sign in wanted["name"] for sign in "*?["):
            store.versions(wanted["name"])  # a name that does not exist is an error, with the nearest ones
        printing.echo_error("no transaction matches" + _kinds(wanted["fact"]))
    if older:
        printing.echo_error(f"{counted(older, 'older transactions')} not shown: --all shows all")


def _kinds(fact: str | None) -> str:
    """Return the kinds of facts, if a kind was asked for that this version does not know."""
    from artifactstore.catalog.actions import KINDS  # noqa: PLC0415 - `--help` must not load it

    return "" if fact is None or fact in KINDS else f"; kinds of facts are {', '.join(sorted(KINDS))}"


def _layout() -> str:
    """Return the name of the list: in a narrow terminal reasons have no column of their own."""
    columns = printing.width()
    return "log" if columns is None or columns >= _WIDE else "narrow log"


def _print_facts(store: Any, wanted: Any, number: int | None, *, as_json: bool) -> None:
    log = store.log(**wanted, limit=number)
    if as_json:
        events = [printing.record(one) for one in (log if number is None else log[::-1])]
        printing.as_json(events if wanted["txn"] is None else {"outcome": log.outcome, "events": events})
        return
    printing.listed(log[::-1], "events")
    if wanted["txn"] is not None:
        printing.echo(f"outcome: {log.outcome}")


def _follow(store: Any, wanted: Any, number: int | None, *, facts: bool, as_json: bool) -> None:
    """Print the last transactions and all that come, oldest first, each line at once; an outage is waited for."""
    from artifactstore.display.lists import LISTS  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.display.outline import table_of  # noqa: PLC0415 - as above
    from artifactstore.work.queries.log import Following  # noqa: PLC0415 - as above

    following = Following(store._session, wanted, number)  # noqa: SLF001 - as above
    columns: Sequence[Any] = LISTS["events" if facts else _layout()]
    first, away = True, False
    while True:
        try:
            found = following.step()
            away = False
        except BackendError as error:
            if first or not error.transient:
                raise
            if not away:
                printing.echo_error(f"note: {error}; trying again")
            found, away = (), True
        rows: Sequence[Any] = [*chain.from_iterable(one.events for one in found)] if facts or as_json else found
        if as_json:
            for row in rows:
                printing.as_json(printing.record(row), indent=None)
        elif rows:
            table = table_of(rows, columns)
            # What comes later is aligned with what was printed before.
            columns = [
                replace(column, least=max(column.least, *(len(str(row[i])) for row in table.rows)))
                if column.fit == "keep"
                else column
                for i, column in enumerate(columns)
            ]
            printing.table(replace(table, columns=columns), header=first)
        sys.stdout.flush()
        first = False
        time.sleep(_PAUSE)
