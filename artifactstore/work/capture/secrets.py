"""Files that must never be stored as code: what looks like a secret by its name."""

from fnmatch import fnmatchcase
from typing import Final

__all__ = ["looks_secret"]

_PATTERNS: Final = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd", "credentials", "credentials.json",
    "service-account*.json", "*.tfstate", "*.tfvars", "kubeconfig", ".dockercfg", "secrets.y*ml", "secrets.json", "secrets.toml",
)  # fmt: skip
_FINE: Final = (".env.example", ".env.sample", ".env.template", "*.pub")  # made to be shown
_FOLDERS: Final = frozenset({".ssh", ".aws", ".gnupg", ".kube"})


def looks_secret(path: str) -> bool:
    """Tell whether a path looks like that of a secret."""
    *folders, name = path.lower().split("/")
    if any(fnmatchcase(name, pattern) for pattern in _FINE):
        return False
    return bool(_FOLDERS.intersection(folders)) or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)
