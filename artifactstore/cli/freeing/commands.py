"""Commands that free space, and that show what takes it: gc, repack, usage."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, StoreUrl, app, opened
from artifactstore.errors import InvalidInputError

__all__: list[str] = []

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be freed.")] = False,
    grace: Annotated[str, typer.Option(metavar="AGE", help="Spare unfinished uploads younger than this: 7d, 12h, 0.")] = "7d",
    why: Annotated[
        str | None, typer.Option(metavar="WHAT", help="With --dry-run: explain why this id, key or reference stays or goes.")
    ] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Free what no version, unnamed put, run or hold needs. Safe while others write and read. Exit code 6 if something is left."""
    if why is not None and not dry_run:
        raise InvalidInputError("--why explains a plan: pass --dry-run, too")
    age = _age(grace)
    with opened(store, "r" if dry_run else "a") as store_:
        done = store_.maintenance.gc(dry_run=dry_run, grace=age, reason=reason)
        explained = None if why is None else done.why(why)
    if as_json:
        printing.as_json(printing.record(done) | ({} if explained is None else {"why": explained}))
        return
    if explained is not None:
        printing.echo(explained)
        return
    for what in (*(f"manifest {one}" for one in done.manifests), *(f"pack {one}" for one in done.packs), *done.litter):
        if dry_run:
            printing.echo(what)
    printing.echo_error(done.summary)


@app.command()
def repack(
    names: Annotated[list[str] | None, typer.Argument(help="Only artifacts of these names or patterns.")] = None,
    below: Annotated[float, typer.Option(help="Write packs anew of which less than this share is needed.")] = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be written.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write packs anew that are mostly dead, or small. Digests never change; gc frees what is left."""
    with opened(store, "r" if dry_run else "a") as store_:
        done = store_.maintenance.repack(below=below, names=names or None, dry_run=dry_run)
    if as_json:
        printing.as_json(printing.record(done))
    else:
        printing.report(done)


@app.command()
def usage(
    by: Annotated[str, typer.Option(metavar="WHAT", help="name, version, run or kind.")] = "name",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what takes how many stored bytes, and how many of them nothing else needs."""
    with opened(store, "r") as store_:
        rows = store_.maintenance.usage(by)
    if as_json:
        printing.as_json([printing.record(one) for one in rows])
    else:
        printing.listed(rows, "usage")


def _age(text: str) -> timedelta:
    if text.strip() == "0":
        return timedelta(0)
    match = _AGE.fullmatch(text.strip())
    try:
        if match is not None:
            return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        pass
    raise InvalidInputError(f"--grace {text!r:.100}: expected an age such as 7d, 12h, 30m or 0")
