r"""The listing: the canonical text whose digest is an artifact's identity.

One line for each regular file in the form of `b3sum` (`<hex>  <path>\n`, with its escaping), sorted by the
path's UTF-8 bytes; then, only where present, extra lines sorted bytewise: `#` and a canonical JSON
array. The plain lines can be checked without this library:

    find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0r b3sum -- | b3sum
"""

import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.encoding import canonical_json
from artifactstore.runtime.records import dataclass

__all__ = [
    "Extra",
    "check_disk_path",
    "check_disk_paths",
    "check_disk_text",
    "check_link",
    "check_links",
    "check_path",
    "check_paths",
    "follow",
    "identify",
    "identify_lines",
    "plain_line",
    "reads_utf8",
    "through_links",
]

MAX_SEGMENT: Final = 255  # bytes: supported by every file system in use
_LINK_STEPS: Final = 40  # links that a file system follows per path
Buffer = bytes | bytearray | memoryview
_AT_ONCE: Final = 4096  # paths per batch
_DRIVE: Final = re.compile(r"[A-Za-z]:")
# The form of most paths: they need no further checks (1 us instead of 3, for each of a million files).
_PLAIN: Final = re.compile(r"\w[\w.=+@~ -]{0,250}(/\w[\w.=+@~ -]{0,250})*", re.ASCII)
_ALL_PLAIN: Final = re.compile(r"(\w[\w.=+@~ -]{0,250}(/\w[\w.=+@~ -]{0,250})*\n)*", re.ASCII)
_BANNED: Final = re.compile("[\x00\r\ufffd]")


@dataclass(frozen=True, slots=True)
class Extra:
    """Properties that plain lines cannot express, but that belong to the identity.

    Attributes:
        folders: paths of empty folders.
        links: (path, target) of symbolic links.
        executables: paths of executable files, only where the bit is part of the identity.
        format: the name of the stored object's format, or None for plain files.
    """

    folders: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    executables: Sequence[str] = ()
    format: str | None = None

    def lines(self) -> list[bytes]:
        """Return the extra lines, sorted bytewise, each with its newline."""
        rows: list[list[str]] = [["dir", path] for path in self.folders]
        rows += [["link", path, target] for path, target in self.links]
        rows += [["x", path] for path in self.executables]
        if self.format is not None:
            rows.append(["format", self.format])
        return sorted(b"#" + canonical_json(row) + b"\n" for row in rows)


def plain_line(hexdigest: str, path: str) -> str:
    r"""Format one line like `b3sum` and `sha256sum`: a name with a backslash or a line feed is escaped and the line begins with `\`."""
    if "\\" in path or "\n" in path:
        escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
        return f"\\{hexdigest}  {escaped}\n"
    return f"{hexdigest}  {path}\n"


def identify(files: Iterable[tuple[str, bytes]], extra: Extra, algorithm: str) -> tuple[Digest, Digest]:
    """Compute an artifact's content digest and its digest.

    Args:
        files: (path, raw 32-byte digest), sorted by the path's UTF-8 bytes (Python's string order is the same).
        extra: the extra lines.
        algorithm: the store's digest algorithm.

    Returns:
        (content, digest): equal without extra lines.
    """
    rows = iter(files)
    batches = iter(lambda: [*islice(rows, _AT_ONCE)], [])
    return identify_lines(
        ("".join([plain_line(raw.hex(), path) for path, raw in some]).encode() for some in batches), extra, algorithm
    )


def identify_lines(lines: Iterable[Buffer], extra: Extra, algorithm: str) -> tuple[Digest, Digest]:
    """Compute `identify` from the plain lines themselves.

    Args:
        lines: in order, split anywhere.
        extra: as for `identify`.
        algorithm: as for `identify`.
    """
    hasher = new_hasher(algorithm)
    for some in lines:
        hasher.update(some)
    content = Digest(algorithm, hasher.digest())
    more = extra.lines()
    if not more:
        return content, content
    hasher.update(b"".join(more))
    return content, Digest(algorithm, hasher.digest())


def check_path(path: str) -> None:
    """Refuse a path that is not valid in a listing.

    Raises:
        InvalidInputError: absolute, with `.` or `..` or empty segments, a drive letter, NUL, CR, U+FFFD,
            not valid UTF-8, a segment over 255 bytes, or `-` alone at the top (which `b3sum` reads as standard input).
    """
    if _PLAIN.fullmatch(path):
        return
    reason = _fault(path)
    if reason:
        _blame_locale(path)
        raise InvalidInputError(f"the path {path!r} cannot be stored: {reason}; rename it")


def check_paths(paths: Sequence[str]) -> None:
    """Refuse paths if any of them is invalid, like `check_path`.

    Raises:
        InvalidInputError: names the first invalid path.
    """
    if paths and (not _ALL_PLAIN.fullmatch(text := "\n".join([*paths, ""])) or text.count("\n") != len(paths)):
        for path in paths:
            check_path(path)


def check_disk_path(path: str) -> None:
    """Refuse a path read from a disk like `check_path`, and non-ASCII names if the locale is not UTF-8.

    Names on disk are bytes, and those in a listing are UTF-8: the same folder must give the same artifact in every locale.

    Raises:
        InvalidInputError: it is not valid in a listing.
    """
    check_path(path)
    check_disk_text(path)


