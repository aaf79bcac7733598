"""A small registry in memory that can be told to lie, to redirect, to stop and to ask for credentials; it notes each request."""

import base64
import hashlib
import http.server
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class MemoryRegistry:
    """What it holds, and how it behaves.

    Attributes:
        blobs: repository → digest → bytes.
        manifests: (repository, tag or digest) → (media type, bytes).
        requests: (method, path with query, headers), in their order.
        sent: bytes of bodies that arrived for blobs.
        lists_referrers: whether it has the referrers API.
        login: `user:password` that it asks for, or "".
        bearer: whether it asks for a token of its own token server.
        tokens: those that it has given out.
        override: is asked first; returns True if it has answered.
        largest: bytes of a body of one request, as a proxy limits them; 0: any.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.uploads: dict[str, bytearray] = {}
        self.sent = 0
        self.lists_referrers = True
        self.login = ""
        self.bearer = False
        self.tokens: set[str] = set()
        self.override: Callable[[Any], bool] = lambda _: False
        self.largest = 0
        self.host = ""
        self.realm = ""

    def add_blob(self, repository: str, data: bytes) -> dict[str, Any]:
        """Hold a blob; return its digest and size."""
        self.blobs.setdefault(repository, {})[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def add_manifest(self, repository: str, tag: str, value: Any, media_type: str = MANIFEST) -> str:
        """Hold a manifest under a tag and its digest."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        for name in (tag, digest_of(body)):
            self.manifests[repository, name] = media_type, body
        return digest_of(body)

    def asked(self, method: str, part: str = "") -> int:
        """Return how many requests of a method went to paths with a part."""
        return sum(one == method and part in path for one, path, _ in self.requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: MemoryRegistry

    def log_message(self, *_: object) -> None:
        pass

    def _do(self) -> None:
        it = self.registry
        self.body = b""
        it.requests.append((self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        if it.largest and length > it.largest:
            self.close_connection = True
            self.answer(413)
            return
        self.body = self.rfile.read(length) if length else b""
        if it.override(self):
            return
        if self.path.startswith("/token"):
            self._token()
            return
        if not self._may():
            return
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs|referrers)/(.+)", parts.path)
        if match is None:
            self.answer(200 if parts.path == "/v2/" else 404)
            return
        repository, kind, name = match.groups()
        if kind == "blobs" and name.startswith("uploads/"):
            self._upload(repository, name.removeprefix("uploads/"))
        else:
            getattr(self, f"_{kind}")(repository, name)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _do  # noqa: N815 - names of the standard library

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def error(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), **headers)

    def _may(self) -> bool:
        it = self.registry
        given = self.headers.get("Authorization", "")
        if not it.login:
            return True
        if it.bearer:
            if given.startswith("Bearer ") and given[7:] in it.tokens:
                return True
            challenge = f'Bearer realm="{it.realm or f"http://{it.host}/token"}",service="test",scope="repository:x:pull"'
        else:
            if given == "Basic " + base64.b64encode(it.login.encode()).decode():
                return True
            challenge = 'Basic realm="test"'
        self.error(401, "UNAUTHORIZED", f"you sent {given}", WWW_Authenticate=challenge)
        return False

    def _token(self) -> None:
        it = self.registry
        form = parse_qs(self.body.decode())
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(it.login.encode()).decode()
        if not known and form.get("refresh_token") != [it.login.partition(":")[2]]:
            self.error(401, "UNAUTHORIZED")
            return
        token = uuid.uuid4().hex
        it.tokens.add(token)
        self.answer(200, json.dumps({"token": token, "expires_in": 300}).encode(), Content_Type="application/json")

    def _manifests(self, repository: str, name: str) -> None:
        it = self.registry
        if self.command == "PUT":
            media_type = self.headers["Content-Type"]
            parsed = json.loads(self.body)
            for one in [parsed.get("config"), *parsed.get("layers", [])]:
                if one and one["digest"] not in it.blobs.get(repository, {}):
                    self.error(400, "MANIFEST_BLOB_UNKNOWN", one["digest"])
                    return
            for key in {name, digest_of(self.body)}:
                it.manifests[repository, key] = media_type, self.body
            more = {"OCI_Subject": parsed["subject"]["digest"]} if it.lists_referrers and "subject" in parsed else {}
            self.answer(201, Docker_Content_Digest=digest_of(self.body), **more)
            return
        if (repository, name) not in it.manifests:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        media_type, body = it.manifests[repository, name]
        self.answer(200, body, Content_Type=media_type, Docker_Content_Digest=digest_of(body))

    def _referrers(self, repository: str, name: str) -> None:
        it = self.registry
        if not it.lists_referrers:
            self.error(404, "UNSUPPORTED")
            return
        rows = {}
        for (where, _), (media_type, body) in it.manifests.items():
            if where == repository and json.loads(body).get("subject", {}).get("digest") == name:
                rows[digest_of(body)] = {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*rows.values()]}
        self.answer(200, json.dumps(index).encode(), Content_Type=INDEX)

    def _blobs(self, repository: str, name: str) -> None:
        data = self.registry.blobs.get(repository, {}).get(name)
        if data is None:
            self.error(404, "BLOB_UNKNOWN")
            return
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin:
            at = int(begin[1])
            self.answer(206, data[at:], Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")
        else:
            self.answer(200, data)

    def _upload(self, repository: str, name: str) -> None:
        it = self.registry
        if self.command == "POST":
            data = it.blobs.get(self.query.get("from", ""), {}).get(self.query.get("mount", ""))
            if data is not None:
                it.add_blob(repository, data)
                self.answer(201, Location=f"/v2/{repository}/blobs/{self.query['mount']}")
                return
            name = uuid.uuid4().hex
            it.uploads[name] = bytearray()
            self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{name}?_state=1")
            return
        if name not in it.uploads:
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        it.sent += len(self.body)
        it.uploads[name] += self.body
        if self.command == "PATCH":
            self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{name}?_state=2")
            return
        data = bytes(it.uploads.pop(name))
        if digest_of(data) != self.query["digest"]:
            self.error(400, "DIGEST_INVALID")
            return
        it.add_blob(repository, data)
        self.answer(201, Location=f"/v2/{repository}/blobs/{digest_of(data)}")


@contextmanager
def memory_registry() -> Iterator[MemoryRegistry]:
    """Run a registry on a free loopback port for as long as the block lasts."""
    registry = MemoryRegistry()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": registry}))
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
