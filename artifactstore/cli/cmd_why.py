"""Commands on lineage: why two things differ, impact, reproduce, taint."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.cli.registry.arguments import Why, mandatory
from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import numpy

__all__ = ["impact", "reproduce", "taint", "untaint", "why"]


@app.command()
def why(
    a: Annotated[str, typer.Argument(help="A reference, or a run's id.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    format: Annotated[str, typer.Option(help="text, json or html.")] = "text",  # noqa: A002 - the option's name
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Explain why two artifacts or runs differ. Compares parameters, code, packages, metrics and inputs; exit code 1 if they differ."""
    if format not in {"text", "json", "html"}:
        raise InvalidInputError(f"--format {format}: expected text, json or html")
    numpy()  # before Arrow is loaded, which looks for numpy only then
    with opened(store, "r") as store_:
        found = store_.why(a, b)
        if as_json or format == "json":
            printing.as_json(found.to_json())
        elif format == "html":
            printing.page("why", found)
        else:
            printing.report(found)
        return EXIT_CODES["ok"] if found.equal else EXIT_CODES["no"]


@app.command()
def impact(ref: Ref, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the named artifacts made from an artifact. Also lists the aliases that point to them."""
    with opened(store, "r") as store_:
        _print_impact(store_.lineage(ref).impact(), as_json=as_json)


def _print_impact(rows: Any, *, as_json: bool) -> None:
    if as_json:
        printing.as_json([printing.record(one) for one in rows])
    else:
        printing.listed(rows, "impact")


@app.command()
def taint(
    ref: Ref,
    text: Why = None,
    spread: Annotated[bool, typer.Option("--spread/--no-spread", help="Also warn for artifacts made from it.")] = True,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Mark an artifact as not to be used. Prints the artifacts that were made from it."""
    why = mandatory(reason, text)
    with opened(store, "a") as store_:
        _print_impact(store_.registry.taint(ref, why, spread=spread), as_json=as_json)


@app.command()
def untaint(ref: Ref, text: Why = None, reason: Reason = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Remove a taint. Prints the artifacts that were made from the artifact."""
    why = mandatory(reason, text)
    with opened(store, "a") as store_:
        _print_impact(store_.registry.untaint(ref, why), as_json=as_json)


@app.command()
def reproduce(
    ref: Ref,
    folder: Annotated[str, typer.Argument(help="An empty or new folder for code, environment, log and scratch store.")],
    env: Annotated[bool, typer.Option("--env/--no-env", help="Build the recorded environment, or use the current one.")] = True,
    tolerance: Annotated[float, typer.Option(help="Allowed difference of metrics, relative to the larger.")] = 1e-6,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the program is stopped.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Run again what produced an artifact. This executes stored code; exit code 1 if the result differs."""
    with opened(store, "r") as store_:
        found = store_.lineage(ref).reproduce(folder, env=env, tolerance=tolerance, timeout=timeout)
    if as_json:
        answer = {key: getattr(found, key) for key in ("verdict", "notes", "command", "returned")}
        paths = {"folder": str(found.folder), "log": str(found.log)}
        printing.as_json({**answer, **paths, "run": found.run.id, "outputs": [printing.record(one) for one in found.outputs]})
    else:
        printing.report(found)
    return EXIT_CODES["ok"] if found.ok else EXIT_CODES["no"]
