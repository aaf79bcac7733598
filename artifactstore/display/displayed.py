"""What has an outline displays itself: as text by `str` and `repr`, as HTML in notebooks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Displayed", "outline_of"]


class Displayed:
    """A base of reports: a subclass returns its outline, and is displayed everywhere."""

    __slots__ = ()

    def _outline(self) -> "Sequence[Block]":
        """Return what the report contains."""
        raise NotImplementedError

    def __str__(self) -> str:
        from artifactstore.display.text_renderer import as_text  # noqa: PLC0415 - most commands show no report

        return as_text(self._outline())

    def _repr_html_(self) -> str:
        from artifactstore.display.html_renderer import as_html  # noqa: PLC0415 - notebooks alone show it

        return as_html(self._outline())


def outline_of(shown: Displayed) -> "Sequence[Block]":
    """Return the outline of a report, to show it as a part of another one."""
    return shown._outline()  # noqa: SLF001 - public names of a report are what it found, not how it is shown
