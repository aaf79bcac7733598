"""Pictures as PNG: PIL's images without loss, Matplotlib's figures as they look."""

import io
import struct
import warnings
from typing import IO, Any, Final

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
        _check_pixels(*obj.size)
        if (
            getattr(obj, "format", None) != "MPO" and (frames := getattr(obj, "n_frames", 1)) > 1
        ):  # of which the others are previews
            text = f"the image has {frames} frames, and PNG keeps one"
            raise InvalidInputError(f"{text}: put the file that it came from, or frames one by one (PIL.ImageSequence)")
        try:
            clean = obj.copy()
        except (OSError, SyntaxError) as error:  # what PIL says of files that are cut off or damaged
            raise InvalidInputError(f"the image can't be read: {error}") from error
        clean.info = {key: value for key, value in obj.info.items() if key == "transparency"}
        with folder.open(_FILE) as file:
            try:
                clean.save(file, "PNG")
            except (ValueError, TypeError, KeyError, struct.error) as error:
                text = (
                    f"the image can't be written as PNG ({error}): look at its info['transparency'], or store np.asarray(image)"
                )
                raise InvalidInputError(text) from error
            if clean.mode == "P" or clean.info:
                _compare(clean, file)

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
            try:
                obj.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
            except (ValueError, TypeError) as error:
                raise InvalidInputError(f"the figure can't be drawn with dpi={dpi!r}: {error}") from error
            file.seek(16)  # the size is in the first chunk
            _check_pixels(*struct.unpack(">II", file.read(8)))

    def read(self, folder: ReadFolder) -> Any:
        """Read the picture, as PIL's image."""
        return _read(folder)


def _compare(image: Any, file: IO[bytes]) -> None:
    """Refuse an image that PIL writes as another: a pixel may have a number that its palette does not have."""
    import PIL.Image  # noqa: PLC0415

    file.seek(0)
    back = PIL.Image.open(file, formats=["PNG"])
    if (back.mode, back.tobytes(), _colours(back)) != (image.mode, image.tobytes(), _colours(image)):
        text = "the image would come back as another one: it has pixels of colours that its palette does not have"
        raise InvalidInputError(f"{text}, or a transparency that PNG does not know: convert it ('RGB', 'RGBA')")


def _colours(image: Any) -> bytes:
    return bytes(image.convert("RGBA").tobytes())


def _check_pixels(width: int, height: int) -> None:
    """Refuse a picture that would be stored and could not be read again."""
    import PIL.Image  # noqa: PLC0415

    most = PIL.Image.MAX_IMAGE_PIXELS
    if not width * height:
        raise InvalidInputError(
            f"an image of {width} x {height} pixels has no place in PNG: store its numbers: np.asarray(image)"
        )
    if most is not None and width * height > most:
        raise InvalidInputError(
            f"PIL reads no image of {width:,} x {height:,} pixels, which are more than {most:,}: store its numbers, "
            "np.asarray(image), or set PIL.Image.MAX_IMAGE_PIXELS here and where it is read"
        )


def _read(folder: ReadFolder) -> Any:
    import PIL.Image  # noqa: PLC0415

    raw = folder.read(_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(raw), formats=["PNG"])
            image.load()
    except Exception as error:  # damaged chunks end in errors of every kind
        raise CorruptionError(f"{_FILE} can't be read: {str(error)[:200]}", location=_FILE) from error
    return image
