"""The command `doctor`: check a store location, or print the policy that a role needs."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def doctor(
    url: Annotated[str | None, typer.Argument(help="The location; by default as for --store. It may be empty.")] = None,
    role: Annotated[str | None, typer.Option(help="Check for a reader (writes nothing), a writer or a janitor.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer races, small listings, 10 MB at most.")] = False,
    large: Annotated[bool, typer.Option("--large", help="Also write one object of more than 64 MiB.")] = False,
    single_writer: Annotated[
        bool, typer.Option("--single-writer", help="No other process writes: accept a backend without exclusive creation.")
    ] = False,
    policy: Annotated[
        str | None, typer.Option(help="Only print the policy for a reader, writer or janitor; sends no request.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check each guarantee that a store needs. Exit code 1 if a check fails, 4 if the backend is unreachable."""
    from artifactstore.work.settings.settings import find_url  # noqa: PLC0415 - `--help` must not load the store

    if url is not None and store is not None and url != store:
        raise InvalidInputError(f"two locations: {url} and --store {store}; pass one")
    url = store if url is None else url
    if policy is not None:
        _print_policy(find_url(url)[0], policy, as_json=as_json)
        return
    from artifactstore.work.views.maintenance import examine_url  # noqa: PLC0415

    found = examine_url(url, single_writer=single_writer, role=role, quick=quick, large=large)
    if as_json:
        printing.as_json({"ok": found.ok, **printing.record(found)})
    else:
        printing.report(found)
    raise typer.Exit(EXIT_CODES["backend"] if not found.reached else EXIT_CODES["ok" if found.ok else "no"])


def _print_policy(url: str, role: str, *, as_json: bool) -> None:
    from artifactstore.maintenance.doctor.policies import policy_for  # noqa: PLC0415

    found = policy_for(url, role)
    if as_json:
        printing.as_json({"url": url, "role": role, "policy": found.document or found.text, "notes": list(found.notes)})
        return
    printing.echo(found.text, lines=True)
    for note in found.notes:
        printing.echo_error(f"note: {note}")
