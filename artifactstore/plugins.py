"""What packages with backends and object formats of their own build on; everything else inside of this library is private.

A backend is a `Backend` and a `BackendDriver`, registered under the entry point group `artifactstore.backends` by the scheme
of its URLs. A format is a class that keeps `Format`, registered under `artifactstore.formats` by the top-level module of the
types that it takes. `artifactstore.testing.BackendContract` tests a backend. A signer is a class
that keeps `artifactstore.signing.Signer`, registered under `artifactstore.signers` by the scheme of `signer="scheme:text"`.

```toml
[project.entry-points."artifactstore.backends"]
sqlite = "my_package:DRIVER"

[project.entry-points."artifactstore.formats"]
my_package = "my_package:MyFormat"
```
"""

from artifactstore.backend.base import MAX_WRITE, Backend, Buffer, Stored, check_key, check_prefix
from artifactstore.backend.buffers import gather
from artifactstore.backend.driver import ROLES, BackendDriver, Policy
from artifactstore.backend.errors import check_ranges
from artifactstore.objects.base import Format, ReadFolder, WriteFolder
from artifactstore.objects.trust import Trust

__all__ = [
    "MAX_WRITE",
    "ROLES",
    "Backend",
    "BackendDriver",
    "Buffer",
    "Format",
    "Policy",
    "ReadFolder",
    "Stored",
    "Trust",
    "WriteFolder",
    "check_key",
    "check_prefix",
    "check_ranges",
    "gather",
]
