"""Anchors of the caller: entries with the digests that they had, as text, as lines of a file, or as signed anchor files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.journal.heads import format_head, parse_head
from artifactstore.maintenance.verify.report import Finding, Report
from artifactstore.model.encoding import parse_json
from artifactstore.signing.envelope import ANCHOR, payload_of

__all__ = ["read_anchors"]


def read_anchors(anchor: Any, store: str, keys: Any, report: Report) -> dict[int, dict[str, str]]:
    """Return the caller's anchors: entry → digest → where it was recorded.

    Args:
        anchor: `<entry>:<digest>`, the path of a file of such lines or of an anchor file, or a list of these.
        store: the id of the store.
        keys: whose signatures count, or None.
        report: receives what is wrong with anchor files.

    Raises:
        InvalidInputError: one is neither.
    """
    found: dict[int, dict[str, str]] = {}
    for one in anchor if isinstance(anchor, list | tuple) else [] if anchor is None else [anchor]:
        for line, where in _lines(one, store, keys, report).items():
            noted = parse_head(line)
            if noted is None:
                raise _error(line, where)
            found.setdefault(noted[0], {})[noted[1]] = where
    return found


def _lines(one: Any, store: str, keys: Any, report: Report) -> dict[str, str]:
    """Return the lines of an anchor, each with where it is; of a file, blank lines and those that begin with `#` are skipped."""
    if isinstance(one, str) and parse_head(one) is not None:
        return {one: "the anchor"}
    value = one.to_json() if hasattr(one, "to_json") else one
    if isinstance(value, Mapping):
        return {_of_record(value, "anchor=", store, keys, report): "the anchor"}
    if not isinstance(one, str | os.PathLike):
        raise _error(one, "")
    try:
        text = Path(one).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _error(one, "") from error
    if text.lstrip().startswith("{"):
        return {_of_record(parse_json(text.encode(), str(one)), os.fspath(one), store, keys, report): f"the anchor in {one}"}
    lines = text.splitlines()
    found = {line.strip(): f"{one}, line {n}," for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")}
    if not found:
        raise InvalidInputError(f"{one} contains no anchor: expected one a line, as `artifactstore head` prints them")
    return found


def _of_record(value: Any, path: str, store: str, keys: Any, report: Report) -> str:
    """Return the anchor of an anchor file's content; what its signature is worth goes into the report."""
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str) or not isinstance(value.get("store"), str):
        raise InvalidInputError(f"{path} is not an anchor file: expected the JSON that `artifactstore anchor --to FILE` writes")
    if value["store"] != store:
        report.damage(f"the anchor in {path} is of the store {value['store']}, this is {store}", path, rule="anchor")
    signature = value.get("signature")
    if signature is None:
        if keys is not None:
            report.note(f"the anchor in {path} is not signed", path, rule="signature")
        return str(value["text"])
    payload = payload_of(signature, ANCHOR)
    if payload is None or payload["store"] != value["store"] or format_head(payload["seq"], payload["entry"]) != value["text"]:
        what = f"the signature in {path} is not of this anchor: it was transplanted, or the anchor was changed"
        report.findings.append(Finding("breach", what, path, rule="signature"))
    elif keys is not None:
        from artifactstore.signing.verify import verify_envelope  # noqa: PLC0415 - loads cryptography only where there are keys

        worth = verify_envelope(signature, keys, time=payload["time"], payload_type=ANCHOR)
        if not worth:
            what = f"the anchor in {path} is signed by {payload['name']}, and that does not count ({worth.status}): {worth.text}"
            report.findings.append(Finding("breach", what, path, rule="signature"))
    return str(value["text"])


def _error(text: Any, where: str) -> InvalidInputError:
    return InvalidInputError(
        f"{where or 'anchor='}{'' if where else repr(str(text)[:100])}{': ' + repr(text[:100]) if where else ''}: expected "
        "<entry>:<algorithm>:<hex>, for example 12:blake3:ab…, or a file of such lines"
    )
