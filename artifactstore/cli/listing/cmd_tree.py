"""The command `tree`: the folders and files of an artifact, with their sizes summed."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.cmd_queries import files_of
from artifactstore.cli.options import AsJson, At, StoreUrl, app, opened
from artifactstore.display.values import counted, format_size
from artifactstore.errors import InvalidInputError, NotFoundError

__all__: list[str] = []


class _Folder:
    """A folder, with the sums of all that is below it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self.count = 0
        self.folders: dict[str, _Folder] = {}
        self.files: list[Any] = []


@app.command()
def tree(
    ref: Annotated[
        str | None,
        typer.Argument(help="An artifact or a folder in it (NAME:v3/PATH); a folder of names (churn/); or nothing: all names."),
    ] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", "-L", help="Only so many levels; sums are of all that is below.")
    ] = None,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the folders and files of an artifact as a tree, or the names of a store. Sizes of folders are sums."""
    if depth is not None and depth < 0:
        raise InvalidInputError(f"--depth {depth}: must be a number of levels, 0 or more")
    with opened(store, "r", at=at) as store_:
        if ref is None or ref.endswith("/") or _is_folder_of_names(store_, ref):
            ref = ref if ref is None or ref.endswith("/") else f"{ref}/"
            title, root, plural = ref or store_.url, _folders(_names(store_, ref or ""), (ref or "").rstrip("/")), "names"
        else:
            whole, path, files = files_of(store_, ref)
            title, root, plural = whole.ref + (f"/{path}" if path else ""), _folders(files, path), "files"
    if as_json:
        printing.as_json([*_records(root, 0, depth)])
        return
    from artifactstore.display.outline import Branch, Span, Tree  # noqa: PLC0415 - `--help` must not load it

    def branch(level: int, name: str, one: Any) -> Branch:
        if not isinstance(one, _Folder):
            note = [Span(f"-> {one.target}" if one.target else one.version, "dim")] if one.target or plural == "names" else []
            return Branch(level, name, note, lead=format_size(one.size) if one.type == "file" else "")
        text: Any = Span(name, "strong") if level == 0 else f"{name}/"
        return Branch(level, text, [Span(f"({counted(one.count, plural)})", "dim")], lead=format_size(one.size))

    printing.outline([Tree([branch(*row) for row in _rows(root, title, 0, depth)])])


def _is_folder_of_names(store: Any, ref: str) -> bool:
    """Return whether names begin with this and a slash, and none is this."""
    below = store.names(ref) if ":" not in ref and "@" not in ref else ()
    return any(one.name.startswith(f"{ref}/") for one in below) and all(one.name != ref for one in below)


def _names(store: Any, prefix: str) -> list[Any]:
    """Return the names with a prefix as if they were files, with the size of their newest version.

    Raises:
        NotFoundError: there is none.
    """
    found = store.names(prefix)
    if prefix and not found:
        raise NotFoundError(f"no name begins with {prefix}")
    return [SimpleNamespace(path=one.name, size=one.size, type="file", target=None, version=f"v{one.versions}") for one in found]


def _folders(files: Sequence[Any], path: str) -> Any:
    """Return the tree of files that are all below a path; or the file that is at it."""
    if len(files) == 1 and path and files[0].path == path and files[0].type != "dir":
        return files[0]
    root = _Folder(path)
    for file in files:
        if file.path == path:
            continue  # the folder itself, which is empty
        inner = file.path[len(path) + 1 if path else 0 :]
        *above, name = inner.split("/")
        chain = [root]
        for folder in above:
            here = chain[-1]
            chain.append(here.folders.setdefault(folder, _Folder(f"{here.path}/{folder}".lstrip("/"))))
        if file.type == "dir":
            chain[-1].folders.setdefault(name, _Folder(file.path))
            continue
        chain[-1].files.append((name, file))
        for one in chain:
            one.count += 1
            one.size += file.size
    return root


def _sorted(folder: _Folder, level: int, depth: int | None) -> list[tuple[str, Any]]:
    """Return what is in a folder by name, nothing if it is too deep."""
    if depth is not None and level > depth:
        return []
    return sorted([*folder.folders.items(), *folder.files], key=lambda item: item[0])


def _rows(folder: Any, name: str, level: int, depth: int | None) -> Iterator[tuple[int, str, Any]]:
    """Yield a folder and all that is in it: level, name, file or folder."""
    yield level, name, folder
    for inner, one in () if not isinstance(folder, _Folder) else _sorted(folder, level + 1, depth):
        if isinstance(one, _Folder):
            yield from _rows(one, inner, level + 1, depth)
        else:
            yield level + 1, inner, one


def _records(folder: Any, level: int, depth: int | None) -> Iterator[dict[str, Any]]:
    for at, _, one in _rows(folder, "", level, depth):
        is_folder = isinstance(one, _Folder)
        yield {
            "path": one.path,
            "type": "dir" if is_folder else one.type,
            "size": one.size,
            "files": one.count if is_folder else 1,
            "depth": at,
        }
