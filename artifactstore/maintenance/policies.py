"""What a reader, a writer and a janitor must be allowed at a place, as the cloud wants it written. Pure text; nothing is asked.

The rule behind all of them: a reader reads and lists, a writer also writes, and only the janitor, who runs clean-up,
deletes. A store never needs more: no writer deletes anything, not even its own uploads (aborting an upload is no deletion).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.errors import InvalidInputError
from artifactstore.maintenance.doctor_advice import family
from artifactstore.maintenance.doctor_findings import ROLES
from artifactstore.model.facts import CONFIG_KEY

__all__ = ["Policy", "policy_for"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is ready to paste.

    Attributes:
        text: what to paste or run.
        document: the same as a value, where it is JSON; else None.
        notes: what whoever pastes it should know.
    """

    text: str
    document: Mapping[str, Any] | None
    notes: tuple[str, ...]


def policy_for(url: str, role: str) -> Policy:
    """Return the least that a role needs at the place of `url`.

    Args:
        url: of the store: `s3://bucket/prefix`, `abfss://container@account.dfs.core.windows.net/prefix`, `gs://bucket/prefix`,
            `sftp://host/path` or a folder.
        role: `reader`, `writer` or `janitor`.

    Raises:
        InvalidInputError: no such role, or a place for which there is nothing to say.
    """
    if role not in ROLES:
        raise InvalidInputError(f"--policy {role}: known are {', '.join(ROLES)}")
    kind = family(url)
    make = _MAKERS.get(kind)
    if make is None:
        raise InvalidInputError(f"{url}: policies are known for s3://, abfss://, az://, gs://, sftp:// and folders")
    return make(url, role)


def _split(url: str) -> tuple[str, str]:
    """The bucket or container, and the prefix without slashes at its ends."""
    bucket, _, prefix = url.partition("://")[2].partition("/")
    if not bucket:
        raise InvalidInputError(f"{url} names no bucket")
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
        # Reading a key asks with no prefix whether a missing one may be called missing: without this the answer is 403.
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
            "TellWhatIsMissing lets a missing key be answered with 404: S3 says 403 to those who may not list, and the journal's end "
            f"can't be seen then. It also lets a listing without a prefix show the names (not the content) of all keys of {bucket}: where "
            "that must not be, give the store a bucket of its own"
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
            "to let the bucket itself enforce that history is written once, add this to the *bucket's* policy (the store creates "
            f"these keys with If-None-Match only): {json.dumps(deny)}"
        )
        notes.append("let a lifecycle rule abort unfinished multipart uploads after 7 days: what a crash leaves of them costs")
    if role == "janitor":
        notes.append("in a versioned bucket s3:DeleteObject only hides an object; a lifecycle rule ends old versions")
    return notes


# -- Azure

_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def _azure_place(url: str) -> tuple[str, str, str]:
    """The container, the account (a placeholder where the URL does not say), the prefix."""
    first, prefix = _split(url)
    container, at, host = first.partition("@")
    account = host.partition(".")[0] if at else "<account>"
    if account.endswith("onelake") or "fabric.microsoft.com" in host:
        raise InvalidInputError(
            f"{url}: OneLake's rights are given by the workspace (Viewer reads with OneLake data access, Contributor writes and deletes), "
            "not by role definitions: there is no role there that writes and can't delete"
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
            f"to hold it to the prefix, add this condition to the assignment (--condition-version 2.0): {_condition(actions, prefix)}"
        )
    notes.append("with a SAS instead: sp=" + {"reader": "rl", "writer": "racwl", "janitor": "racwdl"}[role])
    if role == "janitor":
        notes.append("with a hierarchical namespace 'delete' also removes folders; the store itself deletes blobs only")
    return _json(document, *notes)


def _condition(actions: list[str], prefix: str) -> str:
    """An assignment's condition: blobs lie below the prefix, and listings are of it."""
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
    "janitor": "Cleans an artifact store up: reads, writes and deletes.",
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
            "without storage.objects.delete nothing can be overwritten, which is what a store wants; an upload whose answer got lost "
            "and that is refused when it is sent again (403) is looked for, and counts if it is there"
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
        notes.append("give writers umask 007, so that what one makes the others can read and add to")
    if role == "writer":
        notes.append(
            "a file system has no right to add files without the right to remove them; the sticky bit (chmod +t on each folder) at "
            "least keeps members from removing what others wrote"
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
