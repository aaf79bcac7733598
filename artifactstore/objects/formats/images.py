"""Images as PNG: PIL images without loss, Matplotlib figures as rendered."""

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
    """A `PIL.Image.Image` of a mode that PNG has, stored as `image.png`; other metadata of its original file is dropped."""

    name = "image"
    executes_code = False
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is an image."""
        import PIL.Image  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, PIL.Image.Image)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write a PNG."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='image' stores PIL images, not a {type(obj).__name__}")
        if obj.mode not in _MODES:
            raise InvalidInputError(
                f"PNG has no mode {obj.mode!r}: convert the image ('RGB', 'L' …), or store its pixels: np.asarray(image)"
            )
        _check_pixels(*obj.size)
        if (
            getattr(obj, "format", None) != "MPO" and (frames := getattr(obj, "n_frames", 1)) > 1
        ):  # whose other frames are previews
            text = f"the image has {frames} frames, but PNG stores one"
            raise InvalidInputError(f"{text}: put its original file, or its frames separately (PIL.ImageSequence)")
        try:
            clean = obj.copy()
        except (OSError, SyntaxError) as error:  # what PIL raises for truncated or damaged files
            raise InvalidInputError(f"the image cannot be read: {error}") from error
        clean.info = {key: value for key, value in obj.info.items() if key == "transparency"}
        with folder.open(_FILE) as file:
            try:
                clean.save(file, "PNG")
            except (ValueError, TypeError, KeyError, struct.error) as error:
                text = f"the image cannot be written as PNG ({error}): check its info['transparency'], or store np.asarray(image)"
                raise InvalidInputError(text) from error
            if clean.mode == "P" or clean.info:
                _compare(clean, file)

    def read(self, folder: ReadFolder) -> Any:
        """Read the image; one that claims more pixels than PIL's limit counts as damaged."""
        return _read(folder)


class Figure:
    """A Matplotlib figure, stored as a rendered PNG without metadata; it is read back as an image."""

    name = "figure"
    executes_code = False
    write_options = ("dpi",)
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a figure."""
        from matplotlib.figure import Figure as Real  # noqa: PLC0415 - loaded already, where there is one

        return isinstance(obj, Real)

    def write(self, obj: Any, folder: WriteFolder, *, dpi: float | str = "figure") -> None:
        """Render it as PNG."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='figure' stores Matplotlib figures, not a {type(obj).__name__}")
        with folder.open(_FILE) as file:
            try:
                obj.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
            except (ValueError, TypeError) as error:
                raise InvalidInputError(f"the figure cannot be drawn with dpi={dpi!r}: {error}") from error
            file.seek(16)  # the size is in the first chunk
            _check_pixels(*struct.unpack(">II", file.read(8)))

    def read(self, folder: ReadFolder) -> Any:
        """Read the image, as a PIL image."""
        return _read(folder)


def _compare(image: Any, file: IO[bytes]) -> None:
    """Reject an image that PIL would write as another: a pixel may have an index outside its palette."""
    import PIL.Image  # noqa: PLC0415

    file.seek(0)
    back = PIL.Image.open(file, formats=["PNG"])
    if (back.mode, back.tobytes(), _colours(back)) != (image.mode, image.tobytes(), _colours(image)):
        text = "the image would be read back as another image: it has pixels outside its palette"
        raise InvalidInputError(f"{text}, or a transparency that PNG does not support: convert it ('RGB', 'RGBA')")


def _colours(image: Any) -> bytes:
    return bytes(image.convert("RGBA").tobytes())


def _check_pixels(width: int, height: int) -> None:
    """Reject an image that could be stored but not read back."""
    import PIL.Image  # noqa: PLC0415

    most = PIL.Image.MAX_IMAGE_PIXELS
    if not width * height:
        raise InvalidInputError(
            f"an image of {width} x {height} pixels cannot be stored as PNG: store its pixels: np.asarray(image)"
        )
    if most is not None and width * height > most:
        raise InvalidInputError(
            f"PIL cannot read an image of {width:,} x {height:,} pixels, the limit is {most:,}: store its pixels, "
            "np.asarray(image), or set PIL.Image.MAX_IMAGE_PIXELS here and in every reader"
        )


def _read(folder: ReadFolder) -> Any:
    import PIL.Image  # noqa: PLC0415

    raw = folder.read(_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(raw), formats=["PNG"])
            image.load()
    except Exception as error:  # damaged chunks raise errors of every kind
        raise CorruptionError(f"{_FILE} cannot be read: {str(error)[:200]}", location=_FILE) from error
    return image
