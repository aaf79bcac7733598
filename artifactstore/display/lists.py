"""The columns of lists that commands print. A column takes its cell from a record; a table is made of any choice of them."""

from typing import Any, Final

from artifactstore.display.outline import Column, Inline, Span
from artifactstore.display.values import format_size, moment

__all__ = ["LISTS"]

_DIGEST: Final = 15  # characters of a digest: enough to pass it on
_COMMIT: Final = 10
_RUN: Final = 12

_KIND: Final = Column("KIND", lambda row: row.kind)
_REF: Final = Column("REF", lambda row: row.ref)
_HASH: Final = Column("DIGEST", lambda row: row.digest[:_DIGEST])
_PATH: Final = Column("PATH", lambda row: row.path + (f" -> {row.target}" if row.target else ""))
_SIZE: Final = Column("SIZE", lambda row: format_size(row.size))
_TIME: Final = Column("TIME (UTC)", lambda row: moment(row.time))
_ACTOR: Final = Column("ACTOR", lambda row: row.actor)


def _remarks(row: Any) -> str:
    words = [*row.aliases, *(["(removed)"] if row.removed else []), *(["(tainted)"] if row.tainted else [])]
    return " ".join(words) + (f"  {row.reason}" if row.reason else "")


def _commit(row: Any) -> str:
    return (row.code.get("commit") or "")[:_COMMIT] + (" dirty" if row.code.get("dirty") else "")


def _subject(event: Any) -> str:
    what = event.name or (event.digest or "")[:_DIGEST]
    if event.fact == "received":
        what = f"store {event.fields['store'][:8]}, entry {event.fields['seq']}"
    if event.alias:
        what += f":{event.alias}" + (f" -> v{event.version}" if event.version else "")
    elif event.version:
        what += f":v{event.version}"
    if event.origin is not None:
        store, _, entry = event.origin.partition(":")
        what += f" (from store {store[:8]}, entry {entry})"
    return what if event.outcome == "committed" else f"{what} ({event.outcome})"


def _status(check: Any) -> Inline:
    return Span(check.status, {"ok": "good", "warn": "warning", "fail": "bad"}.get(check.status, "dim"))  # type: ignore[arg-type]


_REMARKS: Final = Column("ALIASES", _remarks, fit="wrap")

LISTS: Final = {
    "names": (
        Column("NAME", lambda row: row.name),
        Column("NEWEST", lambda row: f"v{row.versions}"),
        _KIND,
        _SIZE,
        _TIME,
        Column("ALIASES", lambda row: " ".join(f"{alias}=v{k}" for alias, k in row.aliases.items())),
    ),
    "newest": (_REF, _HASH, _KIND, _SIZE, _TIME, _REMARKS),
    "long files": (Column("DIGEST", lambda row: (row.digest or row.type)[:_DIGEST]), _SIZE, _PATH),
    "files": (_SIZE, _PATH),
    "versions": (Column("VERSION", lambda row: f"v{row.version}"), _HASH, _SIZE, _TIME, _ACTOR, _REMARKS),
    "found": (
        _REF,
        _KIND,
        _SIZE,
        Column("METRICS", lambda row: " ".join(f"{name}={value:g}" for name, value in row.metrics.items()), fit="wrap"),
    ),
    "events": (
        Column("ENTRY", lambda event: str(event.seq)),
        _TIME,
        _ACTOR,
        Column("FACT", lambda event: event.fact),
        Column("WHAT", _subject),
        Column("REASON", lambda event: event.reason or "", fit="wrap"),
    ),
    "runs": (
        Column("RUN", lambda row: row.id[:_RUN]),
        Column("NAME", lambda row: row.name),
        Column("STATUS", lambda row: row.status),
        Column("STARTED (UTC)", lambda row: moment(row.started)),
        Column("SECONDS", lambda row: "" if row.seconds is None else f"{row.seconds:.1f}"),
        Column("COMMIT", _commit),
    ),
    "impact": (
        Column("REF", lambda row: row.label),
        _KIND,
        Column("ALIASES", lambda row: " ".join(row.aliases)),
        Column("", lambda row: Span("tainted", "bad") if row.tainted else ""),
    ),
    "checks": (
        Column("STATUS", _status),
        Column("CHECK", lambda check: check.name),
        Column("WHAT HAPPENED", lambda check: " ".join(check.happened.split()), fit="wrap"),
    ),
    "settings": (
        Column("SETTING", lambda row: row[0]),
        Column("VALUE", lambda row: row[1]),
        Column("FROM", lambda row: row[2], fit="wrap"),
    ),
    "cache": (Column("what", lambda row: row[0]), Column("bytes", lambda row: format_size(row[1]))),
}
