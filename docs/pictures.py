"""Pictures of the documents, drawn by the library from a store that is made for them, and from the contracts of the imports.

The site draws them while it is built (hooks.py). `python docs/pictures.py` writes those that README and the pages show elsewhere.
"""

import ast
import math
import os
import random
import re
import tomllib
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import cache, partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import charts

__all__ = ["PICTURES", "about", "style_sheet"]

_ROOT: Final = Path(__file__).parents[1]
_TURN: Final = re.compile(r"@media \(prefers-color-scheme:dark\)\{svg\.asl\{([^}]*)\}\}.*\{([^}]*)\}</style>", re.DOTALL)


@cache
def _story() -> dict[str, str]:
    """Make a small store as the tutorial does, and return its lineage and a card."""
    os.environ["ARTIFACTSTORE_ACTOR"] = "ada"
    import artifactstore  # noqa: PLC0415 - after its variable is set

    with TemporaryDirectory() as folder:
        store = artifactstore.open(Path(folder, "store"), cache=None)
        labels = Path(folder, "labels.csv")
        labels.write_text("id,label\n" + "".join(f"{i},{i % 3}\n" for i in range(400)), encoding="utf-8")
        store.put(labels, "churn/labels", reason="delivery of November")
        store.put({"rows": [[i, i * i % 7] for i in range(400)]}, "churn/raw", reason="delivery of November")
        with store.run("prepare", params={"scale": 2}, code=False) as run:
            rows = run.get("churn/raw")["rows"]
            run.get("churn/labels")
            run.put({"rows": [[2 * x, y] for x, y in rows]}, "churn/features")
        with store.run("train", params={"depth": 8}, code=False) as run:
            run.get("churn/features")
            run.put(b"weights " * 4000, "churn/model", kind="model", metrics={"auc": 0.91})
        store.alias("churn/model:v1", "production", expect=None, reason="validated")
        dice = random.Random(7)  # noqa: S311 - numbers of a picture
        with store.run("collect", code=False) as run:
            run.get("churn/raw")
            run.put(_customers(dice), "churn/customers", metadata={"source": "crm"}, description="One row a customer.")
        store.alias("churn/customers:v1", "november", expect=None, reason="delivery of November")
        for _ in range(24):
            rate, depth = 10 ** dice.uniform(-4, -1), dice.choice([2, 4, 8])
            with store.run(
                "sweep", params={"lr": rate, "depth": depth, "optimizer": dice.choice(["adam", "sgd"])}, code=False
            ) as run:
                run.log(auc=0.75 + 0.05 * math.tanh(math.log10(rate) + 2.5) + depth / 100 + dice.gauss(0, 0.01))
        artifact: Any = store.artifact("churn/customers:november")
        lineage: Any = store.lineage("churn/model:production")
        sweep = store.runs("sweep").parallel(["lr", "depth", "optimizer", "auc"], log="lr")
        return {"lineage": lineage.upstream().svg(), "card": artifact._repr_html_(), "sweep": sweep.svg()}


def _customers(dice: random.Random) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - only for the picture

    rows = range(2000)
    return pa.table({
        "age": [max(18, round(dice.gauss(42, 12))) for _ in rows], "spend": [dice.lognormvariate(3, 0.7) if dice.random() > 0.1 else None for _ in rows],
        "region": [dice.choices(["north", "south", "east"], [5, 3, 2])[0] for _ in rows], "signup": [date(2025, 1, 1) + timedelta(dice.randrange(600)) for _ in rows],
        "left": [dice.random() < 0.2 for _ in rows],
    })  # fmt: skip


def style_sheet() -> str:
    """Return the colours of drawings for the site's own switch between light and dark."""
    found = _TURN.search(_story()["lineage"])
    assert found is not None, "the drawing's style sheet has another form"
    schemes = (("default", found[2]), ("slate", found[1]))
    return "".join(
        f'[data-md-color-scheme="{name}"] svg.asl,[data-md-color-scheme="{name}"] svg.asp{{{colours}}}\n'
        for name, colours in schemes
    )


def _drawing(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """Return an SVG in the colours of lineage."""
    style = re.search(r"<style>.*?</style>", _story()["lineage"], re.DOTALL)
    assert style is not None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="asl" role="img" aria-label="{escape(title)}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}"><title>{escape(title)}</title>{style[0]}'
        f'<rect class="bg" width="{width}" height="{height}"/>{"".join(parts)}</svg>'
    )


