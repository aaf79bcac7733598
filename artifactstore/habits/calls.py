"""Methods, attributes and references that users of other tools type; the answers end up in the last line of an error."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["hint", "missing", "module_hint", "reference_hint", "table_hint"]

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
    **dict.fromkeys(("search_runs", "list_runs", "sweep", "sweeps"), "store.runs()"),
    **dict.fromkeys(("plot", "scatter", "chart", "visualize"), "store.runs().plot(x, y)"),
    **dict.fromkeys(("parallel", "parallel_coordinates"), "store.runs().parallel([…])"),
    **dict.fromkeys(("curves", "scan_history"), "store.runs().curves(metric)"),
    **dict.fromkeys(
        ("tag", "set_alias", "set_tag", "set_registered_model_alias"),
        "store.alias(ref, alias)",
    ),
    **dict.fromkeys(("transition_model_version_stage", "deploy"), "store.promote(ref, alias, reason=…)"),
    **dict.fromkeys(("delete", "rm", "delete_model_version", "delete_artifact"), "store.registry.remove(ref, reason)"),
    **dict.fromkeys(("describe", "update_model_version", "set_model_version_tag"), "store.registry.describe(ref, {…})"),
    **{
        name: f"store.registry.{name}(…)"
        for name in (
            *("gates", "check", "approve", "reject", "approvals", "sign", "measure"),
            *("hold", "release", "holds", "remove", "retention", "expire", "anchor"),
        )
    },
    **dict.fromkeys(("unalias", "delete_alias", "delete_registered_model_alias"), "store.registry.unalias(name, alias, reason)"),
    **dict.fromkeys(("taint", "untaint", "deprecate", "quarantine"), "store.registry.taint(ref, reason)"),
    **dict.fromkeys(("graph", "dag", "provenance", "parents", "children", "view_lineage"), "store.lineage(ref)"),
    **dict.fromkeys(("push", "sync", "mirror"), "store.maintenance.sync(target)"),
    **dict.fromkeys(("pull", "import_store"), "other.maintenance.sync(store)"),
    **dict.fromkeys(("doctor", "snapshot", "bundle", "export"), "store.maintenance"),
    **dict.fromkeys(("copy", "cp", "link", "link_artifact", "rename", "mv"), 'store.put(store.artifact(ref), "other/name")'),
    **dict.fromkeys(("info", "show", "stat", "get_artifact", "metadata", "model_info"), "store.artifact(ref)"),
    **dict.fromkeys(("has", "contains"), "store.exists(ref)"),
    **dict.fromkeys(
        ("close", "flush", "finish", "end", "disconnect"),
        "nothing is to be closed: what a call stored is durable when it returns",
    ),
    **dict.fromkeys(("experiments", "projects", "trials", "leaderboard"), "store.runs()"),
    **dict.fromkeys(("artifacts", "models", "datasets", "repos", "collections"), "store.names()"),
    **dict.fromkeys(("compare", "blame"), "store.diff(a, b) or store.why(a, b)"),
    **dict.fromkeys(("audit", "reflog", "events"), "store.log()"),
}


def hint(name: str) -> str:
    """Return what to call instead of a method that the store does not have, or nothing."""
    return _said(_CALLS.get(name, ""))


def _said(answer: str) -> str:
    """Return the end of a message: the call to use, or a sentence."""
    if not answer:
        return ""
    return f"; use {answer}" if re.match(r"store\.|run\.|with |artifactstore\.|\.", answer) else f"; {answer}"


_FRAME: Final = ".to_pandas()"
_OF_TABLES: Final = {
    **dict.fromkeys(("head", "first", "take", "limit"), "a slice, [:5]"),
    **dict.fromkeys(("tail", "last"), "a slice, [-5:]"),
    **dict.fromkeys(
        ("best", "get_best", "best_run", "best_trial", "max_by", "min_by", "top"), "store.runs(sort='-auc', limit=1)[0]"
    ),
    **dict.fromkeys(("latest", "newest"), "[-1]"),
    **dict.fromkeys(("items", "to_list", "tolist", "list", "all"), "list(…)"),
    **dict.fromkeys(("shape", "size"), "len(…)"),
    **dict.fromkeys(("df", "to_df", "to_dataframe", "dataframe", "data", "pandas", "table", "as_df"), _FRAME),
    **dict.fromkeys(("polars", "to_polars", "pl"), "polars.from_arrow(….to_arrow())"),
    **dict.fromkeys(("arrow", "to_table"), ".to_arrow()"),
    **dict.fromkeys(("sort_values", "sort", "order_by", "query", "filter", "where"), f"store.runs(where=…, sort=…), or {_FRAME}"),
    **dict.fromkeys(("scatter", "hist", "bar", "boxplot"), f".plot(x, y) of store.runs(), or {_FRAME}"),
    **dict.fromkeys(("parallel_coordinates", "parcoords"), ".parallel([…]) of store.runs()"),
    **dict.fromkeys(("line", "lines", "history", "scan_history"), ".curves(metric) of store.runs(), or [-1].history(metric)"),
}
_OF_FRAMES: Final = frozenset([
    "loc", "iloc", "at", "iat", "groupby", "agg", "describe", "mean", "median", "std", "var", "min", "max", "sum",
    "corr", "pivot", "pivot_table", "merge", "join", "apply", "map", "drop", "dropna", "fillna", "to_csv", "to_json",
    "to_dict", "to_parquet", "to_markdown", "to_numpy", "to_excel", "to_html", "iterrows", "itertuples", "unique",
    "nunique", "value_counts", "nlargest", "nsmallest", "sample", "rename", "set_index", "reset_index", "astype",
    "isna", "notna", "style", "dtypes", "T", "melt", "stack",
])  # fmt: skip


def table_hint(name: str, fields: Iterable[str] = ()) -> str:
    """Return what to use instead of a method that lists of records do not have, or nothing; `fields` are those of the records."""
    if name in fields:
        return f"; use .values({name!r}), or [one.{name} for one in …]"
    if name in _OF_FRAMES:
        return f"; use {_FRAME}.{name}"
    return f"; use {_OF_TABLES[name]}" if name in _OF_TABLES else ""


# -- records: what people look for on an artifact, a version, a run

_NEXT: Final = "what is stored never changes; store.put(source, name) makes the next version"


def _of_content(this: str) -> dict[str, str]:
    """Return what to use instead of a method or field that an artifact's record, here called `this`, does not have."""
    return {
        **dict.fromkeys(
            ("get", "load", "value", "object", "obj", "read", "data", "model", "content", "open_value"), f"store.get({this})"
        ),
        **dict.fromkeys(
            ("to_pandas", "to_df", "df", "dataframe", "to_numpy", "to_dict", "to_torch", "unwrap"), f"store.get({this})"
        ),
        **dict.fromkeys(
            ("download", "checkout", "export", "pull", "fetch", "copy_to", "to", "extract", "cache"),
            f'store.get({this}, to="folder")',
        ),
        **dict.fromkeys(("path", "local_path", "folder", "dir", "stage", "local_dir"), f'store.get({this}, to="folder")'),
        **dict.fromkeys(
            ("file", "open", "open_file", "get_path", "get_entry", "read_text", "read_bytes"), f"store.open_file({this}, path)"
        ),
        **dict.fromkeys(
            ("add", "add_file", "add_dir", "add_reference", "new_file", "write", "update_file", "remove_file"), _NEXT
        ),
        **dict.fromkeys(("save", "wait", "finish", "persist", "log", "upload", "push"), "it is stored as soon as put returns"),
        **dict.fromkeys(("delete", "remove", "rm", "unlink"), f"store.registry.remove({this}, reason)"),
        **dict.fromkeys(("tag", "alias", "set_alias", "add_alias", "link", "set_tag"), f"store.alias({this}, alias)"),
        **dict.fromkeys(
            ("promote", "deploy", "transition", "transition_stage", "set_stage"), f"store.promote({this}, alias, reason=…)"
        ),
        **dict.fromkeys(
            ("describe", "update", "annotate", "set_metadata", "update_metadata"), f"store.registry.describe({this}, {{…}})"
        ),
        **dict.fromkeys(("measure", "log_metric", "log_metrics", "evaluate"), f"store.registry.measure({this}, {{…}})"),
        **dict.fromkeys(("approve", "reject", "sign", "hold", "taint", "approvals", "check"), f"store.registry.<it>({this}, …)"),
        **dict.fromkeys(("lineage", "graph", "provenance", "dag", "view_lineage", "history_graph"), f"store.lineage({this})"),
        **dict.fromkeys(("parents", "ancestors", "upstream", "sources", "used_artifacts"), f"store.lineage({this}).upstream()"),
        **dict.fromkeys(("children", "descendants", "downstream", "used_by", "consumers"), f"store.lineage({this}).downstream()"),
        **dict.fromkeys(("logged_by", "producer", "created_by_run", "source_run"), f"store.lineage({this}).runs"),
        **dict.fromkeys(("versions", "history", "revisions"), "store.versions(name)"),
        **dict.fromkeys(("diff", "compare"), f"store.diff({this}, other)"),
        "why": f"store.why({this}, other)",
        "verify": f"store.verify({this})",
        **dict.fromkeys(("copy", "rename", "move", "link_to"), f'store.put({this}, "other/name")'),
        **dict.fromkeys(("created_at", "updated_at", "created", "date", "timestamp", "mtime", "creation_timestamp"), ".time"),
        **dict.fromkeys(("author", "user", "owner", "creator", "created_by", "user_id"), ".actor"),
        **dict.fromkeys(("message", "comment", "note"), ".reason"),
        **dict.fromkeys(("hash", "checksum", "md5", "sha", "id", "oid", "artifact_id", "uid"), ".digest"),
        **dict.fromkeys(("nbytes", "bytes", "total_size", "length"), ".size"),
        **dict.fromkeys(("type", "artifact_type"), ".kind"),
        **dict.fromkeys(("params", "config", "hyperparameters"), f"store.lineage({this}).runs[-1].params"),
        **dict.fromkeys(("description", "tags", "properties", "labels"), '.metadata.get("<it>")'),
        **dict.fromkeys(("stage", "current_stage", "latest", "is_latest", "state"), ".aliases"),
    }


