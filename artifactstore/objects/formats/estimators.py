"""scikit-learn estimators and pipelines, stored by skops: types and numbers are checked before any object is built.

skops (https://skops.readthedocs.io) writes a zip of a schema and arrays, and identifies objects by their memory addresses.
Here objects are renumbered in order of appearance, arrays are files of their own, and the padding of records is zeroed: equal
models, also a model that was fitted again with the same result, have the same digest.

Reading builds objects of the types that the schema names. Besides skops's own list, this library trusts the types in
`_EVERYDAY`: each contains only numbers, and its constructor and state run no code from the file.
"""

import io
import json
import zipfile
from contextlib import suppress
from typing import Any, Final

from artifactstore.errors import CorruptionError, NotFoundError
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json, zipped
from artifactstore.objects.bounds.estimator import check_objects, check_schema
from artifactstore.objects.bounds.forest import UnknownModelError
from artifactstore.objects.formats.arrays import read_header
from artifactstore.objects.formats.pickled import Pickled
from artifactstore.objects.formats.sameness import is_plain, what_differs
from artifactstore.objects.memory_limit import check_memory
from artifactstore.runtime.remarks import remark

__all__ = ["Estimator"]

_SCHEMA: Final = "schema.json"
_MAX_SCHEMA: Final = 256 * 2**20  # max bytes of a schema
# Parts of common scikit-learn models that skops does not trust by default: exact names, each reviewed
# (docs/decisions/0020): they contain numbers and arrays, or column names. Scorers compute from their arguments alone.
_EVERYDAY: Final = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMModel",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.metrics._classification.accuracy_score",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._classification.brier_score_loss",
        "sklearn.metrics._classification.f1_score",
        "sklearn.metrics._classification.jaccard_score",
        "sklearn.metrics._classification.log_loss",
        "sklearn.metrics._classification.matthews_corrcoef",
        "sklearn.metrics._classification.precision_score",
        "sklearn.metrics._classification.recall_score",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._ranking.average_precision_score",
        "sklearn.metrics._ranking.roc_auc_score",
        "sklearn.metrics._ranking.top_k_accuracy_score",
        "sklearn.metrics._regression.explained_variance_score",
        "sklearn.metrics._regression.max_error",
        "sklearn.metrics._regression.mean_absolute_error",
        "sklearn.metrics._regression.mean_absolute_percentage_error",
        "sklearn.metrics._regression.mean_squared_error",
        "sklearn.metrics._regression.mean_squared_log_error",
        "sklearn.metrics._regression.median_absolute_error",
        "sklearn.metrics._regression.r2_score",
        "sklearn.metrics._regression.root_mean_squared_error",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.GroupKFold",
        "sklearn.model_selection._split.GroupShuffleSplit",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.LeaveOneGroupOut",
        "sklearn.model_selection._split.LeaveOneOut",
        "sklearn.model_selection._split.LeavePGroupsOut",
        "sklearn.model_selection._split.LeavePOut",
        "sklearn.model_selection._split.RepeatedKFold",
        "sklearn.model_selection._split.RepeatedStratifiedKFold",
        "sklearn.model_selection._split.ShuffleSplit",
        "sklearn.model_selection._split.StratifiedGroupKFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.model_selection._split.StratifiedShuffleSplit",
        "sklearn.model_selection._split.TimeSeriesSplit",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)


class Estimator:
    """A scikit-learn estimator, stored as `schema.json` and arrays; with a warning as a pickle if skops cannot store it."""

    name = "estimator"
    executes_code = False
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is an estimator."""
        import sklearn.base  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, sklearn.base.BaseEstimator)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write it, renumbered."""
        import skops.io  # noqa: PLC0415

        try:
            raw = skops.io.dumps(obj, compression=zipfile.ZIP_STORED)
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                schema = json.loads(archive.read(_SCHEMA))
                check_schema(schema, archive.read)
            check_objects(obj)
            if (nowhere := _nowhere(schema)) is not None:
                raise TypeError(f"{nowhere} cannot be imported")  # noqa: TRY301 - the error that skops raises for this
            if not is_plain(schema, obj):
                back = skops.io.loads(raw, trusted=skops.io.get_untrusted_types(data=raw))
                if (where := what_differs(obj, back)) is not None:
                    raise TypeError(f"{where} would be read back as something else")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - skops raises any exception if it cannot
            text = (
                f"{type(obj).__name__} is stored as a pickle, which can be read only with trust=: skops cannot store it ({error})"
            )
            remark(text)
            Pickled().write(obj, folder)
            return
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            numbers: dict[Any, int] = {}
            files: dict[str, str] = {}
            folder.add(_SCHEMA, json.dumps(_renumber(schema, numbers, files), ensure_ascii=False, separators=(",", ":")).encode())
            for before, after in files.items():
                data = archive.read(before)
                folder.add(after, *(_without_padding(data, before) if after.endswith(".npy") else [data]))

    def read(self, folder: ReadFolder) -> Any:
        """Rebuild the estimator.

        Raises:
            UntrustedError: the schema names types trusted by neither skops nor this library.
        """
        if "data.pickle" in folder.names:
            return Pickled().read(folder)
        import skops.io  # noqa: PLC0415

        if folder.size(_SCHEMA) > _MAX_SCHEMA:
            raise CorruptionError(f"{_SCHEMA} has {folder.size(_SCHEMA):,} bytes: too large for a model", location=_SCHEMA)
        schema = stored_json(folder, _SCHEMA)
        _check_unpacked(schema, folder)
        raw = zipped(folder)
        made = None
        with suppress(Exception):  # whatever it is, is found and named below
            check_schema(schema, folder.read)
            made = skops.io.loads(raw, trusted=sorted(_EVERYDAY))  # refuses all other types before it makes anything
        if made is None:
            made = _asked(schema, raw, folder)
        try:
            check_objects(made)
        except ValueError as error:
            raise CorruptionError(f"the estimator is inconsistent: {str(error)[:300]}", location=_SCHEMA) from error
        return made


