"""Commands for queries: ls, versions, find, show, verify, head."""

import re
import sys
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, At, StoreUrl, app, described, opened, pairs, time_of, value_of
from artifactstore.cli.process import EXIT_CODES
from artifactstore.display.values import counted, format_size, format_value, moment
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.reference import Reference, full_name
from artifactstore.work.session.name_list import remember_paths, store_folder

__all__ = ["files_of"]

_REMEMBERED: Final = 2000  # files whose paths completion offers


@app.command("ls")
def list_(
    ref: Annotated[
        str | None, typer.Argument(help="An artifact, to list its files; a folder of names (churn/), a pattern; or nothing.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Only names that begin with this.")] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="Also digests, aliases and taints, and the total.")] = False,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List names, or the files of an artifact."""
    with opened(store, "r", at=at) as store_:
        rows, list_name = _listed(store_, ref, prefix)
        if as_json:
            printing.as_json([printing.record(row) for row in rows])
        elif not rows and ref is None and not prefix:
            printing.echo_error("no names yet: `artifactstore put PATH NAME` stores the first version")
        elif long and list_name == "names":
            printing.listed([store_.versions(one.name)[(one.latest or one.versions) - 1] for one in rows], "newest")
            printing.echo(f"total {format_size(sum(one.size or 0 for one in rows))}, {counted(len(rows), 'names')}")
        else:
            printing.listed(rows, f"long {list_name}" if long else list_name)
            if long:
                printing.echo(f"total {format_size(sum(one.size for one in rows))}, {counted(len(rows), 'files')}")


def _listed(store: Any, ref: str | None, prefix: str) -> tuple[Any, str]:
    """Return what to list, and the name of its list: names for a folder of names or a pattern, else the files of an artifact."""
    if ref is None or ref.endswith("/"):
        rows = store.names(ref or prefix)
        if ref is not None and not rows:
            raise NotFoundError(f"no name begins with {ref}")
        return rows, "names"
    ref = full_name(ref)
    if any(sign in ref for sign in "*?["):
        found = store.names(ref)
        if not found:
            raise NotFoundError(f"no name matches {ref!r}")
        return found, "names"
    try:
        return files_of(store, ref)[2], "files"
    except NotFoundError:
        if not (below := store.names(f"{ref}/")):
            raise
        return below, "names"


def files_of(store: Any, ref: str) -> tuple[Any, str, list[Any]]:
    """Return an artifact, a path in it (or an empty text), and the files there."""
    parsed = Reference.parse(ref)
    whole = store.artifact(str(replace(parsed, path=None)))
    files = whole.files
    if whole.version is not None and len(files) <= _REMEMBERED and (folder := store_folder(store._session)) is not None:  # noqa: SLF001 - for completion
        remember_paths(folder, whole.name, whole.version, [one.path for one in files])
    if parsed.path is None or not parsed.path.strip("/"):
        return whole, "", list(files)
    chosen = parsed.path.strip("/")
    found = [one for one in files if one.path == chosen or one.path.startswith(chosen + "/")]
    if not found:
        raise NotFoundError(f"{replace(parsed, path=None)} has no file or folder {chosen!r}")
    return whole, chosen, found


@app.command()
def versions(
    name: Annotated[str, typer.Argument(help="A name.")], at: At = None, store: StoreUrl = None, as_json: AsJson = False
) -> None:
    """List the versions of a name."""
    with opened(store, "r", at=at) as store_:
        rows = store_.versions(name)
        if as_json:
            printing.as_json([printing.record(row) for row in rows])
        else:
            printing.listed(rows, "versions")


@app.command()
def find(
    text: Annotated[
        str | None, typer.Argument(help="Words that its name, description, tags, metadata or parameters contain.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name or a pattern.")] = None,
    alias: Annotated[str | None, typer.Option(help="An alias that points to it.")] = None,
    tag: Annotated[str | None, typer.Option(help="KEY or KEY=VALUE.")] = None,
    kind: Annotated[str | None, typer.Option(help="data, model, code …")] = None,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", "--metadata", help="KEY=VALUE, as text or JSON; may be repeated.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Condition, for example 'auc>=0.9'; may be repeated.")] = None,
    file: Annotated[str | None, typer.Option(help="A file that they contain, or its digest.")] = None,
    uses: Annotated[str | None, typer.Option(help="An artifact that they were made from.")] = None,
    code: Annotated[str | None, typer.Option(help="The commit that they were made with, or its first digits.")] = None,
    run: Annotated[str | None, typer.Option(help="The run that produced them: its id, its name or a pattern.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Put at this ISO time or later, or 2h, 3d, today, yesterday; UTC unless it has a zone.")
    ] = None,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find versions that meet all conditions. Exit code 1 if there are none."""
    conditions = {}
    for one in metric or ():
        split = min((one.find(sign) for sign in "<>=!" if sign in one), default=0)
        if split < 1:
            raise InvalidInputError(f"--metric {one!r}: expected a condition such as 'auc>=0.9'")
        conditions[one[:split].strip()] = one[split:]
    with opened(store, "r", at=at) as store_:
        wanted = {key: _any_of(value) for key, value in pairs("meta", meta)}
        rows = store_.find(
            name=name,
            text=text,
            alias=alias,
            tag=tag,
            kind=kind,
            metadata=wanted,
            metrics=conditions,
            file=file,
            uses=uses,
            code=code,
            run=run,
            since=time_of(since),
        )
        if as_json:
            printing.as_json([printing.record(row) for row in rows])
        else:
            printing.listed(rows, "found")
            if not rows and text is not None and re.fullmatch(r"\s*[\w.]+\s*(>=|<=|==|!=|>|<|=)\s*\S+\s*", text):
                printing.echo_error(
                    f"note: {text!r} was looked for as a text: `artifactstore find --metric {text.strip()!r}` asks for a metric"
                )
        return EXIT_CODES["ok"] if rows else EXIT_CODES["no"]


