"""Results of an examination: values only. No backend is touched here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from artifactstore.errors import ArtifactStoreError, NotFoundError

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
class Diagnosis:
    """Result of a backend's examination.

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
