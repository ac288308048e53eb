"""What the server of `tests.commands` has imported before the first command: every module that one may ask for."""

import importlib
import os

# As `parcours.main` does before it imports anything.
os.environ.setdefault("dramatiq_worker_timeout", "100")

import parcours

for place, _help in parcours.COMMANDS.values():
    importlib.import_module(place.partition(":")[0])
