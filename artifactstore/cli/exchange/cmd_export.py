"""The command `export`: lineage in a standard format, or an artifact in the form that another system takes."""

from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.exchange.systems import call
from artifactstore.cli.options import AsJson, Ref, StoreUrl, app, opened
from artifactstore.errors import InvalidInputError
from artifactstore.integrations import EXPORTS
from artifactstore.printable import json_escaped

__all__ = ["export"]

_STANDARDS: Final = ("openlineage", "prov", "slsa", "ro-crate", "ml-bom")


@app.command()
def export(
    ref: Ref,
    standard: Annotated[
        str,
        typer.Option("--as", help=f"{', '.join((*_STANDARDS, *EXPORTS))} or dossier."),
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", help="A file; a server's URL (openlineage); a folder or a zip (ro-crate); a zip (dossier)."),
    ] = None,
    files: Annotated[str | None, typer.Option(help="For ro-crate: inside (the default), or by reference.")] = None,
    license: Annotated[str | None, typer.Option(help="For ro-crate and dossier: its licence, a URL or text.")] = None,  # noqa: A002 - the option's name
    builder: Annotated[str | None, typer.Option(help="For slsa: URI of the builder, such as a CI system.")] = None,
    namespace: Annotated[str | None, typer.Option(help="For openlineage: of jobs; by default $OPENLINEAGE_NAMESPACE.")] = None,
    send: Annotated[bool, typer.Option("--send", help="For openlineage: send to $OPENLINEAGE_URL.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    bundle: Annotated[bool, typer.Option("--bundle", help="For dossier: with the whole store, as store.zip.")] = False,
    keys: Annotated[str | None, typer.Option(help="For dossier: a TOML file of the keys whose signatures count.")] = None,
    layout: Annotated[str | None, typer.Option(help="For oci: modelpack (the default) or image.")] = None,
    platform: Annotated[str | None, typer.Option(help="For oci: such as linux/amd64.")] = None,
    repo: Annotated[str | None, typer.Option(help="For hf: ORG/NAME.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Export lineage in a standard format, or an artifact for another system. REF may also be a run's id."""
    theirs: dict[str, Any] = {"layout": layout, "platform": platform, "repo": repo}
    if standard in EXPORTS:
        if to is None:
            raise InvalidInputError(f"{standard}: pass --to, where to write it")
        with opened(store, "r") as store_:
            path = call(standard, "export", store_, ref, to, options=theirs)
        if isinstance(path, dict):
            printing.as_json(path)
        elif as_json:
            printing.as_json({"path": str(path)})
        else:
            printing.echo(path)
        return
    if standard not in {*_STANDARDS, "dossier"}:
        raise InvalidInputError(
            f"nothing is exported as {standard!r}: expected one of {', '.join((*_STANDARDS, 'dossier', *EXPORTS))}"
        )
    if odd := [f"--{key}" for key, value in theirs.items() if value is not None]:
        raise InvalidInputError(f"{', '.join(odd)} cannot be used: not an option of {standard}")
    from artifactstore.work.export.record import as_text  # noqa: PLC0415 - loads the standards only if needed

    given: dict[str, Any] = {"files": files, "license": license, "builder": builder, "namespace": namespace, "keys": keys}
    options = {key: value for key, value in given.items() if value is not None}
    options |= {key: True for key, wanted in (("send", send), ("overwrite", overwrite), ("bundle", bundle)) if wanted}
    with opened(store, "r") as store_:
        made = store_.lineage(ref).export(standard, to, **options)
    if isinstance(made, int):
        if as_json:
            printing.as_json({"sent": made})
        none = "" if made else ": no run is recorded, or OPENLINEAGE_DISABLED is set"
        printing.echo_error(f"{made} events were sent{none}")
    elif isinstance(made, dict | list):
        if as_json:
            printing.as_json(made)
        else:
            printing.document(json_escaped(as_text(made)))
        if not made:
            printing.echo_error(f"no run is recorded for {ref}: nothing to export")
    elif as_json:
        printing.as_json({"path": str(made)})
    else:
        printing.echo(made)