def _asked(schema: Any, raw: bytes, folder: ReadFolder) -> Any:
    """Rebuild an estimator with types that must be trusted; or tell why it cannot be rebuilt.

    Raises:
        UntrustedError: its user does not trust them.
        CorruptionError: it is inconsistent.
    """
    import skops.io  # noqa: PLC0415

    try:
        strange = set(skops.io.get_untrusted_types(data=raw)) - _EVERYDAY
    except Exception as error:
        raise CorruptionError(f"{_SCHEMA} is not a skops schema: {str(error)[:300]}", location=_SCHEMA) from error
    if strange:
        folder.trust.check(strange, "this estimator", "it contains types that are not known to be safe")
    try:
        check_schema(schema, folder.read)
    except UnknownModelError as error:
        folder.trust.check((), "this estimator", f"it contains a booster with {error}, which this version cannot check")
    except (ValueError, TypeError, KeyError, NotFoundError) as error:
        raise CorruptionError(f"the estimator is inconsistent: {str(error)[:300]}", location=_SCHEMA) from error
    try:
        return skops.io.loads(raw, trusted=sorted(strange | _EVERYDAY))
    except Exception as error:
        raise CorruptionError(
            f"the estimator cannot be rebuilt: {type(error).__name__}: {str(error)[:300]}; was it stored with another "
            "version of scikit-learn or skops? Get its files with to=",
            location=_SCHEMA,
        ) from error


def _check_unpacked(schema: Any, folder: ReadFolder) -> None:
    """Reject what would not fit into memory: sparse matrices are stored compressed, and one file may be referenced many times."""
    sizes: dict[str, int] = {}
    for name in folder.names:
        sizes[name] = folder.size(name)
        with folder.open(name) as file:
            if file.read(4) == b"PK\x03\x04":
                try:
                    with zipfile.ZipFile(file) as archive:
                        sizes[name] = sum(one.file_size for one in archive.infolist())
                except (zipfile.BadZipFile, ValueError, OSError) as error:
                    raise CorruptionError(f"{name} cannot be read: {error}", location=name) from error
    total, todo = 0, [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            file_name = node.get("file")
            total += sizes.get(file_name, 0) if isinstance(file_name, str) else 0
        todo += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    check_memory(total, "this estimator", "get its files with to=")


def _nowhere(node: Any) -> str | None:
    """Return the name of a function or class that cannot be imported: skops writes `<lambda>` but cannot read it."""
    if isinstance(node, dict):
        for key in ("__class__", "function"):
            name = node.get(key)
            if isinstance(name, str) and ("<lambda>" in name or "<locals>" in name):
                return name
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if (found := _nowhere(value)) is not None:
            return found
    return None


def _renumber(node: Any, numbers: dict[Any, int], files: dict[str, str]) -> Any:
    """Renumber objects and files in order of appearance; values without identity (text, numbers, types) get a number each."""
    if isinstance(node, list):
        return [_renumber(item, numbers, files) for item in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key == "__id__":
            plain = node.get("__loader__") in {"JsonNode", "TypeNode"}
            mark = (len(numbers), "plain") if plain else value
            made[key] = numbers.setdefault(mark, len(numbers))
        elif key == "file" and isinstance(value, str):
            made[key] = files.setdefault(value, f"{len(files):06}.{value.rpartition('.')[2]}")
        else:
            made[key] = _renumber(value, numbers, files)
    return made


def _without_padding(raw: bytes, name: str) -> list[bytes | memoryview]:
    """Return a `.npy` file, as parts, with zeros between the fields of its records, which contain arbitrary memory."""
    import numpy as np  # noqa: PLC0415

    _, _, dtype, start = read_header(io.BytesIO(raw), name)
    if not dtype.names or not dtype.itemsize:
        return [raw]
    array = np.frombuffer(raw, dtype, offset=start)
    clean: Any = np.zeros(array.shape, dtype)
    for field in dtype.names:
        clean[field] = array[field]
    return [raw[:start], memoryview(clean.view(np.uint8))]
