"""The commands, their options and what each takes, from the command line itself, as data for completion."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import typer

from artifactstore.cli.completion.kept import FILE, fingerprint
from artifactstore.cli.options import app
from artifactstore.runtime.atomic_files import replace_whole

__all__ = ["KINDS", "VALUES", "commands_of", "keep_commands"]

# What a parameter takes, by its name, or by its command and its name.
KINDS: Final = {
    "ref": "ref", "refs": "ref", "a": "ref or file", "b": "ref or file", "uses": "ref", "base": "ref", "against": "ref",
    "name": "name", "log subject": "name", "names": "name", "prefix": "name", "alias": "alias", "word": "alias",
    "path": "file", "to": "file", "folder": "file", "file": "file", "store": "store", "url": "store", "source": "store",
    "target": "store", "keys": "file", "key": "file", "junit": "file", "markdown": "file", "rules": "file", "on": "ref",
    "metadata": "text", "metrics": "text", "hold_id": "text", "rollback to": "text", "sign to": "file", "inputs": "ref=file", "outputs": "ref=file", "run": "run", "compare": "run", "anchor": "file",
    "show ref": "ref or run", "subject": "ref or run", "lineage ref": "ref or run", "impact ref": "ref", "why a": "ref or run", "why b": "ref or run",
    "reproduce ref": "ref or run", "export ref": "ref or run", "runs name": "run name", "runs names": "run name", "run name": "run name",
    "get path": "text", "track paths": "file", "checkout paths": "file", "pointer": "file", "ci do": "text", "find text": "text", "find code": "text", "find run": "run",
    "reference": "ref or file", "current": "ref or file", "model": "ref", "serving": "ref", "drift name": "name",
}  # fmt: skip
# The values of options that have few, by the option, or by its command and the option.
VALUES: Final = {
    "--digest": ["blake3", "sha256"],
    "--links": ["keep", "follow"],
    "--kind": ["code", "data", "model"],
    "verify --level": ["quick", "frames", "full"],
    "lineage --format": ["text", "html", "mermaid", "svg"],
    "why --format": ["text", "html"],
    "export --as": ["dossier", "ml-bom", "openlineage", "prov", "ro-crate", "slsa"],
    "--meaning": ["approval", "authorship", "responsibility", "review"],
    "runs --status": ["running", "finished", "failed", "abandoned"],
    "doctor --policy": ["reader", "writer", "janitor"],
    "--on-conflict": ["leave", "rename"],
    "ci do": ["put", "get", "track", "check-pointers", "checkout", "gate", "promote", "verify"],
    "completion shell": ["bash", "zsh", "fish", "powershell"],
}
_HELP: Final = 60  # characters of a remark


def commands_of(group: Any) -> dict[str, Any]:
    """Return the commands of a loaded command line: name → help, options, arguments."""
    return {name: _command(name, command) for name, command in sorted(group.commands.items()) if not command.hidden}


def keep_commands(cache: Path | None) -> dict[str, Any]:
    """Return all commands, which are loaded; the cache keeps them for the next time."""
    commands = commands_of(typer.main.get_command(app))
    if cache is not None:
        with suppress(OSError):
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_whole(cache / FILE, json.dumps({"of": fingerprint(), "commands": commands}).encode(), private=True)
    return commands


def _command(name: str, command: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"--help": {"help": "Show the help."}}
    arguments, repeats = [], False
    for parameter in command.params:
        kind = KINDS.get(f"{name} {parameter.name}", KINDS.get(parameter.name, "text"))
        if parameter.param_type_name == "argument":
            arguments.append(_taking(kind, VALUES.get(f"{name} {parameter.name}")))
            repeats = repeats or parameter.nargs == -1
            continue
        for option in (*parameter.opts, *parameter.secondary_opts):
            values = VALUES.get(f"{name} {option}", VALUES.get(option))
            taken = {} if parameter.is_flag else _taking(kind, values)
            options[option] = {"help": _shortened(parameter.help), **taken}
    return {"help": _shortened(command.help), "options": options, "arguments": arguments, "repeats": repeats}


def _taking(kind: str, values: list[str] | None) -> dict[str, Any]:
    return {"kind": kind} | ({"values": values} if values else {})


def _shortened(text: str | None) -> str:
    first = (text or "").strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return first if len(first) <= _HELP else first[: _HELP - 1].rstrip() + "…"
