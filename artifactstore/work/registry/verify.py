"""Verify a store for a caller: its content and history, and what broke a rule by the caller's keys."""

from pathlib import Path
from typing import Any

from artifactstore.journal.journal import Journal
from artifactstore.maintenance.verify import verify as maintenance
from artifactstore.maintenance.verify.report import Report
from artifactstore.model.digest import hash_bytes
from artifactstore.work.get.artifact import artifact
from artifactstore.work.registry.breaches import Breaches
from artifactstore.work.registry.signatures.keys import load_keys
from artifactstore.work.session.session import Session

__all__ = ["verify"]


def _record(cache: Path, journal: Journal) -> Path:
    """Return the file that notes what an interrupted run on this location has read."""
    return cache / "stores" / journal.config.store / f"verify-{hash_bytes(journal.backend.url.encode(), 'blake3').hex()[:32]}"


def verify(session: Session, ref: str | None, *, level: str, fraction: float, anchor: Any, keys: Any) -> Report:
    """Check the store, or one artifact; see `Store.verify`."""
    known = load_keys(keys)
    digest = None if ref is None else artifact(session, ref).digest
    breaches = Breaches(session, known)
    mirrors, journal = session.mirrors, session.core().journal
    report = maintenance.verify(
        journal if mirrors is None else mirrors.plain(session.backend, journal),
        digest=digest,
        level=level,
        fraction=fraction,
        anchor=anchor,
        keys=known,
        judge=breaches.judge,
        watch=session.watch,
        record=None if session.cache is None else _record(session.cache, journal),
    )
    report.not_checked += breaches.not_judged
    for key, url in mirrors.saved.items() if mirrors is not None else ():
        report.note(f"{key} was read from the mirror {url}: run `artifactstore repair` to bring it back here", key, rule="mirror")
    return report
