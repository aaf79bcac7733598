"""What came of a step of a job, and the files in which a CI system finds it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from artifactstore.cli.github import annotate, summarize
from artifactstore.display.junit import junit_xml
from artifactstore.printable import markdown, visible

__all__ = ["Check", "Outcome", "publish"]

_MOST: Final = 200  # rows of a summary, which may have a mebibyte
_LATER: Final = {"digest": "ARTIFACTSTORE_DIGEST", "ref": "ARTIFACTSTORE_REF", "verdict": "ARTIFACTSTORE_VERDICT"}
_SHOWN: Final = 10  # annotations that GitHub shows of a step


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was checked.
        ok: whether it is as it must be.
        text: the result in words.
    """

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Attributes:
        do: what the step did.
        title: the result in one line.
        code: the exit code.
        verdict: yes or no of a step that asks, else None.
        digest: of the artifact that it speaks of.
        ref: that artifact's reference.
        checks: what was looked at.
        document: the summary as Markdown, where another part of the program has made one.
        junit: the same as JUnit XML.
        record: what the command prints as JSON, beside the outputs.
    """

    do: str
    title: str
    code: int = 0
    verdict: bool | None = None
    digest: str | None = None
    ref: str | None = None
    checks: Sequence[Check] = ()
    document: str | None = None
    junit: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the step; those that it has not are empty."""
        verdict = "" if self.verdict is None else "yes" if self.verdict else "no"
        return {"digest": visible(self.digest or ""), "ref": visible(self.ref or ""), "verdict": verdict}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        checks = [{"name": one.name, "ok": one.ok, "text": one.text} for one in self.checks]
        return {"do": self.do, **self.outputs, "title": self.title, "checks": checks, **self.record}

    def to_markdown(self) -> str:
        """Return the summary: one heading, and a row for each check, those that failed first."""
        if self.document is not None:
            return self.document
        rows = sorted(self.checks, key=lambda one: one.ok)
        lines = [f"### {markdown(self.title)}", ""]
        if self.ref is not None:
            lines += [f"`{markdown(self.ref)}` is `{markdown(self.digest or '')}`", ""]
        if rows:
            lines += ["| | checked | result |", "|---|---|---|"]
            lines += [f"| {'✅' if one.ok else '❌'} | {markdown(one.name)} | {markdown(one.text)} |" for one in rows[:_MOST]]
        if len(rows) > _MOST:
            lines += ["", f"and {len(rows) - _MOST} more"]
        return "\n".join(lines) + "\n"

    def to_junit(self) -> str:
        """Return it as JUnit XML: a test case for each check."""
        if self.junit is not None:
            return self.junit
        rows = self.checks or [Check(self.do, self.code == 0, self.title)]
        name = f"artifactstore {self.do}"
        return junit_xml(name, name, [(one.name, one.ok, one.text) for one in rows])

    def to_dotenv(self) -> str:
        """Return the outputs as variables of later jobs, as GitLab's dotenv reports have them."""
        return _lines((_LATER[key], value) for key, value in self.outputs.items())


def publish(outcome: Outcome, *, junit: str | None, dotenv: str | None, to_stderr: bool) -> None:
    """Write an outcome where the CI system reads it: outputs, summary, annotations, JUnit, variables for later jobs.

    Args:
        outcome: the outcome.
        junit: the file for JUnit XML, or None.
        dotenv: the file for `ARTIFACTSTORE_DIGEST=…` and the like, as GitLab's dotenv reports have them, or None.
        to_stderr: keep stdout for the answer: GitHub reads annotations from both.
    """
    outputs = os.environ.get("GITHUB_OUTPUT")
    if outputs:
        with Path(outputs).open("a", encoding="utf-8") as file:
            file.write(_lines(outcome.outputs.items()))
    summarize(outcome.to_markdown())
    if os.environ.get("GITHUB_ACTIONS"):
        failed = [one for one in outcome.checks if not one.ok]
        for one in failed[:_SHOWN] if outcome.code else ():
            annotate(f"artifactstore {outcome.do}: {one.name}", one.text, to_stderr=to_stderr)

    # Last: what was done is known even if a folder for one of these cannot be written.
    for path, text in ((dotenv, outcome.to_dotenv), (junit, outcome.to_junit)):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text(), encoding="utf-8")


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    """Return variables, one a line; none of their values has a line feed (`visible`)."""
    return "".join(f"{name}={value}\n" for name, value in pairs)