def check_disk_paths(paths: Sequence[str]) -> None:
    """Refuse paths read from a disk if any of them is invalid, like `check_disk_path`.

    Raises:
        InvalidInputError: names the first invalid path.
    """
    check_paths(paths)
    for path in () if reads_utf8() else paths:
        check_disk_text(path)


def check_disk_text(text: str) -> None:
    """Refuse a name that is not UTF-8 on disk, or that the locale of this process decoded differently.

    Raises:
        InvalidInputError: reports which of the two.
    """
    if not (reads_utf8() or text.isascii()):
        _blame_locale(text)
        raise InvalidInputError(f"the path {text!a} cannot be stored: its name is not valid UTF-8; rename it")


def reads_utf8() -> bool:
    """Whether this process decodes and encodes file names as UTF-8."""
    return sys.getfilesystemencoding() in {"utf-8", "utf8", "UTF-8"}


def _blame_locale(path: str) -> None:
    """Refuse a name that is valid UTF-8 on disk, but was decoded with another encoding."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        try:
            name = path.encode(encoding, "surrogateescape").decode()
        except UnicodeError:
            return
        if name != path and not _fault(name):
            raise InvalidInputError(
                f"the path {name!a} cannot be stored: the locale of this process decodes names as {encoding}, but this name is UTF-8: "
                "set PYTHONUTF8=1, or a locale with UTF-8 (LC_ALL=C.UTF-8)"
            )


def _fault(path: str) -> str | None:
    if not path:
        return "it is empty"
    if path == "-":
        return "a top-level file named '-' means standard input to checksum tools"
    if (bad := _BANNED.search(path)) is not None:
        names = {"\x00": "NUL", "\r": "CR (carriage return)", "\ufffd": "U+FFFD (the replacement character)"}
        return f"it contains {names[bad[0]]}"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if path.startswith("/"):
        return "it is absolute"
    if _DRIVE.match(path):
        return "it begins with a drive letter"
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            return f"it has the segment {segment!r}"
    if len(encoded) > MAX_SEGMENT and any(len(segment) > MAX_SEGMENT for segment in encoded.split(b"/")):
        return f"a name in it is longer than {MAX_SEGMENT} bytes"
    return None


def check_link(path: str, target: str) -> None:
    """Refuse a link whose target is outside the artifact.

    Raises:
        InvalidInputError: the target is absolute, leaves the tree, or is not valid text.
    """
    depth = path.count("/")
    fault = not target or target.startswith(("/", "\\")) or bool(_BANNED.search(target) or _DRIVE.match(target))
    for segment in target.split("/"):
        if segment == "..":
            depth -= 1
        elif segment not in {"", "."}:
            depth += 1
        fault = fault or depth < 0
    try:
        target.encode()
    except UnicodeEncodeError:
        fault = True
    if fault:
        raise InvalidInputError(
            f"the link {path!r} points to {target!r}, outside of the stored folder; links='follow' stores its target instead"
        )


def check_links(links: Sequence[tuple[str, str]]) -> None:
    """Refuse links that lead outside through other links: each step is resolved like a file system would.

    Raises:
        InvalidInputError: names the link.
    """
    table = dict(links)
    for path, target in links:
        here, todo, steps = path.split("/")[:-1], target.split("/")[::-1], 0
        while todo and steps < _LINK_STEPS:
            part = todo.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                if not here:
                    raise InvalidInputError(
                        f"the link {path!r} points to {target!r} and, through other links, outside of the stored folder; "
                        "links='follow' stores its target instead"
                    )
                here.pop()
                continue
            here.append(part)
            if (further := table.get("/".join(here))) is not None:
                steps += 1  # a loop: a file system gives up as well
                here.pop()
                todo += further.split("/")[::-1]


def follow(links: Mapping[str, str], path: str) -> str | None:
    """Resolve a path through links, as a file system does; None if it leads outside, or in a circle.

    Args:
        links: path → target of all links.
        path: the path to resolve.
    """
    here: list[str] = []
    todo, steps = path.split("/")[::-1], 0
    while todo:
        part = todo.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                return None
            here.pop()
            continue
        here.append(part)
        if (further := links.get("/".join(here))) is not None:
            steps += 1
            if steps > _LINK_STEPS:
                return None
            here.pop()
            todo += further.split("/")[::-1]
    return "/".join(here)


def through_links(links: Sequence[tuple[str, str]], paths: Sequence[str]) -> dict[str, str]:
    """Return the paths that lead to files through links, with the files' own paths: one link to a folder, and links in that folder.

    Args:
        links: (path, target).
        paths: of the files, sorted.
    """
    table, files, found = dict(links), set(paths), dict[str, str]()
    for path, _ in links:
        real = follow(table, path)
        if not real or path.startswith(f"{real}/"):
            continue  # a broken link, or a parent folder, in which a walk would never end
        if real in files:
            found[path] = real
            continue
        start = bisect_left(paths, f"{real}/")
        for at in range(start, bisect_left(paths, f"{real}0", start)):
            found[path + paths[at][len(real) :]] = paths[at]
        for inner, _ in links:
            if inner.startswith(f"{real}/") and (end := follow(table, inner)) in files and end is not None:
                found[path + inner[len(real) :]] = end
    return found
