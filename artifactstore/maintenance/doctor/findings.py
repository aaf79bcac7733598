"""Results of an examination: values only. No backend is touched here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from artifactstore.display.displayed import Displayed
from artifactstore.errors import ArtifactStoreError, NotFoundError

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["CHECKS", "Check", "Diagnosis", "Outcome", "Status", "attempt"]

Status = Literal["ok", "warn", "fail", "skipped"]
# The names of all checks, in the order of the report. Programs rely on them: none is ever renamed.
CHECKS: Final = (
    "reach", "credentials", "store", "missing-key", "list", "write", "read-after-write", "overwrite", "list-after-write", "ranges",
    "size", "create-existing", "create-race", "large-object", "delete", "clock", "latency", "throughput-up", "throughput-down",
    "retention", "cache", "store-unchanged", "cleanup",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a backend, and its result.

    Attributes:
        name: one of `CHECKS`.
        status: `ok`; `warn`: the store works, but look at it; `fail`: a guarantee that the store needs does not hold;
            `skipped`: not tried, `happened` has the reason.
        tried: what was done.
        happened: the outcome.
        means: the consequence for the store; empty where all is well.
        fix: what to do about it; empty where there is nothing to do.
        figures: measurements; the keys end with the unit.
    """

    name: str
    status: Status
    tried: str
    happened: str
    means: str = ""
    fix: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnosis(Displayed):
    """Result of a backend's examination; displayed as text and HTML.

    Attributes:
        url: the store location, without credentials.
        role: for which role it was judged: reader, writer or janitor.
        reached: whether the backend replied at all, and lets this identity do anything.
        checks: in the order of `CHECKS`.
        left: keys that could not be removed again; nothing reads them.
    """

    url: str
    role: str
    reached: bool
    checks: tuple[Check, ...]
    left: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every guarantee that the store needs was seen to hold."""
        return self.reached and all(one.status != "fail" for one in self.checks)

    def __getitem__(self, name: str) -> Check:
        for one in self.checks:
            if one.name == name:
                return one
        raise NotFoundError(f"no check {name!r}; the checks are {', '.join(CHECKS)}")

    def _outline(self) -> "list[Block]":
        from artifactstore.display.lists import LISTS  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.outline import Line, Pairs, Section, table_of  # noqa: PLC0415 - as above

        blocks: list[Block] = [table_of(self.checks, LISTS["checks"])]
        for one in self.checks:
            if one.status in {"warn", "fail"}:
                about = (("tried:", one.tried), ("happened:", one.happened), ("means:", one.means), ("fix:", one.fix))
                rows = [(word, " ".join(text.split())) for word, text in about if text]
                blocks += [Line(""), Section(f"{one.status}: {one.name}", [Pairs(rows, width=9)])]
        verdict = "every guarantee that a store needs holds" if self.ok else "not suitable as configured: see the fixes above"
        verdict = verdict if self.reached else "the backend is unreachable: see the fix above"
        return [*blocks, Line(""), Line(f"{self.url} for a {self.role}: {verdict}")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one call: its value, or its error."""

    value: Any = None
    error: ArtifactStoreError | None = None


def attempt(call: Callable[[], Any]) -> Outcome:
    """Call, and return the outcome."""
    try:
        return Outcome(call())
    except ArtifactStoreError as error:
        return Outcome(error=error)
