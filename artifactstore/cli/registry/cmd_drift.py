"""The command drift: compares a table with the one that is expected."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.compare.sides import side
from artifactstore.cli.options import AsJson, Reason, StoreUrl, app, opened, pairs, time_of
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import numpy

__all__: list[str] = []


@app.command()
def drift(
    reference: Annotated[
        str | None, typer.Argument(help="What is expected: a reference, or a file of this machine (./train.parquet).")
    ] = None,
    current: Annotated[str | None, typer.Argument(help="What came, likewise; not with --serving.")] = None,
    serving: Annotated[
        str | None,
        typer.Option(
            "--serving",
            help="Compare what this model was asked, by its inference log; without REFERENCE with what it was trained on.",
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="With --serving: from this time on; ISO 8601, or 2h, 3d, yesterday.")] = None,
    until: Annotated[str | None, typer.Option(help="With --serving: up to this time.")] = None,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="What must hold, such as 'psi.max <= 0.2'; may be repeated.")
    ] = None,
    column: Annotated[list[str] | None, typer.Option("--column", help="Only this column; may be repeated.")] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--labels", metavar="TRUTH=PREDICTION", help="Columns whose quality is compared.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that the data is for: gates can ask for the report.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the report; by default the model's, with /drift.")] = None,
    profiles: Annotated[
        bool, typer.Option("--profiles", help="Compare profiles of stored tables, without reading rows.")
    ] = False,
    markdown: Annotated[str | None, typer.Option(help="Write the report as Markdown into this file.")] = None,
    no_record: Annotated[bool, typer.Option("--no-record", help="Store no report.")] = False,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Compare a table with the one that is expected, and store the report. Exit code 1 if a rule does not hold."""
    numpy()  # before Arrow is loaded, which looks for numpy only then
    if (current is None) != (serving is not None) or (reference is None and serving is None):
        raise InvalidInputError("pass two tables, what is expected and what came; or --serving MODEL, and at most one")
    if serving is None and (since or until):
        raise InvalidInputError("--since and --until choose from an inference log: pass --serving, too")
    if no_record and (model or name):
        raise InvalidInputError("--no-record stores no report: leave out --model and --name, or --no-record")
    options: dict[str, Any] = {
        "columns": column or None, "labels": dict(pairs("labels", labels)) or None, "exact": not profiles, "reason": reason,
        "name": name, **({"model": model} if model else {}),
    }  # fmt: skip
    with opened(store, "r" if no_record else "a") as store_:
        expected = None if reference is None else side(store_, reference)
        if serving is None:
            found = store_.registry.drift(expected, side(store_, str(current)), rule, **options)
        else:
            window = {"since": time_of(since), "until": time_of(until, end=True)}
            found = store_.serving(serving).compare(expected, rule, **window, **options)
        if as_json:
            printing.as_json({**found.to_json(), "ref": found.ref})
        else:
            printing.report(found)
            if found.ref is not None:
                printing.echo_error(f"report: {found.ref}")
    if markdown is not None:
        Path(markdown).write_text(found.to_markdown(), encoding="utf-8")
    return EXIT_CODES["ok" if found.ok else "no"]
