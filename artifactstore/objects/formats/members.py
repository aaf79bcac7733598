"""A dict, list or tuple of things of several kinds, stored member by member: each is reachable as a path."""

from collections.abc import Collection, Mapping
from typing import Any

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.listing import check_path
from artifactstore.objects import choice
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json, texts

__all__ = ["Members"]


class Members:
    """A container whose members have formats of their own: `<key>/…`, and `members.json` says which is what.

    A member that is called so keeps its folder: the list is then in `_members.json`.
    """

    name = "members"
    executes_code = False
    write_options = ()
    read_options = ("keys",)

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a dict with keys that can be folders, a list or a tuple, and not empty, of known things."""
        if type(obj) not in (dict, list, tuple) or not obj:
            return False
        if isinstance(obj, dict) and not all(isinstance(key, str) and key and "/" not in key for key in obj):
            return False
        members = obj.values() if isinstance(obj, dict) else obj
        return all(isinstance(one, str) or choice.choose(one) is not None for one in members)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write each member into a folder of its own."""
        if type(obj) not in (dict, list, tuple):
            raise InvalidInputError(f"format='members' keeps a dict, list or tuple, not a {type(obj).__name__}")
        items = list(obj.items()) if isinstance(obj, dict) else [(str(number), one) for number, one in enumerate(obj)]
        said = []
        for key, member in items:
            if not isinstance(key, str) or not key or "/" in key:
                raise InvalidInputError(f"the key {key!r} can't name a folder: a str without '/' is needed")
            check_path(f"{key}/x")
            try:
                name = choice.write_object(member, folder.inner(key), "text" if isinstance(member, str) else None)
            except InvalidInputError as error:
                raise InvalidInputError(f"at {key!r:.100}: {error}") from error
            said.append([key, name])
        folder.add(_index({key for key, _ in said}), canonical_json({"type": type(obj).__name__, "members": said}))

    def read(self, folder: ReadFolder, *, keys: Any = None) -> Any:
        """Read all members, or those of `keys` alone."""
        names = folder.names
        index = _index({name.partition("/")[0] for name in names if "/" in name})
        if index not in names:
            index = "members.json"  # as versions before this one wrote it, whatever the members were called
        said = stored_json(folder, index)
        listed = said.get("members") if isinstance(said, Mapping) else None
        if not isinstance(listed, list) or said.get("type") not in ("dict", "list", "tuple"):
            raise CorruptionError(f"{index} does not say what the members are", location=index)
        kinds: dict[str, str] = {}
        for one in listed:
            if not isinstance(one, list) or len(one) != 2 or not all(isinstance(part, str) for part in one) or one[0] in kinds:
                raise CorruptionError(f"{index} does not say what the members are", location=index)
            kinds[one[0]] = one[1]
        wanted = kinds if keys is None else set(texts(keys, "keys", numbers=True))
        if missing := set(wanted) - set(kinds):
            some = ", ".join(map(repr, list(kinds)[:20]))
            raise InvalidInputError(f"no member {', '.join(map(repr, sorted(missing)))}; there are {some or 'none'}")
        try:
            found = {key: choice.read_object(kind, folder.inner(key)) for key, kind in kinds.items() if key in wanted}
        except RecursionError as error:
            raise CorruptionError("members lie in members without end", location="members.json") from error
        if said["type"] == "dict":
            return found
        return list(found.values()) if said["type"] == "list" else tuple(found.values())


def _index(members: Collection[str]) -> str:
    """Return the name of the file that lists the members: `members.json`, with as many `_` before it as no member is called so."""
    name = "members.json"
    while name in members:
        name = f"_{name}"
    return name
