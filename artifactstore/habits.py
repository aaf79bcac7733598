"""Names that users of other tools type, and the call of this library that does the same: the last line of an AttributeError."""

from typing import Final

__all__ = ["hint"]

_PUT: Final = "store.put(source, name)"
_GET: Final = "store.get(ref)"
_CALLS: Final = {
    **dict.fromkeys(
        ("save", "add", "log_artifact", "log_artifacts", "log_model", "log_dataset", "upload", "upload_file", "upload_folder"),
        _PUT,
    ),
    **dict.fromkeys(("write", "store", "register", "register_model", "create_model_version", "commit", "push_to_hub"), _PUT),
    **dict.fromkeys(("load", "read", "download", "download_artifacts", "snapshot_download", "use_artifact", "load_model"), _GET),
    **dict.fromkeys(("checkout", "restore", "fetch"), 'store.get(ref, to="folder")'),
    **dict.fromkeys(("open", "hf_hub_download"), "store.open_file(ref)"),
    **dict.fromkeys(("list", "ls", "keys", "list_artifacts", "list_models", "search_registered_models"), "store.names()"),
    **dict.fromkeys(("search", "query", "filter", "search_model_versions"), 'store.find(text="…")'),
    **dict.fromkeys(("history", "list_versions", "get_latest_versions"), "store.versions(name)"),
    **dict.fromkeys(("log_params", "log_param", "config"), "store.run(name, params={…})"),
    **dict.fromkeys(("log_metrics", "log_metric"), "run.log(loss=0.5, step=1)"),
    **dict.fromkeys(("start_run", "init", "track", "experiment"), "with store.run(name) as run:"),
    **dict.fromkeys(("search_runs", "list_runs"), "store.runs()"),
    **dict.fromkeys(
        ("tag", "set_alias", "set_tag", "promote", "set_registered_model_alias", "transition_model_version_stage"),
        "store.alias(ref, alias)",
    ),
    **dict.fromkeys(("unalias", "delete_alias", "delete_registered_model_alias"), "store.registry.unalias(name, alias, reason)"),
    **dict.fromkeys(("taint", "untaint", "deprecate", "quarantine"), "store.registry.taint(ref, reason)"),
    **dict.fromkeys(("graph", "dag", "provenance", "parents", "children", "view_lineage"), "store.lineage(ref)"),
    **dict.fromkeys(("push", "sync", "mirror"), "store.maintenance.sync(target)"),
    **dict.fromkeys(("pull", "import_store"), "other.maintenance.sync(store)"),
    **dict.fromkeys(("doctor", "snapshot", "bundle", "export"), "store.maintenance"),
    **dict.fromkeys(("copy", "cp", "link", "link_artifact", "rename", "mv"), 'store.put(store.artifact(ref), "other/name")'),
    **dict.fromkeys(("info", "show", "stat", "describe", "get_artifact", "metadata", "model_info"), "store.artifact(ref)"),
    **dict.fromkeys(("has", "contains"), "store.exists(ref)"),
    **dict.fromkeys(("compare", "blame"), "store.diff(a, b) or store.why(a, b)"),
    **dict.fromkeys(("audit", "reflog", "events"), "store.log()"),
}


def hint(name: str) -> str:
    """Return what to call instead of a method that the store does not have, or nothing."""
    return f"; use {_CALLS[name]}" if name in _CALLS else ""
