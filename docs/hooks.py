"""What the site shows and no page contains: the list of decisions, the help of each command, pictures, both ways of their colours."""

import io
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

_HERE: Final = Path(__file__).parent
sys.path.insert(0, str(_HERE))

import pictures  # noqa: E402 - beside this file; MkDocs takes its folder out again

_MARK: Final = "<!-- the help of each command: docs/hooks.py -->"
_PACKAGES: Final = "<!-- every package: docs/hooks.py -->"
_IMAGE: Final = re.compile(r'<p><img alt="([^"]*)" src="[^"]*pictures/([a-z-]+\.(?:svg|png))" ?/?></p>')
_SOURCES: Final = re.compile(
    r"\]\(((?:\.\./)+)(benchmarks|tests|artifactstore|README\.md|CHANGELOG\.md|CONTRIBUTING\.md|SECURITY\.md)"
)
_REPOSITORY: Final = "https://github.com/artifactstore/artifactstore/blob/main/"
_drawn: dict[str, Future[str]] = {}


def on_config(config: Any) -> Any:
    """List every decision in the navigation, and begin to draw."""
    sys.path.insert(0, str(_HERE.parent))  # the library of this clone, whatever is installed
    decisions = [f"decisions/{path.name}" for path in sorted((_HERE / "decisions").glob("0*.md"))]
    _extend(config.nav, decisions)
    pool = ThreadPoolExecutor(1)
    _drawn.update({name: pool.submit(draw) for name, draw in pictures.PICTURES.items()})
    pool.shutdown(wait=False)
    return config


def _extend(nav: list[Any], decisions: list[str]) -> None:
    for item in nav:
        for title, below in item.items() if isinstance(item, dict) else ():
            if title == "Decisions":
                below.extend(decisions)
            elif isinstance(below, list):
                _extend(below, decisions)


def on_files(files: Files, config: Any) -> Files:
    """Add the style sheet of the pictures."""
    files.append(File.generated(config, "stylesheets/pictures.css", content=pictures.style_sheet()))
    config.extra_css.append("stylesheets/pictures.css")
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the help of the commands where its mark is, and lead links that leave the documents to the repository."""
    if _MARK in markdown:
        markdown = markdown.replace(_MARK, _commands())
    if _PACKAGES in markdown:
        markdown = markdown.replace(_PACKAGES, _packages())
    if page.file.src_uri == "decisions/README.md":
        markdown += "\n" + _decisions()
    depth = page.file.src_uri.count("/") + 1
    return _SOURCES.sub(lambda found: f"]({_REPOSITORY}{found[2]}" if found[1].count("/") == depth else found[0], markdown)


def _decisions() -> str:
    lines = []
    for path in sorted((_HERE / "decisions").glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").partition(". ")[2]
        lines.append(f"- {path.stem[:4]}: [{title}]({path.name})\n")
    return "".join(lines)


def _packages() -> str:
    """Return a table of all packages, with the first sentence that each says of itself."""
    top = _HERE.parent / "artifactstore"
    names = sorted(path.parent.relative_to(top).as_posix() for path in top.rglob("__init__.py") if path.parent != top)
    rows = [f"| `{name}` | {pictures.about(name)} |\n" for name in names]
    return "| package | purpose |\n|---|---|\n" + "".join(rows)


def on_page_content(html: str, **_: Any) -> str:
    """Put drawings into the page itself, so that they follow its colours and not those of the system."""
    return _IMAGE.sub(_figure, html)


def _figure(found: re.Match[str]) -> str:
    return f'<figure class="drawing">{_drawn[found[2]].result()}<figcaption>{found[1]}</figcaption></figure>'


def _commands() -> str:
    """Return the help of every command, as the command itself prints it."""
    names = re.findall(r"^  (\w[\w-]*) {2,}", _help().partition("Commands:")[2], re.MULTILINE)
    parts = []
    for name in names:
        usage, _, rest = _help(name).partition("\n\n")
        about, _, rest = rest.partition("\n\n")
        about = " ".join(about.split())
        parts.append(f"### {name}\n\n{about}\n\n```text\n{usage.strip()}\n\n{rest.rstrip()}\n```\n")
    return "\n".join(parts)


def _help(*command: str) -> str:
    from artifactstore.cli import main  # noqa: PLC0415 - where a page asks for it

    said = io.StringIO()
    with redirect_stdout(said):
        main([*command, "--help"])
    return said.getvalue()