def _box(x: float, y: float, width: float, height: float, colour: str, title: str, about: Iterable[str]) -> str:
    lines = "".join(f'<text class="s" x="{x + 12}" y="{y + 38 + 15 * i}">{escape(line)}</text>' for i, line in enumerate(about))
    return (
        f'<g class="{colour}"><rect class="b" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/></g>'
        f'<text class="t" x="{x + 12}" y="{y + 21}">{escape(title)}</text>{lines}'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    across = abs(to_x - x) > abs(to_y - y)
    sign = 1 if (to_x > x if across else to_y > y) else -1
    back = 6 * sign
    tip = (
        f"{to_x},{to_y} {to_x - back},{to_y - 4} {to_x - back},{to_y + 4}"
        if across
        else f"{to_x},{to_y} {to_x - 4},{to_y - back} {to_x + 4},{to_y - back}"
    )
    return f'<path class="e" d="M{x} {y}L{to_x} {to_y}"/><polygon class="head" points="{tip}"/>'


def about(package: str) -> str:
    """Return the first sentence that a package says of itself."""
    path = _ROOT / "artifactstore" / package
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.partition("\n\n")[0].replace("`", "").split())
    return re.split(r"(?<=[a-z)])[.;] ", first)[0].rstrip(".")


def storeys() -> str:
    """Draw the storeys as the import contract in pyproject.toml has them: an import only points down."""
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers" and one["containers"] == ["artifactstore"])
    width, high, gap = 760, 52, 14
    parts = []
    for i, layer in enumerate(layers):
        names = [name.strip() for name in re.split(r"[|:]", layer)]
        y = 10 + i * (high + gap)
        each = (width - 20 - 10 * (len(names) - 1)) / len(names)
        for k, name in enumerate(names):
            text = _fitting(about(name), each - 24)
            colour = "data" if i < len(layers) / 3 else "code" if i < 2 * len(layers) / 3 else "environment"
            parts.append(_box(10 + k * (each + 10), y, each, high, colour, name, [text]))
        if i + 1 < len(layers):
            parts.append(_arrow(width / 2, y + high, width / 2, y + high + gap))
    return _drawing("The storeys: an import only points down", width, 20 + len(layers) * (high + gap) - gap, parts)


def _fitting(text: str, room: float) -> str:
    most = int(room / 5.6)
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0].rstrip(",;:") + " …"


_PUT: Final = (
    ("Source", ("a path, a URL or an object", "becomes a stream of files")),
    ("Hash and cut", ("BLAKE3 of each file;", "FastCDC cuts chunks")),
    ("Find known chunks", ("in the manifests of the name,", "of the run's inputs, by hooks")),
    ("Packs", ("new chunks, compressed,", "16 to 64 MiB an object")),
    ("Manifest", ("files, chunks and where they are,", "written beside the packs")),
    ("Entry", ("facts, created if absent", "as entry n + 1: the commit")),
)
_GET: Final = (
    ("Reference", ("name:alias to a version,", "by the fold of the journal")),
    ("Manifest", ("the current holder of the digest,", "from the cache or the store")),
    ("Ranges", ("neighbouring chunks together,", "fetched at the same time")),
    ("Decode", ("zstd, byte groups, deltas;", "each chunk is checked")),
    ("Files", ("each file against its digest,", "in a hidden folder beside")),
    ("Rename", ("all files appear at once,", "or an object is made of them")),
)


def _way(title: str, steps: tuple[tuple[str, tuple[str, ...]], ...], colour: str) -> str:
    width, high = 224, 72
    parts = []
    for i, (name, about) in enumerate(steps):
        row, column = divmod(i, 3)
        x, y = 10 + column * (width + 34), 10 + row * (high + 36)
        parts.append(_box(x, y, width, high, colour, f"{i + 1}. {name}", about))
        if column < 2 and i + 1 < len(steps):
            parts.append(_arrow(x + width, y + high / 2, x + width + 34, y + high / 2))
        elif i + 1 < len(steps):
            middle = y + high + 18
            parts.append(f'<path class="e" d="M{x + width / 2} {y + high}V{middle}H{10 + width / 2}"/>')
            parts.append(_arrow(10 + width / 2, middle, 10 + width / 2, y + high + 36))
    rows = (len(steps) + 2) // 3
    return _drawing(title, 3 * width + 2 * 34 + 20, 20 + rows * high + (rows - 1) * 36, parts)


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "lineage.svg": lambda: _story()["lineage"],
    "sweep.svg": lambda: _story()["sweep"],
    "card.png": lambda: _story()["card"],
    "storeys.svg": storeys,
    "put.svg": lambda: _way("The way of a put", _PUT, "model"),
    "get.svg": lambda: _way("The way of a get", _GET, "data"),
    **{name: partial(chart, _drawing) for name, chart in charts.CHARTS.items()},
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        if name.endswith(".svg"):
            (_ROOT / "docs/pictures" / name).write_text(draw() + "\n", encoding="utf-8")
