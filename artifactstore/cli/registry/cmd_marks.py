"""Commands for words and numbers about stored content: describe, measure."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, described, opened, value_of
from artifactstore.display.values import format_value
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def describe(
    ref: Ref,
    metadata: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="The value as JSON or text.")],
    of_name: Annotated[bool, typer.Option("--name", help="REF is a name: describe the name, not a version.")] = False,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add to the metadata of a version, or of a name. Earlier values stay in the history."""
    given = {key: value_of(value) for key, value in _pairs(metadata)}
    with opened(store) as store_:
        found: Any = store_.registry.describe(ref, given, of="name" if of_name else "version", reason=reason)
        if as_json:
            printing.as_json(printing.record(found) if of_name else described(found))
            return
    printing.echo(found.name if of_name else found.ref)
    for key, value in found.metadata.items():
        printing.echo(f"  {key} = {format_value(value)}")


@app.command()
def measure(
    ref: Ref,
    metrics: Annotated[list[str], typer.Argument(metavar="NAME=NUMBER…", help="The metrics.")],
    on: Annotated[str | None, typer.Option("--on", metavar="REF", help="The data that it was measured on.")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Record metrics of an artifact outside of a run."""
    given = {name: _number(name, text) for name, text in _pairs(metrics)}
    with opened(store) as store_:
        found = store_.registry.measure(ref, given, on=on, reason=reason)
        if as_json:
            printing.as_json(described(found))
            return
    printing.echo(found.ref)
    for name, value in found.metrics.items():
        printing.echo(f"  {name} = {value:g}")


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise InvalidInputError(f"{word!r}: expected KEY=VALUE")
        if found.setdefault(key, value) != value:
            raise InvalidInputError(f"{key} is passed with several values: pass one of them")
    return [*found.items()]


def _number(name: str, text: str) -> float | int:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(f"{name}={text}: the value must be a number") from error
