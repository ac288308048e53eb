"""A command imports its own module first, whatever others were imported before it elsewhere."""

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


def test_the_module_of_every_command_can_be_imported_first() -> None:
    folder = ROOT / "parcours" / "cli"
    names = [f"parcours.cli.{file.stem}" for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]
    assert len(names) > 30
    done = subprocess.run(
        [sys.executable, "-c", EACH_FIRST, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
