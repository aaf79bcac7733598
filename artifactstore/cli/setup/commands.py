"""The commands init and config."""

from typing import Annotated

import typer

from artifactstore.cli import printing, process
from artifactstore.cli.options import AsJson, StoreUrl, app

__all__: list[str] = []


@app.command()
def init(
    url: Annotated[
        str | None, typer.Argument(help="The location. Without it, a terminal is asked; else the location is that of --store.")
    ] = None,
    digest: Annotated[str, typer.Option(help="blake3, or sha256 if regulations require it.")] = "blake3",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create an empty store.

    On a terminal and without a URL, it asks where the store is to be, examines remote locations as `doctor` does, and offers to write
    the location into pyproject.toml or the user's configuration, and to .gitignore.
    """
    from artifactstore.opening import create  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.work.settings.settings import find_url  # noqa: PLC0415 - as above

    if url is None and store is None and not as_json and process.has_person():
        from artifactstore.cli.setup.dialog import location, remember  # noqa: PLC0415 - as above

        where, name = location()
        made = create(where.url, digest=digest, storage_options=where.options or None)
        remember(made.url, name)
    else:
        where = find_url(store if url is None else url)
        made = create(where.url, digest=digest, storage_options=where.options or None)
    if as_json:
        printing.as_json({"url": made.url, "digest": digest})
    else:
        printing.echo(made.url)


@app.command()
def config(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show which settings hold, and where each comes from."""
    from artifactstore.cli.records.settings import overview  # noqa: PLC0415 - `--help` must not load it

    rows = overview(store)
    if as_json:
        printing.as_json([{"setting": name, "value": value, "origin": origin} for name, value, origin in rows])
    else:
        printing.listed(rows, "settings")
