"""Pictures, boosters, ONNX, save_pretrained: each in a format of its own, with equal digests for equal things."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from artifactstore import CorruptionError, InvalidInputError, UntrustedError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.boosting import LightGbm, Onnx, XGBoost
from artifactstore.objects.formats.images import Image
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files

X = np.random.default_rng(0).random((100, 4))
Y = (X.sum(1) > 2).astype(int)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_comes_back_without_loss(store: Store, mode: str):
    pil = pytest.importorskip("PIL.Image")
    numbers = np.random.default_rng(1).integers(0, 256, (7, 5, 4), np.uint8)
    image = (
        pil.fromarray(numbers[:, :, :2].copy().view(np.uint16)[:, :, 0])
        if mode == "I;16"
        else pil.fromarray(numbers).convert(mode)
    )
    store.put(image, "i")
    back = store.get("i")
    assert (back.mode, back.size) == (image.mode, image.size)
    assert back.convert("RGBA" if mode == "P" else mode).tobytes() == image.convert("RGBA" if mode == "P" else mode).tobytes()
    assert store.put(image.copy()).digest == store.put(image).digest


def test_images_by_mode_palette_and_transparency_come_back_or_are_refused(store: Store):
    rng, count = np.random.default_rng(0), 0
    for mode, size in itertools.product(
        ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "PA", "RGBX"], [(1, 1), (7, 3), (9, 16)]
    ):
        image = PIL.Image.new(mode, size)
        image.frombytes(rng.integers(0, 256, len(image.tobytes()), np.uint8).tobytes())
        images = [image]
        if mode == "P":
            for colours, told in itertools.product([1, 2, 5, 16, 256], [None, 0, b"\0\x10\xff"]):
                some = PIL.Image.new("P", size)
                some.putdata([one % colours for one in range(size[0] * size[1])])
                some.putpalette(rng.integers(0, 256, colours * 3, np.uint8).tobytes())
                some.info |= {} if told is None else {"transparency": told}
                images.append(some)
        for one in images:
            try:
                store.put(one, "i")
            except InvalidInputError:
                assert mode in {"I", "F", "CMYK", "PA", "RGBX"} or (mode == "P" and one is image)  # which has no palette
                continue
            back = store.get("i")
            assert (back.mode, back.size, back.tobytes()) == (one.mode, one.size, one.tobytes())
            assert back.convert("RGBA").tobytes() == one.convert("RGBA").tobytes()
            count += 1
    assert count > 55


def test_images_of_which_a_part_would_be_lost_are_refused(store: Store):
    beyond = PIL.Image.new("P", (2, 2), 5)
    beyond.putpalette([1, 2, 3])
    with pytest.raises(InvalidInputError, match="would be read back as another"):
        store.put(beyond, "i")
    pictures = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        file = io.BytesIO()
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:])
        with PIL.Image.open(file) as moving, pytest.raises(InvalidInputError, match="2 frames"):
            store.put(moving, "i")
    file = io.BytesIO()
    PIL.Image.effect_noise((200, 200), 9).save(file, "JPEG")
    with PIL.Image.open(io.BytesIO(file.getvalue()[:3000])) as cut, pytest.raises(InvalidInputError, match="cannot be read"):
        store.put(cut, "i")


def test_a_mode_that_png_lacks_is_refused_with_the_ways_on(store: Store):
    pil = pytest.importorskip("PIL.Image")
    with pytest.raises(InvalidInputError, match=r"np\.asarray"):
        store.put(pil.new("CMYK", (2, 2)), "i")


def png(width: int, height: int) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


@pytest.mark.parametrize("raw", [b"", b"no picture", png(2**31 - 1, 2**31 - 1), png(20_000, 20_000), png(10_000, 8_000)[:60]])
def test_a_picture_that_lies_is_damaged(raw: bytes):
    pytest.importorskip("PIL.Image")
    with pytest.raises(CorruptionError):
        Image().read(MemoryFolder({"image.png": raw}))


def test_damage_in_a_profile_of_colours_is_damage():
    pytest.importorskip("PIL.Image")
    raw = png(20, 10)
    empty = struct.pack(">I", 0) + b"iCCP" + struct.pack(">I", zlib.crc32(b"iCCP"))
    with pytest.raises(CorruptionError):  # PIL: IndexError
        Image().read(MemoryFolder({"image.png": raw[:-12] + empty + raw[-12:]}))


@pytest.mark.slow
def test_a_picture_that_could_not_be_read_again_is_refused_when_it_is_put(store: Store, monkeypatch: pytest.MonkeyPatch):
    pil, figures = pytest.importorskip("PIL.Image"), pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 10_000)
    store.put(pil.new("L", (100, 100)), "i")
    assert store.get("i").size == (100, 100)
    for large in (pil.new("L", (101, 100)), figures.Figure(figsize=(2, 1))):
        with pytest.raises(InvalidInputError, match="MAX_IMAGE_PIXELS here and in every reader"):
            store.put(large, "large")
    with pytest.raises(InvalidInputError, match="0 x 5 pixels"):
        store.put(pil.new("RGB", (0, 5)), "empty")
    odd = pil.new("RGB", (2, 2))
    odd.info["transparency"] = "glass"
    with pytest.raises(InvalidInputError, match="transparency"):
        store.put(odd, "odd")
    with pytest.raises(InvalidInputError, match="dpi='fine'"):
        store.put(figures.Figure(figsize=(0.2, 0.1)), "f", dpi="fine")  # type: ignore[call-arg]
    assert [one.name for one in store.names()] == ["i"]


@pytest.mark.slow
def test_a_figure_is_the_picture_that_it_shows_and_the_same_each_time(store: Store):
    figures = pytest.importorskip("matplotlib.figure")

    def draw() -> Any:
        figure = figures.Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2, 3])
        return figure

    made = store.put(draw(), "f")
    assert store.put(draw(), "f").digest == made.digest
    assert store.get("f").size == (200, 100)
    assert store.put(draw(), "f", dpi=50).version == 2  # type: ignore[call-arg]
    assert store.get("f").size == (100, 50)


@pytest.mark.slow
def test_a_lightgbm_booster_and_its_estimator(store: Store, elsewhere: Callable[[str], str]):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    again = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
    made = store.put(model.booster_, "b")
    assert [one.path for one in made.files] == ["model.txt"]
    assert store.put(again.booster_, "b").version == 1
    assert np.allclose(store.get("b").predict(X), model.booster_.predict(X))
    store.put(model, "m")
    said = elsewhere(f"out = store.get('m').predict(np.array({X[:5].tolist()!r})).tolist()")
    assert said == str(model.predict(X[:5]).tolist())


def test_an_xgboost_booster_and_its_estimator(store: Store, elsewhere: Callable[[str], str]):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=3).fit(X, Y)
    made = store.put(model.get_booster(), "b")
    assert [one.path for one in made.files] == ["model.ubj"]
    assert store.put(xgboost.XGBClassifier(n_estimators=3).fit(X, Y).get_booster(), "b").version == 1
    assert np.allclose(store.get("b").predict(xgboost.DMatrix(X)), model.get_booster().predict(xgboost.DMatrix(X)))
    digest = store.put(model, "m").digest
    assert store.put(xgboost.XGBClassifier(n_estimators=3).fit(X, Y), "m").digest == digest
    said = elsewhere(f"out = store.get('m').predict(np.array({X[:5].tolist()!r})).tolist()")
    assert said == str(model.predict(X[:5]).tolist())


def test_an_onnx_model(store: Store):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    model = onnx.helper.make_model(graph)
    store.put(model, "o")
    assert store.get("o") == model


def test_a_zero_in_a_model_of_lightgbm_is_damage_and_not_the_end_of_the_process():
    lightgbm = pytest.importorskip("lightgbm")
    text = lightgbm.LGBMClassifier(n_estimators=1, verbose=-1).fit(X, Y).booster_.model_to_string()
    with pytest.raises(CorruptionError, match="zero byte"):
        LightGbm().read(MemoryFolder({"model.txt": text.replace("[min_data_per_group", "[min\0data_per_group").encode()}))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "library", "file"), [(XGBoost, "xgboost", "model.ubj"), (LightGbm, "lightgbm", "model.txt"), (Onnx, "onnx", "model.onnx")])  # fmt: skip
@pytest.mark.parametrize("raw", [b"", b"no model at all", b"\xff" * 100])
def test_a_damaged_model_is_damaged(kind: Any, library: str, file: str, raw: bytes):
    pytest.importorskip(library)
    if kind is Onnx and not raw:
        pytest.skip("no bytes are a model without a graph")
    with pytest.raises(CorruptionError):
        kind().read(MemoryFolder({file: raw}))


class Tokenizer:
    """Saves itself as Hugging Face's do."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def save_pretrained(self, path: str) -> None:
        Path(path, "deep").mkdir()
        Path(path, "deep/words.txt").write_text("\n".join(self.words))
        if "pickled" in self.words:
            Path(path, "model.bin").write_bytes(b"x")

    @classmethod
    def from_pretrained(cls, path: str) -> "Tokenizer":
        return cls(Path(path, "deep/words.txt").read_text().split("\n"))