_OF_RUNS: Final = {
    **dict.fromkeys(("summary", "summary_metrics", "results", "scores"), ".metrics"),
    **dict.fromkeys(("config", "hparams", "hyperparameters", "parameters", "args"), ".params"),
    **dict.fromkeys(("run_id", "run_uuid", "uid"), ".id"),
    **dict.fromkeys(("state", "lifecycle_stage"), ".status"),
    **dict.fromkeys(("start_time", "created_at", "created", "time"), ".started"),
    **dict.fromkeys(("end_time", "stopped", "heartbeat_at"), ".finished"),
    **dict.fromkeys(("duration", "runtime", "elapsed", "took"), ".seconds"),
    **dict.fromkeys(("user", "author", "user_id", "entity"), ".actor"),
    **dict.fromkeys(("run_name", "display_name", "title"), ".name"),
    **dict.fromkeys(("commit", "git_commit", "branch", "git"), '.code.get("commit")'),
    **dict.fromkeys(("scan_history", "metric_history", "get_metric_history", "series", "curve"), ".history(metric)"),
    **dict.fromkeys(("inputs", "used_artifacts", "parents", "datasets"), "store.lineage(run).upstream()"),
    **dict.fromkeys(
        ("outputs", "artifacts", "logged_artifacts", "produced", "files", "models"), "store.lineage(run).downstream()"
    ),
    **dict.fromkeys(("info", "data"), ".params, .metrics and .status"),
    **dict.fromkeys(("plot", "curves"), "store.runs().curves(metric)"),
    **dict.fromkeys(("diff", "compare", "why"), "store.why(run, other)"),
    **dict.fromkeys(("delete", "remove"), "what has happened stays: store.registry.taint(ref, reason) recalls an output"),
}
_OF_OPEN_RUNS: Final = {
    **dict.fromkeys(
        ("log_metric", "log_metrics", "log_dict", "add_scalar", "track", "report", "log_values"), "run.log(loss=0.5, step=1)"
    ),
    **dict.fromkeys(
        ("log_artifact", "log_artifacts", "log_model", "save", "save_model", "upload", "add_artifact", "log_table"),
        "run.put(source, name)",
    ),
    **dict.fromkeys(
        ("log_image", "log_figure", "log_text", "add_image", "log_file", "log_code", "save_checkpoint"), "run.put(source, name)"
    ),
    **dict.fromkeys(("use_artifact", "load", "read", "use_model", "input", "download"), "run.get(ref)"),
    **dict.fromkeys(
        ("log_param", "log_params", "config", "hparams", "set_tag", "set_tags", "tags"), "store.run(name, params={…})"
    ),
    **dict.fromkeys(("end", "end_run", "stop", "close", "complete"), "run.finish()"),
    **dict.fromkeys(("watch", "alert"), "run.log(loss=0.5, step=1)"),
    **dict.fromkeys(("metrics", "summary", "history", "status"), "store.runs()[-1].<it>"),
}
_OF_LINEAGE: Final = {
    **dict.fromkeys(
        ("show", "plot", "draw", "render", "display", "view", "to_svg", "to_html", "graph", "visualize"), ".upstream().draw()"
    ),
    **dict.fromkeys(("parents", "ancestors", "sources"), ".upstream()"),
    **dict.fromkeys(("children", "descendants", "consumers", "impact"), ".downstream()"),
    **dict.fromkeys(("nodes", "edges", "to_networkx", "to_dict", "tree", "json"), ".upstream().to_json()"),
}
_OWN: Final = (".time", ".kind", ".size", ".aliases", ".metadata")  # of the record of a name
_NAMED: Final = {
    **{
        key: one if not one.startswith(".") or one.startswith(_OWN) else f"store.artifact(name.name){one}"
        for key, one in _of_content("name.name").items()
    },
    **dict.fromkeys(("digest", "version", "ref", "metrics", "actor", "reason", "files"), "store.artifact(name.name)"),
    **dict.fromkeys(("tag", "alias", "set_alias"), "store.alias(name.name, alias)"),
}
_OF_RECORDS: Final = {
    "Artifact": _of_content("artifact"),
    "Version": _of_content("version")
    | {"files_list": ".files", "run": "store.artifact(version).run", "inputs": "store.artifact(version).inputs"},
    "Name": _NAMED,
    "RunInfo": _OF_RUNS,
    "Run": _OF_OPEN_RUNS,
    "Lineage": _OF_LINEAGE,
    "LineageGraph": {key: one.replace(".upstream()", "") for key, one in _OF_LINEAGE.items() if one.startswith(".upstream().")},
}


