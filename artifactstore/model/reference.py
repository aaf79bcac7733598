"""References: names of artifacts as users write them. `NAME[SELECTOR][/PATH]` or `DIGEST[/PATH]`."""

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, Self, runtime_checkable

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = [
    "PinnedReference",
    "Referable",
    "Reference",
    "as_reference",
    "check_alias",
    "check_kind",
    "check_name",
    "full_name",
    "names_relative_to",
    "selected",
]

_SEGMENT: Final = r"[A-Za-z0-9._-]+"
_NAME: Final = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*", re.ASCII)
_ALIAS: Final = re.compile(_SEGMENT, re.ASCII)
_VERSION: Final = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)
_LIKE_VERSION: Final = re.compile(r"v[0-9]+", re.ASCII)  # v0 and v007 are not versions, but look like one
_LEAST: Final = 6  # digits of a digest that are enough where only one artifact begins so
_HEX: Final = rf"[0-9a-f]{{{_LEAST},64}}"
_DIGEST: Final = re.compile(rf"(blake3|sha256):({_HEX})(?:/(.+))?", re.ASCII | re.DOTALL)
_LIKE_DIGEST: Final = re.compile(r"(?:[^:@/]+(?:/[^:@/]+)*@)?(?:blake3|sha256):([^/:@]*)(?:/.*)?", re.ASCII | re.DOTALL)
_SELECTED: Final = re.compile(
    rf"({_SEGMENT}(?:/{_SEGMENT})*)(?::({_SEGMENT})|@(blake3|sha256):({_HEX}))(?:/(.+))?", re.ASCII | re.DOTALL
)
_SELECTOR: Final = re.compile(r"@(?:blake3|sha256):[0-9a-f]+|:[A-Za-z0-9._-]+", re.ASCII)
_SEVERAL: Final = re.compile(rf"({_SEGMENT}(?:/{_SEGMENT})*)((?:@(?:blake3|sha256):[0-9a-f]+|:{_SEGMENT})+)", re.ASCII)
_RULE: Final = "/-separated parts of letters, digits, '.', '_' and '-', at most 200 bytes in total"
_FORM: Final = (
    "NAME, NAME:v3, NAME:latest, NAME:ALIAS, NAME@blake3:HEX or blake3:HEX, each but the first optionally followed by /PATH"
)


_prefix: Final[list[Callable[[], str | None]]] = [lambda: None]


def names_relative_to(prefix: Callable[[], str | None]) -> None:
    """Set the function that returns what `./` stands for at the beginning of a name; asked whenever one begins so."""
    _prefix[0] = prefix


def full_name(text: str) -> str:
    """Return a name, a reference or a pattern in full: `./model` is `<prefix>/model`.

    Raises:
        InvalidInputError: it is relative, and no prefix is configured.
    """
    if not text.startswith("./"):
        return text
    prefix = (_prefix[0]() or "").strip("/")
    if not prefix:
        raise InvalidInputError(
            f"{text[:200]!r} is relative to a prefix, and none is configured: write the name in full, or set prefix = 'team/project' "
            "under [tool.artifactstore] in pyproject.toml"
        )
    return f"{prefix}/{text[2:]}"


