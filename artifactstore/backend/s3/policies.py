"""Minimal permissions of a reader, a writer and a janitor as IAM policies of AWS."""

import json
from typing import Any

from artifactstore.backend.driver import Policy, bucket_and_prefix, json_policy
from artifactstore.model.facts import CONFIG_KEY

__all__ = ["policy"]


def policy(url: str, role: str) -> Policy:
    """Return the minimal permissions of a role (see `driver.ROLES`) at a URL."""
    bucket, prefix = bucket_and_prefix(url)
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
    return json_policy({"Version": "2012-10-17", "Statement": statements}, *_aws_notes(bucket, prefix, role))


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
