"""What `init` asks on a terminal: where the store is to be, which file names it from now on, what git leaves out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.setup.files import gitignored, ignore, repository, write_url
from artifactstore.errors import ArtifactStoreError
from artifactstore.work.settings.configuration import configuration, user_file
from artifactstore.work.settings.settings import DEFAULT, Location, cache_folder, find_url

__all__ = ["location", "remember"]


def location() -> tuple[Location, str | None]:
    """Ask where the store is to be, until the answer is a location that keeps what a store needs, or is wanted all the same.

    Returns:
        The location, and the name that the configuration has for it if that was the answer.
    """
    known = find_url(None)
    printing.echo_error("A store is a folder or a URL (s3://bucket/prefix, abfss://…, gs://…, sftp://…).")
    while True:
        text = typer.prompt("Where", default=known.url, err=True)
        try:
            found = known if text == known.url else find_url(text)
            if "://" not in found.url or _is_suitable(found):
                return found, text if text in configuration().stores else None
        except ArtifactStoreError as error:
            printing.echo_error(f"error: {error}")


def _is_suitable(where: Location) -> bool:
    """Examine a remote location, and ask if it is not suitable."""
    from artifactstore.work.views.maintenance import examine_url  # noqa: PLC0415 - only for remote locations

    printing.echo_error(f"examining {where.url} …")
    found = examine_url(where.url, quick=True, storage_options=where.options or None)
    if found.ok:
        warned = [one.name for one in found.checks if one.status == "warn"]
        more = f"; {', '.join(warned)}: see `artifactstore doctor {where.url}`" if warned else ""
        printing.echo_error(f"every guarantee that a store needs holds{more}")
        return True
    printing.echo_error(str(found))
    if not found.reached:
        return False
    return typer.confirm("Make the store there all the same?", default=False, err=True)


def remember(url: str, name: str | None = None) -> None:
    """Ask which file is to name the store, and whether git is to leave out what is inside of the repository."""
    here = Path.cwd()
    project = next((path for folder in (here, *here.parents) if (path := folder / "pyproject.toml").is_file()), None)
    files: dict[str, tuple[Path, tuple[str, ...]]] = {}
    if project is not None:
        files["project"] = (project, ("tool", "artifactstore"))
    if (user := user_file()) is not None:
        files["user"] = (user, ())
    known = find_url(None)
    if files and (known.is_default or Path(known.url).absolute() != Path(url).absolute()):
        _name_store(name or url, files)
    top = repository(here)
    cache = cache_folder(DEFAULT)
    for folder in () if top is None else (url, str(cache or "")):
        line = gitignored(top or here, Path(folder)) if folder and "://" not in folder else None
        if line is not None and typer.confirm(f"Add {line} to {top}/.gitignore?", default=True, err=True):
            ignore(top or here, line)


def _name_store(url: str, files: Mapping[str, tuple[Path, tuple[str, ...]]]) -> None:
    printing.echo_error("Commands can find the store without --store if a file names it:")
    for word, (path, _) in files.items():
        printing.echo_error(f"  {word}: {path}")
    choices = [*files, "none"]
    # A folder of this machine outside of the project means nothing to the others who have the project.
    is_own = "project" in files and Path(_relative(url, files["project"][0])).is_absolute()
    default = "user" if is_own and "user" in files else choices[0]
    answer = typer.prompt(f"Which ({', '.join(choices)})", default=default, err=True, value_proc=_one_of(choices))
    if answer != "none":
        path, table = files[answer]
        write_url(path, table, _relative(url, path) if answer == "project" and Path(url).is_absolute() else url)
        printing.echo_error(f"{path} names the store")


def _one_of(choices: list[str]) -> Any:
    def check(text: str) -> str:
        found = [one for one in choices if text and one.startswith(text.strip().lower())]
        if len(found) != 1:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}")
        return found[0]

    return check


def _relative(url: str, path: Path) -> str:
    """Return the path of a store inside of a project relative to that, so that the file holds for all who have the project."""
    if "://" in url:
        return url
    try:
        return Path(url).resolve().relative_to(path.parent.resolve()).as_posix()
    except ValueError:
        return url
