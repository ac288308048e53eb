"""The entry point of the command line. It reads the settings, loads the module of the command, and prints errors. A
module is imported only when its command is called, so that `--help` is fast.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

# What is imported stays. Looking for garbage among it would be a fifth of a short command's time, so this comes first.
gc.set_threshold(50_000)

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name: (where its Typer app is, its line of --help). In the order that --help shows.
COMMANDS = {
    "up": ("parcours.cli.up:app", "Run everything in one process: database, workers, tick and HTTP."),
    "demo": ("parcours.cli.demo:app", "Run four weeks of a sample campaign in simulated time."),
    "simulate": ("parcours.cli.simulate:app", "Run a campaign in simulated time and show its volume per step and day."),
    "contacts": ("parcours.cli.contacts:app", "Import, show and merge contacts."),
    "segments": ("parcours.cli.segments:app", "Create, fill and list segments."),
    "companies": ("parcours.cli.companies:app", "Create and list companies; add and remove contacts."),
    "forms": ("parcours.cli.forms:app", "Create forms and submit them."),
    "points": ("parcours.cli.points:app", "Create and list point groups."),
    "stages": ("parcours.cli.stages:app", "Create and list stages."),
    "emails": ("parcours.cli.emails:app", "Apply, list and preview email templates."),
    "messages": ("parcours.cli.messages:app", "Apply and list templates for text, push and marketing messages."),
    "policies": ("parcours.cli.policies:app", "Apply, list and delete frequency caps and quiet hours."),
    "campaigns": (
        "parcours.cli.campaign_versions:app",
        "Validate, plan, apply, list, show, publish and pause campaigns; versions; add and remove contacts.",
    ),
    "steps": ("parcours.cli.steps:app", "List and show step types."),
    "update": ("parcours.cli.sweeps:update_app", "Synchronize campaign members with their segments and forms."),
    "trigger": ("parcours.cli.sweeps:trigger_app", "Run the steps that are due."),
    "overview": ("parcours.cli.overview:app", "Show the statistics of a campaign."),
    "log": ("parcours.cli.log:app", "List the outcomes or the open waits of a campaign."),
    "explain": ("parcours.cli.explain:app", "Show where a contact is in a campaign, and why."),
    "status": ("parcours.cli.status:app", "Show the backlog, the oldest due wait, the queues and the outbox."),
    "events": ("parcours.cli.events:app", "Publish contact events."),
    "consume": ("parcours.cli.consume:app", "Read contact events from the queue and process them."),
    "dead-letters": (
        "parcours.cli.dead_letters:app",
        "List, show, replay and discard messages that could not be processed.",
    ),
    "outbox": ("parcours.cli.outbox:app", "List and retry messages that could not be delivered."),
    "webhooks": ("parcours.cli.webhooks:app", "Show the secret that signs webhooks."),
    "check": ("parcours.cli.check:app", "Check the database for inconsistencies."),
    "doctor": ("parcours.cli.doctor:app", "Check connections, versions and clocks, and say how to fix problems."),
    "worker": ("parcours.cli.worker:app", "Run a pool of workers."),
    "tick": ("parcours.cli.tick:app", "Publish due work every second (scheduler)."),
    "web": ("parcours.cli.web:app", "Serve HTTP: pages, REST, contact events, health and metrics."),
    "keys": ("parcours.cli.keys:app", "Create, list and revoke API keys."),
    "users": ("parcours.cli.users:app", "Manage the accounts that can sign in to the pages."),
    "db": ("parcours.cli.db:app", "Migrate, check, rename or stop the database."),
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

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            _say_plainly(error)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False


def _say_plainly(error: typer.BadParameter) -> None:
    """Put our words in place of those of the library that reads options."""
    from pydantic import ValidationError

    from parcours.domain.invalid_values import why_invalid

    if isinstance(error.__cause__, ValidationError):
        first = error.__cause__.errors(include_url=False)[0]
        error.message = why_invalid(first, first["input"])


def _described(name: str, help_line: str) -> typer.Typer:
    app = typer.Typer(help=help_line)
    app.command(name, help=help_line)(lambda: None)
    return app


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Parcours is a campaign engine: contacts move through trees of actions, decisions and conditions.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"parcours {version('parcours')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    from parcours.cli.session import Session, begin_session
    from parcours.ops.settings import read_settings

    settings = read_settings()
    if "structlog" in sys.modules:
        # The command logs. Left alone, its lines would be among what it prints, --json included.
        from parcours.ops.logs import configure

        configure(settings.log_format, settings.log_level)
    begin_session(Session(settings, debug=debug))


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
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        # What a terminal sends that is not UTF-8 arrives as lone surrogates, which nothing can store or look up.
        return "an argument contains a character that is not valid UTF-8; type it again"
    module = type(error).__module__
    if module.startswith(("sqlalchemy", "psycopg")):
        from parcours.cli.session import database_away

        if (away := database_away(error)) is not None:
            return away
        first = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return f"the database reported an error: {first}; run `parcours db check`"
    if module.startswith(("redis", "pika", "dramatiq", "kombu", "amqp")):
        return f"the broker cannot be used ({error}); check PARCOURS_BROKER_URL"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return f"unexpected error ({type(error).__name__}: {error}); run again with --debug and report the output"
