"""What `dvc.yaml` defines of a stage: its folder, which outputs are metrics, and which are not in the cache.

Templates are resolved as far as a stage's own item or key and the file's own `vars` go; anything else in `${…}` stands for any text.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Definition", "definition_of", "flat_numbers", "flat_params", "top_metrics"]

_TEMPLATE: Final = re.compile(r"\$\{\s*([^}]*?)\s*\}")
_DEFAULT: Final = "params.yaml"
_DEEPEST: Final = 64  # levels of a metrics file


@dataclass(frozen=True, slots=True)
class Definition:
    """A stage as `dvc.yaml` defines it.

    Attributes:
        wdir: the folder that its paths are relative to.
        listed: (pattern of a path, what is said of it, whether it is a metric).
        models: patterns of paths that are models.
    """

    wdir: str = "."
    listed: tuple[tuple[re.Pattern[str], Mapping[str, Any], bool], ...] = ()
    models: tuple[re.Pattern[str], ...] = ()

    def about(self, path: str) -> Mapping[str, Any]:
        """Return what is said of an output."""
        return next((about for pattern, about, _ in self.listed if pattern.fullmatch(path)), {})

    def is_metric(self, path: str) -> bool:
        """Return whether an output has metrics."""
        return next((metric for pattern, _, metric in self.listed if pattern.fullmatch(path)), False)

    def is_model(self, path: str) -> bool:
        """Return whether an output is a model."""
        return any(pattern.fullmatch(path) for pattern in self.models)


@dataclass(slots=True)
class _Scope:
    """What a stage's templates may name: the item and the key of a `foreach`, the items of a `matrix`, and `vars` in the file itself."""

    values: dict[str, str] = field(default_factory=dict)

    def text(self, text: str) -> str:
        """Return a text with what is known filled in."""
        return _TEMPLATE.sub(lambda match: self.values.get(match[1], match[0]), text)

    def pattern(self, text: str) -> re.Pattern[str]:
        """Return the pattern of a path: what is not known may be anything."""
        path = re.sub(r"^(?:\./)+", "", self.text(text)).rstrip("/")
        return re.compile(
            "".join(re.escape(one) if not k % 2 else ".*" for k, one in enumerate(_TEMPLATE.split(path))), re.DOTALL
        )


def definition_of(pipeline: Any, name: str) -> Definition:
    """Return what `dvc.yaml` defines of a stage; nothing, where it does not define it."""
    stages = pipeline.get("stages") if isinstance(pipeline, Mapping) else None
    if not isinstance(stages, Mapping):
        return Definition()
    group, _, item = name.partition("@")
    inline = pipeline.get("vars")
    known = [value for one in (inline if isinstance(inline, list) else ()) if isinstance(one, Mapping) for value in one.items()]
    stage, scope = stages.get(name), _Scope({key: text for name, one in known for key, text in _flat_texts(str(name), one)})
    if not isinstance(stage, Mapping) and isinstance(stages.get(group), Mapping):
        stage = stages[group]
        scope.values |= dict(_items(stage, item))
        if isinstance(stage.get("do"), Mapping):
            stage = stage["do"]
    if not isinstance(stage, Mapping):
        return Definition()
    wdir = stage.get("wdir")
    artifacts = pipeline.get("artifacts")
    models = tuple(
        scope.pattern(one["path"])
        for one in (artifacts.values() if isinstance(artifacts, Mapping) else ())
        if isinstance(one, Mapping) and one.get("type") == "model" and isinstance(one.get("path"), str)
    )
    listed = tuple(
        (scope.pattern(path), about, section == "metrics")
        for section in ("metrics", "outs", "plots")
        for path, about in _entries(stage.get(section))
    )
    return Definition(scope.text(wdir) if isinstance(wdir, str) and wdir else ".", listed, models)


def _items(stage: Mapping[str, Any], item: str) -> Iterator[tuple[str, str]]:
    """Yield what the templates of one of a group's stages may name."""
    each, matrix = stage.get("foreach"), stage.get("matrix")
    if isinstance(each, Mapping):
        yield "key", item
        value = next((one for key, one in each.items() if str(key) == item), None)
        yield from _flat_texts("item", value)
    elif isinstance(each, list):
        found = next((one for one in each if str(one) == item), None)
        if found is None and item.isdigit() and int(item) < len(each):
            found = each[int(item)]
        yield from _flat_texts("item", item if found is None else found)
    elif each is not None:
        yield "item", item
        yield "key", item
    if isinstance(matrix, Mapping):
        left = item
        for number, (key, values) in enumerate(matrix.items()):
            known = [str(one) for one in values if not isinstance(one, list | dict)] if isinstance(values, list) else []
            last = number == len(matrix) - 1
            fits = [one for one in known if left == one or (not last and left.startswith(f"{one}-"))]
            if not fits:
                return
            best = max(fits, key=len)
            yield f"item.{key}", best
            left = left[len(best) + 1 :]


def _flat_texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat_texts(f"{name}.{key}", one)
    elif not isinstance(value, list) and value is not None:
        yield name, str(value)


def _entries(section: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, what is said of it) of a list of outputs."""
    for one in section if isinstance(section, list) else ():
        if isinstance(one, str):
            yield one, {}
        elif isinstance(one, Mapping):
            for path, about in one.items():
                yield str(path), about if isinstance(about, Mapping) else {}


def top_metrics(pipeline: Any) -> Iterator[str]:
    """Yield the paths of the metrics files that `dvc.yaml` lists apart from its stages, as DVCLive does."""
    metrics = pipeline.get("metrics") if isinstance(pipeline, Mapping) else None
    yield from (one for one in (metrics if isinstance(metrics, list) else ()) if isinstance(one, str))


def flat_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameter → value; those of other files than `params.yaml` begin with the file's name."""
    found: dict[str, Any] = {}
    for file, values in params.items():
        if isinstance(values, Mapping):
            found |= {key if file == _DEFAULT else f"{file}:{key}": value for key, value in _leaves(values, "")}
    return found


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of what is in nested mappings, with dots between the keys."""
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, name)
        else:
            yield name, value


def flat_numbers(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield (name, number) of the numbers in a metrics file, with dots between the keys; not of those that are too deep or too large."""
    if isinstance(value, Mapping) and depth < _DEEPEST:
        for key, one in value.items():
            yield from flat_numbers(one, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and prefix.isprintable() and prefix:
        with suppress(OverflowError):
            yield prefix, float(value)
