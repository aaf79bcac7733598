"""The colours of lineage, in light and dark mode: one table for drawings and flowcharts.

Hues are those of M. Okabe and K. Ito, "Color Universal Design" (2008), distinguishable with any colour vision,
darkened or lightened until lines have a contrast of 3:1 and text of 4.5:1; and each colour is also expressed in words.
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["COLOURS", "KINDS", "STATUSES", "kind_class", "status_class", "style_sheet", "themed"]

KINDS: Final = ("data", "model", "code", "environment")
STATUSES: Final = ("finished", "failed", "running")

# Name → (in light, in dark). `-fill` is behind text, `-line` around it.
COLOURS: Final[dict[str, tuple[str, str]]] = {
    "page": ("#ffffff", "#14181f"),
    "ink": ("#1b2430", "#e8ecf1"),
    "soft": ("#4a5563", "#b3bdc9"),
    "edge": ("#7b8794", "#7f8b99"),
    "data-fill": ("#e8f1fb", "#16304a"),
    "data-line": ("#1f6fb5", "#5aa9e6"),
    "model-fill": ("#f7e9f4", "#3d2440"),
    "model-line": ("#a0458f", "#d68fc8"),
    "code-fill": ("#e3f4ee", "#123a30"),
    "code-line": ("#0a7d5c", "#3fbf94"),
    "environment-fill": ("#fbf1dc", "#3d3013"),
    "environment-line": ("#a86a00", "#e0a43a"),
    "other-fill": ("#eef0f2", "#2a3038"),
    "other-line": ("#66707c", "#8f9aa7"),
    "run-fill": ("#ffffff", "#1d232c"),
    "finished-line": ("#5b6673", "#8d98a6"),
    "finished-mark": ("#0a7d5c", "#3fbf94"),
    "failed-line": ("#b3261e", "#f28b82"),
    "failed-mark": ("#b3261e", "#f28b82"),
    "running-line": ("#1f6fb5", "#5aa9e6"),
    "running-mark": ("#1f6fb5", "#5aa9e6"),
    "unknown-line": ("#66707c", "#8f9aa7"),
    "unknown-mark": ("#66707c", "#8f9aa7"),
    "sign": ("#ffffff", "#14181f"),
    "tainted-fill": ("#b3261e", "#f28b82"),
    "tainted-ink": ("#ffffff", "#2a0a08"),
    "dirty-fill": ("#fff0c2", "#453509"),
    "dirty-line": ("#8a5a00", "#e0a43a"),
    "dirty-ink": ("#5f3e00", "#ffdf8f"),
    "alias-fill": ("#33475b", "#cbd6e2"),
    "alias-ink": ("#ffffff", "#14181f"),
}


def kind_class(kind: str) -> str:
    """Return the colour class of an artifact's kind; custom kinds share one."""
    return kind if kind in KINDS else "other"


def status_class(status: str) -> str:
    """Return the colour class of a run's status."""
    return status if status in STATUSES else "unknown"


def style_sheet() -> str:
    """Return the style sheet: separate colours for light and dark mode, by the system's preference or the notebook's theme."""
    paint = (
        ".asl{font-family:system-ui,sans-serif}"
        ".asl .t{font-size:13px;font-weight:700}.asl .s{font-size:11px}.asl .m{font-family:ui-monospace,monospace}"
        ".asl .g{font-size:10.5px}.asl .h{font-size:15px;font-weight:700}"
        ".asl .r{font-size:10px;font-style:italic}"
        ".asl .e{fill:none;stroke-width:1.5px}.asl .back{stroke-dasharray:5 4}"
        ".asl .b{stroke-width:1.2px}.asl .start .b{stroke-width:2.4px}.asl .ring{fill:none;stroke-width:2px}"
        ".asl .sign{fill:none;stroke-width:1.8px;stroke-linecap:round;stroke-linejoin:round}"
    )
    rules = [("bg", "fill", "page"), ("t", "fill", "ink"), ("h", "fill", "ink"), ("s", "fill", "soft"), ("r", "fill", "soft")]
    rules += [("e", "stroke", "edge"), ("head", "fill", "edge"), ("ring", "stroke", "ink")]
    rules += [("sign", "stroke", "sign"), ("play", "fill", "sign")]
    for kind in (*KINDS, "other"):
        rules += [(f"{kind} .b", "fill", f"{kind}-fill"), (f"{kind} .b", "stroke", f"{kind}-line")]
        rules += [(f"{kind} .band", "fill", f"{kind}-line")]
    for status in (*STATUSES, "unknown"):
        rules += [(f"{status} .b", "fill", "run-fill"), (f"{status} .b", "stroke", f"{status}-line")]
        rules += [(f"{status} .dot", "fill", f"{status}-mark")]
    rules += [("bad .b", "stroke", "tainted-fill")]
    for tag in ("tainted", "dirty", "alias"):
        rules += [(f"{tag}", "fill", f"{tag}-fill"), (f"{tag}-x", "fill", f"{tag}-ink")]
    rules += [("dirty", "stroke", "dirty-line"), ("more", "fill", "page"), ("more", "stroke", "edge"), ("more-x", "fill", "ink")]
    return themed("asl", rules, paint)


def themed(root: str, rules: Iterable[tuple[str, str, str]], paint: str) -> str:
    """Return a style sheet with colours for light and dark mode.

    Args:
        root: the class of the SVG.
        rules: (class, property, name of the colour).
        paint: rules without colours.
    """
    rules = list(rules)
    # Renderers without CSS variables use the first of the two.
    plain = "".join(
        f".{root} .{name}{{{what}:{COLOURS[one][0]};{what}:var(--asl-{one},{COLOURS[one][0]})}}" for name, what, one in rules
    )
    used = COLOURS if root == "asl" else {one: COLOURS[one] for _, _, one in rules}
    dark = "".join(f"--asl-{one}:{colours[1]};" for one, colours in used.items())
    light = "".join(f"--asl-{one}:{colours[0]};" for one, colours in used.items())
    dark_page = ('body[data-jp-theme-light="false"]', "body.vscode-dark", 'html[theme="dark"]', 'html[data-theme="dark"]')
    light_page = ('body[data-jp-theme-light="true"]', "body.vscode-light", 'html[theme="light"]', 'html[data-theme="light"]')
    return (
        f"{paint}{plain}@media (prefers-color-scheme:dark){{svg.{root}{{{dark}}}}}"
        + ",".join(f"{page} svg.{root}" for page in dark_page)
        + f"{{{dark}}}"
        + ",".join(f"{page} svg.{root}" for page in light_page)
        + f"{{{light}}}"
    )
