"""What an Azure or OneLake URL means: account, host, container and prefix; pure, so that every form is a test.

OneLake speaks as if it were one storage account named `onelake`: its containers are workspaces, the first level in them
are items, and what an item holds at its first level is Fabric's own. So a store lies below `Files` and nowhere else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from artifactstore.backend.base import check_place
from artifactstore.errors import InvalidInputError

__all__ = ["AzurePlace", "azure_place"]

_FORMS: Final = "abfss://container@account.dfs.core.windows.net/prefix or abfss://container/prefix"
_ONELAKE_FORM: Final = "abfss://workspace@onelake.dfs.fabric.microsoft.com/item.Lakehouse/Files/folder"
# Storage accounts: the public cloud, its DNS zones, and the national clouds. An account's name has no dots.
_ACCOUNT: Final = re.compile(
    r"(?P<account>[a-z0-9-]{3,32})(?P<zone>\.z\d{1,2})?\.(?P<api>dfs|blob)\."
    r"(?P<cloud>core\.windows\.net|storage\.azure\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net|core\.cloudapi\.de)"
)
# `onelake`, `westus-onelake`, `api-onelake`; or one workspace's private link: its id without dashes, then z and two of its digits.
_ONELAKE: Final = re.compile(
    r"(?P<name>(?:[a-z0-9-]+-)?onelake|[0-9a-f]{32}\.z[0-9a-f]{2})\.(?P<api>dfs|blob)\.fabric\.microsoft\.com"
)
_CONTAINER: Final = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ITEM: Final = re.compile(r"[^/.][^/]*\.[A-Za-z]+")
_WORKSPACE: Final = re.compile(r"[^/@:?#\\\x00-\x1f]+")
_ENDPOINT_OPTIONS: Final = ("account_name", "account_host", "connection_string")


@dataclass(frozen=True, slots=True)
class AzurePlace:
    """Where a store lies.

    Attributes:
        url: in its usual form, for messages.
        container: its container; on OneLake the workspace.
        root: what stands before each key, empty or with a slash at its end.
        options: what the URL says of the account, for adlfs.
        onelake: whether Fabric manages the levels above.
    """

    url: str
    container: str
    root: str
    options: Mapping[str, Any]
    onelake: bool


def azure_place(scheme: str, rest: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> AzurePlace:
    """Return what `scheme://rest` means; touches nothing.

    Args:
        scheme: abfs, abfss or az.
        rest: what follows `://`.
        options: the caller's storage_options: they may name the account that the URL does not.
        environ: the environment, which may do so, too.

    Raises:
        InvalidInputError: no such form, no account anywhere, or a place that OneLake manages itself.
    """
    if "?" in rest or "#" in rest:
        # Not repeated: what stands there is often a signature.
        raise InvalidInputError(
            f"a store's {scheme}:// URL is a container and a prefix, with no '?' and no '#': pass a SAS token as "
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
                f"{scheme}://{authority}/… names the account where the container belongs; write "
                f"{scheme}://{first or 'container'}@{account}/{prefix}"
            )
    if not container:
        raise InvalidInputError(f"{scheme}://{rest} names no container: expected {_FORMS}")
    if host.endswith("fabric.microsoft.com"):
        return _onelake(scheme, unquote(container), host, unquote(path))
    if not _CONTAINER.fullmatch(container):
        raise InvalidInputError(
            f"{container!r} is no name of an Azure container (3 to 63 lower-case letters, digits and single '-'): expected {_FORMS}"
        )
    _check_prefix(scheme, path)
    found = _account(scheme, container, host, path) if at else {}
    if not at and not _has_account(options, environ):
        raise InvalidInputError(
            f"{scheme}://{container} does not say in which storage account it is: write "
            f"{scheme}://{container}@ACCOUNT.dfs.core.windows.net/{path}, or set AZURE_STORAGE_ACCOUNT_NAME or "
            "storage_options={'account_name': …}"
        )
    if at and options.get("account_name") not in {None, found["account_name"]}:
        raise InvalidInputError(
            f"the URL names the account {found['account_name']} and storage_options another one: leave account_name out"
        )
    url = f"{scheme}://{authority}/{path}".rstrip("/")
    return AzurePlace(url, container, f"{path}/" if path else "", found, onelake=False)


def _split(path: str) -> tuple[str, str]:
    first, _, prefix = path.partition("/")
    return first, prefix


def _check_prefix(scheme: str, path: str) -> None:
    if not path:
        return
    try:
        check_place(path)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{scheme}://…/{path}: expected a prefix of segments between slashes, none of them empty, '.' or '..', without backslashes, ?, # and *"
        ) from error


def _account(scheme: str, container: str, host: str, path: str) -> dict[str, Any]:
    match = _ACCOUNT.fullmatch(host)
    if match is None:
        raise InvalidInputError(
            f"{host} is no host of a storage account: expected {scheme}://{container}@ACCOUNT.dfs.core.windows.net/{path}; for a "
            "host of your own (a private link, an emulator) write "
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


def _onelake(scheme: str, workspace: str, host: str, path: str) -> AzurePlace:
    match = _ONELAKE.fullmatch(host)
    if match is None:
        raise InvalidInputError(f"{host} is no host of OneLake: expected {_ONELAKE_FORM}")
    if not _WORKSPACE.fullmatch(workspace):
        raise InvalidInputError(f"{workspace!r} is no workspace: expected its name or its GUID, as in {_ONELAKE_FORM}")
    item, files, folder = (*path.split("/", 2), "", "", "")[:3]
    named = _ITEM.fullmatch(item) is not None
    if not item or not (named or _GUID.fullmatch(item)):
        raise InvalidInputError(
            f"{scheme}://{workspace}@{host}/{path}: below a workspace come items, which nobody but Fabric makes; name one as "
            f"name.Lakehouse, or by its GUID where the workspace is a GUID, too: {_ONELAKE_FORM}"
        )
    if _GUID.fullmatch(item) and not _GUID.fullmatch(workspace):
        raise InvalidInputError(
            f"OneLake takes GUIDs for both the workspace and the item, or names for both: {workspace!r} is a name and {item} a GUID"
        )
    if files != "Files":
        raise InvalidInputError(
            f"{item}/{files}: a store lies below Files, since everything else in an item is Fabric's own "
            f"({'Tables holds Delta tables' if files == 'Tables' else 'nothing can be written there'}): {_ONELAKE_FORM}"
        )
    if not folder:
        raise InvalidInputError(f"{item}/Files itself is Fabric's own: choose a folder below it, as in {_ONELAKE_FORM}")
    _check_prefix(scheme, folder)
    options = {"account_name": "onelake", "account_host": f"{match['name']}.blob.fabric.microsoft.com", "anon": False}
    url = f"{scheme}://{workspace}@{host}/{path}"
    return AzurePlace(url, workspace, f"{path}/", options, onelake=True)
