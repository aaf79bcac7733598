"""Any object, as a pickle: written only on request, and read only by callers who trust it.

Uses `cloudpickle` if installed (functions and classes of a notebook are included), else the standard library.
Large arrays are stored beside the pickle as files (protocol 5, PEP 574), so that versions share them.
"""

import io
import pickle
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, UnsupportedError, UntrustedError
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.base import ReadFolder, WriteFolder
from artifactstore.objects.trust import Trust, pickled_globals

__all__ = ["Pickled"]

_MAX_OPCODES: Final = 1_000_000  # max opcodes scanned during a put: one second


class Pickled:
    """Any object, stored as `data.pickle` and `buffers/<number>`."""

    name = "pickle"
    executes_code = True
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:  # noqa: ARG002 - the protocol's parameter
        """Return False: only `format="pickle"` selects this format."""
        return False

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Pickle the object."""
        buffers: list[pickle.PickleBuffer] = []
        try:
            raw = _dumps()(obj, protocol=5, buffer_callback=buffers.append)
        except Exception as error:
            raise InvalidInputError(f"cannot pickle a {type(obj).__qualname__}: {error}") from error
        folder.add("data.pickle", raw)
        folder.note("imports", canonical_json(pickled_globals(raw, most=_MAX_OPCODES)))
        for number, buffer in enumerate(buffers):
            folder.add(f"buffers/{number:06}", buffer.raw())

    def read(self, folder: ReadFolder) -> Any:
        """Unpickle the object, if the caller trusts it.

        Raises:
            UntrustedError: with the globals it would import.
        """
        raw = folder.read("data.pickle")
        return unpickle(raw, [folder.buffer(name) for name in folder.names if name.startswith("buffers/")], folder.trust)


def _dumps() -> Any:
    try:
        import cloudpickle  # noqa: PLC0415 - if it is installed
    except ImportError:
        return pickle.dumps
    return cloudpickle.dumps


def unpickle(raw: bytes, buffers: list[memoryview], trust: Trust) -> Any:
    """Unpickle trusted data; with a list of names, nothing else is imported, even if the scan missed it.

    Raises:
        UntrustedError: with the globals it would import.
        UnsupportedError: a module or global that it imports is missing here.
        CorruptionError: not a pickle, or incompatible with the versions of what it imports.
    """
    try:
        if trust.everything:  # no need to scan
            return pickle.loads(raw, buffers=buffers)  # noqa: S301 - trusted by the caller
        trust.check(pickled_globals(raw), "this pickle", "a pickle runs what it names")
        return _RestrictedUnpickler(io.BytesIO(raw), trust, buffers).load()
    except (ArtifactStoreError, ImportError):
        raise
    except AttributeError as error:
        text = f"data.pickle needs something that is missing here ({error}): import or define it first, or get its files with to="
        raise UnsupportedError(text) from error
    except Exception as error:
        text = f"data.pickle cannot be unpickled: {type(error).__name__}: {str(error)[:300]}; get its files with to="
        raise CorruptionError(text, location="data.pickle") from error


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, trust: Trust, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._trust = trust

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._trust.names:
            raise UntrustedError(f"this pickle was not read: it imports {module}.{name}, which trust= does not list")
        return super().find_class(module, name)
