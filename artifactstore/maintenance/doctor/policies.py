"""Minimal permissions of a reader, a writer and a janitor, as policy documents of each cloud. Pure text; nothing is queried.

The common rule: a reader reads and lists, a writer also writes, and only the janitor, which runs clean-up,
deletes. A store never needs more: no writer deletes anything, not even its own uploads (aborting an upload is not a deletion).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.errors import InvalidInputError
from artifactstore.maintenance.doctor.advice import family
from artifactstore.maintenance.doctor.findings import ROLES
from artifactstore.model.facts import CONFIG_KEY

__all__ = ["Policy", "policy_for"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, ready to paste.

    Attributes:
        text: the document or commands.
        document: the same as a value, where it is JSON; else None.
        notes: hints for applying it.
    """

    text: str
    document: Mapping[str, Any] | None
    notes: tuple[str, ...]


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
        raise InvalidInputError(f"--policy must be one of {', '.join(ROLES)}, not {role}")
    kind = family(url)
    make = _MAKERS.get(kind)
    if make is None:
        raise InvalidInputError(f"no policy for {url}: policies exist for s3://, abfss://, az://, gs://, sftp:// and folders")
    return make(url, role)


def _split(url: str) -> tuple[str, str]:
    """Return the bucket or container, and the prefix without slashes at its ends."""
    bucket, _, prefix = url.partition("://")[2].partition("/")
    if not bucket:
        raise InvalidInputError(f"{url} has no bucket")
    return bucket, prefix.strip("/")


def _json(document: Mapping[str, Any], *notes: str) -> Policy:
    return Policy(json.dumps(document, indent=2), document, notes)


# -- AWS


def _aws(url: str, role: str) -> Policy:
    bucket, prefix = _split(url)
    within = f"{prefix}/*" if prefix else "*"
    objects = [f"arn:aws:s3:::{bucket}/{within}"]
    statements: list[dict[str, Any]] = [
        {"Sid": "ReadObjects", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": objects},
    ]
    listing = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]}
    if prefix:
        statements.append({"Sid": "ListPrefix", **listing, "Condition": {"StringLike": {"s3:prefix": [within]}}})
        # A read of a missing key checks list permission, without a prefix, before replying 404: without this it replies 403.
        statements.append({"Sid": "TellWhatIsMissing", **listing, "Condition": {"Null": {"s3:prefix": "true"}}})
    else:
        statements.append({"Sid": "ListBucket", **listing})
    if role in {"writer", "janitor"}:
        actions = ["s3:PutObject", "s3:AbortMultipartUpload"]
        statements.append({"Sid": "WriteObjects", "Effect": "Allow", "Action": actions, "Resource": objects})
    if role == "janitor":
        statements.append({"Sid": "DeleteObjects", "Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": objects})
    return _json({"Version": "2012-10-17", "Statement": statements}, *_aws_notes(bucket, prefix, role))


def _aws_notes(bucket: str, prefix: str, role: str) -> list[str]:
    root = f"{prefix}/" if prefix else ""
    notes = []
    if prefix:
        notes.append(
            "TellWhatIsMissing lets a missing key be reported as 404: S3 replies 403 to identities that may not list, and then the "
            f"journal's end cannot be seen. It also allows listing the names (not the content) of all keys of {bucket}: where "
            "that is not acceptable, use a separate bucket for the store"
        )
    key = "kms:Decrypt" if role == "reader" else "kms:Decrypt and kms:GenerateDataKey"
    notes.append(f"a bucket that is encrypted with a KMS key needs {key} on that key, too; SSE-S3 needs nothing")
    if role != "reader":
        deny = {
            "Sid": "WriteHistoryOnce",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": [
                f"arn:aws:s3:::{bucket}/{root}{key}" for key in (CONFIG_KEY, "journal/*", "segments/*.parquet", "segments/*.json")
            ],
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        }
        notes.append(
            "to let the bucket itself enforce an append-only history, add this to the *bucket's* policy (the store creates "
            f"these keys with If-None-Match only): {json.dumps(deny)}"
        )
        notes.append("set a lifecycle rule that aborts unfinished multipart uploads after 7 days: crashed uploads cost storage")
    if role == "janitor":
        notes.append("in a versioned bucket s3:DeleteObject only hides an object; set a lifecycle rule that expires old versions")
    return notes


# -- Azure

_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def _azure_place(url: str) -> tuple[str, str, str]:
    """Return the container, the account (a placeholder if the URL does not name it), and the prefix."""
    first, prefix = _split(url)
    container, at, host = first.partition("@")
    account = host.partition(".")[0] if at else "<account>"
    if account.endswith("onelake") or "fabric.microsoft.com" in host:
        raise InvalidInputError(
            f"no policy for {url}: OneLake permissions are granted by the workspace (Viewer reads with OneLake data access, Contributor writes and deletes), "
            "not by role definitions: it has no role that writes but cannot delete"
        )
    return container, account, prefix


