"""The commands diff and status."""

from pathlib import Path
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.compare.sides import side
from artifactstore.cli.options import AsJson, Ref, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.display.values import counted
from artifactstore.runtime.loading import numpy

__all__: list[str] = []

Exclude = Annotated[list[str] | None, typer.Option(help="Pattern to leave out of a folder, as in .gitignore; may be repeated.")]
Links = Annotated[str, typer.Option(help="Links in a folder: keep or follow.")]


def _options(exclude: list[str] | None, links: str) -> Any:
    return ({"exclude": exclude} if exclude else {}) | ({"links": links} if links != "keep" else {})


def _changes(found: Any) -> dict[str, Any]:
    groups = [
        {**printing.record(one), "largest": [{"path": path, **printing.record(row)} for path, row in found.largest(one)]}
        for one in found.groups
    ]
    return {"changes": [printing.record(one) for one in found], "groups": groups, "unchanged": found.unchanged}


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A reference, or a path of this machine (./data).")],
    b: Annotated[str, typer.Argument(help="Another.")],
    inside: Annotated[bool, typer.Option("--inside", help="Also differences inside tables, tensors and JSON.")] = False,
    key: Annotated[list[str] | None, typer.Option(help="A column that identifies rows of a table; may be repeated.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Read tables, even if a sample of row hashes would suffice.")] = False,
    exclude: Exclude = None,
    links: Links = "keep",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Compare two artifacts, or one with a file or folder of this machine. Exit code 1 if they differ.

    A word that begins with ./, ../, / or ~, or ends with /, is a path; any other is a reference if the store has it, else a path.
    """
    inside = inside or bool(key) or exact
    if inside:
        numpy()  # before Arrow is loaded, which looks for numpy only then
    with opened(store, "r") as store_:
        found = store_.diff(side(store_, a), side(store_, b), key=key or (), exact=exact, **_options(exclude, links))
        if as_json:
            answer = _changes(found)
            if inside:
                answer["tables"] = {path: printing.record(one) for path, one in found.tables.items()}
                for kind, files in (("tensors", found.tensors), ("json", found.json)):
                    answer[kind] = {path: [printing.record(row) for row in rows] for path, rows in files.items()}
            printing.as_json(answer)
        else:
            if text := found.inside() if inside else "":
                printing.echo(text, lines=True)
            printing.report(found)
        return EXIT_CODES["no"] if found else EXIT_CODES["ok"]


@app.command()
def status(
    path: Annotated[Path, typer.Argument(help="A file or folder that was put or got; by default the current folder.")] = Path(),
    against: Annotated[str | None, typer.Option(help="Compare with this artifact instead.")] = None,
    exclude: Exclude = None,
    links: Links = "keep",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show which version a folder came from, and what changed since. Exit code 1 if anything did, 3 if the version is unknown."""
    with opened(store, "r") as store_:
        found = store_.status(path, against=against, **_options(exclude, links))
        if as_json:
            rows = [
                {"path": one.path, "ref": one.ref, "how": one.how, "newest": one.newest, **_changes(one.diff)} for one in found
            ]
            printing.as_json(rows)
        else:
            printing.report(found)
        return EXIT_CODES["no"] if found else EXIT_CODES["ok"]


@app.command("verify-folder")
def verify_folder(
    folder: Annotated[Path, typer.Argument(help="A folder of this machine, wherever it came from.")],
    ref: Ref,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Check that a folder is exactly an artifact: every byte is read. Exit code 5 if anything differs, is missing or is added."""
    with opened(store, "r") as store_:
        found = store_.verify_folder(folder, ref)
        if as_json:
            digest = store_.artifact(ref).digest
            rows = [printing.record(one) for one in found]
            printing.as_json({"folder": str(folder), "ref": ref, "digest": digest, "ok": not found, "changes": rows})
        elif found:
            printing.report(found)
        else:
            printing.echo(
                f"{folder} is {ref}: {counted(found.unchanged, 'files')} {'is' if found.unchanged == 1 else 'are'} equal"
            )
        return EXIT_CODES["corruption"] if found else EXIT_CODES["ok"]
