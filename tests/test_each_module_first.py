"""A command imports its own module first, whatever others would have been imported before it elsewhere."""

import subprocess
import sys

from tests.conftest import ROOT

# One process forks for each, so that none finds what another has imported.
EACH_FIRST = """
import importlib, os, sys, traceback
failed = 0
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            print(name, traceback.format_exc(limit=-1), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""


def test_every_module_of_a_command_a_table_and_a_use_case_can_be_imported_first() -> None:
    folders = ("parcours/cli", "db/tables", "services")
    files = [file for folder in folders for file in sorted((ROOT / folder).glob("*.py")) if file.stem != "__init__"]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    assert len(names) > 60
    names = [name if name.startswith("parcours.") else f"parcours.{name}" for name in names]
    done = subprocess.run(
        [sys.executable, "-c", EACH_FIRST, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
