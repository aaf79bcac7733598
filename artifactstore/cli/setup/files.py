"""Changes of a user's files: the store's URL in a configuration file, a line in `.gitignore`; all else in them stays as it is."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.atomic_files import replace_whole

__all__ = ["gitignored", "ignore", "repository", "with_url", "write_url"]

_TABLE: Final = re.compile(r"^\s*\[")


def with_url(text: str, table: tuple[str, ...], url: str) -> str:
    """Return a TOML document in which a table has `url`, and which else is unchanged.

    Args:
        text: the document.
        table: the table's path, such as `("tool", "artifactstore")`; empty for the top of the document.
        url: the value.

    Raises:
        InvalidInputError: the document is not TOML, or is written in a way that cannot be changed line by line.
    """
    before = _parsed(text)
    line = f"url = {json.dumps(url, ensure_ascii=False)}"
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines()
    if table:
        dotted = r"\s*\.\s*".join(map(re.escape, table))
        header = re.compile(rf"^\s*\[\s*{dotted}\s*\]\s*(#.*)?$")
        start = next((number + 1 for number, one in enumerate(lines) if header.match(one)), None)
        if start is None:
            lines += ["", f"[{'.'.join(table)}]", line] if lines else [f"[{'.'.join(table)}]", line]
            return _checked(end.join(lines) + end, before, table, url)
    else:
        start = 0
    stop = next((number for number in range(start, len(lines)) if _TABLE.match(lines[number])), len(lines))
    old = next((number for number in range(start, stop) if re.match(r"^\s*url\s*=", lines[number])), None)
    if old is not None:
        lines[old] = line
    else:
        lines.insert(start, line)
    return _checked(end.join(lines) + end, before, table, url)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"it is not TOML ({error})") from error


def _checked(text: str, before: dict[str, Any], table: tuple[str, ...], url: str) -> str:
    """Return the text if it differs from what was there in the URL alone."""
    expected = before
    inner: Any = expected
    for name in table:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict):
        inner["url"] = url
    try:
        found = tomllib.loads(text)
    except ValueError:
        found = {}
    if found != expected:
        raise InvalidInputError(f"it is written in an unusual way: add url = {json.dumps(url)} yourself")
    return text


def write_url(path: Path, table: tuple[str, ...], url: str) -> None:
    """Write the URL into a configuration file, which is made if there is none.

    Raises:
        InvalidInputError: the file cannot be changed; names it.
    """
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        made = with_url(text, table, url)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        target = path.resolve()
        replace_whole(target, made.encode())
        if mode is not None:
            target.chmod(mode)
    except (OSError, UnicodeDecodeError, InvalidInputError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"cannot write {path}: {reason}; the store is made, only this setting is missing") from error


def repository(folder: Path) -> Path | None:
    """Return the top folder of the git repository around a folder, or None."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def gitignored(top: Path, folder: Path) -> str | None:
    """Return the line of `.gitignore` that a folder below the top lacks; None if it is there, or the folder is elsewhere."""
    try:
        line = f"/{folder.resolve().relative_to(top.resolve()).as_posix()}/"
    except ValueError:
        return None
    if line == "/./":
        return None
    path = top / ".gitignore"
    try:
        lines = {one.strip() for one in path.read_text(encoding="utf-8", errors="replace").splitlines()}
    except OSError:
        lines = set()
    return None if {line, line.rstrip("/"), line.strip("/"), line.lstrip("/")} & lines else line


def ignore(top: Path, line: str) -> None:
    """Append a line to `.gitignore`."""
    path = top / ".gitignore"
    text = path.read_bytes() if path.exists() else b""
    gap = b"" if not text or text.endswith(b"\n") else b"\n"
    with path.open("ab") as file:
        file.write(gap + line.encode() + b"\n")
