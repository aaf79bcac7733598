"""The data that a model was trained on, by its lineage."""

from artifactstore.errors import NotFoundError
from artifactstore.work.get.artifact import artifact
from artifactstore.work.session.session import Session

__all__ = ["training_data"]

_WORDS = ("train", "training", "reference")  # roles that settle it


def training_data(session: Session, digest: str) -> str:
    """Return the table that a model was made from.

    Raises:
        NotFoundError: no run made it, or it was made from no table, or from several.
    """
    found: dict[str, str | None] = {}
    with session.query_state() as state:
        for run in state.produced_by.get(digest, ()):
            for edge in state.edges.get(run, ()):
                if edge["fact"] == "used":
                    known = state.versions_by_digest.get(edge["digest"])
                    ref = f"{known[-1][0]}:v{known[-1][1]}" if known else str(edge["digest"])
                    found[ref] = edge.get("role")
    named = [ref for ref, role in found.items() if role in _WORDS]
    tables = named if len(named) == 1 else [ref for ref in found if artifact(session, ref).profile is not None]
    if len(tables) != 1:
        what = f"was made from several tables ({', '.join(tables[:5])})" if tables else "was made from no table that is known"
        raise NotFoundError(f"the model {digest[:19]} {what}: pass the reference to compare with")
    return tables[0]
