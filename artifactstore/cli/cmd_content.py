"""Commands for content: put, get, cat, alias, demo, version."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.exchange.pointed import from_pointer
from artifactstore.cli.options import AsJson, At, Reason, Ref, StoreUrl, app, opened, pairs, print_put, value_of
from artifactstore.cli.registry.arguments import expected
from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import numpy

__all__: list[str] = []


@app.command()
def put(
    path: Annotated[str, typer.Argument(help="A file or a folder; `-` reads one file from stdin.")],
    name: Annotated[str | None, typer.Argument(help="The name of the new version.")] = None,
    kind: Annotated[str | None, typer.Option(help="data, model, code …")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, the value as JSON or text; may be repeated.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Pattern to leave out, as in .gitignore; may be repeated.")] = None,
    links: Annotated[str, typer.Option(help="keep or follow.")] = "keep",
    modes: Annotated[bool | None, typer.Option(help="Whether executable bits are part of the identity.")] = None,
    rehash: Annotated[bool, typer.Option(help="Read every file again.")] = False,
    allow_empty: Annotated[bool, typer.Option(help="Store a folder without files after a version that has some.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back content that the store already has, and repair it.")
    ] = False,
    alias: Annotated[list[str] | None, typer.Option(help="An alias that points to the new version; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, kept in its metadata; may be repeated.")] = None,
    description: Annotated[str | None, typer.Option(help="A text, kept in its metadata.")] = None,
    replace_metadata: Annotated[
        bool, typer.Option("--replace-metadata", help="Replace the metadata of unchanged content, not merge into them.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="An artifact that shares content with this one.")] = None,
    onto: Annotated[
        str | None, typer.Option(metavar="REF", help="Make the version out of this artifact: PATH is laid over its files.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="With --onto: the folder in the artifact that PATH goes to.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="With --onto: pattern of its files to leave out, as in .gitignore; may be repeated.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Store a profile of each Parquet file.")] = False,
    profile_full: Annotated[bool, typer.Option("--profile-full", help="Likewise, computed from every row.")] = False,
    sha256: Annotated[bool, typer.Option("--sha256", help="Keep the SHA-256 digests of its files, as for a model.")] = False,
    text: Annotated[bool, typer.Option(help="PATH is the text to store, not a path.")] = False,
    pointer: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a pointer to it, FILE.artifact.json, which get takes.")
    ] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store a file or a folder as the next version of a name."""
    options: dict[str, Any] = {"format": "text"} if text else {}
    if not text:
        given = {"exclude": exclude, "links": links, "modes": modes, "rehash": rehash, "allow_empty": allow_empty}
        usual = {"exclude": None, "links": "keep", "modes": None, "rehash": False, "allow_empty": False}
        options = {option: value for option, value in given.items() if value != usual[option]}
    about = {"aliases": alias, "tags": {key: value_of(value) for key, value in pairs("tag", tag)}, "description": description}
    options |= {key: value for key, value in about.items() if value}
    if replace_metadata:
        options["replace_metadata"] = True
    if verify:
        options["verify"] = True
    if sha256:
        options["sha256"] = True
    options |= {key: value for key, value in {"base": base, "onto": onto, "at": at, "without": without}.items() if value}
    if profile or profile_full:
        numpy()  # before Arrow is loaded, which looks for numpy only then
        options["profile"] = "full" if profile_full else True
    with opened(store) as store_, _source(path, name, as_text=text) as source:
        made = store_.put(
            source,
            name,
            kind=kind,
            metadata={key: value_of(value) for key, value in pairs("meta", meta)} if meta else None,
            metrics={key: _number(key, value) for key, value in pairs("metric", metric)} if metric else None,
            reason=reason,
            **options,
        )
        if pointer is not None:
            from artifactstore.integrations.pointers import write  # noqa: PLC0415 - only for a pointer

            write(made, pointer)
        print_put(made, as_json=as_json, **({"uploaded": made.uploaded, "head": store_.head} if as_json else {}))
    if made.name is None and not as_json:
        printing.echo_error("note: it has no name, so only its digest finds it: `artifactstore put PATH NAME` gives it one")


@contextmanager
def _source(path: str, name: str | None, *, as_text: bool) -> Iterator[str]:
    """Give the path of what is put; stdin is first written to a file, which has the last part of the name."""
    if path != "-" or as_text:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="artifactstore-") as folder:
        file = Path(folder) / (name or "stdin").rpartition("/")[2]
        with file.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield str(file)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(f"--metric {key}={text}: the value must be a number") from error


@app.command()
def get(
    ref: Ref,
    to: Annotated[Path | None, typer.Argument(help="Folder to write into; by default a read-only copy in the cache.")] = None,
    path: Annotated[list[str] | None, typer.Option(help="Only this file, folder or pattern; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that differ.")] = False,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Get an artifact's files, verified. Prints their path. REF may be a pointer file."""
    from artifactstore.work.get.get import get as get_files  # noqa: PLC0415 - objects are written as their files here

    ref, store, check = from_pointer(ref, store)
    with opened(store, "r", at=at) as store_:
        check(store_)
        session = store_._session  # noqa: SLF001
        if to is None and session.cache is None:
            raise InvalidInputError("no cache is available for the files: pass the folder to write into")
        written = get_files(session, ref, to, paths=path or None, overwrite=overwrite, decode=False)
        if as_json:
            printing.as_json({"ref": ref, "path": str(written)})
        else:
            printing.echo(written)


@app.command()
def cat(ref: Ref, at: At = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Write one file to stdout, each chunk verified."""
    del as_json  # the output is raw bytes either way
    with opened(store, "r", at=at) as store_, store_.open_file(ref) as file:
        while block := file.read(2**20):
            sys.stdout.buffer.write(block)


@app.command()
def cp(
    ref: Ref,
    name: Annotated[str, typer.Argument(help="The name that gets a version with the same content.")],
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Copy a version to another name, without reading it. Kind, metadata and lineage stay."""
    with opened(store) as store_:
        made = store_.put(store_.artifact(ref), name, reason=reason)
        print_put(made, as_json=as_json)


@app.command()
def alias(
    ref: Ref,
    word: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")],
    expect: Annotated[str | None, typer.Option(help="The version it must point to now (v3 or 3), or `none`.")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version."""
    conditions = expected(expect)
    with opened(store) as store_:
        found = store_.alias(ref, word, reason=reason, **conditions)
        assert found is not None  # None is returned only inside a batch
        if as_json:
            printing.as_json({"name": found.name, "alias": word, "version": found.version, "digest": found.digest})
        else:
            printing.echo(f"{found.name}:{word} -> v{found.version}  {found.digest[:15]}…")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the demo's files.")] = Path("artifactstore-demo"),
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the main workflow on real data. Puts a data set and a model, edits, moves an alias, and reads the data back."""
    from artifactstore.cli.demo import run_demo  # noqa: PLC0415

    summary = run_demo(folder, store, quiet=as_json)
    if as_json:
        printing.as_json(summary)
