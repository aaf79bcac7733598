"""Checksums of S3: whether what was sent is what was stored, and whether what came is what lies there.

Nearly every server's ETag of an object put in one piece is the MD5 of its bytes. It is no promise of S3's: encryption with
keys of KMS or of the customer gives other tags of the same form, and so do some servers. So a tag that does not fit is a
reason to look again, never a proof; a server whose tags never fit is not asked twice for each of its objects.

MD5 takes 1.5 seconds of a core a GB, as much as all else that a PUT costs. Amazon's own S3 refuses what does not match its
CRC32C, and says in its reply which it found; that takes 0.2, and is sent there with what is large.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.buffers import content_crc32c, content_md5

__all__ = ["Replies", "checks_crc", "checksum_of", "md5_of"]

_MD5: Final = re.compile(r'"?([0-9a-fA-F]{32})"?')
_CRC: Final = "ChecksumCRC32C"
_CHECKING: Final = (".amazonaws.com", ".amazonaws.com.cn")
_MARKS: Final = frozenset({"x-amz-request-id", "x-amz-id-2", "server"})


def md5_of(data: bytes | memoryview) -> str:
    """Return the MD5 in hexadecimal digits; nothing rests on its being hard to forge."""
    return base64.b64decode(content_md5(data)).hex()


def checks_crc(endpoint: str) -> bool:
    """Tell whether the server at a URL is known to check a CRC32C, and whether what goes there is safe from eavesdroppers.

    Others that speak S3 refuse the header, or store whatever comes with it; without TLS the body is signed anyway.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    return parts.scheme == "https" and host.endswith(_CHECKING) and "outposts" not in host


def checksum_of(data: bytes | memoryview, *, crc: bool) -> dict[str, str]:
    """Return the arguments of a PUT by which the server refuses what was damaged on its way."""
    found = content_crc32c(data) if crc else None
    # A locked bucket wants the algorithm's name, too.
    return {"ContentMD5": content_md5(data)} if found is None else {"ChecksumAlgorithm": "CRC32C", _CRC: found}


def _md5_in(sent: Mapping[str, str]) -> str:
    return base64.b64decode(sent["ContentMD5"]).hex()


def _headers(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    return reply.get("ResponseMetadata", {}).get("HTTPHeaders") or {}


class Replies:
    """What the replies of one server have in common, as far as they were seen.

    Attributes:
        exact: whether its ETags are MD5 sums: None while unknown.
        silent: whether something took what was told of a CRC32C out of its replies.
    """

    def __init__(self) -> None:
        self.exact: bool | None = None
        self.silent = False
        self._marks: frozenset[str] = frozenset()
        self._tagged = False

    def seen(self, reply: Any) -> None:
        """Note which headers this server sends with its replies."""
        if isinstance(reply, Mapping):
            self._marks |= _MARKS & _headers(reply).keys()
            self._tagged = self._tagged or bool(reply.get("ETag"))

    def is_foreign(self, reply: Mapping[str, Any]) -> bool:
        """Tell whether a reply to GET or HEAD is none of this server's, which tells an ETag with each object."""
        return not reply.get("ETag") and (self._tagged or "html" in str(_headers(reply).get("content-type", "")).lower())

    def fits(self, reply: Mapping[str, Any], md5: str) -> bool | None:
        """Tell whether a reply's ETag is that MD5; None where the tag is none."""
        if self.exact is False or reply.get("SSECustomerAlgorithm") or "kms" in str(reply.get("ServerSideEncryption", "")):
            return None
        told = self.told(reply)
        if told is None:
            return None
        if told == md5:
            self.exact = True
            return True
        return False

    def told(self, reply: Mapping[str, Any]) -> str | None:
        """The MD5 that a reply's ETag says, if it can be one."""
        tag = _MD5.fullmatch(str(reply.get("ETag", "")))
        return tag[1].lower() if tag else None

    def doubtful(self, reply: Mapping[str, Any], md5: str) -> bool:
        """Tell whether a reply is worth a second look: another tag than the bytes', or not as this server replies."""
        return self.fits(reply, md5) is False or self._odd(reply)

    def _odd(self, reply: Mapping[str, Any]) -> bool:
        return not reply.get("ETag") or bool(self._marks - _headers(reply).keys())

    def confirms(self, reply: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
        """Tell whether a reply to a PUT says that what was sent with a checksum is what lies there."""
        if _CRC in sent:
            return reply.get(_CRC) == sent[_CRC] and not self._odd(reply)
        return not self.doubtful(reply, _md5_in(sent))

    def refutes(self, reply: Mapping[str, Any], sent: Mapping[str, str]) -> bool:
        """Tell whether a reply to a part shows that it did not arrive: no tag, or another from a server whose tags are MD5 sums."""
        return not reply.get("ETag") or (bool(self.exact) and self.fits(reply, _md5_in(sent)) is False)

    def is_other(self) -> None:
        """Note that a tag which did not fit belongs to the right bytes, unless others did fit."""
        if self.exact is None:
            self.exact = False
