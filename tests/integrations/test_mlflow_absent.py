"""Where MLflow is not installed, an import from it is one clear error."""

import sys
from pathlib import Path

import pytest

import artifactstore
from artifactstore.errors import UnsupportedError
from artifactstore.integrations.mlflow import import_from


def test_an_import_without_mlflow_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "artifactstore.integrations.mlflow.importing", raising=False)
    with pytest.raises(UnsupportedError, match="pip install mlflow"):
        import_from(artifactstore.open(tmp_path / "store"), "sqlite:///mlflow.db", name="ml")
    assert not (tmp_path / "store").exists()
