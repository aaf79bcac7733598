"""Format registry: chooses the format for an object from an ordered list; the first match wins (docs/reference/format.md, "Objects").

A format is loaded only if an object's type comes from its library, which is then imported already: no import is wasted on
other formats.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.objects.base import Format, ReadFolder, WriteFolder
from artifactstore.runtime.entry_points import load, registered_for
from artifactstore.runtime.records import dataclass

__all__ = ["ENTRIES", "check_expected", "choose", "read_object", "runs_code", "write_object"]

_GROUP: Final = "artifactstore.formats"  # entry points: the name is the top-level module of the types, the value a format's class


@dataclass(frozen=True, slots=True)
class _Entry:
    """A built-in format.

    Attributes:
        name: name of the format.
        where: module (in `formats`) and class.
        tops: top-level modules of the types it stores; empty: any.
        extra: the extra to install for it.
        needs: modules that a put imports beside those of the types.
    """

    name: str
    where: str
    tops: frozenset[str] = frozenset()
    extra: str = ""
    needs: frozenset[str] = frozenset()


def _entry(name: str, where: str, tops: str = "", extra: str = "", needs: str = "") -> _Entry:
    return _Entry(name, where, frozenset(tops.split()), extra, frozenset(needs.split()))


ENTRIES: Final = (
    _entry("data", "data:Data", "builtins"),
    _entry("table", "tables:Table", "pandas polars pyarrow"),
    _entry("array", "arrays:Array", "numpy"),
    _entry("sparse", "arrays:Sparse", "scipy"),
    _entry("image", "images:Image", "PIL", "images"),
    _entry("figure", "images:Figure", "matplotlib", "images", "PIL"),
    _entry("xgboost", "boosting:XGBoost", "xgboost", "xgboost"),
    _entry("lightgbm", "boosting:LightGbm", "lightgbm", "lightgbm"),
    _entry("onnx", "boosting:Onnx", "onnx", "onnx"),
    _entry("keras", "keras:Keras", "keras", "keras"),
    _entry("pretrained", "pretrained:Pretrained"),
    _entry("tensors", "tensors:Tensors", "torch", "torch"),
    _entry("estimator", "estimators:Estimator", "sklearn", "sklearn", "skops"),
    _entry("arrays", "arrays:Arrays", "numpy"),
    _entry("json", "json:Json"),
    _entry("state", "states:State", "builtins", "torch"),
    _entry("members", "members:Members", "builtins"),
    _entry("text", "text:Text", "builtins"),
    _entry("pickle", "pickled:Pickled", "builtins"),
)


@cache
def _load(where: str) -> Format:
    module, _, name = where.partition(":")
    found: Format = getattr(import_module(f"artifactstore.objects.formats.{module}"), name)()
    return found


def _plugins(tops: Collection[str] | None = None) -> Iterator[Format]:
    for point in registered_for(_GROUP):
        if tops is None or point.name in tops:
            yield load(point, "format", make=True)


def _top_modules(obj: Any) -> set[str]:
    """Top-level modules of an object's type, and of the types of its direct members."""
    found = {kind.__module__.partition(".")[0] for kind in type(obj).__mro__}
    if isinstance(obj, Mapping | list | tuple):
        for member in obj.values() if isinstance(obj, Mapping) else obj:
            found.update(kind.__module__.partition(".")[0] for kind in type(member).__mro__)
    return found


def choose(obj: Any) -> Format | None:
    """Return the natural format for an object, or None."""
    tops = _top_modules(obj)
    for plugin in _plugins(tops):
        if plugin.matches(obj):
            return plugin
    for entry in ENTRIES:
        if not entry.tops or entry.tops & tops:
            found = _load(entry.where)
            if found.matches(obj):
                return found
    return None


def _format_named(name: str) -> Format | None:
    """Return the format with this name, or None."""
    entry = next((one for one in ENTRIES if one.name == name), None)
    if entry is not None:
        return _load(entry.where)
    return next((plugin for plugin in _plugins() if plugin.name == name), None)


def _format_names() -> str:
    """List the formats: this library's, then those of other packages."""
    return ", ".join(map(repr, dict.fromkeys([*(one.name for one in ENTRIES), *sorted(plugin.name for plugin in _plugins())])))


def check_expected(expected: Iterable[str | type]) -> None:
    """Check that what a put of some objects needs is installed, before the objects exist.

    Args:
        expected: names of formats or of the libraries that objects come from (`sklearn`), or types of objects.

    Raises:
        UnsupportedError: a library is not installed; names all that are missing, and how to install them.
        InvalidInputError: no format or library has such a name.
    """
    missing: dict[str, str] = {}
    for one in expected:
        names = {kind.__module__.partition(".")[0] for kind in one.__mro__} if isinstance(one, type) else {one}
        entries = [entry for entry in ENTRIES if entry.name in names or entry.tops & names - {"builtins"}]
        if not entries and isinstance(one, str) and not _is_installed(one) and _format_named(one) is None:
            raise InvalidInputError(f"expects={one!r}: no format and no installed library has this name{_nearest(one)}")
        for entry in entries:
            absent = {module for module in entry.needs if not _is_installed(module)}
            libraries = entry.tops & names or entry.tops - {"builtins"}
            if libraries and not any(map(_is_installed, libraries)):
                absent |= libraries
            missing |= dict.fromkeys(sorted(absent), _install_hint(entry.name))
    if missing:
        text = "; ".join(f"{module}: {hint}" for module, hint in missing.items())
        raise UnsupportedError(f"what is to be put needs what is not installed: {text}")


