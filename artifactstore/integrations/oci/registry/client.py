"""The verbs of a registry: manifests and blobs of one repository, checked as they arrive, tried again where that helps.

What is asked for by a digest is hashed here; what a registry claims of anything else is compared.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import quote, urlsplit

from artifactstore.errors import BackendError, CorruptionError
from artifactstore.integrations.oci.registry.address import DIGEST, Address
from artifactstore.integrations.oci.registry.connections import Body, Reply
from artifactstore.integrations.oci.registry.requests import Requests, TooLargeError, joined, marked

__all__ = ["LARGEST_MANIFEST", "Manifest", "Registry"]

LARGEST_MANIFEST: Final = 4 * 2**20  # bytes: the least that a registry must take is also the most that most take
_PART: Final = 16 * 2**20  # bytes of a part, where a server takes no larger body
_OCTETS: Final = "application/octet-stream"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_DOCKER: Final = "application/vnd.docker.distribution.manifest"
_ACCEPT: Final = f"application/vnd.oci.image.manifest.v1+json, {_INDEX}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"


class Manifest(NamedTuple):
    """A manifest as a registry has it.

    Attributes:
        body: its bytes.
        digest: of them.
        media_type: as the registry names it, or "".
    """

    body: bytes
    digest: str
    media_type: str


class Registry:
    """One repository of a registry. Safe for threads.

    Args:
        address: of it.
        plain_http: without TLS.
        writing: whether anything will be pushed.
    """

    def __init__(self, address: Address, *, plain_http: bool = False, writing: bool = False) -> None:
        self.address = address
        self._requests = Requests(address, plain_http=plain_http, scope="pull,push" if writing else "pull")
        self._in_parts = False

    def close(self) -> None:
        """Close the connections."""
        self._requests.close()

    # -- manifests

    def manifest(self, wanted: str) -> Manifest:
        """Return a manifest by tag or digest.

        Raises:
            NotFoundError: no such repository, tag or digest.
            CorruptionError: it does not have the digest.
            BackendError: the registry fails or refuses.
        """
        return self._requests.retried(lambda: self._manifest(wanted))

    def _manifest(self, wanted: str) -> Manifest:
        what = f"{wanted} in {self.address.place}"
        with self._requests.send("GET", self._url("manifests", wanted), {"Accept": _ACCEPT}) as reply:
            self._requests.check(reply, what, 200)
            body = reply.body(LARGEST_MANIFEST)
        if len(body) > LARGEST_MANIFEST:
            raise CorruptionError(f"the manifest of {what} is longer than {LARGEST_MANIFEST:,} bytes, the most that one may have")
        digest = _digest(body)
        claimed = reply.headers.get("docker-content-digest", digest)
        for expected in (wanted if DIGEST.fullmatch(wanted) else digest, claimed if claimed.startswith("sha256:") else digest):
            if expected != digest:
                raise CorruptionError(
                    f"the registry sends another manifest than {what}: its digest is {digest}, expected {expected:.80}",
                    digest=expected,
                    location=what,
                )
        return Manifest(body, digest, reply.headers.get("content-type", "").partition(";")[0].strip())

    def manifest_digest(self, wanted: str) -> str | None:
        """Return the digest that the registry names for a tag or digest; None: it has none."""

        def ask() -> str | None:
            with self._requests.send("HEAD", self._url("manifests", wanted), {"Accept": _ACCEPT}) as reply:
                if reply.status == 404:
                    return None
                self._requests.check(reply, f"{wanted} in {self.address.place}", 200)
                return reply.headers.get("docker-content-digest") or (wanted if DIGEST.fullmatch(wanted) else "")

        return self._requests.retried(ask)

    def put_manifest(self, wanted: str, body: bytes, media_type: str) -> bool:
        """Write a manifest under a tag or its digest; return whether the registry lists it by its `subject`.

        Raises:
            CorruptionError: the registry names another digest for it.
            BackendError: the registry fails or refuses.
        """

        def put() -> bool:
            what = f"the manifest {wanted} to {self.address.place}"
            with self._requests.send(
                "PUT", self._url("manifests", wanted), {"Content-Type": media_type}, Body(len(body), lambda: [body])
            ) as reply:
                self._requests.check(reply, what, 201, 200, 202)
                got = reply.headers.get("docker-content-digest", "")
                if got.startswith("sha256:") and got != _digest(body):
                    raise CorruptionError(
                        f"the registry names {got:.80} for {what}, whose digest is {_digest(body)}", digest=_digest(body)
                    )
                return "oci-subject" in reply.headers

        return self._requests.retried(put)

    def referrers(self, digest: str) -> list[Mapping[str, Any]] | None:
        """Return what refers to a manifest; None: this registry has no such list, and a tag takes its place."""

        def ask() -> list[Mapping[str, Any]] | None:
            with self._requests.send("GET", self._url("referrers", digest), {"Accept": _INDEX}) as reply:
                is_index = reply.headers.get("content-type", "").partition(";")[0] == _INDEX
                if reply.status in {400, 404, 405, 501} or (reply.status == 200 and not is_index):
                    return None
                self._requests.check(reply, f"the referrers of {digest} in {self.address.place}", 200)
                body = reply.body(LARGEST_MANIFEST)
            try:
                found = json.loads(body)["manifests"]
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
            return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else None

        return self._requests.retried(ask)

    # -- blobs

    def has_blob(self, digest: str, size: int) -> bool:
        """Return whether the repository has a blob.

        Raises:
            CorruptionError: under this digest it has another size.
        """
        return self._requests.retried(lambda: self._has_blob(digest, size))

    def _has_blob(self, digest: str, size: int) -> bool:
        with self._requests.send("HEAD", self._url("blobs", digest), {}) as reply:
            if reply.status == 404:
                return False
            if reply.status in {401, 403, 405} and self._requests.is_elsewhere(reply):
                return True  # it redirected, so it has the blob; an address that is signed for GET refuses HEAD
            self._requests.check(reply, f"{digest} in {self.address.place}", 200)
            length = reply.headers.get("content-length", "")
            if length.isdigit() and int(length) != size:
                raise CorruptionError(
                    f"the registry has {int(length):,} bytes under {digest} in {self.address.place}, which are {size:,}",
                    digest=digest,
                )
            return True

    def upload(self, digest: str, body: Body, source: str | None = None) -> bool:
        """Write a blob; return whether it was sent: not if the registry had it in another repository.

        Args:
            digest: of the bytes.
            body: the bytes; read again for each try.
            source: a repository of the same registry that may have it.

        Raises:
            BackendError: the registry fails or refuses.
        """
        tries = 0

        def put() -> bool:
            nonlocal tries
            tries += 1
            if tries > 1 and self._has_blob(digest, body.size):
                return True  # only the reply to the last try was lost
            try:
                return self._upload(digest, body, source)
            except TooLargeError:
                if self._in_parts:
                    raise
                self._in_parts = True
                return self._upload(digest, body, source)

        return self._requests.retried(put)

    def _upload(self, digest: str, body: Body, source: str | None) -> bool:
        what = f"{digest} to {self.address.place}"
        query = f"?mount={quote(digest, safe='')}" + (f"&from={quote(source, safe='')}" if source else "")
        scope = f"repository:{source}:pull" if source else ""
        with self._requests.send(
            "POST", self._url("blobs", "uploads/") + query, {"Content-Type": _OCTETS}, more_scope=scope
        ) as reply:
            if source and reply.status in {401, 403, 404}:
                return self._upload(digest, body, None)  # these credentials may not read the other repository
            self._requests.check(reply, what, 202, 201)
            if reply.status == 201:
                return False
            place, least = self._location(reply), reply.headers.get("oci-chunk-min-length", "")
        if self._in_parts and body.size:
            place = self._send_parts(place, body, max(_PART, int(least) if least.isdigit() else 0), what)
            last: Body | None = None
        else:
            last = body
        mark = "&" if urlsplit(place).query else "?"
        with self._requests.send(
            "PUT", f"{place}{mark}digest={quote(digest, safe='')}", {"Content-Type": _OCTETS}, last
        ) as reply:
            self._requests.check(reply, what, 201, 204, 200)
        return True

    def _send_parts(self, place: str, body: Body, size: int, what: str) -> str:
        """Send a blob in parts; return where it is closed."""
        at = 0
        for part in _parts(body, size):
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{at}-{at + len(part) - 1}"}
            with self._requests.send("PATCH", place, headers, Body(len(part), lambda part=part: [part])) as reply:  # type: ignore[misc]  # mypy takes the default for a parameter
                self._requests.check(reply, what, 202, 201, 204)
                place = self._location(reply)
            at += len(part)
        return place

    def _location(self, reply: Reply) -> str:
        """Return where an upload goes on; an absolute address may be on another host, which gets no credentials."""
        place = joined(reply.url, reply.headers.get("location", ""))
        if "location" not in reply.headers:
            raise BackendError(f"{self.address.host} does not say where the upload goes on (no Location)")
        self._requests.check_scheme(place)
        return place

    def fetch(self, digest: str, size: int, file: BinaryIO) -> None:
        """Write a blob into an empty file; what arrived before a failure is not asked for again.

        Raises:
            NotFoundError: the repository has no such blob.
            CorruptionError: its bytes have another digest, or there are more or fewer of them.
            BackendError: the registry fails or refuses, or the disk does.
        """
        with marked():
            self._fetch(digest, size, file)

    def _fetch(self, digest: str, size: int, file: BinaryIO) -> None:
        hasher, at, retries = hashlib.sha256(), 0, self._requests.retrier.begin()
        what = f"{digest} in {self.address.place}"
        while True:
            try:
                with (
                    self._requests.retrier.limiter.permit(partial(self._requests.retrier.deadline, retries)),
                    self._requests.send("GET", self._url("blobs", digest), {"Range": f"bytes={at}-"} if at else {}) as reply,
                ):
                    if reply.status != 206 or not reply.headers.get("content-range", "").startswith(f"bytes {at}-"):
                        self._requests.check(reply, what, 200)
                        hasher, at = hashlib.sha256(), 0
                        file.seek(0)
                        file.truncate()
                    for block in reply.blocks():
                        at += len(block)
                        if at > size:
                            raise CorruptionError(
                                f"the registry sends more than the {size:,} bytes of {what}", digest=digest, location=what
                            )
                        hasher.update(block)
                        file.write(block)
                        retries.succeeded()
                break
            except BackendError as error:
                if not self._requests.retrier.again(retries, error):
                    raise
        if at != size or f"sha256:{hasher.hexdigest()}" != digest:
            got = f"{at:,} bytes of sha256:{hasher.hexdigest()}"
            raise CorruptionError(
                f"the registry sends other bytes than {what}: {got}, expected {size:,}", digest=digest, location=what
            )

    # -- requests

    def _url(self, kind: str, name: str) -> str:
        return f"{self._requests.base}{self.address.repository}/{kind}/{name}"


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _parts(body: Body, size: int) -> Iterator[bytes]:
    """Yield a body in parts of `size` bytes."""
    held: list[bytes] = []
    have = 0
    for block in body.blocks():
        view = memoryview(block)
        while view:
            some = view[: size - have]
            held.append(bytes(some))
            have += len(some)
            view = view[len(some) :]
            if have == size:
                yield b"".join(held)
                held, have = [], 0
    if held:
        yield b"".join(held)
