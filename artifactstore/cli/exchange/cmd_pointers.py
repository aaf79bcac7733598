"""The commands `track` and `checkout`: content in the store, a pointer in git."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.exchange.pointed import pointed_store
from artifactstore.cli.options import AsJson, Reason, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def track(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH] [NAME]", help="What to track, and its name.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Write nothing: exit code 1 where a working copy differs.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="Pattern to leave out, as in .gitignore; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="data, model, code …")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Put a file or folder, and write PATH.artifact, a pointer for git, which ignores the content from then on."""
    from artifactstore.integrations import pointers  # noqa: PLC0415 - `--help` must not load the store

    given = paths or []
    if status:
        if exclude or kind or reason:
            raise InvalidInputError("--status only compares: leave out --exclude, --kind and --reason")
        with opened(_store_of(given, store), "r") as store_:
            found = pointers.compare(store_, given)
        _show(found, as_json=as_json)
        return EXIT_CODES["no"] if any(one.state != "same" for one in found) else EXIT_CODES["ok"]
    if not 1 <= len(given) <= 2:
        raise InvalidInputError("expected what to track: artifactstore track PATH [NAME]")
    options: dict[str, Any] = {"exclude": exclude, "kind": kind, "reason": reason}
    with opened(store) as store_:
        made = pointers.track(store_, *given, **{key: value for key, value in options.items() if value})
    if as_json:
        printing.as_json(_record(made))
    else:
        printing.echo(f"{made.path}.artifact: {made.pointer.name}:v{made.pointer.version} {made.pointer.digest[:19]}")
    return EXIT_CODES["ok"]


@app.command()
def checkout(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Pointers, what they stand for, or folders; by default the current one.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace what no version in the store has.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bring exactly what the pointers pin. Exit code 7 if unsaved work would be lost; then nothing is changed."""
    from artifactstore.integrations import pointers  # noqa: PLC0415 - as above

    with opened(_store_of(paths or [], store), "r") as store_:
        _show(pointers.checkout(store_, paths or (), overwrite=overwrite), as_json=as_json)


def _store_of(paths: list[str], store: str | None) -> str | None:
    """Return the store to open: the one that was passed or is configured, else the one that the pointers name."""
    from artifactstore.integrations import pointers  # noqa: PLC0415 - as above

    return pointed_store(store, lambda: pointers.store_of(paths))


def _record(one: Any) -> dict[str, Any]:
    return {"path": str(one.path), "state": one.state, "changes": one.changes, **printing.record(one.pointer)}


def _show(found: list[Any], *, as_json: bool) -> None:
    if as_json:
        printing.as_json([_record(one) for one in found])
        return
    for one in found:
        more = f" ({one.changes} files)" if one.changes else ""
        printing.echo(f"{one.state:8} {one.path}{more}: {one.pointer.ref[:60]}")
