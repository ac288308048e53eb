"""What the server of `tests.commands` has imported before the first command: every module that one may ask for."""

import importlib
import os

# As `cli.main` does before it imports anything.
os.environ.setdefault("dramatiq_worker_timeout", "100")

from parcours import cli

for place, _help in cli.COMMANDS.values():
    importlib.import_module(place.partition(":")[0])
