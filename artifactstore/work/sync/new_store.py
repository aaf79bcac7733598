"""The target of an import where there is no store yet: the import makes it, a dry run only pretends to."""

from artifactstore.errors import NotFoundError
from artifactstore.model.encoding import new_id
from artifactstore.work.session.session import Session
from artifactstore.work.session.write_guard import check_empty

__all__ = ["empty_store", "import_target"]


def import_target(session: Session, digest: str, *, dry_run: bool) -> Session:
    """Return the store that an import goes into.

    Args:
        session: the store as it was named.
        digest: algorithm of what is imported, if there is no store yet.
        dry_run: make nothing: an empty store in memory stands for the missing one.

    Raises:
        InvalidInputError: the location is not empty, and is not a store.
        RefusedError: the store is read-only.
    """
    session.check_writable()
    try:
        session.core()
    except NotFoundError:
        if not dry_run:
            session.create(digest)
            return session
        check_empty(session.backend, session.url, lambda: False)
        return empty_store(digest)
    return session


def empty_store(digest: str) -> Session:
    """Return an empty store in memory."""
    made = Session(f"memory://dry-run-{new_id()}", cache=None)
    made.create(digest)
    return made
