"""Secrets that must never be stored unasked: files that hold secrets, by name, and secrets in captured values.

Every captured value passes the single redactor of this process. It knows the values of environment variables whose names
suggest secrets, and the values removed from command lines and parameters, and hides them wherever they occur again.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any, Final

from artifactstore.model.facts import Fact
from artifactstore.model.redaction import Redactor, late
from artifactstore.model.secret_names import Weight, is_harmless, weight_of

__all__ = ["captured", "cleaned", "looks_secret", "redactor", "secrets_among", "shown", "without_credentials"]

# Names of files, in small letters; docs/reference/runs.md lists them.
_PATTERNS: Final = (
    ".env", ".env.*", ".env-*", ".env_*", "*.env", ".envrc", "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks",
    "*.keystore", "*.kdb", "*.kdbx", "*.ovpn", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".authinfo*",
    ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".pypirc", ".npmrc", ".yarnrc.yml", ".condarc", "pip.conf", ".curlrc",
    ".wgetrc", ".git-credentials", ".htpasswd", "htpasswd", ".passwd*", ".s3cfg", ".boto", ".databrickscfg", ".dockercfg",
    ".dockerconfigjson", "clearml.conf", ".comet.config", "rclone.conf", ".terraformrc", "terraform.rc", "*.tfstate", "*.tfstate.*",
    "*.tfvars", "*.tfvars.json", "kubeconfig", "*.kubeconfig", "kaggle.json", "client_secret*.json", "local.settings.json",
    "application_default_credentials.json", "*service-account*.json", "*service_account*.json", "*firebase-adminsdk*.json",
    "auth.json", "auth.toml", ".token", "*.token", ".*-token", ".*_token", "token.json", "token.txt", "*[-_]token.txt", "rootkey*.csv",
    "*accesskeys.csv", ".*_history", "credentials", "credentials.*", "*[-_.]credentials", "*[-_]credentials.*", ".credentials*",
    ".secret", ".secrets", "*.secret", "*.secrets",
)  # fmt: skip
_DATA: Final = (
    "json",
    "yaml",
    "yml",
    "toml",
    "txt",
    "csv",
    "ini",
    "cfg",
    "conf",
    "xml",
    "env",
    "properties",
    "db",
    "sqlite",
    "b64",
    "asc",
)
_WORDS: Final = ("secret", "secrets", "password", "passwords", "passwd", "api[-_]key", "apikey", "api[-_]keys", "private[-_]key")
_FINE: Final = (
    ".env.example",
    ".env.sample",
    ".env.template",
    ".env.dist",
    "*.pub",
    "credentials.py",
    "*[-_]credentials.py",
    "*.example",
    "*.sample",
)
_SECRET, _SHOWN = (
    late("|".join(map(translate, patterns))) for patterns in (_PATTERNS, _FINE)
)  # one search: a repository has thousands of names
_NAMED: Final = late(rf"(?:.*[-_.])?(?:{'|'.join(_WORDS)})(?:\.(?:{'|'.join(_DATA)}))?")  # password.txt, my_api_key.json
_SHAPES_KEPT: Final = 10_000
_FOLDERS: Final = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".azure", ".gcloud", ".oci", ".docker", ".vault", ".secrets"})
_FOLDER_OF_DATA: Final = frozenset({"secrets", ".cargo", ".streamlit", ".huggingface"})  # files in these, except programs
_CODE: Final = late(r".*\.(?:py|pyi|ipynb|r|jl|js|ts|c|cc|cpp|h|go|rs|java|scala|sh|sql|md|rst|lock)")

_USER: Final = late(r"^([a-z][a-z0-9+.-]*://)[^/]*@", re.IGNORECASE)
_MORE: Final = late(r"[?#].*", re.DOTALL)

_AUTOMATIC: Final = frozenset({"started", "finished"})  # facts whose fields are captured, except these:
_GIVEN: Final = frozenset({"fact", "run", "name", "claimed", "parent", "status", "seconds", "reads_seen", "around_more"})


def looks_secret(path: str) -> bool:
    """Return True if a path looks like a secret."""
    *folders, name = path.lower().split("/")
    if _SHOWN().match(name):
        return False
    if _FOLDERS.intersection(folders) or _SECRET().match(name) is not None:
        return True
    if _CODE().fullmatch(name):
        return False
    if _FOLDER_OF_DATA.intersection(folders):
        return "credentials" in name or "secrets" in folders or "token" in name or "secrets" in name
    return _NAMED().fullmatch(name) is not None


_ZEROS: Final = str.maketrans("123456789", "000000000")
_WITH_NUMBERS: Final = late(r"p0|0cfg|id_ed|id_rsa|b00")  # parts of names that another number would make a secret


def secrets_among(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that look like secrets; names that differ only in their numbers are checked once."""
    plain: set[str] = set()
    for path in paths:
        shape = path.translate(_ZEROS)
        if shape in plain:
            continue
        if looks_secret(path):
            yield path
        elif not _WITH_NUMBERS().search(shape.lower()):
            if len(plain) > _SHAPES_KEPT:
                plain.clear()
            plain.add(shape)


_redactor: Final = Redactor()


def redactor() -> Redactor:
    """Return the redactor of this process, with the current values of the environment."""
    named = ((value, weight_of(name)) for name, value in os.environ.items())
    _redactor.know(value for value, weight in named if weight > Weight.TOKEN and not is_harmless(value, Weight.LOGIN))
    return _redactor


def captured(value: Any, name: str = "") -> Any:
    """Return a captured JSON value without secrets."""
    return redactor().value(value, name)


def cleaned(fact: Fact) -> Fact:
    """Return a fact without secrets in captured fields; values passed by the user stay."""
    kind = fact.get("fact")
    if kind in _AUTOMATIC:
        return {key: one if key in _GIVEN else captured(one, key) for key, one in fact.items()}
    if kind in {"used", "produced"} and isinstance(fact.get("code"), Mapping):
        return {**fact, "code": captured(fact["code"])}
    return fact


def without_credentials(url: str) -> str:
    """Return a URL without user and password, and without query and fragment, which may have tokens."""
    plain = _USER().sub(r"\1", url)
    return redactor().text(_MORE().sub("", plain) if "://" in plain else plain)


def shown(command: Sequence[str]) -> list[str]:
    """Return a command line without values that look like secrets."""
    return redactor().words(command)
