"""Objects with `save_pretrained` and `from_pretrained`, such as Hugging Face models and tokenizers: a folder of files."""

from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Pretrained"]

_RUNS: Final = (".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".h5", ".keras", ".py")


class Pretrained:
    """The folder that `save_pretrained` writes. The store names no class: the caller passes `type=`; without it, get returns the folder."""

    name = "pretrained"
    executes_code = False
    write_options = ()
    read_options = ("type",)

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` has `save_pretrained`, and its class `from_pretrained`."""
        return not isinstance(obj, type) and hasattr(type(obj), "save_pretrained") and hasattr(type(obj), "from_pretrained")

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Save it with `save_pretrained`."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='pretrained' stores objects with save_pretrained, not a {type(obj).__name__}")
        with folder.directory() as path:
            obj.save_pretrained(str(path))

    def read(self, folder: ReadFolder, *, type: Any = None) -> Any:  # noqa: A002 - the option's name
        """Return the folder on this machine, read-only; with `type`, the object that this class loads from it.

        Raises:
            UntrustedError: `type` could run code in the folder's files, such as a pickled checkpoint.
        """
        if type is None:
            return folder.path("")
        if not hasattr(type, "from_pretrained"):
            raise InvalidInputError(f"type= must be a class with from_pretrained, got {type!r}")
        if risky := [name for name in folder.names if name.lower().endswith(_RUNS)]:
            folder.trust.check([], f"this folder with {', '.join(risky[:3])}", "loading such files may run code in them")
        return type.from_pretrained(str(folder.path("")))
