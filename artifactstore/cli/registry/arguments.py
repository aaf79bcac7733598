"""Arguments that several commands of the registry take: reasons, which are asked for, keys, versions, dates."""

import os
import re
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import time_of
from artifactstore.errors import InvalidInputError

__all__ = ["Alias", "KeyFile", "Keys", "Why", "day", "expected", "mandatory", "number_of", "signer"]

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]
Keys = Annotated[
    str | None, typer.Option("--keys", help="A TOML file of the keys whose signatures count; else $ARTIFACTSTORE_KEYS.")
]
KeyFile = Annotated[
    str | None,
    typer.Option("--key", help="Sign with this private key (PEM), as this CI job (oidc:NAME), or by a registered SCHEME:TEXT."),
]
Why = Annotated[str | None, typer.Argument(metavar="REASON", help="Why, for the audit trail; or -m.")]

_LARGEST: Final = 64 * 1024  # bytes of a key that are looked at
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_VARIABLE: Final = "ARTIFACTSTORE_KEY_PASSPHRASE"


def mandatory(option: str | None, argument: str | None = None) -> str:
    """Return the reason of a command that needs one; on a terminal it is asked for.

    Args:
        option: of `-m`.
        argument: of REASON, for commands that take it as an argument.

    Raises:
        InvalidInputError: none was passed, and no terminal is there to ask; or two that differ.
    """
    if option is not None and argument is not None and option != argument:
        raise InvalidInputError(f"two reasons: {argument!r} and -m {option!r}; pass one")
    given = argument if option is None else option
    if given is not None:
        return given
    if not _is_terminal():
        raise InvalidInputError("this needs a reason for the audit trail: pass -m 'why'")
    while True:
        print("Why? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            raise InvalidInputError("no reason was given, and nothing was changed: pass -m 'why'")
        if line.strip():
            return line.strip()
        printing.echo_error("A reason is needed: it is kept in the audit trail.")


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def signer(key: str | None) -> Any:
    """Return what signs, or None; the passphrase of an encrypted key is asked for on a terminal."""
    if key is None or os.environ.get(_VARIABLE) or not _is_terminal() or not _is_encrypted(key):
        return key
    from getpass import getpass  # noqa: PLC0415 - only where it is asked for

    from artifactstore.signing.key_file import KeyFile as PrivateKey  # noqa: PLC0415 - loads cryptography

    return PrivateKey(key, passphrase=getpass(f"Passphrase of {key!r}: "))


def _is_encrypted(key: str) -> bool:
    """Return whether a file is an encrypted private key; what cannot be read is left to whoever signs."""
    try:
        with Path(key).expanduser().open("rb") as file:
            text = file.read(_LARGEST)
    except (OSError, ValueError):
        return False
    return b"BEGIN ENCRYPTED PRIVATE KEY" in text or b"Proc-Type: 4,ENCRYPTED" in text


def expected(text: str | None) -> dict[str, Any]:
    """Return `--expect` as an argument of Python.

    Raises:
        InvalidInputError: neither a version nor `none`.
    """
    if text is None:
        return {}
    return {"expect": None if text == "none" else number_of("--expect", text, "a version like v3, or none")}


def number_of(option: str, text: str, what: str = "a version like v3") -> int:
    """Return the number of a version: `v3` or `3`.

    Raises:
        InvalidInputError: it is none.
    """
    if not re.fullmatch(r"v?[1-9]\d{0,8}", text, re.ASCII):
        raise InvalidInputError(f"{option} {text}: expected {what}")
    return int(text.removeprefix("v"))


def day(text: str | None) -> date | datetime | None:
    """Parse `--until`: a date, or a time in ISO 8601; a time without a zone is of UTC.

    Raises:
        InvalidInputError: neither.
    """
    if text is not None and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise InvalidInputError(f"--until {text}: no such date") from error
    return time_of(text)
