"""A drawing as a page that pans and zooms: by wheel, pinch, drag, keys and buttons. Without scripts it scrolls.

The page's content security policy permits this one script by its hash, and nothing that loads or sends anything.
"""

from typing import Final

from artifactstore.display.graph.palette import COLOURS
from artifactstore.display.html_renderer import Markup, document, element

__all__ = ["SCRIPT", "page"]

# Characters of ASCII alone: its hash is that of every encoding of the page.
SCRIPT: Final = """
(() => {
const box = document.getElementById("view"), svg = box.querySelector("svg"), whole = svg.viewBox.baseVal;
const wide = whole.width, high = whole.height, start = svg.querySelector(".start > .b");
const at = start && start.getBBox(), by = start && start.getCTM();
const home = at ? [at.x + at.width / 2 + by.e / by.a, at.y + at.height / 2 + by.f / by.d] : [wide / 2, high / 2];
let x = 0, y = 0, k = 1;
const show = () => svg.setAttribute("viewBox", [x, y, innerWidth / k, innerHeight / k].join(" "));
const least = () => Math.min(1, innerWidth / wide, innerHeight / high);
const center = (cx, cy) => { x = cx - innerWidth / k / 2; y = cy - innerHeight / k / 2; show(); };
const fit = () => { k = least(); center(wide / 2, high / 2); };
const within = (at, seen, all) => seen < all ? Math.min(Math.max(at, 0), all - seen) : (all - seen) / 2;
const go = () => {
  k = Math.max(least(), Math.min(1, innerWidth / 500)); center(...home);
  x = within(x, innerWidth / k, wide); y = within(y, innerHeight / k, high); show();
};
const zoom = (by, px, py) => {
  const to = Math.min(4, Math.max(least() / 2, k * by));
  x += px / k - px / to; y += py / k - py / to; k = to; show();
};
const middle = by => zoom(by, innerWidth / 2, innerHeight / 2);
const pan = (dx, dy) => { x -= dx / k; y -= dy / k; show(); };
svg.style.cssText = "display:block;width:100vw;height:100vh;max-width:none;touch-action:none;cursor:grab";
box.style.overflow = "hidden";
document.getElementById("keys").hidden = false;
svg.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * (e.deltaMode ? 20 : 1) / 400), e.clientX, e.clientY); }, {passive: false});
const held = new Map();
svg.addEventListener("pointerdown", e => { held.set(e.pointerId, e); svg.setPointerCapture(e.pointerId); svg.style.cursor = "grabbing"; });
svg.addEventListener("pointermove", e => {
  const was = held.get(e.pointerId), other = [...held.values()].find(one => one.pointerId !== e.pointerId);
  if (!was) return;
  if (other) {
    const far = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
    zoom(far(e) / far(was), (e.clientX + other.clientX) / 2, (e.clientY + other.clientY) / 2);
  } else pan(e.clientX - was.clientX, e.clientY - was.clientY);
  held.set(e.pointerId, e);
});
for (const one of ["pointerup", "pointercancel"]) svg.addEventListener(one, e => { held.delete(e.pointerId); svg.style.cursor = "grab"; });
const moves = {"+": () => middle(1.25), "=": () => middle(1.25), "-": () => middle(.8), "0": fit, Home: go,
  ArrowLeft: () => pan(80, 0), ArrowRight: () => pan(-80, 0), ArrowUp: () => pan(0, 80), ArrowDown: () => pan(0, -80)};
addEventListener("keydown", e => { if (moves[e.key] && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); moves[e.key](); } });
for (const one of document.querySelectorAll("#keys button")) one.addEventListener("click", () => moves[one.value]());
addEventListener("resize", show);
if (least() > .6) fit(); else go();
})();
"""
_BUTTONS: Final = (
    ("+", "+", "Zoom in (key +)"), ("-", "\N{MINUS SIGN}", "Zoom out (key -)"), ("0", "Fit", "Show all (key 0)"), ("Home", "Start", "Go to where the drawing begins (key Home)"),
)  # fmt: skip


def page(title: str, svg: str) -> str:
    """Return a standalone page with a drawing.

    Args:
        title: the title of the page.
        svg: the drawing.
    """
    (light, dark), (ink, dark_ink), (line, dark_line) = COLOURS["page"], COLOURS["ink"], COLOURS["edge"]
    style = (
        f"body{{margin:0;background:{light};color:{ink}}}#view{{overflow:auto;height:100vh}}"
        "#keys{position:fixed;right:12px;bottom:12px;display:flex;gap:6px}#keys[hidden]{display:none}"
        f"#keys button{{font:13px system-ui,sans-serif;min-width:34px;padding:5px 9px;border:1px solid {line};border-radius:6px;"
        f"background:{light};color:inherit;cursor:pointer}}"
        f"@media (prefers-color-scheme:dark){{body{{background:{dark};color:{dark_ink}}}"
        f"#keys button{{background:{dark};border-color:{dark_line}}}}}@media print{{#keys{{display:none}}}}"
    )
    buttons = (element("button", shown, value=key, title=tip, type="button") for key, shown, tip in _BUTTONS)
    body = element("div", Markup(svg), id="view") + element("div", *buttons, id="keys", hidden=True)
    return document(title, Markup(body), style=style, script=SCRIPT)
