"""The command-line application: common options, and the store that a command opens."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from artifactstore.cli import printing, process
from artifactstore.errors import InvalidInputError
from artifactstore.model.version import VERSION
from artifactstore.runtime.loading import load_arrow_alone

if TYPE_CHECKING:
    from artifactstore.store import Store

__all__ = ["AsJson", "At", "Reason", "Ref", "StoreUrl", "app", "described", "opened", "pairs", "print_put", "time_of", "value_of"]

# The order of the help: what one begins with, every day, what it may become, where it came from, upkeep.
_ORDER: Final = (
    (
        "init",
        "demo",
        "config",
        "put",
        "get",
        "cat",
        "cp",
        "ls",
        "tree",
        "show",
        "versions",
        "find",
        "diff",
        "status",
        "track",
        "checkout",
        "log",
    ),
    (
        "alias",
        "promote",
        "rollback",
        "unalias",
        "gate",
        "gates",
        "approve",
        "reject",
        "approvals",
        "sign",
        "describe",
        "measure",
        "drift",
    ),
    ("run", "ci", "runs", "lineage", "impact", "why", "reproduce", "taint", "untaint"),
    ("hold", "release", "holds", "remove", "retention", "expire"),
    (
        "verify",
        "verify-folder",
        "head",
        "anchor",
        "export",
        "import",
        "push",
        "pull",
        "sync",
        "bundle",
        "snapshot",
        "rescue",
        "cache",
        "completion",
        "doctor",
    ),
)


class _Commands(TyperGroup):
    """The commands; one that does not exist is answered with the call that does what it does elsewhere."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # click's context, of whichever click typer bundles
        known, first = super().list_commands(ctx), [name for names in _ORDER for name in names]
        return [name for name in first if name in known] + [name for name in known if name not in first]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from artifactstore.habits.commands import command_hint  # noqa: PLC0415 - only for a message

            if hint := command_hint(args, self.commands):
                raise InvalidInputError(f"no such command: {args[0]}; {hint}")
        return super().resolve_command(ctx, args)