def _any_of(text: str) -> Any:
    """Return the values that a text may stand for: an id of another system that looks like a number is recorded as text."""
    value = value_of(text)
    return value if isinstance(value, dict | list) else {text, value}


@app.command()
def show(
    ref: Annotated[str, typer.Argument(help="An artifact, or a run's id.")],
    listing: Annotated[bool, typer.Option("--listing", help="Print the plain lines, for `b3sum --check`.")] = False,
    sha256: Annotated[bool, typer.Option("--sha256", help="Print a model's lines, for `sha256sum --check`.")] = False,
    at: At = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the record of an artifact or a run: what it is, and what it was made from."""
    from artifactstore.work.session.as_of import one_state  # noqa: PLC0415 - `--help` must not load the store

    with opened(store, "r", at=at) as store_, one_state():
        try:
            found = store_.artifact(ref)
        except NotFoundError:
            lineage = store_.lineage(ref)
            run = next(iter(lineage.runs), None)
            if run is None or run.id != lineage.id:
                raise
            from artifactstore.cli.records.run import show_run  # noqa: PLC0415 - only for runs

            show_run(store_, run, as_json=as_json)
            return
        if listing or sha256:
            lines = found.sha256 if sha256 else found.listing
            if lines is None:
                raise InvalidInputError(
                    f"{found.ref} has no SHA-256 digests: it was put neither with --kind model nor with --sha256"
                )
            sys.stdout.flush()
            sys.stdout.buffer.write(lines.encode())
            return
        profile, profiles = found.profile, found.profiles
        if as_json:
            facts = described(found) | {"tainted": found.tainted, **_standing(store_, found)}
            printing.as_json({**facts, "profile": profile, "profiles": dict(profiles), "imports": found.imports})
            return
        from artifactstore.display.artifact_card import record_outline  # noqa: PLC0415 - `--help` must not load it

        printing.outline(record_outline(_facts(store_, found), profile, profiles))


def _standing(store: Any, found: Any) -> dict[str, Any]:
    """Return approvals, gates and holds of an artifact as JSON values."""
    from artifactstore.work.get.provenance import provenance  # noqa: PLC0415 - as above

    origin = provenance(store._session, found.digest, found.name, found.version)  # noqa: SLF001
    about = origin.standing
    approvals = [printing.record(one) for one in store.registry.approvals(found.ref)] if about.approvals else []
    standing = {"approvals": approvals, "gates": list(about.gates), "held": list(about.holds)}
    return standing | {"tainted_above": origin.tainted_above or None}


def _facts(store: Any, found: Any) -> dict[str, Any]:
    """Return the record of an artifact for people: name → text, or a tuple of lines."""
    from artifactstore.work.get.provenance import provenance  # noqa: PLC0415 - `--help` must not load it

    origin = provenance(store._session, found.digest, found.name, found.version)  # noqa: SLF001
    lines = origin.lines()
    metadata = dict(found.metadata)
    description = metadata.pop("description", None)
    tags = metadata.pop("tags", None)
    return {
        "ref": found.ref,
        "about": description,
        "digest": found.digest,
        "content": found.content,
        "kind": found.kind,
        "format": found.format,
        "size": f"{format_size(found.size)}, {counted(found.count, 'files')}",
        "put": f"{moment(found.time)} UTC by {found.actor}" + (f": {found.reason}" if found.reason else ""),
        "aliases": tuple(
            f"{alias} (since {moment(since)[:16]} UTC by {origin.moved[alias]})" for alias, since in origin.aliases.items()
        ),
        "tainted": "do not use: see `artifactstore log --fact tainted`" if found.tainted else _above(origin),
        "approvals": _approvals(store, found.ref) if lines["approvals"] else (),
        "gates": lines["gates"],
        "held": lines["held"],
        "run": lines["run"],
        "code": lines["code"],
        "env": lines["env"],
        "inputs": lines["inputs"],
        "shares": lines["shares"],
        "metrics": tuple(f"{name} = {value:g}" for name, value in found.metrics.items()),
        "tags": tuple(f"{key} = {format_value(value)}" for key, value in tags.items()) if isinstance(tags, dict) else tags,
        "metadata": tuple(f"{key} = {format_value(value)}" for key, value in metadata.items()),
        "imports": ", ".join(found.imports) if found.imports else None,
    }


def _above(origin: Any) -> str | None:
    return f"it was made from {origin.tainted_above}" if origin.tainted_above else None


def _approvals(store: Any, ref: str) -> tuple[str, ...]:
    """Return its approvals in words, with what their signatures are worth under the caller's keys."""
    from artifactstore.display.registry_lists import approval_line  # noqa: PLC0415 - as above

    return tuple(
        approval_line(
            one.verdict, one.name, one.status, moment(one.time), one.meaning, role=one.role, actor=one.actor, reason=one.reason
        )
        for one in store.registry.approvals(ref)
    )


@app.command()
def verify(
    ref: Annotated[str | None, typer.Argument(help="Only this artifact; without it, the whole store.")] = None,
    level: Annotated[str, typer.Option(help="quick, frames or full.")] = "quick",
    fraction: Annotated[float, typer.Option(help="Share of the content to read.")] = 1.0,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            help="ENTRY:DIGEST that the journal must still contain, or a file of such lines or of `anchor`; may be repeated."
        ),
    ] = None,
    keys: Annotated[str | None, typer.Option(help="TOML file of the keys whose signatures count.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Check that all content is unchanged. Exit code 5 if any is missing or damaged, 1 if something has effect and breaks a rule."""
    with opened(store, "r") as store_:
        report = store_.verify(ref, level=level, fraction=fraction, anchor=anchor, keys=keys)
    if as_json:
        printing.as_json({"ok": report.ok, **printing.record(report)})
    else:
        printing.report(report)
    return EXIT_CODES["ok" if report.ok else "corruption" if report.damaged else "no"]


@app.command()
def head(
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept this head on this machine, which has seen another one.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the last entry and its digest. Keep it elsewhere: `verify --anchor` then detects whether history was changed or cut."""
    with opened(store, "r") as store_:
        found = store_.head
        if accept:
            store_.maintenance.accept_head()
        if as_json:
            printing.as_json({"head": found})
        else:
            printing.echo(found)
