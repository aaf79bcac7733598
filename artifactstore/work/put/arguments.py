"""Validated arguments of put: options, name, kind, metadata, metrics."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from artifactstore.catalog.fold.state import State
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json, parse_json
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_kind, check_name
from artifactstore.work.settings.paths import strings

__all__ = ["PutOptions", "PutRequest", "check_metrics", "check_options", "checked_request", "facts_of"]


class PutOptions(TypedDict, total=False):
    """Options of `put`.

    Attributes:
        exclude: patterns to leave out, in .gitignore syntax relative to the source (`*.tmp`, `cache/`, `/logs`,
            `data/**/raw`, `!keep.tmp`); paths that begin with the source's own are relative to it. Patterns that match nothing
            give a warning.
        links: `keep` stores links that stay inside the source as links, `follow` stores their targets.
        modes: whether executable bits are part of the identity; default only for kind="code".
        rehash: read every file again, even if its size and times are unchanged: after changes through a memory map, which some
            file systems note only when they write them back (docs/reference/cache.md).
        verify: read back existing content, each chunk checked against its digest, and store unreadable content again; by
            default the records of other writers are compared with the pack footers (docs/decisions/0031).
        format: the format of an object, such as `text` or `pickle`; by default chosen by its type (docs/reference/objects.md).
        allow_empty: permit a folder without files after a version with files; refused otherwise, as an unmounted disk looks like it.
        base: a reference to an artifact that shares content with this one.
        profile: for a table object: False stores no profile (the default is True), `full` computes everything from every row
            instead of a sample. For a file, a folder or a URL: True or `full` reads its Parquet files (`.parquet`, `.pq`) a second
            time and stores a profile of each; the default is False. Existing content is not stored again, and gets no profile.
        source_options: for a URL source: options of fsspec's class, such as endpoint and credentials.
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
class PutRequest:
    """Validated arguments that describe the artifact.

    Attributes:
        name: the name, or None.
        kind: data, model, code …
        metadata: a JSON object, or None if none was passed.
        metrics: metric → finite number.
    """

    name: str | None
    kind: str
    metadata: dict[str, Any] | None
    metrics: dict[str, float]


def check_options(options: Mapping[str, Any], *, is_object: bool) -> PutOptions:
    """Check the options of a put; unknown options of an object are left to its format.

    Raises:
        InvalidInputError: an option is unknown or has an invalid value.
    """
    if not is_object and options.get("profile", False) not in (True, False, "full"):
        raise InvalidInputError(f"profile={options['profile']!r}: expected True, False or 'full'")
    unknown = set(options) - set(PutOptions.__annotations__)
    if unknown and not is_object:
        known = ", ".join(sorted(PutOptions.__annotations__))
        raise InvalidInputError(f"put has no option {', '.join(sorted(unknown))}; expected {known}")
    if options.get("links", "keep") not in ("keep", "follow"):
        raise InvalidInputError(f"links={options['links']!r}: expected 'keep' or 'follow'")
    for option in ("modes", "rehash", "allow_empty", "verify"):
        if not isinstance(options.get(option, False), bool):
            raise InvalidInputError(f"{option}={options[option]!r}: expected True or False")
    for option in ("format", "base"):
        if not isinstance(options.get(option, ""), str):
            raise InvalidInputError(f"{option}={options[option]!r}: expected a str")
    if not isinstance(options.get("source_options", {}), Mapping):
        raise InvalidInputError("source_options must be a dict whose keys are the names of options")
    checked: Any = dict(options)
    if "exclude" in options:
        given = options["exclude"]
        listed = isinstance(given, list | tuple)
        checked["exclude"] = strings(
            [os.fspath(one) if isinstance(one, os.PathLike) else one for one in given] if listed else given, "exclude"
        )
    chosen: PutOptions = checked
    return chosen


def checked_request(
    source: Any,
    name: Any,
    *,
    kind: str | None,
    metadata: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None,
    reason: Any,
) -> PutRequest:
    """Validate the arguments and copy them, so that later changes by the caller have no effect.

    Raises:
        InvalidInputError: an argument is invalid, or arguments are swapped.
    """
    if name is not None:
        if not isinstance(name, str):
            swapped = f"; the arguments look swapped: put(source, {source!r})" if isinstance(source, str) else ""
            raise InvalidInputError(f"name must be a str, got {type(name).__name__}{swapped}")
        check_name(name)
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("reason must be a str of at most 10,000 characters")
    checked = None
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise InvalidInputError(f"metadata must be a dict, got {type(metadata).__name__}")
        checked = dict(metadata)
        check_json(checked, "metadata")
        checked = parse_json(canonical_json(checked), "metadata")  # a copy: the caller may change the original
    return PutRequest(name, check_kind("data" if kind is None else kind), checked, check_metrics(metrics))


def check_metrics(metrics: Any) -> dict[str, float]:
    """Validate metrics and convert them to finite numbers.

    Raises:
        InvalidInputError: not a dict, an invalid name, or a value that is not a finite number.
    """
    found: dict[str, float] = {}
    if metrics is not None and not isinstance(metrics, Mapping):
        raise InvalidInputError(f"metrics must be a dict of numbers, got {type(metrics).__name__}")
    for metric, value in (metrics or {}).items():
        if not isinstance(metric, str) or not metric:
            raise InvalidInputError(f"the name of a metric must be a str, got {metric!r}")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"the metric {metric!r} must be a number, got {value!r}") from error
        if isinstance(value, str) or not math.isfinite(number):
            raise InvalidInputError(f"the metric {metric!r} must be a finite number, got {value!r}")
        found[metric] = number
    return found


def facts_of(state: State, request: PutRequest, digest: str, stored: list[Fact], *, single: bool) -> list[Fact]:
    """Return the facts to append so that the store records the arguments; none if it does already."""
    facts = list(stored)
    rows = state.names.get(request.name, []) if request.name is not None else []
    if request.name is not None:
        same = bool(rows) and rows[-1]["digest"] == digest and "removed" not in rows[-1]
        metadata = rows[-1].get("metadata", {}) if same else None
        subject: Fact = {"name": request.name, "version": len(rows)}
    else:
        same = digest in state.unnamed
        metadata = state.unnamed[digest].get("metadata", {}) if same else None
        subject = {"name": None, "digest": digest}
    if not same:
        fact: Fact = {"fact": "versioned", "name": request.name, "digest": digest, "kind": request.kind}
        if single:
            fact["file"] = True
        if request.metadata:
            fact["metadata"] = request.metadata
        facts.append(fact)
    elif request.metadata is not None and canonical_json(request.metadata) != canonical_json(metadata):  # True is not 1 here
        facts.append({"fact": "described", **subject, "metadata": request.metadata})
    measured = state.metrics.get(digest, {})
    fresh = {metric: value for metric, value in request.metrics.items() if measured.get(metric) != value}
    if fresh:
        facts.append({"fact": "measured", "digest": digest, "metrics": fresh})
    return facts
