"""Commands for registries of containers: push, pull."""

from typing import Annotated

import typer

from artifactstore.cli import printing
from artifactstore.cli.options import AsJson, Reason, Ref, StoreUrl, app, opened, print_put
from artifactstore.display.values import counted, format_size

__all__: list[str] = []

PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Without TLS.")]


@app.command()
def push(
    ref: Ref,
    target: Annotated[str, typer.Argument(help="HOST[:PORT]/REPO[:TAG]; the tag is latest by default.")],
    layout: Annotated[str, typer.Option(help="modelpack: a layer for each file; image: one layer, /models.")] = "modelpack",
    platform: Annotated[str | None, typer.Option(help="Of an image; by default linux/amd64.")] = None,
    plain_http: PlainHttp = False,
    no_referrers: Annotated[
        bool, typer.Option("--no-referrers", help="Without lineage, bill of materials and signatures.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Push an artifact to an OCI registry; what is there already is not sent. Credentials are docker's."""
    from artifactstore.integrations.oci import push as push_to  # noqa: PLC0415 - `--help` needs none of it

    with opened(store, "r") as store_:
        done = push_to(store_, ref, target, layout=layout, platform=platform, plain_http=plain_http, referrers=not no_referrers)
    if as_json:
        printing.as_json(done.to_json())
        return
    printing.echo(f"{done.target}  {done.digest}")
    printing.echo_error(f"{done.sent} of {counted(done.blobs, 'blobs')} sent, {format_size(done.sent_bytes)}")


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="HOST[:PORT]/REPO[:TAG], or HOST[:PORT]/REPO@sha256:HEX.")],
    name: Annotated[str, typer.Argument(help="The name of the new version.")],
    kind: Annotated[str | None, typer.Option(help="data, model, code …; by default what was pushed.")] = None,
    platform: Annotated[str | None, typer.Option(help="Of an index with several manifests.")] = None,
    plain_http: PlainHttp = False,
    reason: Reason = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Pull an artifact from an OCI registry; every byte is checked. What `push` wrote comes back as the same artifact."""
    from artifactstore.integrations.oci import pull as pull_from  # noqa: PLC0415 - `--help` needs none of it

    with opened(store) as store_:
        made = pull_from(store_, source, name, kind=kind, platform=platform, plain_http=plain_http, reason=reason)
        print_put(made, as_json=as_json)
