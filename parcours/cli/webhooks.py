"""`parcours webhooks`."""

from __future__ import annotations

import typer

from parcours.cli.session import session
from parcours.db.tables import installation
from parcours.workers.delivery.channels import webhook_secret
from parcours.workers.delivery.providers.webhook import SIGNATURE

app = typer.Typer(no_args_is_help=True, help="Show the secret that signs webhooks.")


@app.callback()
def group() -> None:
    """Show the secret that signs webhooks."""


@app.command()
def secret() -> None:
    """Print the secret that signs webhooks. Receivers verify Parcours-Signature with it."""
    here = session()
    typer.echo(webhook_secret(here.settings, here.settings.secret_key or installation.secret_key(here.engine)))
    here.warn(
        f"{SIGNATURE} is t=SECONDS,v1=HEX: the HMAC-SHA256, keyed with this secret, of SECONDS, a full stop and the "
        "body. Reject signatures older than a few minutes."
    )