def missing(record: object, name: str) -> AttributeError:
    """Return the error of an attribute that a record does not have, with what to use instead."""
    kind = type(record).__name__
    answer = _OF_RECORDS.get(kind, {}).get(name, "").replace("<it>", name)
    return AttributeError(f"{kind} has no {name!r}{_said(answer)}", name=name, obj=record)


_NO_LOGIN: Final = "there is no server and no account: artifactstore.open(url) opens a store, with the credentials of its storage"
_OF_MODULE: Final = {
    **dict.fromkeys(
        ("login", "logout", "connect", "auth", "setup", "configure", "set_tracking_uri", "set_experiment", "Client", "Api"),
        _NO_LOGIN,
    ),
    **dict.fromkeys(("MlflowClient", "MLFlowClient", "api", "client", "set_registry_uri", "get_tracking_uri"), _NO_LOGIN),
    **dict.fromkeys(
        ("log", "log_metric", "log_metrics"), "with artifactstore.open().run(name) as run: run.log(loss=0.5, step=1)"
    ),
    **dict.fromkeys(("init", "start_run", "finish", "end_run", "active_run"), "with artifactstore.open().run(name) as run:"),
    **dict.fromkeys(
        ("connect_store", "store", "Artifactstore", "ArtifactStore", "open_store", "Repo", "Repository"),
        "artifactstore.open(url)",
    ),
    **dict.fromkeys(("Dataset", "Table", "Image", "Model"), "artifactstore.open().put(object, name)"),
}


