"""A dict, list or tuple of mixed types, stored member by member: each is reachable as a path."""

from collections.abc import Collection, Mapping
from typing import Any

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.listing import check_path
from artifactstore.objects import registry
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json, texts

__all__ = ["Members"]


class Members:
    """A container whose members have formats of their own: `<key>/…`, and `members.json`, which records their formats.

    If a member has that name, it keeps its folder: the index is then `_members.json`.
    """

    name = "members"
    executes_code = False
    write_options = ()
    read_options = ("keys",)

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a non-empty dict (with keys that can be folders), list or tuple, of objects that have a format."""
        if type(obj) not in (dict, list, tuple) or not obj:
            return False
        if isinstance(obj, dict) and not all(isinstance(key, str) and key and "/" not in key for key in obj):
            return False
        members = obj.values() if isinstance(obj, dict) else obj
        return all(isinstance(one, str) or registry.choose(one) is not None for one in members)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write each member into its own folder."""
        if type(obj) not in (dict, list, tuple):
            raise InvalidInputError(f"format='members' stores a dict, list or tuple, not a {type(obj).__name__}")
        items = list(obj.items()) if isinstance(obj, dict) else [(str(number), one) for number, one in enumerate(obj)]
        record = []
        for key, member in items:
            if not isinstance(key, str) or not key or "/" in key:
                raise InvalidInputError(f"the key {key!r} cannot be a folder name: it must be a str without '/'")
            check_path(f"{key}/x")
            try:
                name = registry.write_object(member, folder.inner(key), "text" if isinstance(member, str) else None)
            except InvalidInputError as error:
                raise InvalidInputError(f"at {key!r:.100}: {error}") from error
            record.append([key, name])
        folder.add(_index({key for key, _ in record}), canonical_json({"type": type(obj).__name__, "members": record}))

    def read(self, folder: ReadFolder, *, keys: Any = None) -> Any:
        """Read all members, or only those of `keys`."""
        names = folder.names
        index = _index({name.partition("/")[0] for name in names if "/" in name})
        if index not in names:
            index = "members.json"  # earlier versions used this name, whatever the members' names
        record = stored_json(folder, index)
        listed = record.get("members") if isinstance(record, Mapping) else None
        if not isinstance(listed, list) or record.get("type") not in ("dict", "list", "tuple"):
            raise CorruptionError(f"{index} does not describe the members", location=index)
        kinds: dict[str, str] = {}
        for one in listed:
            if not isinstance(one, list) or len(one) != 2 or not all(isinstance(part, str) for part in one) or one[0] in kinds:
                raise CorruptionError(f"{index} does not describe the members", location=index)
            kinds[one[0]] = one[1]
        wanted = kinds if keys is None else set(texts(keys, "keys", numbers=True))
        if missing := set(wanted) - set(kinds):
            some = ", ".join(map(repr, list(kinds)[:20]))
            raise InvalidInputError(f"no member {', '.join(map(repr, sorted(missing)))}; available: {some or 'none'}")
        try:
            found = {key: registry.read_object(kind, folder.inner(key)) for key, kind in kinds.items() if key in wanted}
        except RecursionError as error:
            raise CorruptionError("members are nested too deeply", location="members.json") from error
        if record["type"] == "dict":
            return found
        return list(found.values()) if record["type"] == "list" else tuple(found.values())


def _index(members: Collection[str]) -> str:
    """Return the name of the index file: `members.json`, prefixed with `_` until no member has that name."""
    name = "members.json"
    while name in members:
        name = f"_{name}"
    return name
