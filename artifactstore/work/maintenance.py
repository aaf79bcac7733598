"""`Store.maintenance`: what keeps a store in order. Each method calls one room of `artifactstore.maintenance`."""

from artifactstore.work.session import Session

__all__ = ["Maintenance"]


class Maintenance:
    """The upkeep of one open store; made by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session