def _azure(url: str, role: str) -> Policy:
    container, account, prefix = _azure_place(url)
    scope = (
        "/subscriptions/<subscription>/resourceGroups/<resource group>/providers/Microsoft.Storage/storageAccounts/"
        f"{account}/blobServices/default/containers/{container}"
    )
    actions = [f"{_BLOBS}/read"]
    if role != "reader":
        actions += [f"{_BLOBS}/write", f"{_BLOBS}/add/action"]
    if role == "janitor":
        actions.append(f"{_BLOBS}/delete")
    document = {
        "Name": f"Artifactstore {role} ({account}/{container})",
        "IsCustom": True,
        "Description": _DESCRIPTIONS[role],
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
    return _json(document, *notes)


def _condition(actions: list[str], prefix: str) -> str:
    """Return an assignment's condition: blobs below the prefix, and listings of it."""
    guarded = []
    for action in actions:
        if action.endswith("/blobs/read"):
            listing = f"ActionMatches{{'{action}'}} AND SubOperationMatches{{'Blob.List'}}"
            guarded.append(f"((!({listing})) OR (@Request[{_BLOBS}:prefix] StringStartsWith '{prefix}/'))")
            guarded.append(
                f"((!(ActionMatches{{'{action}'}} AND NOT SubOperationMatches{{'Blob.List'}})) OR "
                f"(@Resource[{_BLOBS}:path] StringStartsWith '{prefix}/'))"
            )
        else:
            guarded.append(f"((!(ActionMatches{{'{action}'}})) OR (@Resource[{_BLOBS}:path] StringStartsWith '{prefix}/'))")
    return " AND ".join(guarded)


_DESCRIPTIONS: Final = {
    "reader": "Reads an artifact store.",
    "writer": "Reads an artifact store and adds to it; deletes nothing.",
    "janitor": "Cleans up an artifact store: reads, writes and deletes.",
}


# -- Google Cloud


def _gcs(url: str, role: str) -> Policy:
    bucket, prefix = _split(url)
    permissions = ["storage.objects.get", "storage.objects.list"]
    if role != "reader":
        permissions.append("storage.objects.create")
    if role == "janitor":
        permissions.append("storage.objects.delete")
    document: dict[str, Any] = {
        "title": f"Artifactstore {role}",
        "description": _DESCRIPTIONS[role],
        "stage": "GA",
        "includedPermissions": permissions,
    }
    name = f"artifactstore{role.capitalize()}"
    binding = (
        f"gcloud storage buckets add-iam-policy-binding gs://{bucket} --member=<member> --role=projects/<project>/roles/{name}"
    )
    if prefix:
        expression = (
            f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}/") || '
            f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}/")'
        )
        binding += f" --condition='title=artifactstore-{role},expression={expression}'"
    notes = [
        f"save it as role.json, then: gcloud iam roles create {name} --project=<project> --file=role.json, and: {binding}",
        {
            "reader": "the built-in role roles/storage.objectViewer allows a little more (managed folders)",
            "writer": "the built-in roles roles/storage.objectCreator and roles/storage.objectViewer together allow about the same",
            "janitor": "the built-in role roles/storage.objectUser allows a little more (updating metadata)",
        }[role],
    ]
    if prefix:
        notes.append("conditions need uniform bucket-level access")
    if role == "writer":
        notes.append(
            "without storage.objects.delete nothing can be overwritten, as a store needs; an upload whose reply was lost "
            "and whose repetition is refused (403) is looked up, and counts if the object exists"
        )
    return _json(document, *notes)


# -- folders


def _folder(url: str, role: str) -> Policy:
    path = url.removeprefix("file://")
    rights, word = {
        "reader": ("u=rwX,g=rX,o=", "reads"),
        "writer": ("u=rwX,g=rwX,o=", "reads and writes"),
        "janitor": ("u=rwX,g=rwX,o=", "reads, writes and deletes"),
    }[role]
    lines = [f"chgrp -R <group> {_quoted(path)}", f"chmod -R {rights} {_quoted(path)}"]
    if role != "reader":
        lines.append(f"find {_quoted(path)} -type d -exec chmod g+s {{}} +")
    return Policy("\n".join(lines), None, _folder_notes(role, word))


def _folder_notes(role: str, word: str) -> tuple[str, ...]:
    notes = [f"a member of the group then {word}"]
    if role != "reader":
        notes.append("give writers umask 007, so that the others can read and extend what one creates")
    if role == "writer":
        notes.append(
            "file systems have no permission to add files without the permission to remove them; the sticky bit (chmod +t on each folder) at "
            "least keeps members from removing files of others"
        )
    return tuple(notes)


def _sftp(url: str, role: str) -> Policy:
    path = urlsplit(url).path or "/"
    found = _folder(path, role)
    return Policy(found.text, None, ("to be run on the server, for the group of the SFTP users", *found.notes))


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


_MAKERS: Final[Mapping[str, Callable[[str, str], Policy]]] = {
    "s3": _aws,
    "azure": _azure,
    "gcs": _gcs,
    "folder": _folder,
    "sftp": _sftp,
}
