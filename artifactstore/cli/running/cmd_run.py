"""The command `run`: run any program as a run."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.cmd_queries import files_of
from artifactstore.cli.options import AsJson, StoreUrl, app, described, opened, pairs, value_of
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.reference import check_name

__all__: list[str] = []

_OWN: frozenset[str] = frozenset({"self", "step"})  # what `run.log` takes by itself


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            help="NAME or NAME=PATH: an input, first written to the folder PATH, or the file PATH if it is one file of that kind.",
        ),
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--out", help="NAME=PATH: an output, put from PATH at the end.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, the value as JSON or text; opt.lr=0.1 is lr in opt; may be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER; or NAME: the last `NAME=…` or `NAME: …` that the program prints; may be repeated."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit code 1, and no outputs, if programs of Python read around the store, or the code is in no commit.",
        ),
    ] = False,
    name: Annotated[str | None, typer.Option(help="The kind of work; by default the program's name.")] = None,
    id: Annotated[str | None, typer.Option(help="Your own id for the run.")] = None,  # noqa: A002 - the option's name
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Run a program as a run. Example: `artifactstore run --in data=in.csv --out model=model.bin -- python train.py`.

    The exit code of the program is the exit code of this command. With --json its stdout goes to stderr. A mistake in an option is refused before the program
    runs and before anything is recorded.
    """
    command = _command(context.args)
    needed = [_pair(one, "--in", whole=False) for one in inputs or ()]
    wanted = [_pair(one, "--out", whole=True) for one in outputs or ()]
    for ref, _ in wanted:
        check_name(ref)
    params = _nested(pairs("param", param))
    fixed, read = _metrics(metric)
    from artifactstore.cli.running.child import PrintedMetrics, call  # noqa: PLC0415 - `--help` must not load it

    printed = PrintedMetrics(read) if read else None
    with opened(store, "a") as store_:
        from artifactstore.work.secrets import shown  # noqa: PLC0415 - as above

        given = [_check_input(store_, ref, path) for ref, path in needed]
        as_file = [_is_file(files, path) for files, (_, path) in zip(given, needed, strict=True)]
        _check_order(store_, wanted)
        work = store_.run(name or os.path.basename(command[0]), params={"command": shown(command), **params}, id=id).start()  # noqa: PTH119
        try:
            for (ref, path), alone in zip(needed, as_file, strict=True):
                if path is None:
                    work.use(ref)
                elif alone:
                    _get_file(work, ref, Path(path))
                else:
                    work.get(ref, to=path, overwrite=True)
            with work.strictly() if strict else nullcontext() as watched:
                if watched is not None:
                    _begin_strictly(watched, _written(needed, given, as_file))
                code = call(command, printed, to_stderr=as_json, environment=None if watched is None else watched.environment)
            broken = [] if watched is None else watched.broken()
            measured = {**fixed, **({} if printed is None else printed.values)}
            work.log(step=None, **measured)
            # The metrics of what has one output are those of the output, too: `find` and the rules of aliases look there.
            about: dict[str, Any] = {"metrics": measured} if measured and len(wanted) == 1 else {}
            stays = [] if code or broken else wanted
            _check_written(stays)
            made = [work.put(path, ref, **about) for ref, path in stays]
        except BaseException as error:
            work.finish(error=f"{type(error).__name__}: {error}")
            raise
        errors = [*([f"the program returned {code}"] if code else []), *(f"strict: {text}" for text in broken)]
        work.finish(error="; ".join(errors) or None)
    for one in read:
        if one not in measured:
            printing.echo_error(f"note: the program printed no line such as {one}=0.91 to stdout: the metric is not recorded")
    for kind, texts in (("note", [] if watched is None else watched.notes), ("error", broken)):
        for text in texts:
            printing.echo_error(f"{kind}: strict: {text}")
    if as_json:
        outputs_ = [described(one) for one in made]
        printing.as_json(
            {"run": work.id, "status": work.status, "code": code, "metrics": measured, "outputs": outputs_, "broken": broken}
        )
    else:
        for output in made:
            printing.echo(printing.put_line(output))
        shown_ = "".join(f"  {key}={value:g}" for key, value in measured.items())
        printing.echo_error(f"run {work.id} {work.status}{shown_}")
    return code or EXIT_CODES["no" if broken else "ok"]


def _is_there(program: str) -> bool:
    """Return whether a program can be found. `shutil.which` alone asks without the capabilities of this process."""
    places = [""] if os.path.dirname(program) else os.get_exec_path()  # noqa: PTH120 - a word, with or without a folder
    return shutil.which(program) is not None or any(os.path.isfile(os.path.join(one, program)) for one in places)  # noqa: PTH113, PTH118


def _command(words: list[str]) -> list[str]:
    """Return the program and its arguments.

    Raises:
        InvalidInputError: there is none, or it cannot be found.
    """
    command = [word for i, word in enumerate(words) if word != "--" or i]
    if not command:
        raise InvalidInputError("no program: expected artifactstore run [--in …] [--out …] -- COMMAND …")
    if command[0].startswith("-"):
        option = command[0].partition("=")[0]
        raise InvalidInputError(f"no such option: {option}; arguments of the program come after it: … -- COMMAND {option}")
    if not _is_there(command[0]):
        raise InvalidInputError(f"cannot run {command[0]}: no such program")
    return command


