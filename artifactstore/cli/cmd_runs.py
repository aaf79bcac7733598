"""Commands for runs and lineage: run a program, list runs, draw lineage."""

import os
import subprocess
from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, At, Ref, StoreUrl, app, described, opened
from artifactstore.errors import InvalidInputError

__all__ = ["lineage", "run", "runs"]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    inputs: Annotated[list[str] | None, typer.Option("--in", help="NAME or NAME=PATH: an input, first written to PATH.")] = None,
    outputs: Annotated[list[str] | None, typer.Option("--out", help="NAME=PATH: an output, put from PATH at the end.")] = None,
    name: Annotated[str | None, typer.Option(help="The kind of work; by default the program's name.")] = None,
    id: Annotated[str | None, typer.Option(help="Your own id for the run.")] = None,  # noqa: A002 - the option's name
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Run a program as a run. Example: `artifactstore run --in data=in.csv --out model=model.bin -- python train.py`.

    The exit code of the program is the exit code of this command.
    """
    command = [word for i, word in enumerate(context.args) if word != "--" or i]
    if not command:
        raise InvalidInputError("no program: expected artifactstore run [--in …] [--out …] -- COMMAND …")
    if command[0].startswith("-"):
        option = command[0].partition("=")[0]
        raise InvalidInputError(f"no such option: {option}; arguments of the program come after it: … -- COMMAND {option}")
    needed = [_pair(one, "--in", whole=False) for one in inputs or ()]
    wanted = [_pair(one, "--out", whole=True) for one in outputs or ()]
    with opened(store, "a") as store_:
        from artifactstore.work.secrets import shown  # noqa: PLC0415 - `--help` must not load it

        work = store_.run(name or os.path.basename(command[0]), params={"command": shown(command)}, id=id).start()  # noqa: PTH119
        try:
            for ref, path in needed:
                if path is None:
                    work.use(ref)
                else:
                    work.get(ref, to=path, overwrite=True)
            code = _call(command)
            made = [] if code else [work.put(path, ref) for ref, path in wanted]
        except BaseException as error:
            work.finish(error=f"{type(error).__name__}: {error}")
            raise
        work.finish(error=f"the program returned {code}" if code else None)
    if as_json:
        printing.as_json({"run": work.id, "status": work.status, "code": code, "outputs": [described(one) for one in made]})
    else:
        for one in made:
            printing.echo(printing.put_line(one))
        printing.echo_error(f"run {work.id} {work.status}")
    return code


def _call(command: list[str]) -> int:
    """Run a program in the foreground and return its exit code; Ctrl-C goes to the program."""
    try:
        child = subprocess.Popen(command)  # noqa: S603 - what the user asked for
    except OSError as error:
        raise InvalidInputError(f"cannot run {command[0]}: {error.strerror or error}") from error
    while True:
        try:
            found = child.wait()
        except KeyboardInterrupt:
            continue  # the program has got it, too
        return 128 + -found if found < 0 else found


def _pair(text: str, option: str, *, whole: bool) -> tuple[str, str | None]:
    ref, sign, path = text.partition("=")
    if not ref or (whole and not path) or (sign and not path):
        raise InvalidInputError(f"{option} {text!r}: expected NAME=PATH" + ("" if whole else ", or NAME"))
    return ref, path or None


@app.command()
def runs(
    name: Annotated[str | None, typer.Argument(help="A name or a pattern.")] = None,
    status: Annotated[str | None, typer.Option(help="running, finished, failed or abandoned.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Condition such as 'metrics.auc >= 0.9' or 'status = failed'; may be repeated.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="A column, such as metrics.auc; -metrics.auc: the largest first.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns, such as id,params.lr,metrics.auc.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="Only so many.")] = None,
    compare: Annotated[list[str] | None, typer.Option(help="A run's id: show what differs between these; repeat it.")] = None,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List runs, oldest first unless sorted. With --compare, only what differs between some of them."""
    with opened(store, "r", at=at) as store_:
        if compare:
            _compare([store_.lineage(one).runs[-1] for one in compare], as_json=as_json)
            return
        found = store_.runs(name, status=status, where=where or (), sort=sort, limit=limit, columns=columns)
        if as_json:
            printing.as_json([printing.record(one) for one in found])
        elif found.columns is None:
            printing.listed(found, "runs")
        else:
            _print_columns(found)


def _print_columns(found: Any) -> None:
    from artifactstore.display.outline import Column, Table  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.display.values import format_value, moment  # noqa: PLC0415 - as above

    def text(value: Any) -> str:
        return "" if value is None else moment(value) if hasattr(value, "strftime") else format_value(value)

    columns = [found.values(one) for one in found.columns]
    numbers = [all(value is None or isinstance(value, int | float) for value in values) for values in columns]
    heads = [Column(one, align="right" if right else "left") for one, right in zip(found.columns, numbers, strict=True)]
    printing.table(Table(heads, [[text(value) for value in row] for row in zip(*columns, strict=True)]))


def _compare(chosen: list[Any], *, as_json: bool) -> None:
    from artifactstore.cli.records.run import compared  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.display.outline import Column, Table  # noqa: PLC0415 - as above

    if len(chosen) < 2:
        raise InvalidInputError("--compare needs two runs or more: --compare RUN --compare RUN")
    rows = compared(chosen)
    if as_json:
        printing.as_json({"runs": [one.id for one in chosen], "differ": dict(rows)})
        return
    heads = [Column(""), *(Column(f"{one.name} {one.id[:8]}") for one in chosen)]
    printing.table(Table(heads, [[path, *values] for path, values in rows]))


@app.command()
def lineage(
    ref: Ref,
    at: At = None,
    down: Annotated[bool, typer.Option("--down/--up", help="Downstream artifacts, or upstream (the default).")] = False,
    format: Annotated[str, typer.Option(help="text, svg, html, mermaid or json.")] = "text",  # noqa: A002 - the option's name
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the lineage of an artifact. REF may also be a run's id."""
    if format not in {"text", "svg", "html", "mermaid", "json"}:
        raise InvalidInputError(f"--format {format}: expected text, svg, html, mermaid or json")
    with opened(store, "r", at=at) as store_:
        found = store_.lineage(ref)
        view: Any = found.downstream() if down else found.upstream()
        if as_json or format == "json":
            printing.as_json(view.to_json())
        elif format == "mermaid":
            printing.document(view.mermaid())
        elif format in {"svg", "html"}:
            text = view.svg() if format == "svg" else view.draw().html()
            printing.document(text.encode("ascii", "xmlcharrefreplace").decode())  # equal for every encoding of a terminal
        else:
            printing.report(view)
