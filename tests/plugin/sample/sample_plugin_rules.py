"""A format whose reading runs code: expressions of Python."""

from dataclasses import dataclass
from typing import Any

from artifactstore.plugins import ReadFolder, WriteFolder


@dataclass(frozen=True)
class Rules:
    """An expression and its value."""

    source: str


class RulesFormat:
    """The expression as text; reading evaluates it."""

    name = "rules"
    executes_code = True
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:
        return isinstance(obj, Rules)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        folder.add("rules.py", obj.source.encode())

    def read(self, folder: ReadFolder) -> Any:
        return eval(folder.read("rules.py"))