def _pair(text: str, option: str, *, whole: bool) -> tuple[str, str | None]:
    ref, sign, path = text.partition("=")
    if not ref or (whole and not path) or (sign and not path):
        raise InvalidInputError(f"{option} {text!r}: expected NAME=PATH" + ("" if whole else ", or NAME"))
    return ref, path or None


def _check_input(store: Any, ref: str, path: str | None) -> list[str]:
    """Look an input up, and return its files.

    Raises:
        NotFoundError: there is no such artifact; the message has the nearest names.
    """
    try:
        return [one.path for one in files_of(store, ref)[2]]
    except (NotFoundError, InvalidInputError) as error:
        if path is not None and _names(store, path):
            raise NotFoundError(f"--in {ref}={path}: the name comes first: --in {path}={ref}") from error
        raise


def _names(store: Any, text: str) -> bool:
    """Return whether a text begins with a name of the store."""
    try:
        return bool(store.versions(text.partition(":")[0]))
    except (InvalidInputError, NotFoundError):
        return False


def _check_order(store: Any, outputs: Iterable[tuple[str, str | None]]) -> None:
    """Refuse outputs whose name and path are exchanged, before the program runs for hours.

    Raises:
        InvalidInputError: the left side is a file or folder, and the right side a name of the store, and no path.
    """
    for ref, path in outputs:
        if os.path.lexists(ref) and not os.path.lexists(str(path)) and _names(store, str(path)) and not _names(store, ref):
            raise InvalidInputError(f"--out {ref}={path}: the name comes first: --out {path}={ref}")


def _is_file(files: list[str], path: str | None) -> bool:
    """Return whether an input is written as a file: it is one, and PATH is a file's name with the same suffix, not a folder."""
    suffix = PurePath(path or "").suffix
    return (
        len(files) == 1
        and suffix != ""
        and PurePath(files[0]).suffix == suffix
        and not str(path).endswith("/")
        and not Path(str(path)).is_dir()
    )


def _begin_strictly(watched: Any, known: Iterable[str]) -> None:
    """Let the inputs be no reads around the store, and warn early that the code is in no commit: the program may take hours."""
    watched.know(known)
    if (text := watched.changes()) is not None:
        printing.echo_error(f"note: strict: {text}; this run will fail")


def _written(inputs: Iterable[tuple[str, str | None]], files: Iterable[list[str]], as_file: Iterable[bool]) -> Iterator[str]:
    """Yield the paths of the files that inputs were written to; a folder may have others, too."""
    for (_, path), names, alone in zip(inputs, files, as_file, strict=True):
        if path is not None and alone:
            yield os.path.abspath(path)  # noqa: PTH100 - as the program opens it
        elif path is not None:
            inner = names if len(names) > 1 else [*names, *(os.path.basename(one) for one in names)]  # noqa: PTH119
            yield from (os.path.abspath(os.path.join(path, one)) for one in inner)  # noqa: PTH100, PTH118


def _get_file(work: Any, ref: str, path: Path) -> None:
    """Write an input that is one file to a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".artifactstore-", dir=path.parent) as folder:
        work.get(ref, to=Path(folder) / "input")
        found = [one for one in (Path(folder) / "input").rglob("*") if not one.is_dir()] or [Path(folder) / "input"]
        found[0].replace(path)


def _check_written(outputs: Iterable[tuple[str, str | None]]) -> None:
    """Look for all outputs, before one is put.

    Raises:
        InvalidInputError: the program has not written one.
    """
    for ref, path in outputs:
        if "://" not in str(path) and not os.path.lexists(str(path)):
            hint = f"; the name comes first: --out {path}={ref}" if os.path.lexists(ref) else ""
            raise InvalidInputError(f"--out {ref}={path}: the program has not written {path}{hint}")


def _nested(given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return parameters; `opt.lr` is the field `lr` of `opt`, as `runs --where params.opt.lr` expects it.

    Raises:
        InvalidInputError: a key is malformed, reserved, given twice, or a value and a group at once.
    """
    found: dict[str, Any] = {}
    for key, text in given:
        *above, last = key.split(".")
        if not all([*above, last]):
            raise InvalidInputError(f"--param {key}={text}: a part of the key is empty")
        if key.partition(".")[0] == "command":
            raise InvalidInputError(f"--param {key}={text}: `command` is the program with its arguments; choose another key")
        group = found
        for part in above:
            group = group.setdefault(part, {}) if isinstance(group, dict) else group
        if not isinstance(group, dict) or last in group:
            raise InvalidInputError(f"--param {key}={text}: {key} is given twice, or is a value and a group")
        value = value_of(text)
        group[last] = text if isinstance(value, float) and not math.isfinite(value) else value  # NaN and 1e999 are not JSON
    return found


def _metrics(given: list[str] | None) -> tuple[dict[str, float], list[str]]:
    """Return the metrics that are given, and the names of those that the program prints.

    Raises:
        InvalidInputError: a value is not a number, a name is empty, reserved or given twice.
    """
    fixed: dict[str, float] = {}
    read: list[str] = []
    for text in given or ():
        name, sign, value = text.partition("=")
        if not name or name in _OWN or name != name.strip() or name.startswith("-"):
            raise InvalidInputError(f"--metric {text!r}: expected NAME=NUMBER, or NAME; a metric cannot be called {name!r}")
        if name in fixed or name in read:
            raise InvalidInputError(f"--metric {text!r}: {name} is given twice")
        if not sign:
            read.append(name)
            continue
        try:
            fixed[name] = float(value)
        except ValueError as error:
            raise InvalidInputError(f"--metric {text}: the value must be a number") from error
    return fixed, read
