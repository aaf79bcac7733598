"""The ClusterStorageContainer that tells KServe which URIs this program fetches."""

import re
from collections.abc import Sequence
from typing import Final

from artifactstore.errors import InvalidInputError

__all__ = ["manifest"]

_SCHEMES: Final = ("file", "s3", "abfss", "abfs", "az", "gs", "gcs", "sftp", "https")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*", re.ASCII)
# Prefixes: KServe searches a regular expression anywhere in the URI, so its default `https?://(.+)/(.+)` takes artifactstore+https.
_TEXT: Final = """\
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata:
  name: artifactstore
spec:
  container:
    name: storage-initializer
    image: {image}
    command: ["artifactstore-kserve"]
    resources:
      requests:
        cpu: 100m
        memory: 256Mi
      limits:
        cpu: "2"
        memory: 2Gi
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        drop: ["ALL"]
      privileged: false
      readOnlyRootFilesystem: true
      runAsNonRoot: true
  supportedUriFormats:
{formats}
  supportsMultiModelDownload: true
  workloadType: initContainer
"""


def manifest(words: Sequence[str]) -> str:
    """Return the manifest as YAML.

    Args:
        words: `--manifest --image IMAGE [--schemes s3,abfss,gs]`.

    Raises:
        InvalidInputError: the image is missing, or a scheme unknown.
    """
    given = {"--image": "", "--schemes": "s3,abfss,gs"}
    rest = [word for word in words if word != "--manifest"]
    while rest:
        option, sign, value = rest.pop(0).partition("=")
        if option not in given or (not sign and not rest):
            raise InvalidInputError(f"{option!r} cannot be used: expected --manifest --image IMAGE [--schemes s3,abfss,gs]")
        given[option] = value if sign else rest.pop(0)
    if not _IMAGE.fullmatch(given["--image"]):
        raise InvalidInputError(
            "pass the image with this library and the extra of your storage: --image registry/artifactstore:0.1"
        )
    schemes = [one.strip() for one in given["--schemes"].split(",")]
    for one in schemes:
        if one not in _SCHEMES:
            raise InvalidInputError(f"the scheme {one!r} cannot be used: expected some of {', '.join(_SCHEMES)}")
    formats = "\n".join(f"    - prefix: artifactstore+{one}://" for one in schemes)
    return _TEXT.format(image=given["--image"], formats=formats)
