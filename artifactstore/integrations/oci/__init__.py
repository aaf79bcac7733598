"""OCI registries and image layouts: models where containers are, and back as the same artifact; see docs/integrations/oci.md."""

from artifactstore.integrations.oci.layout import export
from artifactstore.integrations.oci.pull import pull
from artifactstore.integrations.oci.push import Pushed, push

__all__ = ["Pushed", "export", "pull", "push"]
