"""What must never be stored: files that look like a secret by their name, and credentials in URLs and command lines."""

import re
from collections.abc import Sequence
from fnmatch import translate
from typing import Final

__all__ = ["looks_secret", "shown", "without_credentials", "without_logins"]

_PATTERNS: Final = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".git-credentials",
    ".htpasswd", ".s3cfg", ".boto", ".databrickscfg", "credentials", "credentials.json", "kaggle.json", "client_secret*.json",
    "application_default_credentials.json", "service-account*.json", "service_account*.json", "*.tfstate", "*.tfvars",
    "kubeconfig", ".dockercfg", "secrets.y*ml", "secrets.json", "secrets.toml",
)  # fmt: skip
_FINE: Final = (".env.example", ".env.sample", ".env.template", "*.pub")  # made to be shown
_SECRET, _SHOWN = (
    re.compile("|".join(map(translate, patterns))) for patterns in (_PATTERNS, _FINE)
)  # one search: a repository has thousands of names
_FOLDERS: Final = frozenset({".ssh", ".aws", ".gnupg", ".kube"})

_USER: Final = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/]*@", re.IGNORECASE)
_MORE: Final = re.compile(r"[?#].*", re.DOTALL)
_LOGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@:]*:[^/\s]*@", re.IGNORECASE)
_HIDDEN: Final = re.compile(  # at the end of a name: `--hf-token` is one, `--tokenizer` and `--max-tokens` are none
    r"(?:token|passw(?:or)?d|passphrase|secret|credentials?|(?:api|access|secret|private|account)[-_]?key)$", re.IGNORECASE
)


def looks_secret(path: str) -> bool:
    """Tell whether a path looks like that of a secret."""
    *folders, name = path.lower().split("/")
    if _SHOWN.match(name):
        return False
    return bool(_FOLDERS.intersection(folders)) or _SECRET.match(name) is not None


def without_credentials(url: str) -> str:
    """Return a URL without user and password, and without what follows `?` or `#`, where tokens are handed over."""
    plain = _USER.sub(r"\1", url)
    return _MORE.sub("", plain) if "://" in plain else plain


def without_logins(text: str) -> str:
    """Return a text without the users and passwords of URLs in it."""
    return _LOGIN.sub(r"\1***@", text)


def shown(command: Sequence[str]) -> list[str]:
    """Return a command line without what looks like a secret."""
    found, hide = [], False
    for word in command:
        name, sign, _ = word.partition("=")
        secret = _HIDDEN.search(name) is not None
        if hide:
            found.append("***")
            hide = False
            continue
        found.append(f"{name}=***" if secret and sign else without_logins(word))
        hide = secret and not sign and word.startswith("-")
    return found
