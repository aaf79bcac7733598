"""What has `save_pretrained` and `from_pretrained`, such as models and tokenizers of Hugging Face: a folder of files."""

from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Pretrained"]

_RUNS: Final = (".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".h5", ".keras", ".py")


class Pretrained:
    """The folder that `save_pretrained` writes. The store names no class: `type=` is the caller's; without it comes the folder."""

    name = "pretrained"
    executes_code = False
    write_options = ()
    read_options = ("type",)

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` can save itself so, and its class can load it."""
        return not isinstance(obj, type) and hasattr(type(obj), "save_pretrained") and hasattr(type(obj), "from_pretrained")

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Let it save itself."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='pretrained' keeps what has save_pretrained, not a {type(obj).__name__}")
        with folder.directory() as path:
            obj.save_pretrained(str(path))

    def read(self, folder: ReadFolder, *, type: Any = None) -> Any:  # noqa: A002 - the option's name
        """Return the folder on this machine, read-only; with `type`, what that class loads from it.

        Raises:
            UntrustedError: `type` might run files of the folder, such as a pickled checkpoint.
        """
        if type is None:
            return folder.path("")
        if not hasattr(type, "from_pretrained"):
            raise InvalidInputError(f"type={type!r}: a class with from_pretrained is needed")
        if risky := [name for name in folder.names if name.lower().endswith(_RUNS)]:
            folder.trust.check([], f"this folder with {', '.join(risky[:3])}", "loading such files may run what is in them")
        return type.from_pretrained(str(folder.path("")))
