"""Commands and options that users of other tools type; the answers end up in the error of the command line."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Final

__all__ = ["COMMANDS", "OPTIONS", "command_hint", "option_hint", "other_meaning"]

_PUT_PATH: Final = "`put PATH NAME`"
_GET_FILES: Final = "`get REF FOLDER`"
_STAGING: Final = "nothing is staged, and the store is where you put it: `put PATH NAME`"
_REMOTE: Final = "the store itself may be remote: --store URL or $ARTIFACTSTORE_URL names it, `sync SOURCE TARGET` copies one"
_NO_SERVER: Final = "there is no server and no account; credentials are those of the storage: `doctor URL` checks them"
_EXPIRY: Final = "`gc` frees what nothing needs; `expire --dry-run` lists what no retention rule keeps"
_REMOVAL: Final = "`remove NAME:v3 REASON` removes a version, `unalias NAME ALIAS -m REASON` ends an alias, `taint REF REASON` recalls a version"
_BACK: Final = "`rollback NAME ALIAS -m REASON`, `log --alias ALIAS` has the history of an alias"
_EXPERIMENTS: Final = "`runs --sort -metrics.auc --columns name,params.lr,metrics.auc`"
# Commands of git, DVC, MLflow, W&B, the Hub, LaminDB, restic and shells; in `…` is what to type after the program's name.
COMMANDS: Final = {
    **dict.fromkeys(("add", "save", "upload", "upload-large-folder", "store", "register", "create", "new", "publish", "backup"), _PUT_PATH),
    **dict.fromkeys(("log-artifact", "log-artifacts", "log-model", "artifact put", "artifacts log-artifact", "artifacts log-artifacts"), _PUT_PATH),
    **dict.fromkeys(("import-url", "hash-object"), "`put URL NAME`"),
    **dict.fromkeys(("commit", "stage"), _STAGING),
    **dict.fromkeys(("download", "load", "restore", "fetch", "switch", "read", "extract", "use", "use-artifact"), _GET_FILES),
    **dict.fromkeys(("artifact get", "artifacts get", "artifacts download", "get-url", "download-artifacts"), _GET_FILES),
    **dict.fromkeys(("open", "print", "dump", "cat-file", "type", "less", "more"), "`cat REF/PATH`"),
    **dict.fromkeys(("list", "dir", "ls-files", "ls-tree", "names", "artifact ls", "artifact list", "artifacts list", "branch", "l", "ll"), "`ls [NAME]`"),
    **dict.fromkeys(("models", "models list", "registry", "artifact", "artifacts", "datasets", "files", "repo", "repos"), "`ls -l` lists names, `find --kind model` models"),
    **dict.fromkeys(("snapshots", "revisions", "tags", "list-versions", "rev-list", "show-ref"), "`versions NAME`"),
    **dict.fromkeys(("history", "reflog", "audit", "events", "journal", "shortlog", "logs"), "`log [--name NAME]`"),
    **dict.fromkeys(("tail", "watch", "monitor"), "`log --follow`"),
    **dict.fromkeys(("info", "inspect", "view", "stat", "metadata", "card", "model", "dataset"), "`show REF`"),
    **dict.fromkeys(("annotate", "edit", "set-tag", "comment", "note"), "`describe REF KEY=VALUE`, and `show REF`"),
    **dict.fromkeys(("log-metric", "log-metrics"), "`measure REF NAME=NUMBER`"),
    **dict.fromkeys(("search", "query", "grep", "filter", "select"), "`find TEXT`, or `find --metric 'auc>=0.9'`"),
    **dict.fromkeys(("tag", "set-alias", "label", "pin"), "`alias REF ALIAS -m REASON`"),
    **dict.fromkeys(("transition", "deploy", "ship"), "`promote REF ALIAS -m REASON`"),
    **dict.fromkeys(("policy", "policies", "rules"), "`gates --set FILE -m REASON`, `retention --set FILE -m REASON`"),
    **dict.fromkeys(("legal-hold", "lock"), "`hold REF REASON`"),
    **dict.fromkeys(("unlock",), "`release HOLD REASON`"),
    **dict.fromkeys(("revert", "reset", "undo", "demote"), _BACK),
    **dict.fromkeys(("rm", "delete", "del", "unregister", "rmdir", "destroy", "forget", "archive"), _REMOVAL),
    **dict.fromkeys(("prune", "clean", "purge", "cleanup"), _EXPIRY),
    **dict.fromkeys(("delete-alias", "untag"), "`unalias NAME ALIAS -m REASON`"),
    **dict.fromkeys(("mv", "move", "rename", "copy", "link", "fork"), "`cp REF NAME`; the old name keeps its history"),
    **dict.fromkeys(("clone", "mirror", "replicate", "merge", "migrate"), "`sync SOURCE TARGET`"),
    **dict.fromkeys(("remote", "remotes", "connect"), _REMOTE),
    **dict.fromkeys(("repro", "rerun", "replay"), "`reproduce REF FOLDER`"),
    **dict.fromkeys(("exec", "execute", "job", "launch", "step", "start", "exp run"), "`run --in NAME=PATH --out NAME=PATH -- COMMAND`"),
    **dict.fromkeys(("best", "top"), "`runs --sort -metrics.auc --limit 1`"),
    **dict.fromkeys(("exp", "exp show", "experiments", "runs list", "search-runs", "metrics", "params", "sweep", "leaderboard", "trials"), _EXPERIMENTS),
    **dict.fromkeys(("exp diff", "metrics diff", "params diff"), "`runs --compare RUN --compare RUN`, or `why A B`"),
    **dict.fromkeys(("plots", "plot"), "`show RUN` draws the course of each metric; `runs --columns name,metrics.auc` has the numbers"),
    **dict.fromkeys(("compare", "changes", "cmp"), "`diff A B`, or `why A B`"),
    **dict.fromkeys(("blame", "explain"), "`why A B`"),
    **dict.fromkeys(("who", "whodunit", "author", "owner"), "`show REF`, or `log NAME`"),
    **dict.fromkeys(("dag", "graph", "provenance", "upstream", "parents", "ancestors", "deps", "view-lineage"), "`lineage REF`"),
    **dict.fromkeys(("downstream", "children", "descendants", "used-by", "dependents"), "`lineage REF --down`, or `impact REF`"),
    **dict.fromkeys(("fix", "heal", "rebuild-index"), "`repair --source COPY`"),
    **dict.fromkeys(("fsck", "check", "validate", "scrub", "test"), "`verify --level full`"),
    **dict.fromkeys(("deprecate", "quarantine", "block", "revoke", "recall", "yank", "invalidate"), "`taint REF REASON`"),
    **dict.fromkeys(("scan-cache", "delete-cache"), "`cache`, `cache --clear`"),
    **dict.fromkeys(("du", "df", "size", "stats", "count-objects"), "`usage`, or `tree REF`"),
    **dict.fromkeys(("settings", "env", "configure", "profile"), "`config`"),
    **dict.fromkeys(("login", "logout", "auth", "whoami", "ui", "server", "serve", "dashboard", "web", "studio"), _NO_SERVER),
    **dict.fromkeys(("ping", "diagnose"), "`doctor URL`"),
    **dict.fromkeys(("zip", "pack"), "`bundle FILE.zip`"),
    **dict.fromkeys(("sbom", "attest", "prov", "openlineage"), "`export REF --as STANDARD`"),
    **dict.fromkeys(("unpack", "ingest", "receive"), "`import SOURCE`"),
    **dict.fromkeys(("data", "data status"), "`status [FOLDER]`"),
    **dict.fromkeys(("version",), "`--version`; `versions NAME` lists those of a name"),
    **dict.fromkeys(("help", "man"), "`--help`"),
    **dict.fromkeys(("setup", "quickstart"), "`init URL`"),
    **dict.fromkeys(("example", "tutorial", "tour"), "`demo`"),
}  # fmt: skip


# Commands that exist here, and do something else in other tools.
_OTHERWISE: Final = {"push": _STAGING, "pull": _GET_FILES, "checkout": _GET_FILES, "track": "`run -- COMMAND` records a run"}


def other_meaning(command: str) -> str:
    """Return what to type for what other tools call so, or nothing."""
    return re.sub("`([^`]+)`", r"`artifactstore \1`", _OTHERWISE.get(command, ""))


def command_hint(words: Sequence[str], commands: Iterable[str] = ()) -> str:
    """Return what to type instead of a command that does not exist, or nothing.

    Args:
        words: the command line from the command on.
        commands: those that exist: a word that is nearer to one of them is left to it.
    """
    typed = [word.lower().replace("_", "-") for word in words[:2]]
    near = get_close_matches(typed[0], [*commands], n=1) or get_close_matches(typed[0], COMMANDS, n=1, cutoff=0.75)
    for one in (" ".join(typed), typed[0], *near):
        if one in COMMANDS:
            return re.sub("`([^`]+)`", r"`artifactstore \1`", COMMANDS[one])
    return ""


_FORMAT: Final = "--json"
# Options of other tools: by the command here, or "" for any. An answer is the option here (the first of several that the command
# has), or what to type; in `…` what comes after the program's name.
OPTIONS: Final[dict[str, dict[str, str]]] = {
    "": {
        **dict.fromkeys(("--type", "--artifact-type", "--class"), "--kind"),
        **dict.fromkeys(("--tags", "--label", "--labels"), "--tag"),
        **dict.fromkeys(("--metadata", "--info", "--property", "--set", "-k"), "--meta"),
        **dict.fromkeys(("--message", "--msg", "--comment", "--description", "--note", "--notes", "--desc"), "--reason"),
        **dict.fromkeys(("--aliases", "--stage", "--version-alias"), "--alias"),
        **dict.fromkeys(("--output-dir", "--output", "--out", "--dest", "--destination", "--dst", "--root", "--local-dir", "--target", "-o", "-d"), "--to"),
        **dict.fromkeys(("--force", "-f", "--clobber", "--replace", "-y", "--yes"), "--overwrite"),
        **dict.fromkeys(("--url", "--repo", "--remote", "--backend", "--tracking-uri", "--bucket", "--registry", "-C", "-r"), "--store"),
        **dict.fromkeys(("--format", "--output-format"), _FORMAT),
        **dict.fromkeys(("--dryrun", "--what-if", "--simulate", "--plan"), "--dry-run"),
        **dict.fromkeys(("--max", "--max-results", "--max-count", "--num", "--head", "--count"), "--limit"),
        "-n": "--dry-run|--limit",
        **dict.fromkeys(("--after", "--from", "--newer-than"), "--since"),
        **dict.fromkeys(("--before", "--older-than"), "--until"),
        **dict.fromkeys(("--author", "--user", "--owner", "--by"), "--actor"),
        **dict.fromkeys(("--long", "--verbose", "-v"), "-l"),
        **dict.fromkeys(("--as-of", "--snapshot", "--timestamp", "--time"), "--at"),
        **dict.fromkeys(("--metrics", "--score"), "--metric"),
        **dict.fromkeys(("--params", "--set-param", "-P"), "--param"),
    },
    "runs": {
        **dict.fromkeys(("--filter", "--query", "--filter-string", "-q"), "--where"),
        **dict.fromkeys(("--order-by", "--order", "--sort-by"), "--sort"),
        **dict.fromkeys(("--experiment", "--experiment-name", "--project", "--group", "--sweep"), "--name"),
        **dict.fromkeys(("--only-changed", "--keep", "--show", "--fields"), "--columns"),
        **dict.fromkeys(("--csv", "--format", "--output-format"), "`runs --json`, or `store.runs().to_pandas().to_csv(…)` in Python"),
    },
    "find": {
        **dict.fromkeys(("--filter", "--query", "--where", "-q", "-name"), "`find TEXT`, or `find --metric 'auc >= 0.9'`"),
        **dict.fromkeys(("--tags",), "--tag"),
    },
    "ls": {
        **dict.fromkeys(("--recursive", "-R", "-r", "--tree"), "`tree REF`; `ls NAME/` lists what begins so"),
        **dict.fromkeys(("-a", "--all", "--versions"), "`versions NAME` lists those of a name; nothing is hidden"),
        **dict.fromkeys(("-la", "-al", "-lh", "-lah", "-alh", "-ltr", "-lt"), "-l"),
        **dict.fromkeys(("-t", "-S", "-1"), "`ls -l`; names are sorted by name"),
    },
    "log": {
        **dict.fromkeys(("--oneline", "--graph"), "`log` has one row a transaction already; `lineage REF` draws a graph"),
        **dict.fromkeys(("-p", "--patch", "--stat"), "`log --facts`, or `diff A B`"),
        "--tail": "--follow",
        **dict.fromkeys(("--grep",), "`find TEXT`"),
    },
    "get": {
        **dict.fromkeys(("--output-dir", "--output", "--out", "--dest", "--dst", "--root", "--local-dir", "--to", "-o", "-d"), "`get REF FOLDER`"),
        **dict.fromkeys(("--version", "--rev", "--revision", "-v", "--alias"), "`get NAME:v3`, `get NAME:ALIAS`"),
        **dict.fromkeys(("--include", "--exclude", "--allow-patterns", "--file", "--files"), "`get REF FOLDER --path PATTERN`"),
    },
    "put": {
        **dict.fromkeys(("--name", "-n"), "`put PATH NAME`"),
        **dict.fromkeys(("--version",), "`put` numbers versions itself; `put PATH NAME --alias ALIAS` names one"),
        **dict.fromkeys(("--recursive", "-r"), "`put FOLDER NAME` takes all of it"),
    },
    "diff": {
        **dict.fromkeys(("--stat", "--name-only", "--name-status", "--summary"), "`diff A B` lists the paths; `why A B` the reasons"),
    },
    "verify": {**dict.fromkeys(("--full", "--deep", "--read-data", "--all"), "`verify --level full`")},
    "run": {**dict.fromkeys(("--deps", "-d", "--input", "--inputs"), "--in"), **dict.fromkeys(("--outs", "-o", "--output", "--outputs"), "--out")},
    "sync": {**dict.fromkeys(("--delete", "--mirror"), "`sync` adds; a copy keeps what the source has removed until `gc`")},
}  # fmt: skip


def option_hint(command: str, option: str, known: Collection[str]) -> str:
    """Return what to type instead of an option that a command does not have, or nothing.

    Args:
        command: the command's name.
        option: what was typed, without a value.
        known: the options that the command has.
    """
    for table in (OPTIONS.get(command, {}), OPTIONS[""]):
        answer = table.get(option) or table.get(option.lower().replace("_", "-"), "")
        if answer.startswith("-"):
            for one in answer.split("|"):
                if one in known:
                    return f"it is {one} here"
        elif answer:
            return re.sub("`([^`]+)`", lambda found: found[0] if "store." in found[1] else f"`artifactstore {found[1]}`", answer)
    return ""
