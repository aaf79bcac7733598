"""Commands for upkeep: sync, bundle, snapshot."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def sync(
    source: Annotated[str, typer.Argument(help="URL of the store to copy or import.")],
    target: Annotated[str, typer.Argument(help="An empty location, a copy made by sync, or another store.")],
    names: Annotated[list[str] | None, typer.Option("--names", help="For another store: only these, e.g. 'churn/*'.")] = None,
    on_conflict: Annotated[str, typer.Option(help="For another store: leave, or rename to NAME.from-LABEL.")] = "leave",
    label: Annotated[str | None, typer.Option(help="The label in such names.")] = None,
    reason: Annotated[str | None, typer.Option(help="For another store: why, for its audit trail.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Then close the source for writing and open the target.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Then make the copy an independent, writable store.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be done.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Copy, move or import a store. A second run brings what is new."""
    if store is not None and store != source:
        raise InvalidInputError(f"two sources: {source} and --store {store}; pass one")
    with opened(source, "a" if move or release else "r") as store_:
        done = store_.maintenance.sync(
            target,
            move=move,
            release=release,
            dry_run=dry_run,
            names=names or None,
            on_conflict=on_conflict,
            label=label,
            reason=reason,
        )
    if as_json:
        printing.as_json(printing.record(done))
    elif done.kind == "import":
        _print_import(done)
    else:
        _print_copy(done)
    _finish(done, silent=as_json)


@app.command()
def bundle(
    path: Annotated[str, typer.Argument(help="The zip file to write; must not exist.")],
    names: Annotated[list[str] | None, typer.Argument(help="Only these names or patterns; by default everything.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write a store into one zip file. NAMES select a part of it. Read the file as zip://PATH, import it with sync."""
    with opened(store, "r") as store_:
        done = store_.maintenance.bundle(path, names=names or None)
    if as_json:
        printing.as_json(printing.record(done))
        _finish(done, silent=True)
        return
    what = _versions(done) if names else _entries(done)
    printing.echo(f"{done.target}: {what}, {printing.format_size(done.bytes)}, as of {done.head} of {done.source}")
    _finish(done)


@app.command()
def snapshot(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Write a snapshot of the folded journal. A store of many entries then opens fast, also for the first time."""
    with opened(store, "a") as store_:
        done = store_.maintenance.snapshot()
    if as_json:
        printing.as_json(printing.record(done))
        return
    if not done.entry:
        printing.echo("the store is empty: no snapshot was written")
        return
    outcome = "written" if done.new else "exists already, no entry since"
    printing.echo(f"snapshot of entry {done.entry}: {outcome} ({printing.format_size(done.size)}, {done.digest})")


def _finish(done: Any, *, silent: bool = False) -> None:
    """List what was left out, and set the exit code."""
    for one in () if silent else done.left_out:
        printing.echo(f"left out: {one.what}: {one.why}")
    if done.left_out:
        raise typer.Exit(EXIT_CODES["conflict"])


def _entries(done: Any) -> str:
    return f"{printing.counted(done.entries, 'entries')} and {printing.counted(done.objects, 'objects')}"


def _versions(done: Any) -> str:
    return printing.counted(done.versions, "versions")


def _print_copy(done: Any) -> None:
    verb = "would copy" if done.dry_run else "copied"
    printing.echo(f"{verb} {_entries(done)}, {printing.format_size(done.bytes)}, up to {done.head}")
    if done.moved:
        printing.echo(f"the store is now {done.target}; {done.source} takes no more writes")
    elif done.released:
        printing.echo(f"{done.target} can be written to")


def _print_import(done: Any) -> None:
    verb = "would import" if done.dry_run else "imported"
    moved = f"{printing.counted(done.artifacts, 'artifacts')} moved, {printing.format_size(done.bytes)}"
    printing.echo(f"{verb} {_versions(done)}, {moved}, as of {done.head} of {done.source}")
    for there, here in sorted(done.renamed.items()):
        printing.echo(f"{there} is named {here} here")
