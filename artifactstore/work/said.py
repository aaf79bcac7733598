"""What a caller says of an artifact, checked before any work: options, name, kind, metadata, metrics."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from artifactstore.catalog.state import State
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json, parse_json
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_kind, check_name
from artifactstore.work.place import strings

__all__ = ["PutOptions", "Said", "check_metrics", "check_options", "check_said", "facts_of"]


class PutOptions(TypedDict, total=False):
    """Options of `put`.

    Attributes:
        exclude: what to leave out, each pattern as a line of a .gitignore file in the source would be read (`*.tmp`, `cache/`, `/logs`,
            `data/**/raw`, `!keep.tmp`); paths that begin with the source's own are relative to it. A warning names those that
            match nothing.
        links: `keep` stores links that stay inside as links, `follow` what they point to.
        modes: whether executable bits are part of the identity; default only for kind="code".
        rehash: read every file again, also those that count as unchanged by their size and times: after changes through a
            memory map, which some file systems note only when they write them back (docs/cache.md).
        verify: read back what the store holds of it already, each chunk checked against its digest, and store again what does
            not come; by default what other writers say of it is compared with the ends of the packs (docs/decisions/0031).
        format: how an object is kept, such as `text` or `pickle`; found by its type otherwise (docs/objects.md).
        allow_empty: a folder without files may follow a version that has some; refused without, as an unmounted disk looks so.
        base: a reference to an artifact that shares content with this one.
        profile: of a table that is an object: False keeps no profile beside it (the default is True), `full` looks at every
            row for what is else told of a sample. Of a file, a folder or a URL: True or `full` reads the Parquet files in it
            (`.parquet`, `.pq`) a second time and keeps a profile of each; the default is False. Content that is there already is
            not stored again, and gets no profile.
        source_options: where the source is a URL: what fsspec's class takes, such as endpoint and credentials.
    """

    exclude: Sequence[str]
    links: str
    modes: bool
    rehash: bool
    allow_empty: bool
    verify: bool
    format: str
    base: str
    profile: bool | str
    source_options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What the caller said about the artifact.

    Attributes:
        name: the name, or None.
        kind: data, model, code …
        metadata: a JSON object, or None where nothing was said.
        metrics: metric → finite number.
    """

    name: str | None
    kind: str
    metadata: dict[str, Any] | None
    metrics: dict[str, float]


def check_options(options: Mapping[str, Any], *, is_object: bool) -> PutOptions:
    """Return the options of a put; those of an object that are not known here are for its format to judge.

    Raises:
        InvalidInputError: an unknown one, or one without sense.
    """
    if not is_object and options.get("profile", False) not in (True, False, "full"):
        raise InvalidInputError(f"profile={options['profile']!r}: True, False or 'full'")
    unknown = set(options) - set(PutOptions.__annotations__)
    if unknown and not is_object:
        known = ", ".join(sorted(PutOptions.__annotations__))
        raise InvalidInputError(f"put has no option {', '.join(sorted(unknown))}; it knows {known}")
    if options.get("links", "keep") not in ("keep", "follow"):
        raise InvalidInputError(f"links={options['links']!r}: 'keep' or 'follow'")
    for option in ("modes", "rehash", "allow_empty", "verify"):
        if not isinstance(options.get(option, False), bool):
            raise InvalidInputError(f"{option}={options[option]!r}: True or False")
    for option in ("format", "base"):
        if not isinstance(options.get(option, ""), str):
            raise InvalidInputError(f"{option}={options[option]!r}: a str is needed")
    if not isinstance(options.get("source_options", {}), Mapping):
        raise InvalidInputError("source_options is a dict whose keys are the names of options")
    checked: Any = dict(options)
    if "exclude" in options:
        given = options["exclude"]
        listed = isinstance(given, list | tuple)
        checked["exclude"] = strings(
            [os.fspath(one) if isinstance(one, os.PathLike) else one for one in given] if listed else given, "exclude"
        )
    chosen: PutOptions = checked
    return chosen


def check_said(
    source: Any,
    name: Any,
    *,
    kind: str | None,
    metadata: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None,
    reason: Any,
) -> Said:
    """Return what was said, as values that nobody else can change.

    Raises:
        InvalidInputError: no name, no JSON, no finite number, swapped arguments.
    """
    if name is not None:
        if not isinstance(name, str):
            swapped = f"; the arguments look swapped: put(source, {source!r})" if isinstance(source, str) else ""
            raise InvalidInputError(f"a name is a str, not a {type(name).__name__}{swapped}")
        check_name(name)
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("a reason is a str of at most 10,000 characters")
    checked = None
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise InvalidInputError(f"metadata is a dict, not a {type(metadata).__name__}")
        checked = dict(metadata)
        check_json(checked, "metadata")
        checked = parse_json(canonical_json(checked), "metadata")  # a copy: the caller's may change
    return Said(name, check_kind("data" if kind is None else kind), checked, check_metrics(metrics))


def check_metrics(metrics: Any) -> dict[str, float]:
    """Return metrics as finite numbers.

    Raises:
        InvalidInputError: no dict, a name that is none, or something else than a finite number.
    """
    found: dict[str, float] = {}
    if metrics is not None and not isinstance(metrics, Mapping):
        raise InvalidInputError(f"metrics is a dict of numbers, not a {type(metrics).__name__}")
    for metric, value in (metrics or {}).items():
        if not isinstance(metric, str) or not metric:
            raise InvalidInputError(f"the name of a metric is a str: {metric!r}")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"the metric {metric!r} is {value!r}: a number is needed") from error
        if isinstance(value, str) or not math.isfinite(number):
            raise InvalidInputError(f"the metric {metric!r} is {value!r}: a finite number is needed")
        found[metric] = number
    return found


def facts_of(state: State, said: Said, digest: str, stored: list[Fact], *, single: bool) -> list[Fact]:
    """Return what has to be appended so that the store says what the caller said: nothing, if it says so already."""
    facts = list(stored)
    rows = state.names.get(said.name, []) if said.name is not None else []
    if said.name is not None:
        same = bool(rows) and rows[-1]["digest"] == digest and "removed" not in rows[-1]
        metadata = rows[-1].get("metadata", {}) if same else None
        subject: Fact = {"name": said.name, "version": len(rows)}
    else:
        same = digest in state.unnamed
        metadata = state.unnamed[digest].get("metadata", {}) if same else None
        subject = {"name": None, "digest": digest}
    if not same:
        fact: Fact = {"fact": "versioned", "name": said.name, "digest": digest, "kind": said.kind}
        if single:
            fact["file"] = True
        if said.metadata:
            fact["metadata"] = said.metadata
        facts.append(fact)
    elif said.metadata is not None and canonical_json(said.metadata) != canonical_json(metadata):  # True is not 1 here
        facts.append({"fact": "described", **subject, "metadata": said.metadata})
    measured = state.metrics.get(digest, {})
    fresh = {metric: value for metric, value in said.metrics.items() if measured.get(metric) != value}
    if fresh:
        facts.append({"fact": "measured", "digest": digest, "metrics": fresh})
    return facts