def test_what_saves_itself_comes_as_a_folder_or_by_the_callers_class(store: Store, elsewhere: Callable[[str], str]):
    made = store.put(Tokenizer(["a", "b"]), "t")
    assert [one.path for one in made.files] == ["deep/words.txt"]
    assert (store.get("t") / "deep/words.txt").read_text() == "a\nb"
    assert store.get("t", type=Tokenizer).words == ["a", "b"]
    with pytest.raises(InvalidInputError, match="must be a class with from_pretrained"):
        store.get("t", type=dict)
    store.put(Tokenizer(["pickled"]), "u")
    code = "from tests.objects.test_families import Tokenizer\nout = store.get('u', type=Tokenizer%s)"
    assert elsewhere(code % "").startswith(UntrustedError.__name__)
    assert elsewhere(code % ", trust=True" + ".words[0]") == "pickled"


@pytest.mark.parametrize("best", [-1, 0, 1, 2, 3])
def test_a_booster_predicts_with_its_best_iteration_when_it_comes_back(best: int):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(X, Y).booster_
    model.best_iteration = best
    folder = WriteFolder()
    LightGbm().write(model, folder)
    files = as_files(folder)
    back = LightGbm().read(MemoryFolder(files))
    assert (back.predict(X) == model.predict(X)).all()
    assert sorted(files) == (["booster.json", "model.txt"] if best in {1, 2} else ["model.txt"])  # else digests would change
    for lie in (b"[]", b'{"best_iteration":9}', b'{"best_iteration":"1"}', b"x"):
        with pytest.raises(CorruptionError):
            LightGbm().read(MemoryFolder({**files, "booster.json": lie}))
