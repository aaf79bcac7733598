"""Where the content of an MD5 is: in one of DVC's caches, else on one of its remotes."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.integrations.checked.files import Content, read_checked
from artifactstore.integrations.checked.hashes import Hashed, LegacyMd5
from artifactstore.integrations.checked.origins import OnDisk, RemoteFiles
from artifactstore.integrations.dvc.config import Config, Remote
from artifactstore.integrations.dvc.tracked import checked_files

__all__ = ["Contents"]

_LIST: Final = 256 * 2**20  # bytes of the list of a folder: some million files
_MANY: Final = 50  # files of a folder, from which on a remote is listed as a whole
_KEPT: Final = 4  # lists of folders that are remembered


class Contents:
    """The contents that a repository's caches and remotes have.

    Attributes:
        unread: remotes that could not be read, each with the reason.
    """

    def __init__(self, config: Config) -> None:
        self._caches = config.caches
        self._remotes = config.remotes
        self._connected: dict[str, RemoteFiles] = {}
        self._listed: dict[str, Mapping[str, int] | None] = {}
        self._folders: dict[tuple[str, bool], tuple[tuple[str, str], ...]] = {}
        self.unread: dict[str, str] = {one.name: one.why_not for one in config.remotes if one.why_not}

    def find(self, md5: str, *, legacy: bool, remote: str | None = None, many: bool = False) -> Content | None:
        """Return a content, which is checked while it is read; None if neither a cache nor a remote has it.

        Args:
            md5: of it, with `.dir` for the list of a folder.
            legacy: whether that is the MD5 of DVC 1 and 2.
            remote: the only remote that may have it, if DVC says so.
            many: whether a lot of others will be asked for.

        Raises:
            BackendError: a remote cannot be reached.
        """
        check: Any = partial(LegacyMd5, md5.removesuffix(".dir")) if legacy else partial(Hashed, "md5", md5.removesuffix(".dir"))
        keys = list(_keys(md5, legacy=legacy))
        for folder in self._caches:
            for key in keys:
                try:
                    return Content(OnDisk(os.path.join(folder, key)), check)  # noqa: PTH118 - there may be many
                except OSError:
                    continue
        for one in self._remotes:
            if one.why_not or (remote is not None and one.name != remote):
                continue
            for key in keys:
                found = self._on_remote(one, key, many=many)
                if found is not None:
                    return Content(found, check)
        return None

    def _on_remote(self, remote: Remote, key: str, *, many: bool) -> Any:
        if remote.is_local:
            try:
                return OnDisk(os.path.join(remote.url, key))  # noqa: PTH118 - as above
            except OSError:
                return None
        connected = self._connected.get(remote.name)
        if connected is None:
            connected = self._connected[remote.name] = RemoteFiles(remote.url, remote.shown, remote.options)
        if many and remote.name not in self._listed and not remote.url.startswith("http"):
            self._listed[remote.name] = connected.list_all()
        listed = self._listed.get(remote.name)
        if listed is not None:
            return connected.known(key, listed[key]) if key in listed else None
        return connected.find(key)

    def folder(self, md5: str, *, legacy: bool, remote: str | None = None) -> tuple[tuple[str, str], ...] | None:
        """Return (path, md5) of the files of a folder; None if its list is nowhere.

        Raises:
            CorruptionError: the list is damaged.
            InvalidInputError: it is not one that DVC writes.
        """
        if (md5, legacy) in self._folders:
            return self._folders[md5, legacy]
        content = self.find(md5, legacy=legacy, remote=remote)
        if content is None:
            return None
        raw = read_checked(content, _LIST)
        try:
            files = checked_files(json.loads(raw))
        except (ValueError, RecursionError) as error:
            raise CorruptionError(f"{content.origin.where} is damaged: it is not JSON", location=content.origin.where) from error
        if files is None:
            raise InvalidInputError(f"{content.origin.where} is not the list of a folder, or leads out of it")
        while len(self._folders) >= _KEPT:
            del self._folders[next(iter(self._folders))]
        self._folders[md5, legacy] = files
        return files

    def files(
        self, listed: Sequence[tuple[str, str]], *, legacy: bool, remote: str | None
    ) -> tuple[dict[str, Content], list[str]]:
        """Return the contents of files, and the paths of those that are nowhere."""
        found: dict[str, Content] = {}
        missing = []
        for path, md5 in listed:
            content = self.find(md5, legacy=legacy, remote=remote, many=len(listed) >= _MANY)
            if content is None:
                missing.append(path)
            else:
                found[path] = content
        return found, missing


def _keys(md5: str, *, legacy: bool) -> Iterator[str]:
    """Yield where a content may be in a cache or a remote: of both layouts, its own first."""
    old, new = f"{md5[:2]}/{md5[2:]}", f"files/md5/{md5[:2]}/{md5[2:]}"
    yield from (old, new) if legacy else (new, old)
