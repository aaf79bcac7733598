"""Anything, as a pickle: only when asked for, and read only by who trusts it.

`cloudpickle` writes where it is installed (functions and classes of a notebook go along), else the standard library.
Large arrays lie beside the pickle as files of their own (protocol 5, PEP 574), so that they are shared between versions.
"""

import io
import pickle
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, UnsupportedError, UntrustedError
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.base import ReadFolder, WriteFolder
from artifactstore.objects.trust import Trust, pickled_globals

__all__ = ["Pickled"]

_LOOKED_AT: Final = 1_000_000  # opcodes that are looked at when a pickle is put: one second


class Pickled:
    """Any object, kept as `data.pickle` and `buffers/<number>`."""

    name = "pickle"
    executes_code = True
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:  # noqa: ARG002 - the protocol's parameter
        """Never: only `format="pickle"` chooses it."""
        return False

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Pickle the object."""
        buffers: list[pickle.PickleBuffer] = []
        try:
            raw = _dumps()(obj, protocol=5, buffer_callback=buffers.append)
        except Exception as error:
            raise InvalidInputError(f"a {type(obj).__qualname__} can't be pickled: {error}") from error
        folder.add("data.pickle", raw)
        folder.note("imports", canonical_json(pickled_globals(raw, most=_LOOKED_AT)))
        for number, buffer in enumerate(buffers):
            folder.add(f"buffers/{number:06}", buffer.raw())

    def read(self, folder: ReadFolder) -> Any:
        """Unpickle it, if the caller trusts it.

        Raises:
            UntrustedError: names what it would import.
        """
        raw = folder.read("data.pickle")
        return unpickle(raw, [folder.buffer(name) for name in folder.names if name.startswith("buffers/")], folder.trust)


def _dumps() -> Any:
    try:
        import cloudpickle  # noqa: PLC0415 - only if it is there
    except ImportError:
        return pickle.dumps
    return cloudpickle.dumps


def unpickle(raw: bytes, buffers: list[memoryview], trust: Trust) -> Any:
    """Unpickle what a caller trusts; with a list of names, nothing else is imported, whatever the scan has missed.

    Raises:
        UntrustedError: names what it would import.
        UnsupportedError: what it imports is not here.
        CorruptionError: no pickle, or none that this version of what it imports understands.
    """
    try:
        if trust.everything:  # whatever it imports, so nobody needs to look
            return pickle.loads(raw, buffers=buffers)  # noqa: S301 - the caller has said so
        trust.check(pickled_globals(raw), "this pickle", "a pickle runs what it names")
        return _Careful(io.BytesIO(raw), trust, buffers).load()
    except (ArtifactStoreError, ImportError):
        raise
    except AttributeError as error:
        text = f"data.pickle needs what is not here ({error}): import or define it first, or get its files with to="
        raise UnsupportedError(text) from error
    except Exception as error:
        text = f"data.pickle is no pickle that can be read: {type(error).__name__}: {str(error)[:300]}; its files come with to="
        raise CorruptionError(text, location="data.pickle") from error


class _Careful(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, trust: Trust, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._trust = trust

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._trust.names:
            raise UntrustedError(f"this pickle is not read on: it wants {module}.{name}, which trust= does not name")
        return super().find_class(module, name)
