"""Keys that count: whose signatures the caller accepts, and in which roles. They come from the caller, never from a store."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time
from artifactstore.runtime.local_files import READ
from artifactstore.runtime.toml_text import Tables, Where, tables_of
from artifactstore.signing.jwks import Jwk, parse_jwks
from artifactstore.signing.public_keys import PublicKey, read_public_pem
from artifactstore.signing.signer import check_printed_name

__all__ = ["Issuer", "Key", "Keys", "Owner"]

_VARIABLE: Final = "ARTIFACTSTORE_KEYS"
_COMMON: Final = ("roles", "actors", "until")
_OF_A_KEY: Final = ("key", *_COMMON)
_OF_AN_ISSUER: Final = ("issuer", "jwks", "subjects", "audience", *_COMMON)
_LARGEST: Final = 2**20  # bytes of a key or a JWKS


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a key belongs to, and for what it counts.

    Attributes:
        name: the table's name.
        roles: for these; none: for signatures that state no role.
        actors: only for transactions of these; None: of any actor.
        until: not for signatures after this moment; None: without end.
    """

    name: str
    roles: tuple[str, ...] = ()
    actors: tuple[str, ...] | None = None
    until: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what it means, without how it was written."""
        until = None if self.until is None else format_time(self.until)
        return {"roles": list(self.roles), "actors": None if self.actors is None else list(self.actors), "until": until}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that counts."""

    owner: Owner
    public: PublicKey

    def to_json(self) -> dict[str, Any]:
        """Return what it means."""
        return {"key": self.public.pem, **self.owner.to_json()}


@dataclass(frozen=True, slots=True)
class Issuer:
    """An identity provider whose tokens count, for subjects that match a pattern.

    Attributes:
        audience: what a token that states an actor must be issued for; None: `artifactstore`.
    """

    owner: Owner
    issuer: str
    subjects: tuple[str, ...]
    jwks: tuple[Jwk, ...]
    audience: str | None = None

    def names(self, subject: str) -> bool:
        """Return whether a subject matches."""
        return any(fnmatchcase(subject, pattern) for pattern in self.subjects)

    def to_json(self) -> dict[str, Any]:
        """Return what it means."""
        rows = [[one.kid, one.algorithm, one.material.decode()] for one in self.jwks]
        more = {} if self.audience is None else {"audience": self.audience}
        return {"issuer": self.issuer, "subjects": list(self.subjects), "jwks": rows, **more, **self.owner.to_json()}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys and identity providers that count.

    Attributes:
        keys: public keys.
        issuers: identity providers.
        digest: of what they mean: the same however the file is written, and wherever the keys are.
    """

    keys: tuple[Key, ...]
    issuers: tuple[Issuer, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        entries: list[Key | Issuer] = [*self.keys, *self.issuers]
        meaning = {one.owner.name: one.to_json() for one in entries}
        object.__setattr__(self, "digest", str(Digest.of(canonical_json(meaning))))

    @classmethod
    def load(cls, value: Any = None) -> "Keys | None":
        """Return the keys that an argument `keys=` means.

        Args:
            value: the path of a TOML file, or a dict with the same tables; None means `$ARTIFACTSTORE_KEYS`.

        Returns:
            The keys; None if neither is there: then every signature is only claimed.

        Raises:
            InvalidInputError: malformed: with line and column.
            UnsupportedError: the extra `sign` is not installed.
        """
        if isinstance(value, cls):
            return value
        if value is None:
            value = os.environ.get(_VARIABLE) or None
            if value is None:
                return None
        tables = tables_of(value, "keys")
        keys, issuers = [], []
        for name, table in tables.value.items():
            one = _entry(tables, name, table)
            if isinstance(one, Key):
                keys.append(one)
            else:
                issuers.append(one)
        _refuse_twins(tables, keys)
        return cls(tuple(keys), tuple(issuers))


def _entry(tables: Tables, name: Any, table: Any) -> Key | Issuer:
    if not isinstance(name, str):
        raise tables.fault((name,), f"the name of a key must be a str, got {name!r:.60}")
    try:
        check_printed_name(name, "the name of a key")
    except InvalidInputError as error:
        raise tables.fault((name,), str(error)) from error
    is_issuer = isinstance(table, Mapping) and "issuer" in table
    found = tables.check_fields((name,), table, _OF_AN_ISSUER if is_issuer else _OF_A_KEY)
    for needed in ("jwks", "subjects") if is_issuer else ("key",):
        if needed not in found:
            raise tables.fault((name,), f"[{name}] lacks {needed} =")
    roles = tuple(sorted(_texts(tables, (name, "roles"), found["roles"]))) if "roles" in found else ()
    actors = tuple(sorted(_texts(tables, (name, "actors"), found["actors"]))) if "actors" in found else None
    owner = Owner(name, roles, actors, _until(tables, (name, "until"), found["until"]) if "until" in found else None)
    if not is_issuer:
        return Key(owner, _public(tables, (name, "key"), found["key"]))
    issuer = found["issuer"]
    if not isinstance(issuer, str) or not issuer:
        raise tables.fault((name, "issuer"), f"issuer must be the claim `iss` of its tokens, got {issuer!r:.60}")
    subjects = tuple(sorted(_texts(tables, (name, "subjects"), found["subjects"])))
    if not subjects:
        raise tables.fault((name, "subjects"), "subjects must name at least one: an issuer has tokens for others, too")
    audience = found.get("audience")
    if audience is not None and (not isinstance(audience, str) or not audience):
        raise tables.fault((name, "audience"), f"audience must be the claim `aud` of its tokens, got {audience!r:.60}")
    return Issuer(owner, issuer, subjects, _jwks(tables, (name, "jwks"), found["jwks"]), audience)


def _texts(tables: Tables, path: Where, value: Any) -> set[str]:
    """Return a list of texts as a set: neither order nor repetition has a meaning."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
        raise tables.fault(path, f"{path[-1]} must be a list of strings, got {value!r:.60}")
    return set(value)