class _Command(TyperCommand):
    """A command that takes the URI of an artifact for a reference, and with it the store.

    It refuses an option that is passed twice with different values, of which only the last would count.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any("artifactstore+" in word.lower() for word in args):
            args = _with_store(args, {name for one in self.params if _takes_one(one) for name in one.opts})
        given: dict[str, set[str]] = {}
        single = {name: one.opts[0] for one in self.params if _takes_one(one) for name in one.opts}
        words = iter(args)
        for word in words:
            if word == "--":
                break
            name, sign, value = word.partition("=")
            if name in single:
                given.setdefault(single[name], set()).add(value if sign else next(words, ""))
        for name, values in given.items():
            if len(values) > 1:
                raise InvalidInputError(f"{name} is passed with several values, {' and '.join(sorted(values))}: pass one of them")
        return super().parse_args(ctx, args)


def _takes_one(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not parameter.is_flag and not parameter.multiple


def _with_store(words: Sequence[str], single: Collection[str]) -> list[str]:
    """Return the words of a command with references for URIs, and with `--store` for the store that these name.

    Args:
        words: behind the command's name.
        single: the command's options that take one value.

    Raises:
        InvalidInputError: they name several stores, or the command opens none.
    """
    from artifactstore.work.settings.uri import parse_uri  # noqa: PLC0415 - few commands get one

    made: list[str] = []
    stores: dict[str, str] = {}
    given = False
    before = ""
    for at, word in enumerate(words):
        if word == "--":
            made += words[at:]
            break
        option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
        given = given or option == "--store" or before == "--store"
        uri = None if "--store" in (option, before) else parse_uri(value)
        if uri is None or uri.ref is None:
            made.append(word)
        else:
            stores[uri.store] = word
            made.append(f"{option}{sign}{uri.ref}")
        before = word if word in single else ""
    if not stores:
        return list(words)
    if len(stores) > 1 or given:
        names = " and ".join(sorted(stores)) if len(stores) > 1 else f"{next(iter(stores))} and --store"
        raise InvalidInputError(f"a command works on one store, and these are several: {names}; pass one of them")
    if "--store" not in single:
        raise InvalidInputError("this command opens no store: pass what it names, not the URI of an artifact")
    return ["--store", next(iter(stores)), *made]


F = TypeVar("F", bound=Callable[..., Any])


class _App(typer.Typer):
    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        return super().command(name, **{"cls": _Command, **options})


app = _App(
    cls=_Commands,
    help="An immutable, content-addressed store for code, data sets and models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", help="URL of the store, or its name in the configuration; else $ARTIFACTSTORE_URL, pyproject.toml, a default."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[
    str,
    typer.Argument(
        help="NAME, NAME:v3, NAME:latest, NAME:ALIAS, NAME@blake3:HEX or blake3:HEX, with /PATH if wanted; or a URI with the store: artifactstore+s3://bucket/prefix#NAME:ALIAS."
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="The store as it was: an entry's number, a date (its end), or a time; UTC unless it has a zone.",
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", "-m", help="Why, for the audit trail.")]


_AGO: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_PERIOD: Final = re.compile(r"([1-9]\d{3})(?:-(\d\d))?", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS: Final = {"today": 0, "yesterday": 1}


def _show_version(asked: bool) -> None:
    if asked:
        print(VERSION)
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")] = False,
) -> None:
    """An immutable, content-addressed store for code, data sets and models."""


@contextmanager
def opened(url: str | None, mode: str = "a", *, at: str | None = None) -> "Iterator[Store]":
    """Open the store of a command, or a view of it `at` a moment, and show its progress."""
    from artifactstore.cli.progress import shown  # noqa: PLC0415 - `--help` must not load the store
    from artifactstore.opening import open as open_store  # noqa: PLC0415

    if process.is_main_process:
        load_arrow_alone()
    store = open_store(url, mode)
    if at is not None:
        store = store.at(at)
    session = store._session  # noqa: SLF001 - the command line draws the progress of the store that it opened
    if session.view is not None:
        printing.echo_error(f"as of entry {session.view.head}")
    with shown(session):
        yield store


def described(artifact: Any) -> dict[str, Any]:
    """Return the record of an artifact as JSON values."""
    return {
        "ref": artifact.ref,
        "name": artifact.name,
        "version": artifact.version,
        "digest": artifact.digest,
        "content": artifact.content,
        "kind": artifact.kind,
        "size": artifact.size,
        "files": artifact.count,
        "metadata": dict(artifact.metadata),
        "metrics": dict(artifact.metrics),
        "time": artifact.time.isoformat(),
        "actor": artifact.actor,
        "reason": artifact.reason,
        "aliases": list(artifact.aliases),
        "run": artifact.run,
        "commit": artifact.commit,
        "inputs": [printing.record(one) for one in artifact.inputs],
    }


def print_put(artifact: Any, *, as_json: bool, **more: Any) -> None:
    """Print the result of a put; `more` goes into its JSON."""
    if as_json:
        printing.as_json({**described(artifact), "new": artifact.new, **more})
    else:
        printing.echo(printing.put_line(artifact))


def pairs(option: str, items: list[str] | None) -> Iterator[tuple[str, str]]:
    """Parse KEY=VALUE options."""
    for item in items or ():
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise InvalidInputError(f"--{option} {item!r}: expected KEY=VALUE")
        yield key, value


def value_of(text: str) -> Any:
    """Parse a value as JSON, or else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def time_of(text: str | None, *, end: bool = False) -> datetime | None:
    """Parse a time in ISO 8601, in UTC unless it has a zone; or one before now: `90s`, `15m`, `2h`, `3d`, `1w`, today, yesterday.

    Days, months (`2026-11`) and years are of UTC, as the times that commands print. With `end` they are their last moment, else
    their first.

    Raises:
        InvalidInputError: the form differs.
    """
    if text is None:
        return None
    now = datetime.now(UTC)
    if text in _DAYS:
        day = now.date() - timedelta(days=_DAYS[text])
        return datetime.combine(day, time.max if end else time.min, UTC)
    try:
        if (match := _AGO.fullmatch(text)) is not None:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        if (match := _PERIOD.fullmatch(text)) is not None:
            first = datetime(int(match[1]), int(match[2] or 1), 1, tzinfo=UTC)
            after = datetime(
                first.year + (match[2] is None or first.month == 12), first.month % 12 + 1 if match[2] else 1, 1, tzinfo=UTC
            )
            return after - timedelta(microseconds=1) if end else first
        moment = datetime.fromisoformat(text)
        if end and len(text) <= 10:  # a date alone
            moment = datetime.combine(moment.date(), time.max)
    except OverflowError as error:
        raise InvalidInputError(f"{text!r} is too long ago") from error
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is not a time: expected ISO 8601, for example 2026-11-23T20:00:00Z, or 2026-11, 2h, 3d, yesterday"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
