"""Validated arguments of put: options, name, kind, metadata, metrics."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from artifactstore.catalog.fold.state import State
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json
from artifactstore.model.facts import Fact
from artifactstore.model.json_values import json_value, number_of
from artifactstore.model.listing import check_path
from artifactstore.model.reference import Referable, as_reference, check_alias, check_kind, check_name
from artifactstore.work.settings.paths import strings

__all__ = [
    "Description",
    "FolderOptions",
    "PutOptions",
    "PutRequest",
    "check_metrics",
    "check_options",
    "checked_request",
    "facts_of",
    "take_onto",
]


class Description(TypedDict, total=False):
    """What describes the source of a put; see `Store.put`."""

    kind: str | None
    metadata: Mapping[str, Any] | None
    metrics: Mapping[str, float] | None
    reason: str | None


class FolderOptions(TypedDict, total=False):
    """Options for comparing a folder of this machine; see `PutOptions`."""

    exclude: Sequence[str]
    links: str


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
        onto: an artifact that the new version is made out of: the source is laid over its files, of which no byte is read. With the
            own name, other writers' versions that come first are kept, too: everything lands. The own name may be new.
        at: with `onto`: the folder in the artifact that the source goes to; by default its root. The source may be a binary stream,
            which is stored while it arrives: then it is the path of the file.
        without: with `onto`: patterns of its files to leave out, in .gitignore syntax. The source may then be None.
        profile: for a table object: False stores no profile (the default is True), `full` computes everything from every row
            instead of a sample. For a file, a folder or a URL: True or `full` reads its Parquet files (`.parquet`, `.pq`) a second
            time and stores a profile of each; the default is False. Existing content is not stored again, and gets no profile.
        sha256: keep the SHA-256 digests of its files, too, as for kind="model": `artifact.sha256`, and signing reads no content then.
        executor: a `concurrent.futures.Executor` whose workers cut, compress and upload the files: threads, processes, those of a
            cluster (Dask's `client.get_executor()`). They need the same paths and URLs, and find credentials themselves. What is
            in memory stays with the caller.
        source_options: for a URL source: options of fsspec's class, such as endpoint and credentials.
        aliases: aliases that point to the new version in the same transaction: `aliases=["best"]`.
        tags: words with values, kept as `metadata["tags"]`: `tags={"stage": "raw"}`.
        description: a text, kept as `metadata["description"]`.
        replace_metadata: for content that the newest version has already: replace its metadata instead of merging into it.
    """

    exclude: Sequence[str]
    links: str
    modes: bool
    rehash: bool
    allow_empty: bool
    verify: bool
    format: str
    base: str
    onto: str | Referable
    at: str
    without: Sequence[str]
    profile: bool | str
    sha256: bool
    executor: Any
    source_options: Mapping[str, Any]
    aliases: Sequence[str]
    tags: Mapping[str, Any]
    description: str
    replace_metadata: bool


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Validated arguments that describe the artifact.

    Attributes:
        name: the name, or None.
        kind: data, model, code …
        metadata: a JSON object, or None if none was passed.
        metrics: metric → finite number.
        not_finite: metric → `nan`, `inf` or `-inf`.
        aliases: that are to point to the version.
        replace: whether the metadata of unchanged content are replaced, not merged.
    """

    name: str | None
    kind: str
    metadata: dict[str, Any] | None
    metrics: dict[str, float]
    not_finite: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    replace: bool = False


def take_onto(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take `onto`, `at` and `without` out of the options of a put; None if it is onto nothing.

    Raises:
        InvalidInputError: one has an invalid value, or lacks `onto`.
    """
    found: dict[str, Any] = {one: options.pop(one) for one in ("onto", "at", "without") if one in options}
    if not found:
        return None
    if "onto" not in found:
        raise InvalidInputError(f"{' and '.join(f'{one}=' for one in found)} goes with onto=: put(source, name, onto='name', …)")
    if not isinstance(found["onto"], str):
        found["onto"] = as_reference(found["onto"])
    at = found.get("at", "")
    if not isinstance(at, str):
        raise InvalidInputError(f"at={at!r}: expected a str, the folder in the artifact that the source goes to")
    found["is_folder"] = at.endswith("/")
    found["at"] = at.rstrip("/") if at.strip("/") else ""
    if found["at"]:
        check_path(found["at"])
    found["without"] = strings(found.get("without", ()), "without")
    return found


