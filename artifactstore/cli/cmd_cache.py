"""The command `cache`: show the local cache, or clear it."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it; stores are not changed.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the folder of the local cache and its size."""
    from artifactstore.work.session.caches import cache_use, clear_cache  # noqa: PLC0415 - `--help` must not load the store
    from artifactstore.work.settings.settings import DEFAULT, cache_folder  # noqa: PLC0415

    del store  # one cache serves all stores
    folder = cache_folder(DEFAULT)
    if folder is None:
        raise InvalidInputError("no cache is available: set ARTIFACTSTORE_CACHE to a writable folder, or unset it")
    if clear:
        clear_cache(folder)
    use = cache_use(folder)
    if as_json:
        printing.as_json(printing.record(use))
        return
    printing.echo(use.folder)
    rows = (("trees", use.trees), ("pieces of packs, manifests", use.pieces), ("at most", use.limit))
    printing.listed(rows, "cache")
