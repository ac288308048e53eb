"""The command. It reads the settings, finds the module of the command asked for, and prints errors.

Modules are imported only when their command is called, so that `--help` is immediate.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name: (where its Typer app is, its line of --help). In the order that --help shows.
COMMANDS = {
    "up": ("parcours.cli.up:app", "Everything in one process: database, workers, tick, HTTP."),
    "demo": ("parcours.cli.demo:app", "Four weeks of a sample campaign in simulated time."),
    "simulate": ("parcours.cli.simulate:app", "A campaign in simulated time: the volume of each step and day."),
    "contacts": ("parcours.cli.contacts:app", "Import, show and merge contacts."),
    "segments": ("parcours.cli.segments:app", "Create, fill and list segments."),
    "companies": ("parcours.cli.companies:app", "Create and list companies, and put contacts into them."),
    "forms": ("parcours.cli.forms:app", "Create forms and submit them."),
    "points": ("parcours.cli.points:app", "Create and list groups of points."),
    "stages": ("parcours.cli.stages:app", "Create and list stages."),
    "emails": ("parcours.cli.emails:app", "Apply, list and preview email templates."),
    "messages": ("parcours.cli.messages:app", "Apply text, push and marketing messages."),
    "policies": ("parcours.cli.policies:app", "Caps and quiet hours of channels."),
    "campaigns": (
        "parcours.cli.campaign_members:app",
        "Validate, plan, apply, list, show, publish and pause campaigns; add and remove contacts.",
    ),
    "steps": ("parcours.cli.steps:app", "The catalogue of step types."),
    "update": ("parcours.cli.sweeps:update_app", "Align members with segments and forms."),
    "trigger": ("parcours.cli.sweeps:trigger_app", "Do what is due."),
    "overview": ("parcours.cli.overview:app", "The figures of a campaign."),
    "log": ("parcours.cli.log:app", "Outcomes, or the open waits, of a campaign."),
    "explain": ("parcours.cli.explain:app", "Where a contact stands in a campaign, and why."),
    "status": ("parcours.cli.status:app", "Backlog, age of the oldest due wait, outbox."),
    "events": ("parcours.cli.events:app", "Publish contact events."),
    "consume": ("parcours.cli.consume:app", "Take contact events from their queue."),
    "dead-letters": (
        "parcours.cli.dead_letters:app",
        "What could not be understood or done: list, show, replay, discard.",
    ),
    "outbox": ("parcours.cli.outbox:app", "Messages that were given up: list them, try them again."),
    "webhooks": ("parcours.cli.webhooks:app", "The secret that webhooks are signed with."),
    "check": ("parcours.cli.check:app", "Prove the invariants of the database."),
    "doctor": ("parcours.cli.doctor:app", "What is wrong with connections and clocks, and how to mend it."),
    "worker": ("parcours.cli.worker:app", "A pool of workers for some queues."),
    "tick": ("parcours.cli.tick:app", "Publish due work every second."),
    "web": ("parcours.cli.web:app", "The HTTP interface: pages, REST, contact events, health, metrics."),
    "keys": ("parcours.cli.keys:app", "Make, list and revoke the keys of the HTTP interface."),
    "users": ("parcours.cli.users:app", "Who may sign in to the pages."),
    "db": ("parcours.cli.db:app", "Migrate, check or stop the database."),
}
# What a crontab of Mautic calls.
ALIASES = {
    "mautic:campaigns:trigger": "trigger",
    "mautic:campaigns:update": "update",
    "mautic:campaigns:rebuild": "update",
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, not when `--help` lists them."""

    listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        place, help_line = COMMANDS[name]
        if self.listing:
            return typer.main.get_command(_described(name, help_line))
        module, attribute = place.split(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute))
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False


def _described(name: str, help_line: str) -> typer.Typer:
    app = typer.Typer(help=help_line)
    app.command(name, help=help_line)(lambda: None)
    return app


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Parcours: a campaign engine. Contacts walk a tree of actions, decisions and conditions.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"parcours {version('parcours')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    from parcours.cli.session import Session, begin_session
    from parcours.ops.settings import read_settings

    begin_session(Session(read_settings(), debug=debug))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command: exit code 0 on success, 1 on a failed job, 2 on wrong usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # How long an idle consumer of Redis sleeps at most between looks, in ms. dramatiq reads it when it is
    # imported, by whichever module comes first; its default, a second, is a long time for an event.
    os.environ.setdefault("dramatiq_worker_timeout", "100")
    debug = "--debug" in arguments
    # --debug may stand anywhere: people add it at the end of the line that failed.
    if debug:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        app(args=arguments, prog_name="parcours")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        sentence = _sentence(error)
        # Several lines are problems of files, each with its place in front.
        sys.stderr.write(sentence + "\n" if "\n" in sentence else f"parcours: {sentence}\n")
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> int:
    from parcours.ops.settings import SettingsError

    return 2 if isinstance(error, SettingsError) else 1


def _sentence(error: Exception) -> str:
    from parcours.domain.errors import CampaignError
    from parcours.ops.settings import SettingsError

    if isinstance(error, CampaignError | SettingsError):
        return str(error)
    module = type(error).__module__
    if module.startswith(("sqlalchemy", "psycopg")):
        first = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return f"the database said: {first}; `parcours db check` says more"
    if module.startswith(("redis", "pika", "dramatiq", "kombu", "amqp")):
        return f"the broker cannot be used ({error}); check PARCOURS_BROKER_URL"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return f"something unexpected went wrong ({type(error).__name__}: {error}); run again with --debug and report it"
