"""Repositories as DVC leaves them, written by hand: of its 3.x and its 2.x layout, with any date and author."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Tree = Mapping[str, bytes]


def md5(data: bytes, *, legacy: bool = False) -> str:
    """Return a hash as DVC makes it; of legacy text with LF line ends."""
    return hashlib.md5(data.replace(b"\r\n", b"\n") if legacy and b"\0" not in data else data).hexdigest()


class DvcRepo:
    """A git repository with DVC's files, and a cache."""

    def __init__(self, folder: Path, *, inner: str = "", legacy: bool = False) -> None:
        self.git_folder = folder
        self.folder = folder / inner
        self.legacy = legacy
        self.cache = self.folder / ".dvc/cache"
        self._count = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        (self.folder / ".dvc").mkdir()
        self.write(".dvc/config", "")
        self.write(".dvc/.gitignore", "/cache\n/config.local\n")

    def git(self, *arguments: str, **env: str) -> str:
        """Run git, without the user's configuration."""
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for who in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{who}_NAME": "Jane Doe", f"GIT_{who}_EMAIL": "jane@example.org"}
        done = subprocess.run(
            ["git", "-C", self.git_folder, *arguments],
            env={**os.environ, **own, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file of the working tree."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def blob(self, digest: str, cache: Path | None = None) -> Path:
        """Return where a content is in the cache."""
        top = cache or self.cache
        return (top if self.legacy else top / "files/md5") / digest[:2] / digest[2:]

    def store(self, content: bytes | Tree) -> dict[str, Any]:
        """Put a content into the cache; return what DVC writes of it."""
        if isinstance(content, bytes):
            found = {"md5": md5(content, legacy=self.legacy), "size": len(content)}
            data = content
        else:
            rows = [{"md5": self.store(data)["md5"], "relpath": path} for path, data in sorted(content.items())]
            data = json.dumps(rows, sort_keys=True).encode()
            found = {"md5": f"{md5(data)}.dir", "size": sum(map(len, content.values())), "nfiles": len(content)}
        target = self.blob(str(found["md5"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return found if self.legacy else {**found, "hash": "md5"}

    def add(self, path: str, content: bytes | Tree, **more: Any) -> str:
        """Do what `dvc add` does; return the hash."""
        found = {**self.store(content), "path": path.rpartition("/")[2], **more}
        self.write(f"{path}.dvc", "outs:\n" + _row(found))
        return str(found["md5"])

    def lock(self, stages: Mapping[str, Any], path: str = "dvc.lock") -> None:
        """Write a `dvc.lock`: JSON is YAML."""
        self.write(path, json.dumps({"schema": "2.0", "stages": stages}))

    def commit(self, message: str = "work", *, when: str | None = None, **env: str) -> str:
        """Commit all; return the commit."""
        self._count += 1
        date = when or f"2024-03-01T12:{self._count:02}:00+01:00"
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date, **env)
        return self.git("rev-parse", "HEAD")


def _row(values: Mapping[str, Any]) -> str:
    return "".join(f"{'- ' if not k else '  '}{key}: {json.dumps(value)}\n" for k, (key, value) in enumerate(values.items()))
