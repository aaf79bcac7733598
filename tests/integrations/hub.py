"""A hub on the loopback that speaks what the client of Hugging Face asks, and caches as that client leaves them."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = (".bin", ".safetensors", ".model", ".parquet")


def git_id(data: bytes) -> str:
    """Return the id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(path: str, data: bytes) -> str:
    """Return the hash that a hub has of a file."""
    return hashlib.sha256(data).hexdigest() if path.endswith(LFS) else git_id(data)


def commit_of(files: Mapping[str, bytes]) -> str:
    """Return the id of a commit with these files."""
    return hashlib.sha1(b"".join(path.encode() + data for path, data in sorted(files.items()))).hexdigest()


@dataclass
class Cache:
    """A cache in the layout of the client.

    Attributes:
        folder: the cache.
        repo: `models--org--name` …
    """

    folder: Path
    repo: str = "models--org--net"

    @property
    def top(self) -> Path:
        """The folder of the repository."""
        return self.folder / self.repo

    def add(self, files: Mapping[str, bytes], *, ref: str | None = "main", links: bool = True, listed: bool = False) -> str:
        """Add a snapshot; return its commit."""
        commit = commit_of(files)
        for path, data in files.items():
            place = self.top / "snapshots" / commit / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if links:
                blob = self.top / "blobs" / etag(path, data)
                blob.parent.mkdir(parents=True, exist_ok=True)
                blob.write_bytes(data)
                place.symlink_to(Path(*[".."] * (path.count("/") + 2), "blobs", blob.name))
            else:
                place.write_bytes(data)
        if ref is not None:
            (self.top / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
            (self.top / "refs" / ref).write_text(commit)
        if listed:
            self.list(commit, files)
        return commit

    def list(self, commit: str, files: Mapping[str, bytes], version: int = 1) -> None:
        """Write the list of a commit's files."""
        rows = {}
        for path, data in files.items():
            lfs = {"lfs_sha256": etag(path, data), "lfs_size": len(data)} if path.endswith(LFS) else {}
            rows[path] = {"size": len(data), "blob_id": git_id(data), **lfs}
        (self.top / "trees").mkdir(parents=True, exist_ok=True)
        (self.top / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": version, "files": rows}))


@dataclass
class Hub:
    """What a hub has.

    Attributes:
        repos: `models/org/name` → path → bytes.
        asked: paths of the requests.
        url: of the server.
    """

    repos: dict[str, dict[str, bytes]]
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _json(self, value: object, status: int = 200) -> None:
            raw = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(raw)

        def _answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[0] == "api":
                files = hub.repos.get("/".join(parts[1:4]))
                if files is None:
                    self._json({"error": "Repository not found"}, 404)
                elif parts[4:5] == ["tree"]:
                    self._json([self._row(one, data) for one, data in files.items()])
                else:
                    about = {
                        "id": "/".join(parts[2:4]),
                        "sha": commit_of(files),
                        "siblings": [{"rfilename": one} for one in files],
                    }
                    self._json({**about, "private": False, "tags": [], "downloads": 0, "likes": 0})
                return
            kind = parts.pop(0) if parts[0] in {"datasets", "spaces"} else "models"
            files = hub.repos.get("/".join([kind, *parts[:2]]), {})
            name = "/".join(parts[4:])
            if name not in files:
                self._json({"error": "Entry not found"}, 404)
                return
            data = files[name]
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit_of(files))
            self.send_header("ETag", f'"{etag(name, data)}"')
            self.send_header("X-Linked-Etag", f'"{etag(name, data)}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def _row(self, path: str, data: bytes) -> dict[str, object]:
            lfs = {"lfs": {"oid": etag(path, data), "size": len(data), "pointerSize": 130}} if path.endswith(LFS) else {}
            return {"type": "file", "path": path, "size": len(data), "oid": git_id(data), **lfs}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
