"""The YAML that tools write and people edit: YAML 1.2 without tags, with the core schema's types.

Tags are refused, and so are documents that aliases would blow up. It knows YAML and nothing of what the values mean.
"""

import re
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.yaml.flow import DEEPEST, Balance, parse_flow
from artifactstore.runtime.yaml.scalars import folded, is_blank, quoted_end, scalar, unquoted, without_comment

__all__ = ["parse_yaml"]

_LARGEST: Final = 64 * 2**20  # characters: a list of some hundred thousand files
_MOST_ALIASED: Final = 100_000  # values that aliases may repeat, in all
_KEY_END: Final = re.compile(r":(?=[ \t]|$)")
_COMMENT: Final = re.compile(r"(?:^|[ \t])#")
_ANCHOR: Final = re.compile(r"&([^\s\[\]{},]+)(?:[ \t]+|$)")
_ALIAS: Final = re.compile(r"\*([^\s\[\]{},]+)")
_BLOCK: Final = re.compile(r"([|>])([-+]?)([1-9]?)([-+]?)[ \t]*(?:#.*)?$")


def parse_yaml(data: bytes | str, name: str) -> Any:
    """Return the value of a YAML document: dicts, lists, texts, numbers, booleans and None.

    Args:
        data: the document.
        name: of it, for messages.

    Raises:
        InvalidInputError: not one YAML document, or one with tags, or one that aliases would blow up; with its line.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{name}: not UTF-8 at byte {error.start}") from error
    if len(text) > _LARGEST:
        raise InvalidInputError(f"{name} has more than {_LARGEST:,} characters")
    return _Reader(text, name).document()


class _Reader:
    """Reads line by line: `- ` is replaced by spaces, so that an item on the same line is a block of its own."""

    def __init__(self, text: str, name: str) -> None:
        self._lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._at = 0
        self._name = name
        self._depth = 0
        self._anchors: dict[str, Any] = {}
        self._aliased = 0

    def document(self) -> Any:
        self._skip()
        if self._at < len(self._lines) and self._lines[self._at].startswith("%"):
            raise self._fault("directives are not supported")
        if self._at < len(self._lines) and re.match(r"---(?:\s|$)", self._lines[self._at]):
            self._lines[self._at] = self._lines[self._at].replace("---", "   ", 1)
        value = self._block(-1) if self._skip() else None
        if self._skip() and not re.match(r"\.\.\.(?:\s|$)", self._lines[self._at]):
            more = re.match(r"---(?:\s|$)", self._lines[self._at])
            raise self._fault("expected one document" if more else "expected the end, or the indentation of a line above")
        return value

    # -- lines

    def _fault(self, text: str) -> InvalidInputError:
        return InvalidInputError(f"{self._name}, line {min(self._at + 1, len(self._lines))}: {text}")

    def _skip(self) -> bool:
        """Go to the next line with content; return whether there is one."""
        while self._at < len(self._lines):
            text = self._lines[self._at].strip(" \t")
            if text and not text.startswith("#"):
                return True
            self._at += 1
        return False

    def _indent(self) -> int:
        line = self._lines[self._at]
        spaces = len(line) - len(line.lstrip(" "))
        if line[spaces : spaces + 1] == "\t":
            raise self._fault("a tab cannot indent: use spaces")
        return spaces

    def _ends_here(self) -> bool:
        """Whether this line ends the document."""
        return self._lines[self._at][:3] in {"---", "..."} and not self._lines[self._at][3:4].strip()

    # -- blocks

    def _block(self, above: int) -> Any:
        """Read a value whose lines are indented more than `above`."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(f"more than {DEEPEST} levels")
        indent = self._indent()
        text = self._lines[self._at][indent:]
        if text[:1] == "-" and text[1:2] in {"", " ", "\t"}:
            value: Any = self._sequence(indent)
        elif self._key(text) is not None:
            value = self._mapping(indent)
        else:
            value = self._value(text, above)
        self._depth -= 1
        return value

    def _sequence(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while self._skip() and not self._ends_here() and self._indent() == indent:
            line = self._lines[self._at]
            if line[indent] != "-" or line[indent + 1 : indent + 2] not in {"", " ", "\t"}:
                break
            rest = line[indent + 1 :]
            inner = rest.strip(" \t")
            if not inner or inner.startswith("#"):
                self._at += 1
                found.append(self._block(indent) if self._skip() and not self._ends_here() and self._indent() > indent else None)
            elif (inner[0] == "-" and inner[1:2] in {"", " "}) or self._key(inner) is not None:
                self._lines[self._at] = " " * indent + " " + rest.expandtabs(1)
                found.append(self._block(indent))
            else:
                found.append(self._value(inner, indent))
        return found

    def _mapping(self, indent: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        merged: list[Any] = []
        while self._skip() and not self._ends_here() and self._indent() == indent:
            text = self._lines[self._at][indent:]
            split = self._key(text)
            if split is None:
                raise self._fault("expected `key: value`")
            key, rest = split
            if key in found:
                raise self._fault(f"the key {str(key)[:60]!r} is there twice")
            value = self._value(rest, indent, in_mapping=True)
            if text.startswith("<<"):
                merged += value if isinstance(value, list) else [value]
            else:
                found[key] = value
        for one in merged:
            if not isinstance(one, dict):
                raise self._fault("`<<` merges mappings only")
            found = {**one, **found}
        return found

    def _key(self, text: str) -> tuple[Any, str] | None:
        """Return the key that a line begins with, and the text after its colon; None if it has no key."""
        if text[:1] in {'"', "'"}:
            end = quoted_end(text, text[0], 1)
            rest = text[end:].lstrip(" \t") if end > 0 else ""
            return (unquoted(text[:end], self._fault), rest[1:].strip(" \t")) if _KEY_END.match(rest) else None
        if text[:1] in {"[", "{", "&", "*", "!", "|", ">", "%", "@", "`", "#"}:
            return None
        found = _KEY_END.search(text)
        if found is None or ((comment := _COMMENT.search(text)) is not None and comment.start() < found.start()):
            return None
        if text[:1] == "?" and text[1:2] in {"", " "}:
            raise self._fault("keys of several lines are not supported")
        return scalar(text[: found.start()].rstrip(" \t")), text[found.end() :].strip(" \t")

    def _value(self, rest: str, indent: int, *, in_mapping: bool = False) -> Any:
        """Read a value that begins with `rest`, on this line, and may go on in lines that are indented more than `indent`."""
        anchor = _ANCHOR.match(rest)
        if anchor is not None:
            rest = rest[anchor.end() :]
        first = rest[:1]
        if not rest or first == "#":
            self._at += 1
            value = self._nested(indent, in_mapping=in_mapping)
        elif first in "|>" and (header := _BLOCK.match(rest)) is not None:
            value = self._literal(header, indent)
        elif first in {'"', "'", "[", "{"}:
            value = self._spanning(rest)
        elif first == "*":
            alias = _ALIAS.match(rest)
            if alias is None or not is_blank(rest[alias.end() :]):
                raise self._fault("expected the name of an alias")
            value = self._alias(alias[1])
            self._at += 1
        elif first == "!":
            raise self._fault("tags are not supported")
        elif first in {"%", "@", "`", "&", "]", "}", ","} or first in "|>":
            raise self._fault(f"a value cannot begin with {first!r}")
        else:
            value = self._plain(rest, indent)
        if anchor is not None:
            self._anchors[anchor[1]] = value
        return value

    def _nested(self, indent: int, *, in_mapping: bool) -> Any:
        if not self._skip() or self._ends_here():
            return None
        next_indent = self._indent()
        text = self._lines[self._at][next_indent:]
        is_item = text[:1] == "-" and text[1:2] in {"", " ", "\t"}
        if next_indent > indent or (in_mapping and next_indent == indent and is_item):
            return self._block(indent)
        return None

    def _alias(self, name: str) -> Any:
        if name not in self._anchors:
            raise self._fault(f"the alias {name[:60]!r} has no anchor above it")
        self._aliased += _count(self._anchors[name], _MOST_ALIASED)
        if self._aliased > _MOST_ALIASED:
            raise self._fault(f"aliases repeat more than {_MOST_ALIASED:,} values")
        return self._anchors[name]

    # -- scalars

    def _plain(self, rest: str, indent: int) -> Any:
        parts = [without_comment(rest)]
        ended = parts[0] != rest.rstrip(" \t")  # a comment ends it
        self._check_plain(parts[0])
        self._at += 1
        blank = 0
        while not ended and self._at < len(self._lines):
            line = self._lines[self._at]
            text = line.strip(" \t")
            if not text:
                blank += 1
                self._at += 1
                continue
            if text.startswith("#") or self._ends_here() or len(line) - len(line.lstrip(" \t")) <= indent:
                break
            piece = without_comment(text)
            self._check_plain(piece)
            ended = piece != text
            parts += ["\n" * blank if blank else " ", piece]
            blank = 0
            self._at += 1
        return scalar(parts[0]) if len(parts) == 1 else "".join(parts)

    def _check_plain(self, text: str) -> None:
        if _KEY_END.search(text):
            raise self._fault("a colon followed by a space is not allowed in a text without quotes")

    def _literal(self, header: re.Match[str], indent: int) -> str:
        style, chomp = header[1], header[2] or header[4]
        self._at += 1
        lines: list[str] = []
        own = max(indent, 0) + int(header[3]) if header[3] else None
        while self._at < len(self._lines):
            line = self._lines[self._at]
            spaces = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                if own is None and spaces > indent:
                    own = spaces
                if own is None or spaces < own or (own == 0 and self._ends_here()):
                    break
            lines.append(line[own:] if own is not None else "")
            self._at += 1
        if self._at == len(self._lines) and lines and not lines[-1]:
            lines.pop()  # the text's last line break
        kept = len(lines)
        while kept and not lines[kept - 1]:
            kept -= 1
        text = "\n".join(lines[:kept]) if style == "|" else folded(lines[:kept])
        if chomp == "-" or not (kept or chomp == "+"):
            return text
        return text + ("\n" if kept else "") + ("\n" * (len(lines) - kept) if chomp == "+" else "")

    def _spanning(self, rest: str) -> Any:
        """Read a quoted text or a flow collection, which may span lines."""
        quote, start, parts = rest[0] if rest[0] in "\"'" else "", self._at, [rest]
        flow = Balance()
        end = quoted_end(rest, quote, 1) if quote else flow.end(rest)
        while end < 0:
            self._at += 1
            if self._at == len(self._lines):
                self._at = start
                raise self._fault("it does not end")
            parts.append(self._lines[self._at])
            end = quoted_end(parts[-1], quote) if quote else flow.end(f"\n{parts[-1]}")
        if not is_blank(parts[-1][end:]):
            raise self._fault(f"unexpected text after the end of {rest[:20]!r}")
        whole = "\n".join([*parts[:-1], parts[-1][:end]])
        value = unquoted(whole, self._fault) if quote else parse_flow(whole, self._fault, self._alias, self._depth)
        self._at += 1
        return value


def _count(value: Any, limit: int) -> int:
    """Return how many values a value has, itself included, or more than `limit`."""
    todo, count = [value], 0
    while todo and count <= limit:
        one = todo.pop()
        count += 1
        todo += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return count
