"""Arguments that users of other tools pass; the answers end up in the error of a call that does not take them."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

__all__ = ["ARGUMENTS", "argument_hint"]

_OF_RUN: Final = "params={…}"
_AFTERWARDS: Final = 'store.registry.describe(ref, {…}) of what it makes, or params={"…": …}'
_NO_PROJECT: Final = "store.run(name): the name groups runs, as sweep/lr, and store.runs('sweep/*') lists them"
# By the method, or "" for any: an argument that the method has, or an expression.
ARGUMENTS: Final[dict[str, dict[str, str]]] = {
    "": {
        **dict.fromkeys(("type", "artifact_type", "asset_type"), "kind="),
        **dict.fromkeys(("message", "msg", "comment", "note", "notes", "why", "commit_message"), "reason="),
        **dict.fromkeys(("dryrun", "plan"), "dry_run="),
        **dict.fromkeys(("force", "replace", "exist_ok"), "overwrite="),
        **dict.fromkeys(("author", "user", "owner"), "actor="),
        **dict.fromkeys(("max_results", "n", "top", "first", "head", "per_page", "page_size", "last"), "limit="),
        **dict.fromkeys(("start", "after", "start_time"), "since="),
        **dict.fromkeys(("end", "before", "end_time"), "until="),
        **dict.fromkeys(("properties", "info", "meta", "custom"), "metadata="),
        **dict.fromkeys(("labels", "label"), "tags="),
        **dict.fromkeys(("stage", "version_alias", "aliases"), "alias="),
    },
    "run": {
        **dict.fromkeys(("config", "hparams", "hyperparameters", "parameters", "args"), _OF_RUN),
        **dict.fromkeys(("tags", "notes", "description", "metadata", "labels", "job_type"), _AFTERWARDS),
        **dict.fromkeys(("project", "experiment", "experiment_name", "experiment_id", "group", "entity", "namespace"), _NO_PROJECT),
        **dict.fromkeys(("run_name", "display_name", "title"), "store.run(name)"),
        **dict.fromkeys(("run_id", "run_uuid", "resume", "resume_id"), "id="),
        **dict.fromkeys(("nested", "parent", "parent_run_id"), "a run that begins within another's block is its child"),
        **dict.fromkeys(("save_code", "log_code", "git"), "code="),
        **dict.fromkeys(("inputs", "uses"), "run.get(ref), or run.use(ref)"),
        **dict.fromkeys(("metrics",), "run.log(loss=0.5, step=1), or run.put(…, metrics={…})"),
    },
    "runs": {
        **dict.fromkeys(("filter", "filters", "filter_string", "query", "condition"), "where="),
        **dict.fromkeys(("order_by", "order", "sort_by", "ascending"), "sort='-metrics.auc'"),
        **dict.fromkeys(
            ("experiment", "experiment_ids", "experiment_names", "project", "pattern", "group", "run_name"), "store.runs('name*')"
        ),
        **dict.fromkeys(("fields", "keys", "metrics", "params"), "columns="),
        **dict.fromkeys(("output_format", "as_frame", "pandas"), "store.runs().to_pandas()"),
    },
    "put": {
        **dict.fromkeys(("version", "revision"), "put numbers versions itself; alias= of store.alias(ref, alias) names one"),
        **dict.fromkeys(("path", "file", "folder", "obj", "object", "data", "artifact"), "store.put(source, name)"),
        **dict.fromkeys(("artifact_name", "registered_model_name", "key", "path_in_repo", "artifact_path"), "store.put(source, name)"),
        **dict.fromkeys(("summary", "comment"), "description="),
    },
    "get": {
        **dict.fromkeys(
            ("path", "dst_path", "dst", "destination", "out", "output", "local_dir", "folder", "dir", "root", "target"),
            'store.get(ref, to="folder")',
        ),
        **dict.fromkeys(("revision", "rev", "tag"), 'store.get("name:v3"), or version='),
        **dict.fromkeys(("stage",), "alias="),
        **dict.fromkeys(("file", "filename", "include", "allow_patterns", "files", "subfolder"), "paths=, with to="),
        **dict.fromkeys(("allow_pickle", "trust_remote_code", "weights_only", "unsafe"), "trust="),
    },
    "alias": {**dict.fromkeys(("force", "overwrite"), "expect=: without it an alias moves from wherever it points")},
    "names": {**dict.fromkeys(("pattern", "filter", "match", "glob", "name"), "store.names('churn/*'), or store.find(name='churn/*')")},
    "versions": {
        **dict.fromkeys(("limit", "n", "max_results", "last"), "a slice: store.versions(name)[-3:]"),
        **dict.fromkeys(("sort", "order_by"), "they are in the order of their numbers: reversed(store.versions(name))"),
    },
    "lineage": {**dict.fromkeys(("depth", "max_depth", "direction", "upstream", "downstream"), "store.lineage(ref).upstream(), .downstream()")},
    "verify": {**dict.fromkeys(("full", "deep", "all", "fast", "quick"), 'level="full"')},
    "log": {
        **dict.fromkeys(("n", "max_count"), "limit="),
        **dict.fromkeys(("artifact", "path", "digest"), "ref="),
        **dict.fromkeys(("action", "event", "kind", "type"), "fact="),
    },
    "open": {
        **dict.fromkeys(
            ("project", "entity", "workspace", "experiment"), 'artifactstore.open("s3://bucket/team"): a store is a place, names have folders'
        ),
        **dict.fromkeys(
            ("token", "key", "secret", "api_key", "access_key", "password", "credentials", "endpoint_url", "endpoint", "profile"),
            "storage_options={…}, or the variables and files of the storage's own tools",
        ),
        **dict.fromkeys(("create", "exist_ok", "init"), "artifactstore.create(url)"),
        **dict.fromkeys(("read_only", "readonly"), 'mode="r"'),
        **dict.fromkeys(("cache_dir",), "cache="),
    },
}  # fmt: skip


def argument_hint(method: str, argument: str, known: Collection[str] = ()) -> str:
    """Return what to pass instead of an argument that a method does not take, as the end of a message, or nothing.

    Args:
        method: the method's name.
        argument: what was passed.
        known: the arguments that the method takes, where they are few.
    """
    for table in (ARGUMENTS.get(method, {}), ARGUMENTS[""]):
        answer = table.get(argument, "")
        single = re.fullmatch(r"(\w+)=", answer)
        if answer and (single is None or not known or single[1] in known):
            return f"; for {argument}= use {answer}"
    near = get_close_matches(argument, known, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}=?" if near else ""
