"""The definitions of a project, out of a registry of Feast's: the same bytes for the same definitions, whenever they were applied.

A registry also has state: when something was applied or materialized, random ids, and the tables of an online store. None of it has
an influence on what is retrieved.
"""

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["definitions_of"]

# `meta` of each definition: when it was created, changed and materialized, its number and its random id. A registry in a file has a
# version of its own format and another random id of the project.
_STATE: Final = frozenset({
    "meta", "infra", "feature_view_version_history", "last_updated", "version_id", "project_metadata", "registry_schema_version",
})  # fmt: skip
_CLASS: Final = "data_source_class_type"  # which Feast sets for some objects, and not again when they are applied again
_BY_CLASS: Final = frozenset({"CUSTOM_SOURCE", "BATCH_ICEBERG"})  # types of sources for which Feast reads it


def definitions_of(registry: Any, project: str) -> bytes:
    """Return the definitions of a project: a serialized `feast.core.Registry`, which Feast's own class reads.

    Args:
        registry: the message.
        project: its name.
    """
    kept = type(registry)()
    kept.CopyFrom(registry)
    _clear_state(kept)
    for field, values in kept.ListFields():
        if _is_repeated(field):
            rows = sorted({one.SerializeToString(deterministic=True) for one in values if _project_of(one) in {project, ""}})
            kept.ClearField(field.name)
            for row in rows:
                getattr(kept, field.name).add().ParseFromString(row)
    return bytes(kept.SerializeToString(deterministic=True))


def _project_of(one: Any) -> str:
    """Return the project that a definition belongs to; an empty one if it says none."""
    spec = getattr(one, "spec", one)
    if type(one).__name__ == "Project":
        return str(spec.name)
    return str(getattr(spec, "project", "") or getattr(spec, "project_id", ""))


def _clear_state(message: Any) -> None:
    """Clear the state in a message, and in all that are in it."""
    for field, value in message.ListFields():
        if field.name in _STATE or (field.name == _CLASS and value.startswith("feast.") and _type_of(message) not in _BY_CLASS):
            message.ClearField(field.name)
            continue
        for one in _messages(message, field):
            _clear_state(one)


def _type_of(source: Any) -> str:
    """Return the type of a data source by its name."""
    found = source.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number.get(source.type)
    return "" if found is None else str(found.name)


def _messages(message: Any, field: Any) -> Iterator[Any]:
    """Yield the messages in a field."""
    if field.message_type is None:
        return
    value = getattr(message, field.name)
    if not _is_repeated(field):
        yield value
    elif not field.message_type.GetOptions().map_entry:
        yield from value
    elif field.message_type.fields_by_name["value"].message_type is not None:
        yield from value.values()


def _is_repeated(field: Any) -> bool:
    found = getattr(field, "is_repeated", None)  # of newer protobuf; `label` warns there
    return bool(field.label == field.LABEL_REPEATED if found is None else found)
