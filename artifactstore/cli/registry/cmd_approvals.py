"""Commands for approvals and signatures: approve, reject, approvals, sign."""

from typing import Annotated, Any

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, opened
from artifactstore.cli.registry.arguments import KeyFile, Keys, mandatory, signer
from artifactstore.display.values import counted, moment

__all__: list[str] = []

Meaning = Annotated[str, typer.Option(help="review, approval, authorship or responsibility.")]
Role = Annotated[str | None, typer.Option(help="In which role, such as qa.")]
ForAlias = Annotated[str | None, typer.Option("--alias", help="For this alias only; without it for any.")]


@app.command()
def approve(
    ref: Ref,
    meaning: Meaning = "approval",
    role: Role = None,
    alias: ForAlias = None,
    key: KeyFile = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Approve an artifact. Without --key the approval is only claimed."""
    why = mandatory(reason)
    with opened(store) as store_:
        made = store_.registry.approve(ref, reason=why, meaning=meaning, role=role, alias=alias, signer=signer(key))
    _print_approval(made, signed=key is not None, as_json=as_json)


@app.command()
def reject(
    ref: Ref,
    meaning: Meaning = "approval",
    role: Role = None,
    alias: ForAlias = None,
    key: KeyFile = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Reject an artifact: it passes no gate until the same person approves it."""
    why = mandatory(reason)
    with opened(store) as store_:
        made = store_.registry.reject(ref, reason=why, meaning=meaning, role=role, alias=alias, signer=signer(key))
    _print_approval(made, signed=key is not None, as_json=as_json)


def _print_approval(made: Any, *, signed: bool, as_json: bool) -> None:
    if as_json:
        printing.as_json(printing.record(made))
        return
    from artifactstore.display.registry_lists import approval_line  # noqa: PLC0415 - `--help` must not load it

    line = approval_line(
        made.verdict,
        made.name,
        made.status,
        moment(made.time),
        made.meaning,
        role=made.role,
        actor=made.actor,
        reason=made.reason,
    )
    printing.echo(made.ref)
    printing.echo(f"  {line}")
    if made.status in {"stale", "by an author"}:
        printing.echo_error(f"note: it counts for no gate: it is {made.status}")
    elif signed and made.status == "claimed":
        printing.echo_error("note: it is signed, and claimed until it is checked: `approvals REF --keys FILE`")


@app.command()
def approvals(ref: Ref, keys: Keys = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the approvals and rejections of an artifact, with what each is worth."""
    with opened(store, "r") as store_:
        rows = store_.registry.approvals(ref, keys=keys)
    if as_json:
        printing.as_json([printing.record(one) for one in rows])
    elif rows:
        printing.listed(rows, "approvals")
    else:
        printing.echo_error(f"no approval or rejection of {ref} is recorded")


@app.command()
def sign(
    ref: Ref,
    key: Annotated[str, typer.Option("--key", help="The private key (PEM), or a registered SCHEME:TEXT.")],
    to: Annotated[str | None, typer.Option("--to", help="A new file for the bundle, for `model_signing verify`.")] = None,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Sign an artifact as OpenSSF Model Signing does, from the digests that the store knows."""
    why = mandatory(reason)
    with opened(store) as store_:
        made = store_.registry.sign(ref, to, reason=why, signer=signer(key))
    if as_json:
        printing.as_json(made.to_json())
        return
    printing.echo(made.ref)
    files = counted(len(made.files), "files")
    printing.echo(f"  signed by {made.name} on {moment(made.time)} UTC, model signature of {files}: {why}")
    printing.echo(f"  key {made.key}")
    if to is not None:
        printing.echo(to)