def check_name(name: str) -> str:
    """Return `name` in full if it is a valid name.

    Raises:
        InvalidInputError: other characters, over 200 bytes, a part that is `.` or `..`, or an algorithm's name.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"a name must be a str, not {type(name).__name__}: {_RULE}")
    name = full_name(name)
    if not _NAME.fullmatch(name) or len(name) > 200 or {".", ".."} & set(name.split("/")) or name in {"blake3", "sha256"}:
        raise InvalidInputError(f"{name!r} is not a valid name: a name must be {_RULE}, and not 'blake3' or 'sha256'")
    return name


def check_alias(alias: str) -> str:
    """Return `alias` if it is a valid alias.

    Raises:
        InvalidInputError: other characters, `latest`, or the form of a version.
    """
    if not isinstance(alias, str):
        raise InvalidInputError(f"an alias must be a str, not {type(alias).__name__}")
    if not _ALIAS.fullmatch(alias) or len(alias) > 200 or alias == "latest" or _LIKE_VERSION.fullmatch(alias):
        raise InvalidInputError(
            f"{alias!r} is not a valid alias: it must consist of letters, digits, '.', '_' and '-', and not be 'latest' or 'v<number>'"
        )
    return alias


def check_kind(kind: str) -> str:
    """Return `kind` (data, model, code, or a custom word) if it is a valid kind.

    Raises:
        InvalidInputError: empty, over 100 bytes, or with characters that are not valid in an alias.
    """
    if not isinstance(kind, str):
        raise InvalidInputError(f"a kind must be a str, not {type(kind).__name__}")
    if not _ALIAS.fullmatch(kind) or len(kind) > 100:
        raise InvalidInputError(f"{kind!r} is not a valid kind: it must be one word like 'data', 'model' or 'code'")
    return kind


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference.

    Attributes:
        name: the name, or None for a bare digest.
        version: k of `:v<k>`.
        alias: the word of `:<alias>`; `latest` is None in all selectors.
        digest: (algorithm, hex prefix of at least 6 digits) of `@…` or of a bare digest.
        path: the part after the selector, or None.
    """

    name: str | None
    version: int | None = None
    alias: str | None = None
    digest: tuple[str, str] | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference.

        Raises:
            InvalidInputError: not a reference; the message shows the valid forms.
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"a reference must be a str, not {type(text).__name__}: {_FORM}")
        if (match := _DIGEST.fullmatch(text)) is not None:
            return cls(None, digest=(match[1], match[2]), path=match[3])
        if (match := _LIKE_DIGEST.fullmatch(text)) is not None and not re.fullmatch(_HEX, match[1], re.ASCII):
            raise InvalidInputError(
                f"{text!r} is not a reference: a digest has 64 digits of 0 to 9 and a to f, of which the first {_LEAST} are the least, got {match[1]!r}"
            )
        if (match := _SELECTED.fullmatch(text)) is not None:
            name, word, path = check_name(match[1]), match[2], match[5]
            if match[3] is not None:
                return cls(name, digest=(match[3], match[4]), path=path)
            if (number := _VERSION.fullmatch(word)) is not None:
                return cls(name, version=int(number[1]), path=path)
            if _LIKE_VERSION.fullmatch(word):
                raise InvalidInputError(
                    f"{text!r} is not a reference: versions are :v1, :v2 and so on, without leading zeros, of at most 9 digits"
                )
            return cls(name, alias=None if word == "latest" else check_alias(word), path=path)
        if _NAME.fullmatch(text):
            return cls(check_name(text))
        if (match := _SEVERAL.match(text)) is not None and len(found := _SELECTOR.findall(match[2])) > 1:
            raise InvalidInputError(
                f"{text!r} has {len(found)} selectors, {' and '.join(found)}, which may contradict: pass one of them"
            )
        from artifactstore.habits.calls import reference_hint  # noqa: PLC0415 - only for a message

        raise InvalidInputError(f"{text!r} is not a reference{reference_hint(text)}; expected {_FORM}")

    def __str__(self) -> str:
        selector = ""
        if self.version is not None:
            selector = f":v{self.version}"
        elif self.alias is not None:
            selector = f":{self.alias}"
        elif self.digest is not None:
            selector = ("@" if self.name is not None else "") + ":".join(self.digest)
        elif self.path is not None:
            selector = ":latest"
        return (self.name or "") + selector + (f"/{self.path}" if self.path is not None else "")


@runtime_checkable
class Referable(Protocol):
    """What stands for a reference wherever one is accepted: an artifact, a version, a node of a lineage, a run."""

    @property
    def ref(self) -> str:
        """The reference as text."""


class PinnedReference(str):
    """A reference that must resolve to a digest, or is refused: of a record, which may come from another store.

    Attributes:
        digest: that digest, as text.
    """

    __slots__ = ("digest",)

    digest: str


def as_reference(ref: Any) -> str:
    """Return a reference as text; of a record, pinned to its digest.

    Raises:
        InvalidInputError: neither text nor a record.
    """
    if isinstance(ref, str):
        return ref
    text = getattr(ref, "ref", None)
    if not isinstance(text, str) or isinstance(ref, type):
        raise InvalidInputError(f"a reference must be a str or an artifact, not {type(ref).__name__}: {_FORM}")
    digest = getattr(ref, "digest", None)
    if not isinstance(digest, str):
        return text
    pinned = PinnedReference(text)
    pinned.digest = digest
    return pinned


def selected(ref: Any, version: Any = None, alias: Any = None) -> str:
    """Return a reference with its version or alias passed apart: `("churn", version=3)` is `churn:v3`.

    Raises:
        InvalidInputError: more than one of them, or an invalid one.
    """
    text = as_reference(ref)
    text = text if isinstance(text, PinnedReference) else full_name(text)
    if version is None and alias is None:
        return text
    parsed = Reference.parse(text)
    if version is not None and alias is not None:
        raise InvalidInputError(f"got version={version!r} and alias={alias!r}: pass one of them")
    given = f"version={version!r}" if version is not None else f"alias={alias!r}"
    if str(Reference(parsed.name)) != text:
        raise InvalidInputError(f"{text!r} with {given}: pass a bare name with it, or the reference alone")
    if alias is not None:
        return f"{text}:{alias if alias == 'latest' else check_alias(alias)}"
    word = f"v{version}" if isinstance(version, int) and not isinstance(version, bool) else str(version)
    if _VERSION.fullmatch(word) is None:
        raise InvalidInputError(f"version={version!r}: expected a number from 1 on, or a text like 'v3'")
    return f"{text}:{word}"
