"""Commands for what must stay and what may go: hold, release, holds, remove, retention, expire."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, opened
from artifactstore.cli.registry.arguments import Why, day, mandatory
from artifactstore.display.values import format_size, moment

__all__: list[str] = []


@app.command()
def hold(
    ref: Ref,
    text: Why = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", help="It cannot be released before this day (its end) or ISO time; UTC unless it has a zone."
        ),
    ] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Hold an artifact: it and all that it was made from cannot be removed until the hold is released."""
    end, why = day(until), mandatory(reason, text)
    with opened(store) as store_:
        made = store_.registry.hold(ref, why, until=end)
    if as_json:
        printing.as_json(printing.record(made))
    else:
        printing.echo(f"{made.id}  {made.ref}" + ("" if made.until is None else f"  until {moment(made.until)} UTC"))


@app.command()
def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Its id, or the beginning of it.")],
    text: Why = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Release a hold. Exit code 6 before its --until."""
    why = mandatory(reason, text)
    with opened(store) as store_:
        store_.registry.release(hold_id, why)
    if as_json:
        printing.as_json({"hold": hold_id, "released": True})
    else:
        printing.echo(f"{hold_id} is released")


@app.command()
def holds(
    ref: Annotated[str | None, typer.Argument(help="Only those of this artifact.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the holds in force."""
    with opened(store, "r") as store_:
        rows = store_.registry.holds(ref)
    if as_json:
        printing.as_json([printing.record(one) for one in rows])
    elif rows:
        printing.listed(rows, "holds")
    else:
        printing.echo_error("no holds" if ref is None else f"no holds on {ref} itself; `show {ref}` lists those that keep it")


@app.command()
def remove(
    ref: Annotated[str, typer.Argument(help="NAME:v3 for that version, or a digest for all of an artifact.")],
    text: Why = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove a version: digest, actor and reason stay; `gc` frees its bytes."""
    why = mandatory(reason, text)
    with opened(store) as store_:
        made = store_.registry.remove(ref, why)
    if as_json:
        printing.as_json(printing.record(made))
        return
    for one in made.refs:
        printing.echo(f"{one} is removed")
    printing.echo_error(f"note: {format_size(made.bytes)} can be freed: run `artifactstore gc`")


@app.command()
def retention(
    rules: Annotated[str | None, typer.Option("--set", metavar="FILE", help="Set the rules of a TOML file first.")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the retention rules in force, or set those of a file. They only say what `expire` may remove."""
    why = reason if rules is None else mandatory(reason)
    with opened(store, "r" if rules is None else "a") as store_:
        rows = store_.registry.retention(rules, reason=why)
    if as_json:
        printing.as_json([printing.record(one) for one in rows])
    elif rows:
        printing.listed(rows, "retention")
    else:
        printing.echo_error("no retention rule is in force: nothing expires")


@app.command()
def expire(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would expire; needs no reason.")] = False,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove the versions that no retention rule keeps, nothing else needs and no alias means."""
    why = reason if dry_run else mandatory(reason)
    with opened(store, "r" if dry_run else "a") as store_:
        done = store_.registry.expire(reason=why, dry_run=dry_run)
    if as_json:
        printing.as_json(printing.record(done))
        return
    for ref in done.refs:
        printing.echo(ref)
    printing.echo_error(done.summary)