def module_hint(name: str, methods: Iterable[str] = ()) -> str:
    """Return what to use instead of a name that the package does not have, or nothing; `methods` are those of a store."""
    if name in _OF_MODULE:
        return _said(_OF_MODULE[name])
    return (
        f"; use artifactstore.open().{name}(…)" if name in methods else re.sub(r"\bstore\.", "artifactstore.open().", hint(name))
    )


_WORD: Final = r"[A-Za-z0-9._-]+"
_PATH: Final = rf"({_WORD}(?:/{_WORD})*)"
_REFERENCES: Final = (  # forms of other tools
    rf"{_PATH}(?:@|==|:=| )({_WORD})",
    rf"models:/+{_PATH}[/@]({_WORD})",  # MLflow
    rf"wandb-artifact:/+(?:_id/)?{_PATH}:({_WORD})",
    rf"{_PATH}:(\d+|[vV]\d+)",
    rf"(?:hf|lamin|dvc|artifact|artifacts)://?{_PATH}(?:[:@]({_WORD}))?",
)


def reference_hint(text: str) -> str:
    """Return the reference that is meant by one of another tool (`name@alias`, `models:/name/3`), as the end of a message, or nothing."""
    for form in _REFERENCES:
        if (match := re.fullmatch(form, text, re.ASCII)) is not None:
            word = match[2] or ""
            number = re.fullmatch(r"[vV]?([1-9]\d{0,8})", word)
            meant = match[1] + (f":v{number[1]}" if number else f":{word.lower() if word.istitle() else word}" if word else "")
            return f"; did you mean {meant}?" if meant != text else ""
    return ""
