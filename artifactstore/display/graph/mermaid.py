"""Lineage as a Mermaid flowchart: text for a README. Nothing in a name is parsed as syntax."""

import re
from string import ascii_letters, digits
from typing import Final

from artifactstore.display.graph.palette import COLOURS, KINDS, STATUSES, kind_class, status_class
from artifactstore.display.graph.text_metrics import clean, short_alias
from artifactstore.model.graph import Graph, Node

__all__ = ["flowchart"]

_SAFE: Final = frozenset(ascii_letters + digits + " /.,:@+=-")
# Mermaid strips the last semicolon of text that looks like styles; Markdown parses "1. " and "- " as list items.
_READ: Final = re.compile(r"style|classDef|^[ +=-]|(?<=\d)\.(?= )|(?<=-)-|(?<= ) |:(?=//)|www|@", re.IGNORECASE)

# Mermaid looks for formulas, line ends, icons and its own markers after it has decoded entities: split them by a zero-width space.
_PARTED: Final = re.compile(r"\$(?=\$)|\\(?=n)|\ufb02(?=\u00b0)|\u00b6(?=\u00df)|:(?=fa-)", re.IGNORECASE)


def flowchart(graph: Graph, start: str) -> str:
    """Return a graph as a flowchart, in the direction of production, in the colours of drawings.

    Args:
        graph: the graph to draw.
        start: the id of the starting node.
    """
    numbers = {one: f"n{i}" for i, one in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    groups: dict[str, list[str]] = {}
    for one, node in graph.nodes.items():
        text = "<br/>".join(map(_escaped, _label_lines(node)))
        lines.append(f'  {numbers[one]}(["{text}"])' if node.type == "run" else f'  {numbers[one]}["{text}"]')
        for name in _classes(node, start=one == start):
            groups.setdefault(name, []).append(numbers[one])
    for before, after, role in graph.edges:
        text = f'|"{_escaped(role)}"|' if role and role not in {graph.nodes[before].kind, graph.nodes[after].kind} else ""
        lines.append(f"  {numbers[before]} -->{text} {numbers[after]}")
    styles = _styles()
    for name in (one for one in styles if one in groups):
        lines += [f"  classDef {name} {styles[name]}", f"  class {','.join(groups[name])} {name}"]
    return "\n".join(lines) + "\n"


def _label_lines(node: Node) -> list[str]:
    digest = node.id if node.type == "run" else node.id.partition(":")[2] or node.id
    named = node.name is not None
    kind = node.kind if named or node.about else "no name"
    lines = [node.label if named else node.about or node.kind, f"{kind}, {digest[:8]}"]
    lines += [f"⚑ {short_alias(alias, node.label)}" for alias in node.aliases]
    return lines + [
        word for word, there in (("⚠ TAINTED", node.tainted), ("⚠ dirty code", node.dirty), ("no-op", node.idle)) if there
    ]


def _classes(node: Node, *, start: bool) -> list[str]:
    found = [status_class(node.kind) if node.type == "run" else kind_class(node.kind)]
    return found + [name for name, there in (("dirty", node.dirty), ("tainted", node.tainted), ("start", start)) if there]


def _styles() -> dict[str, str]:
    """Return the style of each class; later ones win, so that marks are visible on any kind."""
    light = {name: colours[0] for name, colours in COLOURS.items()}
    styles = {one: f"fill:{light[one + '-fill']},stroke:{light[one + '-line']},color:{light['ink']}" for one in (*KINDS, "other")}
    for one in (*STATUSES, "unknown"):
        styles[one] = f"fill:{light['run-fill']},stroke:{light[one + '-line']},color:{light['ink']}"
    styles["dirty"] = f"stroke:{light['dirty-line']},stroke-dasharray:5 3"
    styles["tainted"] = f"stroke:{light['tainted-fill']},stroke-width:3px"
    return styles | {"start": "stroke-width:4px"}


def _escaped(text: str) -> str:
    """Return text for a quoted label: characters that Mermaid or Markdown could interpret are written as entities."""
    text = _PARTED.sub(lambda found: found[0] + "\u200b", clean(text))
    read = {found.start() for found in _READ.finditer(text)}
    return "".join(f"#{ord(one)};" if i in read or (one.isascii() and one not in _SAFE) else one for i, one in enumerate(text))
