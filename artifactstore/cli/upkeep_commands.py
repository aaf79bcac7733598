"""Commands that keep a store in order: sync."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.app import AsJson, StoreUrl, app, opened
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def sync(
    source: Annotated[str, typer.Argument(help="URL of the store that is copied.")],
    target: Annotated[str, typer.Argument(help="An empty place, or a copy made by sync.")],
    move: Annotated[bool, typer.Option("--move", help="Then close the source for writing and open the target.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Then make the copy writable on its own.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Copy a store to another place, or move it there; run again, it copies what is new."""
    if store is not None and store != source:
        raise InvalidInputError(f"two sources: {source} and --store {store}; say one")
    with opened(source, "a" if move or release else "r") as store_:
        done = store_.maintenance.sync(target, move=move, release=release, dry_run=dry_run)
    if as_json:
        printing.as_json(printing.record(done))
        return
    verb = "would copy" if done.dry_run else "copied"
    print(f"{verb} {done.entries} entries and {done.objects} objects, {printing.amount(done.bytes)}, up to entry {done.head}")
    if done.moved:
        print(f"the store is now {done.target}; {done.source} takes no more writes")
    elif done.released:
        print(f"{done.target} can be written to")
