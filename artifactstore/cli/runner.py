"""Running a command: an error becomes a message and an exit code, a warning becomes a note."""

import copy
import functools
import gc
import importlib
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.cli import process
from artifactstore.cli.process import EXIT_CODES
from artifactstore.errors import ArtifactStoreError, BackendError, OutcomeUnknownError, RefusedError
from artifactstore.printable import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    import typer

__all__ = ["COMMANDS", "load_commands", "run"]


def run(arguments: list[str]) -> int:
    """Run the command line `arguments`."""
    arguments = _in_order(arguments)
    if process.is_main_process:
        gc.set_threshold(50_000, 20, 100)  # tables of many rows have no cycles, and looking for some takes a fifth of the time
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # searching all packages for plugins takes 15 ms
    process.ready_streams()
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _note
        return _run(arguments, as_json="--json" in arguments)


COMMANDS: Final = {  # module → its commands: a command loads its own module, all of them take 30 ms
    "cmd_cache": ("cache",),
    "cmd_content": ("put", "get", "cat", "cp", "alias", "demo"),
    "cmd_doctor": ("doctor",),
    "cmd_maintenance": ("rescue", "sync", "bundle", "snapshot", "repair"),
    "cmd_queries": ("ls", "versions", "find", "show", "verify", "head"),
    "cmd_runs": ("runs", "lineage"),
    "cmd_why": ("why", "impact", "taint", "untaint", "reproduce"),
    "compare.commands": ("diff", "status", "verify-folder"),
    "completion.commands": ("completion",),
    "exchange.cmd_export": ("export",),
    "exchange.cmd_import": ("import",),
    "exchange.cmd_pointers": ("track", "checkout"),
    "exchange.cmd_registry": ("push", "pull"),
    "freeing.commands": ("gc", "usage", "repack"),
    "history.cmd_log": ("log",),
    "listing.cmd_tree": ("tree",),
    "pipeline.cmd_ci": ("ci",),
    "records.anchor": ("anchor",),
    "registry.cmd_approvals": ("approve", "reject", "approvals", "sign"),
    "registry.cmd_drift": ("drift",),
    "registry.cmd_gates": ("gates", "gate", "promote", "rollback", "unalias"),
    "registry.cmd_marks": ("describe", "measure"),
    "registry.cmd_retention": ("hold", "release", "holds", "remove", "retention", "expire"),
    "running.cmd_run": ("run",),
    "selftest.command": ("selftest",),
    "setup.commands": ("init", "config"),
}


def load_commands(asked: str | None = None) -> None:
    """Import the module of a command, which registers itself; all modules without one, and where there is no such command."""
    modules = [module for module, names in COMMANDS.items() if asked in names] or [*COMMANDS]
    for module in modules:
        importlib.import_module(f"artifactstore.cli.{module}")


def _in_order(arguments: list[str]) -> list[str]:
    """Put options that every command has behind the command: `artifactstore --store URL ls`, as with git and docker."""
    for at, word in enumerate(arguments):
        if at and arguments[at - 1] == "--store":
            continue  # its value
        if not word.startswith("-"):
            return [word, *arguments[:at], *arguments[at + 1 :]]
        if word not in {"--store", "--json"} and not word.startswith("--store="):
            break
    return arguments