def _is_installed(module: str) -> bool:
    try:
        return sys.modules.get(module) is not None or find_spec(module) is not None
    except (ImportError, ValueError):  # a dotted name below what is missing, or a name that is none
        return False


def _nearest(name: str) -> str:
    known = {entry.name for entry in ENTRIES} | {top for entry in ENTRIES for top in entry.tops - {"builtins"}}
    near = get_close_matches(name, sorted(known), n=3)
    return f"; the nearest are {', '.join(near)}" if near else f"; formats: {_format_names()}"


def write_object(
    obj: Any,
    folder: WriteFolder,
    format: str | None = None,  # noqa: A002 - the public option's name
    options: Mapping[str, Any] | None = None,
) -> str:
    """Write an object and return the name of its format.

    Args:
        obj: the object.
        folder: target folder.
        format: name of a format, or None to choose by the object's type.
        options: options of the format.

    Raises:
        InvalidInputError: no format can store this object, the format given cannot, or it has no such option.
        UnsupportedError: a library that the format needs is not installed.
    """
    if format is not None:
        chosen = _format_named(format)
        if chosen is None:
            raise InvalidInputError(f"unknown format {format!r}; available formats: {_format_names()}")
    else:
        try:
            chosen = choose(obj)
        except RecursionError:
            raise InvalidInputError(f"a {type(obj).__qualname__} is nested too deeply to be stored, or contains itself") from None
        if chosen is None:
            raise InvalidInputError(
                f"cannot store an object of type {type(obj).__module__}.{type(obj).__qualname__}: {_reason(obj)}; save it "
                "to a file with its own library and put that file, or pass format='pickle', which is read back only with trust="
            )
    given = dict(options or {})
    _check_options(chosen, given, chosen.write_options, "put")
    try:
        chosen.write(obj, folder, **given)
    except ImportError as error:
        raise UnsupportedError(f"format={chosen.name!r} needs {error.name or error}: {_install_hint(chosen.name)}") from error
    return chosen.name


def read_object(format: str, folder: ReadFolder, options: Mapping[str, Any] | None = None) -> Any:  # noqa: A002
    """Read an object back from its files.

    Raises:
        UnsupportedError: the format is unknown to this version, its library is not installed, or the object is larger than
            memory.
        CorruptionError: the files are not of that format.
        UntrustedError: reading would run code, and the caller does not trust it.
        InvalidInputError: the format has no such option.
    """
    chosen = _format_named(format)
    if chosen is None:
        raise UnsupportedError(
            f"this object was stored as {format!r}, which this version cannot read: get its files with to=, or upgrade"
        )
    given = dict(options or {})
    _check_options(chosen, given, chosen.read_options, "get")
    if chosen.executes_code and all(entry.name != format for entry in ENTRIES):  # ours look at what would run
        folder.trust.check((), f"this object of the format {format!r}", "its format runs code that comes from the store")
    try:
        return chosen.read(folder, **given)
    except MemoryError as error:
        text = f"this object, stored as {format!r}, needs more memory than is available"
        raise UnsupportedError(f"{text}: get its files with to=, or read part of it") from error
    except ImportError as error:
        needs = error.name or str(error)
        raise UnsupportedError(
            f"this object was stored as {format!r}, and reading it needs {needs}: {_install_hint(format)}, or get its files with to="
        ) from error


def runs_code(format: str) -> bool:  # noqa: A002 - as above
    """Return whether reading this format runs code that comes from the store; of an unknown format that must be expected."""
    chosen = _format_named(format)
    return chosen is None or chosen.executes_code


def _reason(obj: Any) -> str:
    """Explain why an object cannot be stored; for a container, name the key or member."""
    none = "no format matches"
    if type(obj) not in (dict, list, tuple):
        return none
    if not obj:
        return f"{none} an empty container"
    for key, member in obj.items() if isinstance(obj, dict) else enumerate(obj):
        if isinstance(obj, dict) and not (isinstance(key, str) and key and "/" not in key):
            return f"the key {key!r:.100} cannot be a file name: it must be a str without '/'"
        if not isinstance(member, str) and choose(member) is None:
            inner = f" ({_reason(member)})" if type(member) in (dict, list, tuple) else ""
            return f"{none} the {type(member).__module__}.{type(member).__qualname__} at {key!r:.100}{inner}"
    return none


def _install_hint(name: str) -> str:
    extra = next((one.extra for one in ENTRIES if one.name == name), "")
    return f"pip install 'artifactstore-ml[{extra}]'" if extra else "install it"


def _check_options(chosen: Format, given: Mapping[str, Any], known: Collection[str], verb: str) -> None:
    if unknown := sorted(set(given) - set(known)):
        from artifactstore.habits.keywords import argument_hint  # noqa: PLC0415 - only for a message

        knows = ", ".join(known) or "none"
        hints = "".join(argument_hint(verb, one) for one in unknown)
        raise InvalidInputError(
            f"{verb} has no option {', '.join(unknown)} for format {chosen.name!r}{hints}; available: {knows}"
        )
