"""The command `import`: another system's history, a crate, a bundle or another store comes into this one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.exchange.systems import call
from artifactstore.cli.options import AsJson, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError
from artifactstore.integrations import IMPORTS
from artifactstore.runtime.loading import numpy

__all__: list[str] = []


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(help="An RO-Crate (folder or zip file), a bundle, the URL of another store; or another system's name."),
    ],
    refs: Annotated[
        list[str] | None,
        typer.Argument(help="Only these names, patterns ('churn/*') or references; of another system, what to import there."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of another system: the name here, or the prefix of names.")] = None,
    run: Annotated[str | None, typer.Option(help="Of another system: only this run of it.")] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Of another system: only this experiment. May be repeated.")
    ] = None,
    rev: Annotated[str | None, typer.Option(help="Of another system: only this revision.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Of another system: the artifact that the imported one is likely to resemble.")
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Of another system: the folder of its cache.")] = None,
    with_lineage: Annotated[bool, typer.Option("--with-lineage", help="Also what they were made from.")] = False,
    on_conflict: Annotated[str | None, typer.Option(help="leave (the default), or rename to NAME.from-LABEL.")] = None,
    label: Annotated[str | None, typer.Option(help="The label in such names.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why, for the audit trail.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be imported.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bring another system's history, an exported crate, a bundle or another store into this one, with versions, runs and lineage."""
    ours: dict[str, Any] = {"with_lineage": with_lineage, "on_conflict": on_conflict, "label": label}
    theirs: dict[str, Any] = {"run": run, "experiment": tuple(experiment or ()), "rev": rev, "base": base, "cache": cache}
    if source in IMPORTS and (refs or not Path(source).exists()):
        _import_system(source, refs or [], name, {**ours, **theirs, "reason": reason, "dry_run": dry_run}, store, as_json=as_json)
        return
    if odd := [f"--{key}" for key, value in {"name": name, **theirs}.items() if value not in (None, ())]:
        systems = f": {', '.join(IMPORTS)}" if IMPORTS else ""
        raise InvalidInputError(
            f"{', '.join(odd)} cannot be used: {source} is not the name of a system that can be imported{systems}"
        )
    numpy()  # before Arrow is loaded, which looks for numpy only then: tables of a crate are profiled
    with opened(store) as store_:
        done = store_.maintenance.import_from(
            source,
            dry_run=dry_run,
            names=refs or None,
            with_lineage=with_lineage,
            on_conflict=on_conflict or "leave",
            label=label,
            reason=reason,
        )
    _show(done, as_json=as_json)
    if done.left_out:
        raise typer.Exit(EXIT_CODES["conflict"])


def _import_system(
    system: str, sources: list[str], name: str | None, options: dict[str, Any], store: str | None, *, as_json: bool
) -> None:
    if len(sources) != 1 or name is None:
        wrong = (
            "what to import" if not sources else "one source at a time" if len(sources) > 1 else "--name, the name or prefix here"
        )
        raise InvalidInputError(f"{system}: expected {wrong}: artifactstore import {system} SOURCE --name NAME")
    numpy()  # as below: imported tables may be profiled
    with opened(store) as store_:
        done = call(system, "import_from", store_, sources[0], options={"name": name, **options})
    _show(done, as_json=as_json)


def _show(done: Any, *, as_json: bool) -> None:
    if as_json:
        printing.as_json(printing.record(done))
    else:
        printing.report(done)
