"""What the server of `tests.commands` has imported before the first command: every module that one may ask for."""

import gc
import importlib
import os
from functools import cache

# As `cli.main` does before it imports anything.
os.environ.setdefault("dramatiq_worker_timeout", "100")

import typer.main

from parcours import cli

# What commands import when they run: the database's dialect, what opens it, steps, providers, words of the terminal.
FIRST_USED = (
    "parcours.cli.dry_run",
    "parcours.db.checks.blocking",
    "parcours.domain.steps.actions",
    "parcours.services.open_database",
    "parcours.services.waits_for_locks",
    "parcours.workers.delivery.providers.files",
    "parcours.workers.delivery.providers.own",
    "parcours.workers.delivery.providers.smtp",
    "rich._emoji_codes",
    "sqlalchemy.dialects.postgresql.psycopg",
    "typer._adapters",
    "typer._click.decorators",
)
for name in FIRST_USED:
    importlib.import_module(name)
# A quarter of a short command's time is to make its options of the functions that have them.
typer.main.get_command = cache(typer.main.get_command)
for place, _help in cli.COMMANDS.values():
    module, attribute = place.split(":")
    typer.main.get_command(getattr(importlib.import_module(module), attribute))
# Pages of memory that no collection touches stay shared with the commands.
gc.collect()
gc.freeze()
