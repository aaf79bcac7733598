"""Snippets of the pages of integrations, run where the tool is installed."""

import re
from pathlib import Path
from typing import Final

__all__ = ["run_page"]

_PAGES: Final = Path(__file__).parents[2] / "docs" / "integrations"
_BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(tool: str) -> int:
    """Run the snippets that a page says are run by the tests of its tool, one after the other; return their number."""
    names: dict[str, object] = {"__name__": "page"}
    found = [text for text in _BLOCK.findall((_PAGES / f"{tool}.md").read_text()) if f"tests/integrations/test_{tool}.py" in text]
    for text in found:
        exec(compile(text, f"{tool}.md", "exec"), names)
    return len(found)
