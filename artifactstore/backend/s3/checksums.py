"""S3 checksums: whether an object was stored as sent, and received as stored.

On nearly every server the ETag of an object put in one piece is the MD5 of its bytes. S3 does not promise it: encryption
with keys of KMS or of the customer gives other tags of the same form, and so do some servers. So a mismatch is a
reason to check again, never a proof; a server whose tags never match is not checked twice for each of its objects.

MD5 takes 1.5 core seconds a GB, as much as the rest of a PUT. Amazon's own S3 rejects data that does not match its
CRC32C, and reports its own in the reply; that takes 0.2, and is sent there with large objects.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.buffers import content_crc32c, content_md5

__all__ = ["ReplyTraits", "checks_crc", "checksum_of", "md5_of"]

_MD5: Final = re.compile(r'"?([0-9a-fA-F]{32})"?')
_CRC: Final = "ChecksumCRC32C"
_CHECKING: Final = (".amazonaws.com", ".amazonaws.com.cn")
_MARKS: Final = frozenset({"x-amz-request-id", "x-amz-id-2", "server"})


def md5_of(data: bytes | memoryview) -> str:
    """Return the MD5 in hexadecimal digits; nothing relies on its being hard to forge."""
    return base64.b64decode(content_md5(data)).hex()


def checks_crc(endpoint: str) -> bool:
    """Whether the server at a URL is known to check a CRC32C over TLS.

    Other S3-compatible servers reject the header, or ignore it; without TLS the body is signed anyway.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    return parts.scheme == "https" and host.endswith(_CHECKING) and "outposts" not in host


def checksum_of(data: bytes | memoryview, *, crc: bool) -> dict[str, str]:
    """Return the arguments of a PUT that make the server reject a body damaged in transit."""
    found = content_crc32c(data) if crc else None
    # A locked bucket requires the algorithm's name, too.
    return {"ContentMD5": content_md5(data)} if found is None else {"ChecksumAlgorithm": "CRC32C", _CRC: found}


def _md5_in(sent: Mapping[str, str]) -> str:
    return base64.b64decode(sent["ContentMD5"]).hex()


def _headers(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    return reply.get("ResponseMetadata", {}).get("HTTPHeaders") or {}


class ReplyTraits:
    """Observed properties of one server's replies.

    Attributes:
        exact: whether its ETags are MD5 sums: None while unknown.
        silent: whether an intermediary strips the CRC32C from its replies.
    """

    def __init__(self) -> None:
        self.exact: bool | None = None
        self.silent = False
        self._marks: frozenset[str] = frozenset()
        self._tagged = False

    def note_headers(self, reply: Any) -> None:
        """Record which headers this server sends with its replies."""
        if isinstance(reply, Mapping):
            self._marks |= _MARKS & _headers(reply).keys()
            self._tagged = self._tagged or bool(reply.get("ETag"))

    def is_foreign(self, reply: Mapping[str, Any]) -> bool:
        """Whether a reply to GET or HEAD is not from this server, which sends an ETag with each object."""
        return not reply.get("ETag") and (self._tagged or "html" in str(_headers(reply).get("content-type", "")).lower())

    def matches(self, reply: Mapping[str, Any], md5: str) -> bool | None:
        """Whether a reply's ETag is that MD5; None where the tag is not an MD5."""
        if self.exact is False or reply.get("SSECustomerAlgorithm") or "kms" in str(reply.get("ServerSideEncryption", "")):
            return None
        etag_md5 = self.etag_md5(reply)
        if etag_md5 is None:
            return None
        if etag_md5 == md5:
            self.exact = True
            return True
        return False

    def etag_md5(self, reply: Mapping[str, Any]) -> str | None:
        """Return the MD5 in a reply's ETag, if it can be an MD5."""
        tag = _MD5.fullmatch(str(reply.get("ETag", "")))
        return tag[1].lower() if tag else None

    def needs_check(self, reply: Mapping[str, Any], md5: str) -> bool:
        """Whether a reply needs a second check: its tag does not match the bytes, or it is unlike this server's replies."""
        return self.matches(reply, md5) is False or self._odd(reply)

    def _odd(self, reply: Mapping[str, Any]) -> bool:
        return not reply.get("ETag") or bool(self._marks - _headers(reply).keys())

    def confirms(self, reply: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
        """Whether a reply to a PUT confirms that the object was stored as sent, by its checksum."""
        if _CRC in sent:
            return reply.get(_CRC) == sent[_CRC] and not self._odd(reply)
        return not self.needs_check(reply, _md5_in(sent))

    def refutes(self, reply: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
        """Whether a reply shows that a part was not stored as sent: no tag, or a mismatch from a server whose tags are MD5 sums."""
        return not reply.get("ETag") or (bool(self.exact) and self.matches(reply, _md5_in(sent)) is False)

    def note_mismatch(self) -> None:
        """Record that a mismatching tag belongs to the right bytes, unless others did match."""
        if self.exact is None:
            self.exact = False
