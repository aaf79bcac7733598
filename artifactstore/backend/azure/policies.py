"""Minimal permissions of a reader, a writer and a janitor as role definitions of Azure."""

from typing import Final

from artifactstore.backend.driver import DESCRIPTIONS, Policy, bucket_and_prefix, json_policy
from artifactstore.errors import InvalidInputError

__all__ = ["BLOBS", "policy"]

BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def policy(url: str, role: str) -> Policy:
    """Return the minimal permissions of a role (see `driver.ROLES`) at a URL."""
    container, account, prefix = _location(url)
    scope = (
        "/subscriptions/<subscription>/resourceGroups/<resource group>/providers/Microsoft.Storage/storageAccounts/"
        f"{account}/blobServices/default/containers/{container}"
    )
    actions = [f"{BLOBS}/read"]
    if role != "reader":
        actions += [f"{BLOBS}/write", f"{BLOBS}/add/action"]
    if role == "janitor":
        actions.append(f"{BLOBS}/delete")
    document = {
        "Name": f"Artifactstore {role} ({account}/{container})",
        "IsCustom": True,
        "Description": DESCRIPTIONS[role],
        "Actions": ["Microsoft.Storage/storageAccounts/blobServices/containers/read"],
        "NotActions": [],
        "DataActions": actions,
        "NotDataActions": [],
        "AssignableScopes": [scope],
    }
    notes = [
        (
            "save it as role.json, then: az role definition create --role-definition @role.json, and az role assignment create "
            f'--role "{document["Name"]}" --assignee <principal id> --scope "{scope}"'
        )
    ]
    if role == "reader":
        notes.append("the built-in role 'Storage Blob Data Reader' on the container allows the same")
    else:
        notes.append("the built-in role 'Storage Blob Data Contributor' allows deleting, too: only a janitor should have it")
    if prefix:
        notes.append(
            f"to restrict it to the prefix, add this condition to the assignment (--condition-version 2.0): {_condition(actions, prefix)}"
        )
    notes.append("with a SAS instead: sp=" + {"reader": "rl", "writer": "racwl", "janitor": "racwdl"}[role])
    if role == "janitor":
        notes.append("with a hierarchical namespace 'delete' also removes folders; the store itself deletes blobs only")
    return json_policy(document, *notes)


def _location(url: str) -> tuple[str, str, str]:
    """Return the container, the account (a placeholder if the URL does not name it), and the prefix."""
    first, prefix = bucket_and_prefix(url)
    container, at, host = first.partition("@")
    account = host.partition(".")[0] if at else "<account>"
    if account.endswith("onelake") or "fabric.microsoft.com" in host:
        raise InvalidInputError(
            f"no policy for {url}: OneLake permissions are granted by the workspace (Viewer reads with OneLake data access, Contributor writes and deletes), "
            "not by role definitions: it has no role that writes but cannot delete"
        )
    return container, account, prefix


def _condition(actions: list[str], prefix: str) -> str:
    """Return an assignment's condition: blobs below the prefix, and listings of it."""
    guarded = []
    for action in actions:
        if action.endswith("/blobs/read"):
            listing = f"ActionMatches{{'{action}'}} AND SubOperationMatches{{'Blob.List'}}"
            guarded.append(f"((!({listing})) OR (@Request[{BLOBS}:prefix] StringStartsWith '{prefix}/'))")
            guarded.append(
                f"((!(ActionMatches{{'{action}'}} AND NOT SubOperationMatches{{'Blob.List'}})) OR "
                f"(@Resource[{BLOBS}:path] StringStartsWith '{prefix}/'))"
            )
        else:
            guarded.append(f"((!(ActionMatches{{'{action}'}})) OR (@Resource[{BLOBS}:path] StringStartsWith '{prefix}/'))")
    return " AND ".join(guarded)
