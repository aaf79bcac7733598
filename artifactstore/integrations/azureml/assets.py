"""Assets: a folder with an artifact's files and the YAML that registers them, and the way back from a mounted folder.

Source: the YAML schemas of models and data of Azure Machine Learning (CLI v2).
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.integrations.recognised import recognised
from artifactstore.runtime.atomic_files import refuse_existing, staged
from artifactstore.store import Store

__all__ = ["export", "model"]

_SCHEMAS: Final = "https://azuremlschemas.azureedge.net/latest"
_NAME: Final = 255  # characters of an asset's name
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")


def export(store: Store, ref: str, to: str) -> str:
    """Write an artifact's files and the YAML of the asset: `model.yml` for a model, `data.yml` for anything else.

    `az ml model create --file DIR/model.yml` registers it. A folder with an `MLmodel` is an `mlflow_model`, another model a
    `custom_model`, data a `uri_folder`.

    Args:
        store: the store.
        ref: the artifact.
        to: a new folder.

    Returns:
        The path of the YAML file.

    Raises:
        AlreadyExistsError: the folder exists.
        BackendError: it cannot be written; nothing half-written is there.
    """
    artifact, target = store.artifact(ref), Path(to)
    refuse_existing(target)
    is_model = artifact.kind == "model"
    file = "model.yml" if is_model else "data.yml"
    with staged(target.absolute()) as part:
        part.mkdir(parents=True)
        store.get(artifact.digest, part / "files")
        (part / "files").mkdir(exist_ok=True)  # of an artifact without files
        (part / file).write_text(_yaml(_asset(artifact, is_model=is_model)), encoding="utf-8")
        part.rename(target)
    return str(target / file)


def _asset(artifact: Any, *, is_model: bool) -> dict[str, Any]:
    name = _NOT_IN_NAMES.sub("-", artifact.name or artifact.digest.replace(":", "-")).strip("-.")[:_NAME]
    kind = (
        ("mlflow_model" if any(one.path == "MLmodel" for one in artifact.files) else "custom_model") if is_model else "uri_folder"
    )
    tags = {"artifactstore.digest": artifact.digest, "artifactstore.ref": artifact.ref, "artifactstore.uri": artifact.uri}
    found: dict[str, Any] = {
        "$schema": f"{_SCHEMAS}/{'model' if is_model else 'data'}.schema.json",
        "name": name,
        "version": str(artifact.version or 1),
        "type": kind,
        "path": "files",
    }
    described = artifact.metadata.get("description")
    if isinstance(described, str) and described:
        found["description"] = described
    return {**found, "tags": tags}


def _yaml(value: Mapping[str, Any]) -> str:
    """Return a mapping of texts, one level of mappings inside of it, as YAML: each text as JSON writes it, which YAML reads."""
    lines: list[str] = []
    for key, one in value.items():
        if isinstance(one, Mapping):
            lines += [f"{json.dumps(key)}:", *(f"  {json.dumps(inner)}: {json.dumps(text)}" for inner, text in one.items())]
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(one)}")
    return "\n".join(lines) + "\n"


def model(store: Store, path: str | os.PathLike[str] | None = None) -> Any:
    """Return which artifact a mounted model is, by its content.

    Args:
        store: the store.
        path: the folder; by default `$AZUREML_MODEL_DIR`, or the only folder in it.

    Raises:
        InvalidInputError: no folder is named, or there is none.
        NotFoundError: the store has no artifact with this content.
    """
    given = path if path is not None else os.environ.get("AZUREML_MODEL_DIR")
    if not given:
        raise InvalidInputError("no folder is named: pass path=, or run where AZUREML_MODEL_DIR is set")
    folder = Path(given)
    if not folder.is_dir():
        raise InvalidInputError(f"no such folder: {folder}")
    inner = [one for one in folder.iterdir() if not one.name.startswith(".")]
    tried = [folder, *(inner if len(inner) == 1 and inner[0].is_dir() else ())]
    for one in tried:
        if (ref := recognised(store, one)) is not None:
            return store.artifact(ref)
    raise NotFoundError(f"no artifact in this store has the content of {folder}: it was changed, or is of another store")
