"""The command `ci`: one step of a job, whose inputs are variables, so that none of them is ever a part of a program's text."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import ArtifactStoreError, InvalidInputError, RefusedError

__all__: list[str] = []

_LONGEST: Final = 2000  # characters of a message in an annotation and a summary
_IDENTITY: Final = "ARTIFACTSTORE_IDENTITY"


@app.command()
def ci(
    do: Annotated[
        str | None,
        typer.Argument(
            metavar="STEP", help="put, get, track, check-pointers, checkout, gate, promote or verify; else $ARTIFACTSTORE_CI_DO."
        ),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Do one step of a CI job, with inputs from variables; writes summary, annotations, outputs and JUnit for the CI system."""
    from artifactstore.cli.pipeline.outcome import Check, Outcome, publish  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.cli.pipeline.steps import STEPS, VARIABLES, of_verdict  # noqa: PLC0415 - as above

    values = {name: text for name, variable in VARIABLES.items() if (text := os.environ.get(variable, "")).strip()}
    step = values.get("do", "").strip() if do is None else do
    files: dict[str, Any] = {"junit": values.get("junit"), "dotenv": values.get("dotenv"), "to_stderr": as_json}
    try:
        if step not in STEPS:
            raise InvalidInputError(f"{step!r:.100} is not a step: expected {', '.join(STEPS)}")
        writes, work = STEPS[step]
        if step in {"get", "gate", "promote"} and (found := os.environ.get("ARTIFACTSTORE_REF", "").strip()):
            values.setdefault("ref", found)  # of a job before this one, in GitLab
        with _identity(values.get("identity")), opened(_store(store, values, step), "a" if writes else "r") as store_:
            outcome = work(store_, values)
    except ArtifactStoreError as error:
        code = EXIT_CODES[error.kind]
        if isinstance(error, RefusedError) and error.verdict is not None:
            publish(of_verdict(step, error.verdict, code), **files)
        else:
            shown = step if step in STEPS else "step"
            failed = Check(shown, ok=False, text=str(error)[:_LONGEST])
            publish(Outcome(shown, f"{shown} failed: {error.kind}", code, checks=[failed]), **files)
        raise
    publish(outcome, **files)
    if as_json:
        printing.as_json(outcome.to_json())
    else:
        printing.echo(outcome.title)
        for one in outcome.checks:
            printing.echo(f"{'ok ' if one.ok else 'NO '} {one.name}: {one.text}")
    return outcome.code


@contextmanager
def _identity(name: str | None) -> Iterator[None]:
    """Let the actor be known by this, as `$ARTIFACTSTORE_IDENTITY` does."""
    before = os.environ.get(_IDENTITY)
    if name is not None:
        os.environ[_IDENTITY] = name
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop(_IDENTITY, None) if before is None else os.environ.update({_IDENTITY: before})


def _store(store: str | None, values: dict[str, str], step: str) -> str | None:
    """Return the store to open; the steps about pointers know one that these name."""
    given = values.get("store") if store is None else store
    if step not in {"checkout", "check-pointers"}:
        return given
    from artifactstore.cli.exchange.pointed import pointed_store  # noqa: PLC0415 - as above
    from artifactstore.cli.pipeline.steps import lines  # noqa: PLC0415 - as above
    from artifactstore.integrations import pointers  # noqa: PLC0415 - as above

    return pointed_store(given, lambda: pointers.store_of(lines(values, "path")))
