"""Commands for gates and the aliases that they guard: gates, gate, promote, rollback, unalias."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, opened
from artifactstore.cli.process import EXIT_CODES
from artifactstore.cli.registry.arguments import Alias, KeyFile, Keys, expected, mandatory, number_of, signer
from artifactstore.display.values import moment
from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import full_name

if TYPE_CHECKING:
    from artifactstore.display.outline import Block, Inline

__all__: list[str] = []


@app.command()
def gates(
    name: Annotated[str | None, typer.Argument(help="Only those that hold for this name, or have this pattern.")] = None,
    rules: Annotated[str | None, typer.Option("--set", metavar="FILE", help="Set the gates of a TOML file first.")] = None,
    key: KeyFile = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the gates in force, or set those of a file."""
    why = reason if rules is None else mandatory(reason)
    with opened(store, "r" if rules is None else "a") as store_:
        rows = store_.registry.gates(rules, reason=why, signer=signer(key))
        wanted = None if name is None else re.split("[:@]", full_name(name))[0]
        found = [one for one in rows if wanted is None or wanted == one.names or fnmatchcase(wanted, one.names)]
    if as_json:
        printing.as_json([printing.record(one) for one in found])
    elif found:
        printing.outline(_gates(found))
    else:
        printing.echo_error("no gate is in force" if wanted is None else f"no gate is in force for {wanted}")


def _gates(rows: Iterable[Any]) -> "Iterator[Block]":
    from artifactstore.display.outline import Line, Section, Span  # noqa: PLC0415 - `--help` must not load it
    from artifactstore.display.registry_lists import rule_words  # noqa: PLC0415 - as above

    for one in rows:
        joint = "all" if "all" in one.rules else "any"
        asked = [rule_words(rule) for rule in one.rules[joint]] + (["a reason"] if one.rules.get("reason") else [])
        body: list[Block] = [Line(text) for text in asked]
        signed = ", signed" if one.signed else ""
        by = f"(version {one.version}, entry {one.entry}, {moment(one.time)} UTC by {one.actor}{signed})"
        body += [Line(text, dim=True) for text in (by, f"({one.reason})" if one.reason else "") if text]
        title: list[Inline] = [Span(f"{one.names} {one.alias}", "strong"), f" asks {joint} of" if len(asked) > 1 else " asks"]
        yield Section(title, body)


@app.command()
def gate(
    ref: Ref,
    word: Alias,
    keys: Keys = None,
    junit: Annotated[str | None, typer.Option(help="Write the verdict as JUnit XML into this file.")] = None,
    markdown: Annotated[str | None, typer.Option(help="Write it as Markdown into this file.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Ask whether an alias may point to a version; writes nothing into the store. Exit code 1 if not."""
    from artifactstore.cli.github import publish  # noqa: PLC0415 - only where a verdict is made

    with opened(store, "r") as store_:
        verdict = store_.registry.check(ref, word, keys=keys)
    if as_json:
        printing.as_json(verdict.to_json())
    else:
        printing.report(verdict)
    for path, text in ((junit, verdict.to_junit), (markdown, verdict.to_markdown)):
        if path is not None:
            Path(path).write_text(text(), encoding="utf-8")
    publish(verdict, to_stderr=as_json)
    return EXIT_CODES["ok" if verdict.ok else "no"]


@app.command()
def promote(
    ref: Ref,
    word: Alias,
    expect: Annotated[str | None, typer.Option(help="The version it must point to now (v3 or 3), or `none`.")] = None,
    keys: Keys = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version if its gates let it pass. Exit code 6 if they do not, with each condition that is not met."""
    conditions = expected(expect)
    why = mandatory(reason)
    with opened(store) as store_:
        verdict = store_.promote(ref, word, reason=why, keys=keys, **conditions)
    _print_moved(verdict, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="The name.")],
    word: Alias,
    to: Annotated[str | None, typer.Option(help="Any version that it pointed to before (v3 or 3).")] = None,
    keys: Keys = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at what it meant before. Called again, it goes further back; tainted and removed versions are passed over."""
    number = None if to is None else number_of("--to", to)
    why = mandatory(reason)
    with opened(store) as store_:
        verdict = store_.rollback(name, word, reason=why, to=number, keys=keys)
    _print_moved(verdict, as_json=as_json)


def _print_moved(verdict: Any, *, as_json: bool) -> None:
    if as_json:
        printing.as_json(verdict.to_json())
        return
    name, _, version = verdict.ref.rpartition(":")
    printing.echo(f"{name}:{verdict.alias} -> {version}  {verdict.digest[:15]}…")
    if verdict.conditions or verdict.quotes is not None:
        printing.report(verdict)


@app.command()
def unalias(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name; or NAME:ALIAS.")],
    word: Annotated[str | None, typer.Argument(metavar="ALIAS", help="The alias that ends; after NAME:ALIAS the reason.")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """End an alias; its history stays."""
    own, sign, alias = name.rpartition(":")
    if sign:
        why = mandatory(reason, word)
    elif word is None:
        raise InvalidInputError(f"{name!r}: expected NAME ALIAS, or NAME:ALIAS")
    else:
        own, alias, why = name, word, mandatory(reason)
    with opened(store) as store_:
        store_.registry.unalias(own, alias, why)
    if as_json:
        printing.as_json({"name": own, "alias": alias, "version": None})
    else:
        printing.echo(f"{own}:{alias} has ended")
