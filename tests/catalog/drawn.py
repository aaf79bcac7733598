"""Graphs to draw, and drawings taken apart."""

import hashlib
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from artifactstore.model.graph import Graph, Node

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Story:
    """A graph that is told line by line."""

    graph: Graph = field(default_factory=Graph)

    def artifact(self, label: str, kind: str = "data", depth: int = 0, **marks) -> str:
        one = "blake3:" + hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()
        self.graph.nodes[one] = Node("artifact", one, label, kind, depth, **marks)
        return one

    def run(self, label: str, status: str = "finished", depth: int = 0, *, dirty: bool = False) -> str:
        one = f"{len(self.graph.nodes):04}" + hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:20]
        self.graph.nodes[one] = Node("run", one, label, status, depth, dirty=dirty)
        return one

    def edge(self, before: str, after: str, role: str | None = None) -> None:
        self.graph.edges.append((before, after, role))


def marked() -> tuple[Graph, str]:
    """A graph with everything that can be marked, and a cycle."""
    story = Story()
    model = story.artifact(
        "churn/model:v7",
        "model",
        aliases=("churn/model:production", "other:champion", *(f"churn/model:{i}" for i in range(20))),
        tainted=True,
    )
    train = story.run("train", "failed", 1, dirty=True)
    report = story.run("report", "running", 1)
    code = story.artifact("code:v1", "code", 2)
    environment = story.artifact("environment:v1", "environment", 2)
    features = story.artifact("churn/features:v3", "data", 2)
    own = story.artifact("thing", "a kind of one's own", 2)
    for one in (code, environment, features, own):
        story.edge(one, train, "an input" if one == features else None)
    story.edge(train, model, "best")
    story.edge(model, report)
    story.edge(report, features, "again")
    return story.graph, model


def hostile() -> tuple[Graph, str]:
    """A graph whose names would break whatever reads them as something else."""
    story = Story()
    run = story.run("</text><script>alert(1)</script>", depth=1)
    first = story.artifact("x\ud800\udfff\x00\x1b[31m\u202eevil\ufffe\u2028\x85:v1")
    names = [
        '"><svg onload="alert(1)"/>:v1',
        "]]> <!-- &amp; &#x0; -->",
        "特徴量/顧客データのとても長い名前です:v3",
        "🐳🚀👩‍👩‍👧/emoji:v1",
        "מודל/שלום עולם:v2",
        "نموذج/تجربة طويلة:v9",
        "Модель/Широкая ЩЖЮ:v1",
        "﷽﷽ 𒐫 ௵:v1",
        "W" * 300,
        "i" * 300,
        "e\u0301\u0302\u0303" * 20,
        "",
        " ",
    ]
    for number, name in enumerate(names):
        one = story.artifact(name, name or "data", 2, aliases=(f"{name}:{name}",), tainted=number % 2 == 0)
        story.edge(one, run, name)
    story.edge(run, first, "\x07")
    return story.graph, first


def grown(count: int, *, share: int = 12) -> tuple[Graph, str]:
    """A graph of so many nodes and somewhat more, grown step by step; the same every time."""
    story, state = Story(), 1

    def chosen(most: int) -> int:
        nonlocal state
        state = (state * 1103515245 + 12345) % 2**31
        return (state >> 8) % most

    artifacts = [root := story.artifact("root:v1")]
    while len(story.graph.nodes) < count:
        depth = len(story.graph.nodes)
        run = story.run(("prepare", "train", "join")[chosen(3)], depth=depth)
        near = artifacts[-share:]
        for one in {near[chosen(len(near))]: None for _ in range(1 + chosen(3))}:
            story.edge(one, run, (None, "features", "labels")[chosen(3)])
        for _ in range(1 + chosen(2)):
            artifacts.append(story.artifact(f"thing{len(artifacts)}:v1", ("data", "model", "metrics")[chosen(3)], depth + 1))
            story.edge(run, artifacts[-1])
    return story.graph, root


@dataclass
class Drawn:
    """A drawing, parsed."""

    root: ET.Element

    def of(self, look: str) -> list[ET.Element]:
        """Elements that have a class."""
        return [one for one in self.root.iter() if look in one.get("class", "").split()]

    def text(self, look: str) -> list[str]:
        return ["".join(one.itertext()) for one in self.of(look) if one.tag == f"{SVG}text"]

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """(left, top, right, bottom) of each node's box."""
        found = []
        for group in self.of("n"):
            rect = next(one for one in group if one.tag == f"{SVG}rect" and one.get("class") == "b")
            x, y, wide, high = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            assert all(map(math.isfinite, (x, y, wide, high)))
            found.append((x, y, x + wide, y + high))
        return found


def drawn(text: str) -> Drawn:
    return Drawn(ET.fromstring(text.encode()))
