"""What must never be stored by itself: files that hold secrets, by their names, and secrets in what is captured.

Everything that is captured passes the one redactor of this process. It knows the values of environment variables whose names mean
secrets, and what it has taken out of command lines and parameters, and hides them wherever they come again.
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

# Names of files, in small letters; docs/runs.md lists them.
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
_FOLDER_OF_DATA: Final = frozenset({"secrets", ".cargo", ".streamlit", ".huggingface"})  # of these what is no program
_CODE: Final = late(r".*\.(?:py|pyi|ipynb|r|jl|js|ts|c|cc|cpp|h|go|rs|java|scala|sh|sql|md|rst|lock)")

_USER: Final = late(r"^([a-z][a-z0-9+.-]*://)[^/]*@", re.IGNORECASE)
_MORE: Final = late(r"[?#].*", re.DOTALL)

_AUTOMATIC: Final = frozenset({"started", "finished"})  # facts whose fields are captured, but for these:
_GIVEN: Final = frozenset({"fact", "run", "name", "claimed", "parent", "status", "seconds", "reads_seen", "around_more"})


def looks_secret(path: str) -> bool:
    """Tell whether a path looks like that of a secret."""
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
_WITH_NUMBERS: Final = late(r"p0|0cfg|id_ed|id_rsa|b00")  # what a name has that another number would make a secret


def secrets_among(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that look like those of secrets; a thousand files whose names differ in their numbers are one question."""
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
    """Return the redactor of this process, which knows what the environment holds now."""
    named = ((value, weight_of(name)) for name, value in os.environ.items())
    _redactor.know(value for value, weight in named if weight > Weight.TOKEN and not is_harmless(value, Weight.LOGIN))
    return _redactor


def captured(value: Any, name: str = "") -> Any:
    """Return what was captured, a JSON value, without secrets."""
    return redactor().value(value, name)


def cleaned(fact: Fact) -> Fact:
    """Return a fact without secrets in what was captured; what a user said by himself stays."""
    kind = fact.get("fact")
    if kind in _AUTOMATIC:
        return {key: one if key in _GIVEN else captured(one, key) for key, one in fact.items()}
    if kind in {"used", "produced"} and isinstance(fact.get("code"), Mapping):
        return {**fact, "code": captured(fact["code"])}
    return fact


def without_credentials(url: str) -> str:
    """Return a URL without user and password, and without what follows `?` or `#`, where tokens are handed over."""
    plain = _USER().sub(r"\1", url)
    return redactor().text(_MORE().sub("", plain) if "://" in plain else plain)


def shown(command: Sequence[str]) -> list[str]:
    """Return a command line without what looks like a secret."""
    return redactor().words(command)
