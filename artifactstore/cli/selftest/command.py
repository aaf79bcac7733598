"""The command selftest."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, StoreUrl, app
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import AlreadyExistsError, InvalidInputError
from artifactstore.model.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

_SUFFIXES: Final = (".html", ".json")


@app.command()
def selftest(
    url: Annotated[str | None, typer.Argument(help="The location; by default as for --store. It may be empty.")] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a dated report: .html for people, .json for programs.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Let the checks of `doctor` write up to 64 MiB.")] = False,
    single_writer: Annotated[
        bool, typer.Option("--single-writer", help="No other process writes: accept a backend without exclusive creation.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Test this installation and a location: evidence for its qualification. Exit code 1 if a check fails."""
    from artifactstore.cli.selftest import installation, known_answers, location  # noqa: PLC0415 - `--help` must not load the store
    from artifactstore.cli.selftest.report import Check, Report  # noqa: PLC0415 - as above
    from artifactstore.model.encoding import format_time  # noqa: PLC0415 - as above
    from artifactstore.runtime.atomic_files import replace_whole  # noqa: PLC0415 - as above
    from artifactstore.work.secrets import without_credentials  # noqa: PLC0415 - as above
    from artifactstore.work.settings.settings import author, find_url  # noqa: PLC0415 - as above

    if url is not None and store is not None and url != store:
        raise InvalidInputError(f"two locations: {url} and --store {store}; pass one")
    target = _target(report, overwrite=overwrite)
    where = find_url(store if url is None else url)
    actor = author(f"artifactstore {VERSION}")()
    began = format_time(datetime.now(UTC))

    def checks() -> Iterator[Check]:
        yield from installation.checks()
        yield from known_answers.checks()
        yield from location.checks(where, single_writer=single_writer, full=full)

    made = Report(
        url=without_credentials(where.url),
        time=began,
        host=actor.host,
        actor=f"{actor.actor} ({actor.identity})",
        versions=installation.versions(),
        checks=[*checks()],
    )
    if target is not None:
        text = (
            made.page() if target.suffix.lower() == ".html" else json.dumps(made.to_json(), indent=2, ensure_ascii=False) + "\n"
        )
        replace_whole(target, text.encode())
    if as_json:
        printing.as_json(made.to_json())
    else:
        printing.report(made)
        if target is not None:
            printing.echo(target)
    raise typer.Exit(EXIT_CODES["ok" if made.ok else "no"])


def _target(report: str | None, *, overwrite: bool) -> "Path | None":
    """Return the report's path, checked before anything is tested."""
    from artifactstore.work.settings.paths import local_path  # noqa: PLC0415 - `--help` must not load the store

    if report is None:
        return None
    path = local_path(report, "report")
    if path.suffix.lower() not in _SUFFIXES:
        raise InvalidInputError(f"report={report!r}: expected a file whose name ends with {' or '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InvalidInputError(f"the folder {path.parent} does not exist: make it first, or choose another path")
    if path.exists() and not overwrite:
        raise AlreadyExistsError(f"{path} exists already: choose another name, or pass overwrite=True")
    return path
