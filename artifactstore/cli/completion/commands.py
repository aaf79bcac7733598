"""The command completion."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.completion.scripts import SCRIPTS
from artifactstore.cli.options import AsJson, StoreUrl, app
from artifactstore.errors import InvalidInputError

__all__: list[str] = []


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh, fish or powershell.")],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the script that completes commands, options, names, versions and aliases in a shell.

    In ~/.bashrc: eval "$(artifactstore completion bash)"; the script of each shell begins with its own line.
    """
    del store
    script = SCRIPTS.get(shell.lower())
    if script is None:
        raise InvalidInputError(f"no completion for {shell!r}: expected one of {', '.join(SCRIPTS)}")
    if as_json:
        printing.as_json({"shell": shell.lower(), "script": script})
    else:
        printing.document(script)