def check_options(options: Mapping[str, Any], *, is_object: bool) -> PutOptions:
    """Check the options of a put; unknown options of an object are left to its format.

    Raises:
        InvalidInputError: an option is unknown or has an invalid value.
    """
    if not is_object and options.get("profile", False) not in (True, False, "full"):
        raise InvalidInputError(f"profile={options['profile']!r}: expected True, False or 'full'")
    unknown = set(options) - set(PutOptions.__annotations__)
    if unknown and not is_object:
        from artifactstore.habits.keywords import argument_hint  # noqa: PLC0415 - only for a message

        known, hints = (
            ", ".join(sorted(PutOptions.__annotations__)),
            "".join(argument_hint("put", one) for one in sorted(unknown)),
        )
        raise InvalidInputError(f"put has no option {', '.join(sorted(unknown))}{hints}; expected {known}")
    if options.get("links", "keep") not in ("keep", "follow"):
        raise InvalidInputError(f"links={options['links']!r}: expected 'keep' or 'follow'")
    for option in ("modes", "rehash", "allow_empty", "verify", "sha256"):
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
    options: dict[str, Any],
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    reason: Any = None,
) -> PutRequest:
    """Validate the arguments and copy them, so that later changes by the caller have no effect.

    What describes the artifact (`aliases`, `tags` …) is taken out of `options`, which then has only what the source needs.

    Raises:
        InvalidInputError: an argument is invalid, or arguments are swapped.
    """
    if name is not None:
        if not isinstance(name, str):
            swapped = f"; the arguments look swapped: put(source, {source!r})" if isinstance(source, str) else ""
            raise InvalidInputError(f"name must be a str, got {type(name).__name__}{swapped}")
        name = check_name(name)
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("reason must be a str of at most 10,000 characters")
    tags, description = options.pop("tags", None), options.pop("description", None)
    checked = None if metadata is None else _object(metadata, "metadata")
    if tags is not None:
        checked = _merged(checked or {}, {"tags": _object(tags, "tags")})
    if description is not None:
        if not isinstance(description, str):
            raise InvalidInputError(f"description must be a str, got {type(description).__name__}")
        checked = {**(checked or {}), "description": description}
    if checked is not None:
        check_json(checked, "metadata")
        canonical_json(checked)  # refuses text that is not UTF-8
    finite, odd = check_metrics(metrics)
    aliases = _aliases(options.pop("aliases", ()), name)
    replace = options.pop("replace_metadata", False)
    if not isinstance(replace, bool):
        raise InvalidInputError(f"replace_metadata={replace!r}: expected True or False")
    return PutRequest(name, check_kind("data" if kind is None else kind), checked, finite, odd, aliases, replace)


def _object(given: Any, what: str) -> dict[str, Any]:
    """Return a JSON object made from a dict; a copy, as the caller may change the original."""
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"{what} must be a dict, got {type(given).__name__}")
    found: dict[str, Any] = json_value(given, what)
    return found


def _aliases(given: Any, name: str | None) -> tuple[str, ...]:
    aliases = (given,) if isinstance(given, str) else given
    if not isinstance(aliases, list | tuple):
        raise InvalidInputError(f"aliases must be a list of str, got {type(given).__name__}")
    if aliases and name is None:
        raise InvalidInputError(f"aliases={given!r}: an alias belongs to a name, and none was passed")
    return tuple(dict.fromkeys(check_alias(one) for one in aliases))


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with other keys and values added; tags are merged, too."""
    made = {**old, **new}
    if isinstance(old.get("tags"), dict) and isinstance(new.get("tags"), dict):
        made["tags"] = {**old["tags"], **new["tags"]}
    return made


def check_metrics(metrics: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Validate metrics and convert them to numbers.

    Returns:
        The finite numbers, and `nan`, `inf` or `-inf` for each value that is not finite; both by the metric's name.

    Raises:
        InvalidInputError: not a dict, an invalid name, or a value that is not a number.
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise InvalidInputError(f"metrics must be a dict of numbers, got {type(metrics).__name__}")
    finite: dict[str, float] = {}
    odd: dict[str, str] = {}
    for metric, value in (metrics or {}).items():
        if not isinstance(metric, str) or not metric:
            raise InvalidInputError(f"the name of a metric must be a str, got {metric!r}")
        number = number_of(value)
        if number is None or (isinstance(value, int) and not math.isfinite(number)):  # too large for a float
            raise InvalidInputError(f"the metric {metric!r} must be a number, got {value!r:.200}")
        if math.isfinite(number):
            finite[metric] = number
        else:
            odd[metric] = repr(number)
    return finite, odd


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
    elif request.metadata is not None:
        described = request.metadata if request.replace else _merged(metadata or {}, request.metadata)
        if canonical_json(described) != canonical_json(metadata):  # True is not 1 here
            facts.append({"fact": "described", **subject, "metadata": described})
    measured = state.metrics.get(digest, {})
    fresh = {metric: value for metric, value in request.metrics.items() if measured.get(metric) != value}
    if fresh or request.not_finite:
        odd: Fact = {"not_finite": request.not_finite} if request.not_finite else {}
        facts.append({"fact": "measured", "digest": digest, "metrics": fresh, **odd})
    moves = state.aliases.get(request.name, {}) if request.name is not None else {}
    for alias in request.aliases:
        if not (same and moves.get(alias) and moves[alias][-1]["version"] == len(rows)):
            target: Fact = {"version": len(rows)} if same else {"digest": digest}
            facts.append({"fact": "aliased", "name": request.name, "alias": alias, **target})
    return facts
