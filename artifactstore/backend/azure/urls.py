"""Parsing of Azure and OneLake URLs: account, host, container and prefix; pure, so that every form is a test.

OneLake behaves like one storage account named `onelake`: its containers are workspaces, the first level in them
are items, and the first level in an item is Fabric's own. So a store must be below `Files`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from artifactstore.backend.base import check_location
from artifactstore.errors import InvalidInputError

__all__ = ["AzureLocation", "parse_azure_url"]

_FORMS: Final = "abfss://container@account.dfs.core.windows.net/prefix or abfss://container/prefix"
_ONELAKE_FORM: Final = "abfss://workspace@onelake.dfs.fabric.microsoft.com/item.Lakehouse/Files/folder"
# Storage accounts: the public cloud, its DNS zones, and the national clouds. An account name contains no dots.
_ACCOUNT: Final = re.compile(
    r"(?P<account>[a-z0-9-]{3,32})(?P<zone>\.z\d{1,2})?\.(?P<api>dfs|blob)\."
    r"(?P<cloud>core\.windows\.net|storage\.azure\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net|core\.cloudapi\.de)"
)
# `onelake`, `westus-onelake`, `api-onelake`; or a workspace's private link: its id without dashes, then z and two of its digits.
_ONELAKE: Final = re.compile(
    r"(?P<name>(?:[a-z0-9-]+-)?onelake|[0-9a-f]{32}\.z[0-9a-f]{2})\.(?P<api>dfs|blob)\.fabric\.microsoft\.com"
)
_CONTAINER: Final = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ITEM: Final = re.compile(r"[^/.][^/]*\.[A-Za-z]+")
_WORKSPACE: Final = re.compile(r"[^/@:?#\\\x00-\x1f]+")
_ENDPOINT_OPTIONS: Final = ("account_name", "account_host", "connection_string")


@dataclass(frozen=True, slots=True)
class AzureLocation:
    """Location of a store on Azure.

    Attributes:
        url: in canonical form, for messages.
        container: its container; on OneLake the workspace.
        root: prefix of each key, empty or with a trailing slash.
        options: account options from the URL, for adlfs.
        onelake: whether Fabric manages the levels above.
    """

    url: str
    container: str
    root: str
    options: Mapping[str, Any]
    onelake: bool


def parse_azure_url(scheme: str, rest: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> AzureLocation:
    """Parse `scheme://rest`; touches nothing.

    Args:
        scheme: abfs, abfss or az.
        rest: what follows `://`.
        options: the caller's storage_options, which may name the account that the URL does not.
        environ: the environment, which may name it, too.

    Raises:
        InvalidInputError: not a valid form, no account given anywhere, or a path that OneLake manages itself.
    """
    if "?" in rest or "#" in rest:
        # Not repeated: it is often a signature.
        raise InvalidInputError(
            f"a store's {scheme}:// URL must be a container and a prefix, without '?' and '#': pass a SAS token as "
            "storage_options={'sas_token': …} or in AZURE_STORAGE_SAS_TOKEN"
        )
    authority, _, path = rest.partition("/")
    path = path.rstrip("/")
    container, at, host = authority.rpartition("@")
    host = host.lower() if at else ""
    if not at:
        container = authority
        if _ACCOUNT.fullmatch(authority.lower()) or _ONELAKE.fullmatch(authority.lower()):
            account, first, prefix = authority, *_split(path)
            raise InvalidInputError(
                f"{scheme}://{authority}/… has the account in the position of the container; use  "
                f"{scheme}://{first or 'container'}@{account}/{prefix}"
            )
    if not container:
        raise InvalidInputError(f"{scheme}://{rest} has no container: expected {_FORMS}")
    if host.endswith("fabric.microsoft.com"):
        return _onelake(scheme, unquote(container), host, unquote(path))
    if not _CONTAINER.fullmatch(container):
        raise InvalidInputError(
            f"{container!r} is not a valid Azure container name (3 to 63 lower-case letters, digits and single '-'): expected {_FORMS}"
        )
    _check_prefix(scheme, path)
    found = _account(scheme, container, host, path) if at else {}
    if not at and not _has_account(options, environ):
        raise InvalidInputError(
            f"{scheme}://{container} does not name its storage account: use "
            f"{scheme}://{container}@ACCOUNT.dfs.core.windows.net/{path}, or set AZURE_STORAGE_ACCOUNT_NAME or "
            "storage_options={'account_name': …}"
        )
    if at and options.get("account_name") not in {None, found["account_name"]}:
        raise InvalidInputError(
            f"the URL names the account {found['account_name']}, storage_options a different one: leave out account_name"
        )
    url = f"{scheme}://{authority}/{path}".rstrip("/")
    return AzureLocation(url, container, f"{path}/" if path else "", found, onelake=False)


def _split(path: str) -> tuple[str, str]:
    first, _, prefix = path.partition("/")
    return first, prefix


def _check_prefix(scheme: str, path: str) -> None:
    if not path:
        return
    try:
        check_location(path)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{scheme}://…/{path}: expected a prefix of segments between slashes, none of them empty, '.' or '..', without backslashes, ?, # and *"
        ) from error


def _account(scheme: str, container: str, host: str, path: str) -> dict[str, Any]:
    match = _ACCOUNT.fullmatch(host)
    if match is None:
        raise InvalidInputError(
            f"{host} is not a storage account host: expected {scheme}://{container}@ACCOUNT.dfs.core.windows.net/{path}; for a "
            "custom host (a private link, an emulator) use "
            f"{scheme}://{container}/{path} and pass storage_options={{'account_name': …, 'account_host': '{host}'}}"
        )
    found = {"account_name": match["account"]}
    if match["cloud"] != "core.windows.net" or match["zone"]:
        found["account_host"] = f"{match['account']}{match['zone'] or ''}.blob.{match['cloud']}"
    return found


def _has_account(options: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    if any(options.get(name) for name in _ENDPOINT_OPTIONS):
        return True
    return bool(environ.get("AZURE_STORAGE_ACCOUNT_NAME") or environ.get("AZURE_STORAGE_CONNECTION_STRING"))


def _onelake(scheme: str, workspace: str, host: str, path: str) -> AzureLocation:
    match = _ONELAKE.fullmatch(host)
    if match is None:
        raise InvalidInputError(f"{host} is not a OneLake host: expected {_ONELAKE_FORM}")
    if not _WORKSPACE.fullmatch(workspace):
        raise InvalidInputError(f"{workspace!r} is not a workspace: expected its name or its GUID, as in {_ONELAKE_FORM}")
    item, files, folder = (*path.split("/", 2), "", "", "")[:3]
    named = _ITEM.fullmatch(item) is not None
    if not item or not (named or _GUID.fullmatch(item)):
        raise InvalidInputError(
            f"{scheme}://{workspace}@{host}/{path}: a workspace contains items, which only Fabric can create; name one as "
            f"name.Lakehouse, or by its GUID if the workspace is a GUID, too: {_ONELAKE_FORM}"
        )
    if _GUID.fullmatch(item) and not _GUID.fullmatch(workspace):
        raise InvalidInputError(
            f"OneLake requires GUIDs for both the workspace and the item, or names for both: {workspace!r} is a name, {item} a GUID"
        )
    if files != "Files":
        raise InvalidInputError(
            f"{item}/{files}: a store must be below Files, since Fabric owns the rest of an item "
            f"({'Tables holds Delta tables' if files == 'Tables' else 'it cannot be written'}): {_ONELAKE_FORM}"
        )
    if not folder:
        raise InvalidInputError(f"{item}/Files itself belongs to Fabric: choose a folder below it, as in {_ONELAKE_FORM}")
    _check_prefix(scheme, folder)
    options = {"account_name": "onelake", "account_host": f"{match['name']}.blob.fabric.microsoft.com", "anon": False}
    url = f"{scheme}://{workspace}@{host}/{path}"
    return AzureLocation(url, workspace, f"{path}/", options, onelake=True)
