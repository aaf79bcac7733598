"""SageMaker: a training job as a run, exports that it deploys, and requests for its registry and lineage.

Nothing here calls AWS but the export to a bucket: the requests are dicts for boto3. See docs/integrations/sagemaker.md.
"""

from artifactstore.integrations.sagemaker.exports import export, export_tar
from artifactstore.integrations.sagemaker.requests import lineage, model_package
from artifactstore.integrations.sagemaker.training import job

__all__ = ["export", "export_tar", "job", "lineage", "model_package"]
