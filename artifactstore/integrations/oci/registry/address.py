"""Where something is in a registry: `HOST[:PORT]/REPO[:TAG]`, or `…@DIGEST`."""

import re
from typing import Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = ["DIGEST", "Address"]

_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::\d{1,5})?", re.ASCII)
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_HUB: Final = frozenset({"docker.io", "index.docker.io"})
_FORM: Final = "expected HOST[:PORT]/REPO[:TAG] such as registry.example.com/team/model:v3"
_LONGEST: Final = 255  # characters of a host and a repository together, as other clients have it


@dataclass(frozen=True, slots=True)
class Address:
    """A repository of a registry, and what is asked for in it.

    Attributes:
        host: with the port, if one was passed.
        repository: its path.
        tag: a movable pointer; None if a digest was passed.
        digest: of a manifest, or None.
    """

    host: str
    repository: str
    tag: str | None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse an address; without tag and digest the tag is `latest`.

        Raises:
            InvalidInputError: it has another form. A password in it is not repeated.
        """
        bare = text.removeprefix("oci://")
        head, at, digest = bare.rpartition("@") if DIGEST.fullmatch(bare.rpartition("@")[2]) else (bare, "", "")
        if "://" in bare:
            raise InvalidInputError(
                f"an address in a registry has no scheme: {_FORM}; for a registry without TLS pass plain_http=True"
            )
        if "@" in head:
            if re.search(r"@[a-z0-9]+:[0-9A-Za-z]*$", head) and "/" in head.rpartition("@")[0]:
                raise InvalidInputError("only whole sha256 digests are read: expected …@sha256: and 64 hexadecimal digits")
            raise InvalidInputError(f"an address in a registry has no credentials: {_FORM}; they come from docker's config.json")
        host, slash, path = head.partition("/")
        if not slash or not _HOST.fullmatch(host) or not ("." in host or ":" in host or host == "localhost"):
            raise InvalidInputError(f"{text!r} does not begin with the host of a registry: {_FORM}")
        repository, colon, tag = path.partition(":")
        if host in _HUB and "/" not in repository:
            repository = f"library/{repository}"  # as docker has it
        if colon and not _TAG.fullmatch(tag):
            raise InvalidInputError(f"{tag!r} is not a tag: letters, digits, `_`, `.` and `-`, 128 at most")
        if not _REPOSITORY.fullmatch(repository) or len(host) + len(repository) >= _LONGEST:
            lower = f"; did you mean {repository.lower()!r}?" if _REPOSITORY.fullmatch(repository.lower()) else ""
            raise InvalidInputError(
                f"{repository!r} is not a repository: lower-case letters, digits, `.`, `_`, `-` and `/`{lower}"
            )
        return cls(host, repository, (tag or None) if at else (tag or "latest"), digest or None)

    @property
    def wanted(self) -> str:
        """The digest if there is one, else the tag: what the registry is asked for."""
        return self.digest or self.tag or "latest"

    @property
    def place(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.place}@{self.digest}" if self.digest else f"{self.place}:{self.tag}"

    @property
    def server(self) -> str:
        """The host that answers: Docker Hub's differs from its name."""
        return "registry-1.docker.io" if self.host in _HUB else self.host
