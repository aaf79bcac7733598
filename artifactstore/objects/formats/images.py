"""Pictures as PNG: PIL's images without loss, Matplotlib's figures as they look."""

import io
import warnings
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Figure", "Image"]

_FILE: Final = "image.png"
_MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


class Image:
    """A `PIL.Image.Image` of a mode that PNG has, kept as `image.png`; what the file that it came from said besides is left out."""

    name = "image"
    executes_code = False
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is an image."""
        import PIL.Image  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, PIL.Image.Image)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write a PNG."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='image' keeps PIL's images, not a {type(obj).__name__}")
        if obj.mode not in _MODES:
            raise InvalidInputError(
                f"PNG has no mode {obj.mode!r}: convert the image ('RGB', 'L' …), or store its numbers: np.asarray(image)"
            )
        clean = obj.copy()
        clean.info = {key: value for key, value in obj.info.items() if key == "transparency"}
        with folder.open(_FILE) as file:
            clean.save(file, "PNG")

    def read(self, folder: ReadFolder) -> Any:
        """Read it; a picture that claims more pixels than PIL takes for sane is damaged."""
        return _read(folder)


class Figure:
    """A Matplotlib figure, kept as the PNG that it shows, without a word of who wrote it; it comes back as a picture."""

    name = "figure"
    executes_code = False
    write_options = ("dpi",)
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a figure."""
        from matplotlib.figure import Figure as Real  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, Real)

    def write(self, obj: Any, folder: WriteFolder, *, dpi: float | str = "figure") -> None:
        """Draw it as PNG."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='figure' keeps Matplotlib's figures, not a {type(obj).__name__}")
        with folder.open(_FILE) as file:
            obj.savefig(file, format="png", dpi=dpi, metadata={"Software": None})

    def read(self, folder: ReadFolder) -> Any:
        """Read the picture, as PIL's image."""
        return _read(folder)


def _read(folder: ReadFolder) -> Any:
    import PIL.Image  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(folder.read(_FILE)), formats=["PNG"])
            image.load()
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise CorruptionError(f"{_FILE} can't be read: {str(error)[:200]}", location=_FILE) from error
    return image
