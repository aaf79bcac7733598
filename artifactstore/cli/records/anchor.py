"""The command `anchor`: notes the end of the journal outside of the store."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app, opened
from artifactstore.cli.registry.arguments import KeyFile, signer

__all__: list[str] = []


@app.command()
def anchor(
    to: Annotated[str | None, typer.Option(help="A new file for it, as JSON.")] = None,
    key: KeyFile = None,
    meaning: Annotated[str | None, typer.Option(help="Of the signature: review, approval, authorship or responsibility.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Note the end of the journal, signed if wanted: `verify --anchor` then finds whether history was cut or made anew."""
    with opened(store, "a") as store_:
        made = store_.registry.anchor(to, signer=signer(key), meaning=meaning, reason=reason)
    if as_json:
        printing.as_json(made.to_json())
    else:
        printing.echo(made.text)
