"""Azure Machine Learning: artifacts as assets that `az ml` and the SDK register, and which artifact a mounted model is.

See docs/integrations/azureml.md.
"""

from artifactstore.integrations.azureml.assets import export, model

__all__ = ["export", "model"]
