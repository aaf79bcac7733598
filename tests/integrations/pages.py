"""Snippets of the pages of integrations, run where the tool is installed."""

import re
from pathlib import Path
from typing import Final

__all__ = ["run_page", "snippets"]

_PAGES: Final = Path(__file__).parents[2] / "docs" / "integrations"
_BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(tool: str) -> list[str]:
    """Return the snippets that a page says are run by the tests of its tool."""
    text = (_PAGES / f"{tool}.md").read_text()
    return [one for one in _BLOCK.findall(text) if f"tests/integrations/test_{tool}.py" in one]


def run_page(tool: str) -> dict[str, object]:
    """Run these snippets, one after the other; return what they define."""
    names: dict[str, object] = {"__name__": "page"}
    found = snippets(tool)
    assert found
    for text in found:
        exec(compile(text, f"{tool}.md", "exec"), names)
    return names
