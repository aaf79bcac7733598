"""Requests for SageMaker's registry and lineage, as boto3 takes them: which artifact, which code, made from what.

Source: the service's model in botocore, `sagemaker/2017-07-24`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.model.graph import Node
from artifactstore.store import Store

__all__ = ["lineage", "model_package"]

_LONGEST: Final = 256  # characters of a value in CustomerMetadataProperties, and of a source's id
_TEXT: Final = 1024  # characters of a field of MetadataProperties
_NAME: Final = 120  # characters of the name of an artifact, a context
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]+")


def model_package(
    store: Store, ref: str, *, group: str, image: str, source: Mapping[str, Any] | str, approval: str = "PendingManualApproval"
) -> dict[str, Any]:
    """Return the request for `create_model_package`.

    Args:
        store: the store.
        ref: the model.
        group: name of the model package group.
        image: URI of the container that serves it.
        source: what `export` returned, or the URL of a `model.tar.gz`.
        approval: the approval status.

    Raises:
        NotFoundError: no such artifact.
    """
    artifact = store.artifact(ref)
    container: dict[str, Any] = {"Image": image}
    container |= {"ModelDataUrl": source} if isinstance(source, str) else dict(source)
    properties = {"artifactstore.digest": artifact.digest, "artifactstore.ref": artifact.ref, "artifactstore.uri": artifact.uri}
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": f"{artifact.ref} {artifact.digest}"[:_TEXT],
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/octet-stream"],
            "SupportedResponseMIMETypes": ["application/octet-stream"],
        },
        "ModelApprovalStatus": approval,
        "CustomerMetadataProperties": {key: value[:_LONGEST] for key, value in properties.items()},
    }
    if properties := _code(store, artifact):
        request["MetadataProperties"] = properties
    return request


def lineage(store: Store, ref: str) -> list[dict[str, Any]]:
    """Return the requests that draw what an artifact was made from: each `{"operation", "request"}`, in the order to send them.

    Artifacts become artifacts, runs contexts, edges associations. An association names its ends by the ARNs that the service has
    given: until the caller replaces them, `SourceArn` and `DestinationArn` are `ref:` and the name of the artifact or context.

    Raises:
        NotFoundError: no such artifact.
    """
    artifact, graph = store.artifact(ref), store.lineage(ref).upstream()
    nodes = {artifact.digest: Node("artifact", artifact.digest, artifact.ref, artifact.kind), **{one.id: one for one in graph}}
    names = {one: _name(node) for one, node in nodes.items()}
    made = [_node(store, node, names[one]) for one, node in nodes.items()]
    for before, after, _ in graph.edges:
        kind = "ContributedTo" if nodes[after].type == "run" else "Produced"
        ends = {"SourceArn": f"ref:{names[before]}", "DestinationArn": f"ref:{names[after]}"}
        made.append({"operation": "AddAssociation", "request": {**ends, "AssociationType": kind}})
    return made


def _node(store: Store, node: Node, name: str) -> dict[str, Any]:
    if node.type == "run":
        source = {"SourceUri": f"artifactstore:run/{node.id}"[:_TEXT], "SourceType": "artifactstore"}
        request = {"ContextName": name, "ContextType": "Run", "Source": source, "Properties": {"run": node.id[:_TEXT]}}
        return {"operation": "CreateContext", "request": request}
    ids = [{"SourceIdType": "Custom", "Value": node.id[:_LONGEST]}]
    source_ = {"SourceUri": store.artifact(node.id).uri[:_TEXT], "SourceTypes": ids}
    about = {"artifactstore.digest": node.id, "artifactstore.kind": node.kind}
    return {
        "operation": "CreateArtifact",
        "request": {"ArtifactName": name, "ArtifactType": node.kind.title(), "Source": source_, "Properties": about},
    }


def _name(node: Node) -> str:
    """Return a name that the service takes, unique by the digest or the run's id."""
    text = _NOT_IN_NAMES.sub("-", f"{node.label}-{node.id.rpartition(':')[2][:16]}").strip("-")
    return text[-_NAME:].lstrip("-")


def _code(store: Store, artifact: Any) -> dict[str, str]:
    """Return commit, repository and run of an artifact, as far as they are known."""
    if artifact.run is None:
        return {}
    found = store.lineage(artifact.ref).code
    about: Mapping[str, Any] = getattr(found, "about", None) or {}
    remotes = about.get("remotes") or {}
    fields = {
        "CommitId": about.get("commit"),
        "Repository": next(iter(remotes.values()), about.get("repository")),
        "GeneratedBy": f"artifactstore run {artifact.run}",
    }
    return {key: str(value)[:_TEXT] for key, value in fields.items() if value}
