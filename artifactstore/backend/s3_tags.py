"""ETags as checksums: whether what was sent is what was stored, and whether what came is what lies there.

Nearly every server's ETag of an object put in one piece is the MD5 of its bytes. It is no promise of S3's: encryption with
keys of KMS or of the customer gives other tags of the same form, and so do some servers. So a tag that does not fit is a
reason to look again, never a proof; a server whose tags never fit is not asked twice for each of its objects.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["Replies", "md5_of"]

_MD5: Final = re.compile(r'"?([0-9a-fA-F]{32})"?')
_MARKS: Final = frozenset({"x-amz-request-id", "x-amz-id-2", "server"})


def md5_of(data: bytes | memoryview) -> str:
    """Return the MD5 in hexadecimal digits; nothing rests on its being hard to forge."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _headers(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    return reply.get("ResponseMetadata", {}).get("HTTPHeaders") or {}


class Replies:
    """What the replies of one server have in common, as far as they were seen.

    Attributes:
        exact: whether its ETags are MD5 sums: None while unknown.
    """

    def __init__(self) -> None:
        self.exact: bool | None = None
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
        fits = self.fits(reply, md5)
        odd = bool(self._marks - _headers(reply).keys())
        return not reply.get("ETag") or fits is False or odd

    def is_other(self) -> None:
        """Note that a tag which did not fit belongs to the right bytes, unless others did fit."""
        if self.exact is None:
            self.exact = False
