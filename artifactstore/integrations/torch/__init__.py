"""PyTorch: checkpoints of several processes (`torch.distributed.checkpoint`) as versions of one name.

Each rank stores its own shards; the coordinator's commit makes them one version. See docs/integrations/torch.md.
"""

from artifactstore.errors import UnsupportedError

try:
    from artifactstore.integrations.torch.reader import ArtifactReader, resume
    from artifactstore.integrations.torch.writer import ArtifactWriter
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "torch":
        raise
    raise UnsupportedError(
        "artifactstore.integrations.torch needs PyTorch, which is not installed here: pip install torch"
    ) from error

__all__ = ["ArtifactReader", "ArtifactWriter", "resume"]
