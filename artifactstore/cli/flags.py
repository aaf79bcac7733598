"""Messages in the language of the command line: options of the Python API that a message names become flags."""

import re
from typing import Final

__all__ = ["FLAGS", "PAIRS", "in_flags"]

# One row per option that a message may name; commands without the option never cause the message.
FLAGS: Final = {
    "against": "--against",
    "alias": "--alias",
    "allow_empty": "--allow-empty",
    "anchor": "--anchor",
    "base": "--base",
    "code": "--code",
    "digest": "--digest",
    "dry_run": "--dry-run",
    "env": "--env",
    "exclude": "--exclude",
    "expect": "--expect",
    "fact": "--fact",
    "files": "--files",
    "fraction": "--fraction",
    "key": "--key",
    "keys": "--keys",
    "kind": "--kind",
    "label": "--label",
    "layout": "--layout",
    "level": "--level",
    "links": "--links",
    "meaning": "--meaning",
    "modes": "--modes",
    "names": "--names",
    "on": "--on",
    "on_conflict": "--on-conflict",
    "overwrite": "--overwrite",
    "path": "--path",
    "paths": "--path",
    "plain_http": "--plain-http",
    "platform": "--platform",
    "profile": "--profile",
    "reason": "--reason",
    "rehash": "--rehash",
    "release": "--release",
    "role": "--role",
    "rules": "--set",
    "send": "--send",
    "sha256": "--sha256",
    "signer": "--key",
    "since": "--since",
    "status": "--status",
    "to": "--to",
    "tolerance": "--tolerance",
    "until": "--until",
    "verify": "--verify",
    "with_lineage": "--with-lineage",
}
PAIRS: Final = {
    "to=": "TO",
    "with_lineage=True": "--with-lineage",
    "env=False": "--no-env",
    "of='name'": "--name",
    "format='text'": "--text",
    "profile='full'": "--profile-full",
    "bundle=True": "--bundle",
}
_PYTHON_ONLY: Final = re.compile(
    r"(?<!n Python, )\b([Pp])(?=ass (?:it as )?(?:command=\[…\]|single_writer=True|passphrase=))"
)  # no command has a flag
_OPTION: Final = re.compile(
    r"(?<![\w?&/.=-])(?P<name>[a-z_]+)=(?P<value>True\b|False\b|None\b|'[^']*'|\[[^\]]*\]|-?\d[\d.]*\b|…|(?=[\s,;:.)]|$))"
)
_WORD: Final = re.compile(r"[\w@%+:,./…-]+")


def in_flags(text: str) -> str:
    """Return a message with its Python options as flags: `pass overwrite=True` becomes `pass --overwrite`."""
    text = _PYTHON_ONLY.sub(lambda match: "in Python, p" if match[1] == "p" else "In Python, p", text)
    return _OPTION.sub(_flag, text)


def _flag(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if (pair := PAIRS.get(match[0])) is not None:
        return pair
    flag = FLAGS.get(name)
    if flag is None or value in {"False", "None"}:
        return match[0]
    if value in {"", "…", "[]", "True"}:
        return flag
    items = value[1:-1].split(", ") if value.startswith("[") else [value]
    return " ".join(f"{flag} {_shell_word(item)}" for item in items)


def _shell_word(item: str) -> str:
    """Return a value as a shell takes it: quotes stay only where they are needed."""
    bare = item.removeprefix("'").removesuffix("'")
    return bare if _WORD.fullmatch(bare) else item
