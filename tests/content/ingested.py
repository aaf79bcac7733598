"""An ingest of which every pack has been written."""

from typing import Any

from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.ingested import Ingested


def ingested(*arguments: Any, **options: Any) -> Ingested:
    with ingest(*arguments, **options) as made:
        pass
    return made