def _run(arguments: list[str], *, as_json: bool) -> int:
    import typer.main  # noqa: PLC0415 - 0.1 s, which an import of this module need not cost

    from artifactstore.cli.options import app  # noqa: PLC0415

    load_commands(arguments[0] if arguments else None)
    try:
        command = typer.main.get_command(_alone(app, arguments))
        _take_text(command)
        code = command(args=arguments, prog_name="artifactstore", standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_CODES["interrupted"]
    except (BrokenPipeError, SystemExit):
        # The reader has closed the pipe (`| head`), which typer turns into an exit: not a failure, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_CODES["ok"]
    except ArtifactStoreError as error:
        extra: dict[str, Any] = {"transient": error.transient} if isinstance(error, BackendError) else {}
        if isinstance(error, OutcomeUnknownError):
            extra["txn"] = error.txn
        if isinstance(error, RefusedError):
            extra["reasons"] = list(error.reasons)
            extra |= {} if error.verdict is None else {"verdict": error.verdict.to_json()}
        _report_error(str(error) if as_json else _in_lines(error), as_json, error.kind, **extra)
        return EXIT_CODES[error.kind]
    except Exception as error:  # noqa: BLE001 - the last resort: report a crash with all that is known
        if hasattr(error, "show") and hasattr(error, "format_message"):  # a usage error, of whichever click typer bundles
            _report_error(_of_usage(error, as_json=as_json), as_json, "invalid_input")
            return EXIT_CODES["invalid_input"]
        if isinstance(error, OSError):
            if _is_of_the_answer(error):
                sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the rest of the old buffer cannot be written
                _report_error(f"cannot write the answer: {error.strerror or error}", as_json, "backend")
            else:
                where = error.filename if error.filename is not None else "a file of this machine"
                _report_error(f"cannot read or write {where}: {error.strerror or error}", as_json, "backend")
            return EXIT_CODES["backend"]
        traceback.print_exc()
        _report_error(
            "this is a bug in artifactstore, not in your input: please report it with the lines above", as_json, "crash"
        )
        return EXIT_CODES["crash"]
    if code == EXIT_CODES["interrupted"]:  # typer swallows Ctrl-C where it runs a command
        _report_error(
            "interrupted: nothing half-written is visible; `artifactstore log` shows what was committed before",
            as_json,
            "interrupted",
        )
    return code if isinstance(code, int) else EXIT_CODES["ok"]


def _alone(app: "typer.Typer", arguments: list[str]) -> "typer.Typer":
    """Return the application with the asked command alone, if it is one: preparing all of them takes 10 ms."""
    from typer.main import get_command_name  # noqa: PLC0415 - as above

    asked = [
        one
        for one in app.registered_commands
        if one.callback is not None and (one.name or get_command_name(one.callback.__name__)) == "".join(arguments[:1])
    ]
    if not asked:
        return app
    app = copy.copy(app)
    app.registered_commands = asked
    return app


def _take_text(command: Any) -> None:
    """Let text, paths, flags and plain numbers be taken as they are: typer checks each by pydantic, whose import takes 0.08 s.

    An older typer, which has none of that, and other options stay as they are.
    """
    for one in [*getattr(command, "commands", {}).values(), command]:
        one.get_params = functools.partial(_params, one.get_params)


def _params(found: "Callable[[Any], list[Any]]", context: Any) -> list[Any]:
    params = found(context)
    for param in params:
        annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
        if (
            annotation in (str, bool, int, float, Path, list[str])
            and getattr(param, "_runtime_param", ...) is None
            and not _limited(param)
        ):
            param._runtime_param = _AsItIs()  # noqa: SLF001 - typer has no other door
    return params


def _limited(param: Any) -> bool:
    info = param.type_descriptor.parameter_info
    asked = ("exists", "writable", "resolve_path", "allow_dash", "path_type")  # of a path, and what is there
    return any(getattr(info, name, None) is not None for name in ("min", "max", "parser")) or any(
        getattr(info, name, None) for name in asked
    )


_NUMBERS: Final = {
    int: (int, r"[+-]?\d{1,18}", "a whole number"),
    float: (float, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", "a number"),
}


class _AsItIs:
    """How typer shall convert the value of an option: what must be read or refused is left to its own."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        texts = value if several and isinstance(value, list | tuple) else [value]
        if param.type_descriptor.annotation in (str, list[str]) and all(type(one) is str for one in texts):
            return list(texts) if several else value
        if param.type_descriptor.annotation is Path and isinstance(value, str | Path):
            return Path(value)
        if param.type_descriptor.annotation in _NUMBERS and type(value) is str:
            kind, form, wanted = _NUMBERS[param.type_descriptor.annotation]
            if re.fullmatch(form, value, re.ASCII):
                return kind(value)
            import typer  # noqa: PLC0415 - as above

            raise typer.BadParameter(f"expected {wanted}, got {value!r}", ctx=ctx, param=param)
        param._runtime_param = None  # noqa: SLF001 - as above
        return param.get_runtime_param().coerce(value, param, ctx)


def _of_usage(error: Any, *, as_json: bool) -> str:
    """Return the message of a usage error; for people with the form of the command."""
    text = re.sub(r"^[A-Z](?=[a-z])", lambda first: first[0].lower(), error.format_message()).removesuffix(".")
    context = getattr(error, "ctx", None)
    if context is not None:
        from artifactstore.habits.commands import option_hint, other_meaning  # noqa: PLC0415 - only for a message

        other, option = other_meaning(str(context.info_name)), getattr(error, "option_name", None)
        text += f"; as other tools have it: {other}" if other else ""
        if option is not None and text.startswith("no such option"):
            known = {name for one in context.command.params for name in (*one.opts, *one.secondary_opts)}
            meant = option_hint(str(context.info_name), option, known)
            text = f"no such option: {option}; {meant}" if meant else text
    if as_json or context is None:
        return text
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    return f"{text}\nusage: {usage}; `{context.command_path} -h` explains it"


def _is_of_the_answer(error: OSError) -> bool:
    """Return True if writing to stdout failed: raised by this package or by the table renderer, without a file name."""
    if error.filename is not None or error.__traceback__ is None:
        return False
    *_, last = traceback.walk_tb(error.__traceback__)
    return str(last[0].f_globals.get("__name__", "")).startswith(("artifactstore.cli.", "rich."))


def _report_error(text: str, as_json: bool, kind: str, **extra: Any) -> None:
    from artifactstore.cli.flags import in_flags  # noqa: PLC0415 - only if there is something to report

    text = in_flags(text)
    if as_json:
        from artifactstore.cli.printing import error_as_json  # noqa: PLC0415 - as above

        error_as_json({"error": kind, "message": text, **extra})
    else:
        _echo_error(f"error: {text}")


def _in_lines(error: ArtifactStoreError) -> str:
    """Return a message; several reasons of a refusal have a line each."""
    text, reasons = str(error), [visible(one) for one in getattr(error, "reasons", ())]
    joined = "; ".join(reasons)
    if len(reasons) < 2 or not text.endswith(joined):
        return text
    return "\n- ".join([text.removesuffix(joined).rstrip(), *reasons])


def _note(message: Warning | str, *_: object, **__: object) -> None:
    from artifactstore.cli.flags import in_flags  # noqa: PLC0415 - as above

    _echo_error(f"note: {in_flags(str(message))}")


def _echo_error(text: str) -> None:
    from artifactstore.cli.printing import echo_error  # noqa: PLC0415 - as above

    echo_error(text)
