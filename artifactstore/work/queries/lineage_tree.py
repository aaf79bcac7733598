"""Lineage as a tree of lines: what something was made from, or what was made from it."""

from collections.abc import Mapping, Sequence
from typing import Final

from artifactstore.display.outline import Block, Branch, Inline, Note, Span, Tree
from artifactstore.model.graph import Graph, Node

__all__ = ["lineage_tree"]

_DEEPEST: Final = 60  # steps that are shown unless asked otherwise: deeper indentation is unreadable
_ID: Final = 12  # characters of a run's id
_WORK: Final = 200_000  # steps that counting what lies below may take

_Steps = Mapping[str, Sequence[tuple[str, str]]]


def lineage_tree(
    graph: Graph, start: str, *, up: bool, depth: int | None = None, more: str = "`.artifacts` and `.runs` have all"
) -> list[Block]:
    """Return the outline of a graph as a tree; a node that is expanded in another line is marked, and not expanded again.

    Args:
        graph: the graph.
        start: the id of the node of the query: the root.
        up: whether the graph is upstream of it.
        depth: number of steps that are shown.
        more: how to see what is deeper.
    """
    below = _steps(graph, up=up)
    limit = _DEEPEST if depth is None else depth
    rows: list[Branch] = []
    cut: dict[int, str] = {}  # line → node whose further steps are left out
    seen: set[str] = set()
    expanded: set[str] = set()
    todo = [(start, 0, "")]
    while todo:
        one, at, note = todo.pop()
        again, further = one in expanded, below.get(one, ())
        seen.add(one)
        if further and not again and at >= limit:
            cut[len(rows)] = one
        elif not again:
            expanded.add(one)
            todo += [(other, at + 1, suffix) for other, suffix in reversed(further)]
        rows.append(_branch(graph.nodes[one], at, note, start=one == start, mark=Span("(above)", "dim") if again else ""))
    counts = _below(cut, below, seen)
    for number, count in counts.items():
        row = rows[number]
        word = "(below)" if cut[number] in expanded else f"… {count:,} below" if count else "…"
        rows[number] = Branch(row.depth, row.text, row.notes, Span(word, "dim"))
    blocks: list[Block] = [Tree(rows)]
    if left := len(graph.nodes) - len(seen):
        blocks.append(Note(f"… and {left:,} more, further away: {more}"))
    return blocks


def _steps(graph: Graph, *, up: bool) -> dict[str, list[tuple[str, str]]]:
    """Return per node those of the next step, each with the remark of its edge."""
    found: dict[str, list[tuple[str, str]]] = {}
    for before, after, role in graph.edges:
        one, other = (after, before) if up else (before, after)
        artifact, read_as = graph.nodes[before], graph.read_as.get((before, after))
        words = [role] if role and role != graph.nodes[other].kind else []
        words += [f"as {read_as}"] if read_as not in (None, artifact.label) else []
        found.setdefault(one, []).append((other, f" ({', '.join(words)})" if words else ""))
    return found


def _below(cut: Mapping[int, str], below: _Steps, seen: set[str]) -> dict[int, int]:
    """Return per line the number of nodes below it that are shown nowhere; 0 where there are none, or too many to count."""
    counts: dict[int, int] = {}
    work = 0
    for number, start in cut.items():
        found, todo = {start}, [start]
        while todo and work < _WORK:
            for other, _ in below.get(todo.pop(), ()):
                work += 1
                if other not in found:
                    found.add(other)
                    todo.append(other)
        counts[number] = 0 if todo else len(found - seen)
    return counts


def _branch(node: Node, depth: int, note: str, *, start: bool, mark: Inline) -> Branch:
    notes: list[Inline] = []
    if node.type == "run":
        text = f"run {node.label}"
        notes.append(Span(node.id[:_ID], "dim"))
        marks = (("dirty code", node.dirty, "warning"), ("no-op", node.idle, "dim"))
        notes += [Span(f"[{word}]", role) for word, there, role in marks if there]  # type: ignore[arg-type]
        notes += [Span(f"[{node.kind}]", "bad" if node.kind == "failed" else "warning")] if node.kind != "finished" else []
        about = sorted(filter(None, node.about.split(" · ")), key=lambda part: not part.startswith("code "))
        notes += [Span(f"· {part}", "dim") for part in about]
    else:
        text = node.about or node.label
        notes.append(f"[{node.kind}]")
        notes += [Span("TAINTED", "bad")] if node.tainted else []
        notes += [Span(f"<{_alias(alias, node.label)}>", "good") for alias in node.aliases]
    notes += [note] if note else []
    return Branch(depth, Span(text, "strong") if start else text, notes, mark)


def _alias(alias: str, label: str) -> str:
    """Return an alias without its name where the label has the same."""
    name, _, word = alias.rpartition(":")
    return word if label.startswith(f"{name}:") else alias
