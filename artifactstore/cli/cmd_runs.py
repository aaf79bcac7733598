"""Commands for runs and lineage: list runs, draw lineage."""

from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, At, Ref, StoreUrl, app, opened
from artifactstore.errors import InvalidInputError

__all__ = ["lineage", "runs"]

_NAME: Final = 32  # columns of a terminal that are left for the name of the deepest node of a tree
_STEP: Final = 3  # columns of a step of a tree


@app.command()
def runs(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="A name or a pattern; with --compare more runs' ids.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="As NAME.")] = None,
    status: Annotated[str | None, typer.Option(help="running, finished, failed or abandoned.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Condition such as 'metrics.auc >= 0.9' or 'status = failed'; may be repeated.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="A column, such as metrics.auc; -metrics.auc: the largest first.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns, such as id,params.lr,metrics.auc.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="Only so many.")] = None,
    compare: Annotated[list[str] | None, typer.Option(help="Show what differs between runs: --compare ID ID ….")] = None,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List runs, oldest first unless sorted. With --compare, only what differs between some of them."""
    given = [*(names or ()), *([name] if name is not None else ())]
    if not compare and len(given) > 1:
        raise InvalidInputError(
            f"runs {' '.join(given)}: expected one name or pattern, such as 'train*'; --compare ID ID compares"
        )
    name = given[0] if given else None
    with opened(store, "r", at=at) as store_:
        if compare:
            _compare([store_.lineage(one).runs[-1] for one in (*compare, *given)], as_json=as_json)
            return
        found = store_.runs(name, status=status, where=where or (), sort=sort, limit=limit, columns=columns)
        if as_json:
            printing.as_json([printing.record(one) for one in found])
        elif found.columns is None:
            _print_usual(found)
        else:
            _print_columns(found)


def _print_usual(found: Any) -> None:
    """Print runs: to a program its list; on a terminal metrics and parameters, as many columns as it has room for."""
    wide = printing.width()
    if wide is None:
        printing.listed(found, "runs")
        return
    from artifactstore.display.lists import narrowed  # noqa: PLC0415 - `--help` must not load it

    made: Any
    (made,) = narrowed([found.listing()], wide)
    printing.table(replace(made, more=""))
    if made.more:
        printing.echo_error(f"{made.more}; --columns chooses, --json has all")


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
    depth: Annotated[
        int | None, typer.Option(help="Steps of the tree; by default as many as the terminal has room for, at most 60.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Also code and environments, which runs name else.")] = False,  # noqa: A002 - the option's name
    format: Annotated[str, typer.Option(help="text, svg, html, mermaid or json.")] = "text",  # noqa: A002 - the option's name
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the lineage of an artifact as a tree. REF may also be a run's id."""
    if format not in {"text", "svg", "html", "mermaid", "json"}:
        raise InvalidInputError(f"--format {format}: expected text, svg, html, mermaid or json")
    if depth is not None and (depth < 0 or format != "text" or as_json):
        raise InvalidInputError(
            f"--depth {depth}: must be a number of steps of a tree" + ("" if depth < 0 else ", in --format text")
        )
    with opened(store, "r", at=at) as store_:
        found = store_.lineage(ref)
        view: Any = found.downstream() if down else found.upstream()
        if as_json or format == "json":
            printing.as_json(view.to_json())
        elif format == "mermaid":
            printing.document(view.mermaid())
        elif format in {"svg", "html"}:
            drawing = view.draw(all=all)
            text = drawing.svg() if format == "svg" else drawing.html()
            printing.document(text.encode("ascii", "xmlcharrefreplace").decode())  # equal for every encoding of a terminal
        else:
            columns = printing.width()
            if depth is None and columns is not None:
                depth = min(60, max(4, (columns - _NAME) // _STEP))
            printing.outline(view._tree_outline(depth=depth, all=all, more="--depth shows more steps"))  # noqa: SLF001 - the tree of the command alone has a depth
