"""Minimal permissions of a reader, a writer and a janitor as roles of Google Cloud."""

from typing import Any

from artifactstore.backend.driver import DESCRIPTIONS, Policy, bucket_and_prefix, json_policy

__all__ = ["policy"]


def policy(url: str, role: str) -> Policy:
    """Return the minimal permissions of a role (see `driver.ROLES`) at a URL."""
    bucket, prefix = bucket_and_prefix(url)
    permissions = ["storage.objects.get", "storage.objects.list"]
    if role != "reader":
        permissions.append("storage.objects.create")
    if role == "janitor":
        permissions.append("storage.objects.delete")
    document: dict[str, Any] = {
        "title": f"Artifactstore {role}",
        "description": DESCRIPTIONS[role],
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
    return json_policy(document, *notes)
