"""`parcours status`."""

import json
from pathlib import Path

from sqlalchemy import Engine

from tests import commands


def test_the_rest_is_shown_while_the_broker_is_away(engine: Engine, tmp_path: Path) -> None:
    environment = {
        "PARCOURS_HOME": str(tmp_path),
        "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
        # Nothing listens there.
        "PARCOURS_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    done = commands.run(["status", "--json"], environment=environment, folder=tmp_path, stdin=None, seconds=600)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["due"], shown["queues"]) == (0, None)
    assert "cannot reach the broker" in shown["broker_error"]
    done = commands.run(["status"], environment=environment, folder=tmp_path, stdin=None, seconds=600)
    assert "0 events in the inbox" in done.stdout
    assert "cannot reach the broker" in done.stderr
