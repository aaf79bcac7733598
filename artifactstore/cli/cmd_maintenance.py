"""Commands for upkeep: sync, bundle, snapshot, repair, rescue."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app, opened, print_put
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def rescue(
    path: Annotated[str, typer.Argument(help="The folder that the failed put named.")],
    name: Annotated[str | None, typer.Argument(help="The name; by default that of the failed put.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Put an object that was kept on this machine because its put failed in a run."""
    with opened(store) as store_:
        made = store_.maintenance.rescue(path, name)
        print_put(made, as_json=as_json, uploaded=made.uploaded)


@app.command()
def sync(
    source: Annotated[str, typer.Argument(help="URL of the store to copy or import.")],
    target: Annotated[str, typer.Argument(help="An empty location, a copy made by sync, or another store.")],
    refs: Annotated[
        list[str] | None, typer.Argument(help="For another store: only these names, patterns ('churn/*') or references.")
    ] = None,
    names: Annotated[list[str] | None, typer.Option("--names", help="Likewise, as an option.")] = None,
    with_lineage: Annotated[bool, typer.Option("--with-lineage", help="Also what they were made from.")] = False,
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
            names=[*(refs or ()), *(names or ())] or None,
            with_lineage=with_lineage,
            on_conflict=on_conflict,
            label=label,
            reason=reason,
        )
    _finish(done, as_json=as_json)


@app.command()
def bundle(
    path: Annotated[str, typer.Argument(help="The zip file to write; must not exist.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these names, patterns or references; by default everything.")
    ] = None,
    with_lineage: Annotated[bool, typer.Option("--with-lineage", help="Also what they were made from.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write a store into one zip file. NAMES select a part of it. Read the file as zip://PATH, import it with sync."""
    with opened(store, "r") as store_:
        done = store_.maintenance.bundle(path, names=names or None, with_lineage=with_lineage)
    _finish(done, as_json=as_json)


@app.command()
def snapshot(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Write a snapshot of the folded journal. A store of many entries then opens fast, also for the first time."""
    with opened(store, "a") as store_:
        done = store_.maintenance.snapshot()
    if as_json:
        printing.as_json(printing.record(done))
    else:
        printing.report(done)


@app.command()
def repair(
    source: Annotated[
        list[str] | None, typer.Option("--source", help="A copy of this store: a URL, a folder or a bundle. May be repeated.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--files", help="A folder or file of yours whose content may be in the store. May be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be restored.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bring back what is damaged or missing, verified. Works also if store.json cannot be read. Exit code 5 if something stays lost."""
    from artifactstore.work.repair.repair import repair_url  # noqa: PLC0415 - `--help` must not load the store

    done = repair_url(store, source or None, files=files or None, dry_run=dry_run)
    if as_json:
        rows = {name: [printing.record(one) for one in getattr(done, name)] for name in ("restored", "lost")}
        printing.as_json({**rows, "dry_run": done.dry_run, "report": printing.record(done.report)})
    else:
        printing.report(done)
    if done.lost:
        raise typer.Exit(EXIT_CODES["corruption"])


def _finish(done: Any, *, as_json: bool) -> None:
    """Print the report, and set the exit code."""
    if as_json:
        printing.as_json(printing.record(done))
    else:
        printing.report(done)
    if done.left_out:
        raise typer.Exit(EXIT_CODES["conflict"])
