"""Models in formats of their own, which run nothing: XGBoost's and LightGBM's boosters, ONNX.

Their scikit-learn classes (`XGBClassifier`, `LGBMRegressor` …) are estimators, as in `estimators.py`.
"""

from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["LightGbm", "Onnx", "XGBoost"]


class XGBoost:
    """An `xgboost.Booster`, kept as `model.ubj` (universal binary JSON)."""

    name = "xgboost"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.ubj"

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a booster."""
        import xgboost  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, xgboost.Booster)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write its own format."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='xgboost' keeps an xgboost.Booster, not a {type(obj).__name__}")
        folder.add(self._FILE, bytes(obj.save_raw("ubj")))

    def read(self, folder: ReadFolder) -> Any:
        """Load it."""
        import xgboost  # noqa: PLC0415

        raw = folder.read(self._FILE)
        if not raw.startswith(b"{L") or not raw.endswith(b"}"):
            # XGBoost 3.2 aborts the process on no bytes, and never ends on some beginnings of a file.
            raise CorruptionError(f"{self._FILE} is no model of XGBoost's: it is cut, or something else", location=self._FILE)
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(raw))
        except xgboost.core.XGBoostError as error:
            raise CorruptionError(f"{self._FILE} is no model of XGBoost's: {str(error)[:200]}", location=self._FILE) from error
        return booster


class LightGbm:
    """A `lightgbm.Booster`, kept as `model.txt`."""

    name = "lightgbm"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.txt"

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a booster."""
        import lightgbm  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, lightgbm.Booster)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write its own format."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='lightgbm' keeps a lightgbm.Booster, not a {type(obj).__name__}")
        folder.add(self._FILE, obj.model_to_string(num_iteration=-1).encode())

    def read(self, folder: ReadFolder) -> Any:
        """Load it."""
        import lightgbm  # noqa: PLC0415

        try:
            text = folder.read(self._FILE).decode()
            if not text.startswith("tree\n") or "\0" in text:
                # LightGBM would say so on stderr, too; and 4.7 ends the process at a zero among its parameters.
                raise ValueError("it begins otherwise, or is no text")  # noqa: TRY301
            return lightgbm.Booster(model_str=text)
        except (ValueError, lightgbm.basic.LightGBMError) as error:
            raise CorruptionError(f"{self._FILE} is no model of LightGBM's: {str(error)[:200]}", location=self._FILE) from error


class Onnx:
    """An `onnx.ModelProto`, kept as `model.onnx`."""

    name = "onnx"
    executes_code = False
    write_options = ()
    read_options = ()
    _FILE: Final = "model.onnx"

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a model."""
        import onnx  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, onnx.ModelProto)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write its own format; maps in it are written in order."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='onnx' keeps an onnx.ModelProto, not a {type(obj).__name__}")
        folder.add(self._FILE, obj.SerializeToString(deterministic=True))

    def read(self, folder: ReadFolder) -> Any:
        """Parse it."""
        import onnx  # noqa: PLC0415
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        try:
            return onnx.load_from_string(folder.read(self._FILE))
        except DecodeError as error:
            raise CorruptionError(f"{self._FILE} is no ONNX model: {error}", location=self._FILE) from error
