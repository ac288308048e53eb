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
    "up": ("web.commands.up:app", "Everything in one process: database, workers, tick, HTTP."),
    "demo": ("workers.commands.demo:app", "Four weeks of a sample campaign in simulated time."),
    "simulate": ("workers.commands.simulate:app", "A campaign in simulated time: the volume of each step and day."),
    "contacts": ("producers.commands.contacts:app", "Import, show and merge contacts."),
    "segments": ("producers.commands.segments:app", "Create, fill and list segments."),
    "companies": ("producers.commands.companies:app", "Create and list companies, and put contacts into them."),
    "forms": ("workers.commands.forms:app", "Create forms and submit them."),
    "points": ("producers.commands.points:app", "Create and list groups of points."),
    "stages": ("producers.commands.stages:app", "Create and list stages."),
    "emails": ("producers.commands.emails:app", "Apply, list and preview email templates."),
    "messages": ("producers.commands.messages:app", "Apply text, push and marketing messages."),
    "policies": ("producers.commands.policies:app", "Caps and quiet hours of channels."),
    "campaigns": (
        "workers.commands.campaigns:app",
        "Validate, plan, apply, list, show, publish and pause campaigns; add and remove contacts.",
    ),
    "steps": ("producers.commands.steps:app", "The catalogue of step types."),
    "update": ("workers.commands.sweeps:update_app", "Align members with segments and forms."),
    "trigger": ("workers.commands.sweeps:trigger_app", "Do what is due."),
    "overview": ("producers.commands.overview:app", "The figures of a campaign."),
    "log": ("producers.commands.log:app", "Outcomes, or the open waits, of a campaign."),
    "explain": ("producers.commands.explain:app", "Where a contact stands in a campaign, and why."),
    "status": ("producers.commands.status:app", "Backlog, age of the oldest due wait, outbox."),
    "events": ("workers.commands.events:app", "Publish contact events."),
    "consume": ("workers.commands.consume:app", "Take contact events from their queue."),
    "dead-letters": (
        "workers.commands.dead_letters:app",
        "What could not be understood or done: list, show, replay, discard.",
    ),
    "outbox": ("workers.commands.outbox:app", "Messages that were given up: list them, try them again."),
    "webhooks": ("workers.commands.webhooks:app", "The secret that webhooks are signed with."),
    "check": ("producers.commands.check:app", "Prove the invariants of the database."),
    "doctor": ("producers.commands.doctor:app", "What is wrong with connections and clocks, and how to mend it."),
    "worker": ("workers.commands.worker:app", "A pool of workers for some queues."),
    "tick": ("producers.commands.tick:app", "Publish due work every second."),
    "web": ("web.commands.web:app", "The HTTP interface: pages, REST, contact events, health, metrics."),
    "keys": ("producers.commands.keys:app", "Make, list and revoke the keys of the HTTP interface."),
    "users": ("producers.commands.users:app", "Who may sign in to the pages."),
    "db": ("producers.commands.db:app", "Migrate, check or stop the database."),
}
# What a crontab of the reference engine calls.
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
    from producers.session import Session, begin_session
    from settings import read_settings

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
    from settings import SettingsError

    return 2 if isinstance(error, SettingsError) else 1


def _sentence(error: Exception) -> str:
    from domain.errors import CampaignError
    from settings import SettingsError

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


if __name__ == "__main__":
    main()
