"""Minimal permissions of a reader, a writer and a janitor, as the driver of a URL's backend writes them. Nothing is queried.

The common rule: a reader reads and lists, a writer also writes, and only the janitor, which runs clean-up,
deletes. A store never needs more: no writer deletes anything, not even its own uploads (aborting an upload is not a deletion).
"""

from artifactstore.backend.driver import ROLES, Policy
from artifactstore.backend.registry import driver_of
from artifactstore.errors import InvalidInputError

__all__ = ["Policy", "policy_for"]


def policy_for(url: str, role: str) -> Policy:
    """Return the minimal permissions of a role at a URL.

    Args:
        url: of the store: `s3://bucket/prefix`, `abfss://container@account.dfs.core.windows.net/prefix`, `gs://bucket/prefix`,
            `sftp://host/path` or a folder.
        role: `reader`, `writer` or `janitor`.

    Raises:
        InvalidInputError: an unknown role, or a backend without policies.
    """
    if role not in ROLES:
        raise InvalidInputError(f"--policy must be one of {', '.join(ROLES)}, got {role!r}")
    driver = driver_of(url)
    if driver is None or driver.policy is None:
        raise InvalidInputError(f"no policy for {url}: policies exist for s3://, abfss://, az://, gs://, sftp:// and folders")
    return driver.policy(url, role)