def _until(tables: Tables, path: Where, value: Any) -> datetime:
    """Return the last moment; a date means the end of that day, UTC, as in `store.at`."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if "T" in value or " " in value else date.fromisoformat(value)
        except ValueError:
            raise tables.fault(path, f"until must be a date such as 2027-01-01, got {value!r:.60}") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise tables.fault(path, f"until = {value.isoformat()} has no time zone: write {value.isoformat()}Z")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time.max, tzinfo=UTC)
    raise tables.fault(path, f"until must be a date such as 2027-01-01, got {value!r:.60}")


def _public(tables: Tables, path: Where, value: Any) -> PublicKey:
    if isinstance(value, PublicKey):
        return value
    what = f"the key of [{path[0]}]"
    if not isinstance(value, str | os.PathLike):
        raise tables.fault(path, f"key must be a path or a PEM text, got a {type(value).__name__}")
    text = os.fspath(value)
    data = text.encode() if isinstance(text, str) and "-----BEGIN" in text else _file(tables, path, text)
    try:
        return read_public_pem(data, what)
    except InvalidInputError as error:
        raise tables.fault(path, str(error)) from error


def _jwks(tables: Tables, path: Where, value: Any) -> tuple[Jwk, ...]:
    data = value
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        data = text if isinstance(text, str) and text.lstrip().startswith("{") else _file(tables, path, text)
    try:
        return parse_jwks(data)
    except InvalidInputError as error:
        raise tables.fault(path, str(error)) from error


def _file(tables: Tables, path: Where, text: Any) -> bytes:
    """Read a file whose path is relative to the folder of the keys."""
    if not isinstance(text, str) or not text or "\0" in text or "\n" in text:
        raise tables.fault(path, f"{path[-1]} must be the path of a file, got {text!r:.60}")
    target = tables.folder / Path(text).expanduser()
    try:
        with os.fdopen(os.open(target, READ), "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise tables.fault(path, f"cannot read {target}: {error.strerror or error}") from error
    if len(data) > _LARGEST:
        raise tables.fault(path, f"{target} has more than {_LARGEST:,} bytes")
    return data


def _refuse_twins(tables: Tables, keys: list[Key]) -> None:
    """Refuse a key that two tables have: approvals of one person would count as those of two."""
    seen: dict[bytes, str] = {}
    for one in keys:
        other = seen.setdefault(one.public.der, one.owner.name)
        if other != one.owner.name:
            raise tables.fault((one.owner.name, "key"), f"[{one.owner.name}] has the same key as [{other}]")
