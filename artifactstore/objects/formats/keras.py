"""Keras models: the parts of a `.keras` file, in a form that depends on the model alone. Loading runs code.

A `.keras` file (https://keras.io/guides/serialization_and_saving/) is a zip of the model's configuration (`config.json`), its
weights, and the time of saving. Here each part is a file, shared objects are numbered instead of identified by address, and
the time is dropped. The configuration names classes that are imported and called, and may contain Python code as bytes, so it
is read only with trust.
"""

import importlib
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json, zipped
from artifactstore.runtime.remarks import remark

__all__ = ["Keras"]

_CONFIG: Final = "config.json"
_ABOUT: Final = "metadata.json"


class Keras:
    """A Keras model, stored as `config.json`, `metadata.json` and `model.weights.h5`."""

    name = "keras"
    executes_code = True
    write_options = ()
    read_options = ("compile", "custom_objects")

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a Keras 3 model."""
        import keras  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, keras.Model)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Save it, and split the file into its parts."""
        import keras  # noqa: PLC0415

        if not isinstance(obj, keras.Model):
            raise InvalidInputError(f"format='keras' stores a keras.Model, not a {type(obj).__name__}")
        with _scratch() as scratch_folder:
            path = Path(scratch_folder, "model.keras")
            try:
                obj.save(path)
            except Exception as error:
                raise InvalidInputError(f"Keras cannot save this model: {error}") from error
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    data = archive.read(name)
                    if name == _CONFIG:
                        config = parse_json(data, name)
                        if own := sorted({f"{module}.{name}" for module, name, _ in _own_classes(config)}):
                            text = f"this Keras model has classes of your own ({', '.join(own)}): a process that reads it needs their modules"
                            remark(f"{text}, or custom_objects=; their code is not stored with it")
                        data = canonical_json(_numbered(config, {}))
                    elif name == _ABOUT:
                        about = parse_json(data, name)
                        data = canonical_json({key: value for key, value in about.items() if key != "date_saved"})
                    folder.add(name, data)

    def read(self, folder: ReadFolder, *, compile: bool = True, custom_objects: Mapping[str, Any] | None = None) -> Any:  # noqa: A002 - Keras's name for it
        """Rebuild the model.

        Args:
            folder: folder of the object.
            compile: also restore the training configuration.
            custom_objects: name → class or function, as for `keras.saving.load_model`. Trusted classes of the user's modules
                are imported by the names recorded in the model.

        Raises:
            UntrustedError: with the classes that the configuration names.
            InvalidInputError: a class of the user's own cannot be imported.
        """
        config = stored_json(folder, _CONFIG)
        folder.trust.check(_classes(config), "this Keras model", "its configuration names classes to import and call")
        import keras  # noqa: PLC0415

        given = dict(custom_objects or {})
        found, missing = _imported(config, given)
        with _scratch() as scratch_folder:
            path = Path(scratch_folder, "model.keras")
            path.write_bytes(zipped(folder))
            try:
                return keras.saving.load_model(path, found | given, compile=compile, safe_mode=not folder.trust.everything)
            except Exception as error:
                if missing:
                    name = missing[0].rpartition(".")[2]
                    raise InvalidInputError(
                        f"this Keras model needs {', '.join(missing)}, which cannot be imported here: make its module importable, "
                        f"or pass the class with custom_objects={{{name!r}: {name}}}"
                    ) from error
                text = f"Keras cannot rebuild the model: {type(error).__name__}: {str(error)[:300]}; get its files with to="
                raise CorruptionError(text, location=_CONFIG) from error


def _own_classes(config: Any) -> list[tuple[str, str, str]]:
    """Return (module, name, registered name) of the non-Keras classes in a configuration."""
    found: dict[tuple[str, str, str], None] = {}
    todo = [config]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            name, module, registered = one.get("class_name"), one.get("module"), one.get("registered_name")
            if isinstance(name, str) and isinstance(module, str) and module.partition(".")[0] not in {"keras", "builtins"}:
                found[module, name, registered if isinstance(registered, str) else name] = None
        todo += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return list(found)


def _imported(config: Any, given: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Import the user's classes named by a trusted configuration; return them by Keras's names, and the names not found."""
    found: dict[str, Any] = {}
    missing = []
    for module, name, registered in _own_classes(config):
        if given and (name in given or registered in given):
            continue
        try:
            made = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            missing.append(f"{module}.{name}")
        else:
            found[name] = found[registered] = made
    return found, missing


def _scratch() -> TemporaryDirectory[str]:
    """Return a temporary folder: Keras reads and writes paths only."""
    return TemporaryDirectory(prefix="artifactstore-", ignore_cleanup_errors=True)


def _numbered(node: Any, numbers: dict[Any, int]) -> Any:
    """Number shared objects in order of appearance."""
    if isinstance(node, list):
        return [_numbered(one, numbers) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: numbers.setdefault(value, len(numbers)) if key == "shared_object_id" else _numbered(value, numbers)
        for key, value in node.items()
    }


def _classes(node: Any) -> set[str]:
    """Return the names of the classes and functions in a configuration."""
    found: set[str] = set()
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            name, module = one.get("class_name"), one.get("module")
            if isinstance(name, str):
                found.add(f"{module}.{name}" if isinstance(module, str) else name)
        todo += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return found
