"""`parcours webhooks`."""

from __future__ import annotations

import typer

from parcours.cli.session import session
from parcours.db.tables import installation
from parcours.workers.delivery.channels import webhook_secret
from parcours.workers.delivery.providers.webhook import SIGNATURE

app = typer.Typer(no_args_is_help=True, help="What receivers of webhooks need.")


@app.callback()
def group() -> None:
    """What receivers of webhooks need."""


@app.command()
def secret() -> None:
    """Print the secret that webhooks are signed with; whoever receives them checks Parcours-Signature with it."""
    here = session()
    typer.echo(webhook_secret(here.settings, here.settings.secret_key or installation.secret_key(here.engine)))
    here.warn(
        f"{SIGNATURE} is t=SECONDS,v1=HEX: the HMAC-SHA256, with this secret, of SECONDS, a full stop and the body. "
        "Refuse what is older than some minutes."
    )
