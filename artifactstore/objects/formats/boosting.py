"""Models in native formats that run no code: XGBoost and LightGBM boosters, ONNX.

Their scikit-learn classes (`XGBClassifier`, `LGBMRegressor` …) are stored as estimators (`estimators.py`).
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json
from artifactstore.objects.bounds.forest import UnknownModelError
from artifactstore.objects.bounds.lightgbm_text import check_lightgbm
from artifactstore.objects.bounds.xgboost_ubj import check_xgboost
from artifactstore.runtime.remarks import remark

__all__ = ["LightGbm", "Onnx", "XGBoost"]

T = TypeVar("T")


def _check_own(check: Callable[[T], None], model: T, what: str) -> None:
    """Reject what could not be read back: a model that its own library would not have written."""
    try:
        check(model)
    except UnknownModelError as error:
        remark(f"{what} can be read only with trust=: it has {error}, which this version cannot check")
    except ValueError as error:
        raise InvalidInputError(f"{what} is inconsistent ({error}): train it again, or pass format='pickle'") from error


def _check_stored(check: Callable[[T], None], model: T, folder: ReadFolder, name: str, library: str) -> None:
    """Check a stored model before its library's compiled reader sees it.

    Raises:
        CorruptionError: the library would not have written it.
        UntrustedError: it has parts that this version cannot check, and the caller does not trust it.
    """
    try:
        check(model)
    except UnknownModelError as error:
        why = f"it has {error}, which this version cannot check, and {library}'s compiled reader would follow it"
        folder.trust.check((), f"this {library} model", why)
    except ValueError as error:
        raise CorruptionError(f"{name} is not a valid {library} model: {str(error)[:200]}", location=name) from error


class XGBoost:
    """An `xgboost.Booster`, stored as `model.ubj` (universal binary JSON)."""

    name = "xgboost"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.ubj"

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a booster."""
        import xgboost  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, xgboost.Booster)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write the library's own format."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='xgboost' stores an xgboost.Booster, not a {type(obj).__name__}")
        raw = bytes(obj.save_raw("ubj"))
        _check_own(check_xgboost, raw, "this booster")
        folder.add(self._FILE, raw)

    def read(self, folder: ReadFolder) -> Any:
        """Load it, after checking that every index is in bounds."""
        import xgboost  # noqa: PLC0415

        raw = folder.read(self._FILE)
        _check_stored(check_xgboost, raw, folder, self._FILE, "XGBoost")
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(raw))
        except xgboost.core.XGBoostError as error:
            raise CorruptionError(
                f"{self._FILE} is not a valid XGBoost model: {str(error)[:200]}", location=self._FILE
            ) from error
        return booster


class LightGbm:
    """A `lightgbm.Booster`, stored as `model.txt`; with `booster.json` if it predicts with some of its trees only."""

    name = "lightgbm"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.txt"
    _BEST: Final = "booster.json"

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a booster."""
        import lightgbm  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, lightgbm.Booster)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write the library's own format."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='lightgbm' stores a lightgbm.Booster, not a {type(obj).__name__}")
        text = obj.model_to_string(num_iteration=-1)
        _check_own(check_lightgbm, text, "this booster")
        folder.add(self._FILE, text.encode())
        best = obj.best_iteration
        if 0 < best < obj.current_iteration():  # it predicts with these trees only, which its text does not record
            folder.add(self._BEST, canonical_json({"best_iteration": best}))

    def read(self, folder: ReadFolder) -> Any:
        """Load it, after checking that every index is in bounds."""
        import lightgbm  # noqa: PLC0415

        try:
            text = folder.read(self._FILE).decode()
        except UnicodeDecodeError as error:
            raise CorruptionError(f"{self._FILE} is not a valid LightGBM model: {error}", location=self._FILE) from error
        record = stored_json(folder, self._BEST) if self._BEST in folder.names else {}
        best = record.get("best_iteration", -1) if isinstance(record, dict) else None
        if type(best) is not int:
            raise CorruptionError(f"{self._BEST} does not have a best_iteration", location=self._BEST)
        _check_stored(check_lightgbm, text, folder, self._FILE, "LightGBM")
        try:
            made = lightgbm.Booster(model_str=text)
            if best > 0 and best > made.current_iteration():
                raise ValueError(f"its best iteration is {best}, but it has {made.current_iteration()} iterations")  # noqa: TRY301
        except (ValueError, RecursionError, lightgbm.basic.LightGBMError) as error:
            raise CorruptionError(
                f"{self._FILE} is not a valid LightGBM model: {str(error)[:200]}", location=self._FILE
            ) from error
        made.best_iteration = best
        return made


class Onnx:
    """An `onnx.ModelProto`, stored as `model.onnx`."""

    name = "onnx"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.onnx"

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a model."""
        import onnx  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, onnx.ModelProto)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write ONNX's own format, with maps in sorted order."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='onnx' stores an onnx.ModelProto, not a {type(obj).__name__}")
        folder.add(self._FILE, obj.SerializeToString(deterministic=True))

    def read(self, folder: ReadFolder) -> Any:
        """Parse the model."""
        import onnx  # noqa: PLC0415
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        try:
            return onnx.load_from_string(folder.read(self._FILE))
        except DecodeError as error:
            raise CorruptionError(f"{self._FILE} is not an ONNX model: {error}", location=self._FILE) from error
