"""Two people and a pipeline change one campaign: one wins, the others are told, and nobody who is asked holds it up."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import ROOT
from tests.web.conftest import Client
from tests.web.pages.test_campaign_form import applied, filled, hidden, posted, stamp
from tests.workers.worlds import World

FILE = """
campaign: k
sources: {segments: [everyone]}
description: by the command
steps:
  - {step: tag, action: contact.tags, with: {add: [new]}}
"""


class Prompt:
    """The command in a terminal of its own, where a person may be asked."""

    def __init__(self, engine: Engine, folder: Path, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
        environment |= {
            "PARCOURS_HOME": str(folder),
            "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "parcours", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=folder,
        )
        os.close(theirs)
        self.said = ""

    def until(self, words: str, times: int = 1) -> str:
        """Read until the command said something so often; return all that it said."""
        while self.said.count(words) < times:
            assert select.select([self.ours], [], [], 300)[0], self.said
            try:
                more = os.read(self.ours, 65536)
            except OSError:
                more = b""
            assert more, self.said
            self.said += more.decode()
        return self.said

    def answer(self, word: str) -> None:
        os.write(self.ours, f"{word}\n".encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def asked(client: Client, world: World, engine: Engine, tmp_path: Path) -> Iterator[Prompt]:
    """The command, which has shown its plan of a campaign and waits for the answer of a person."""
    world.segment("everyone")
    assert applied(client(), "/campaigns/+new", key="k").status_code == 303
    file = tmp_path / "k.yaml"
    file.write_text(FILE, encoding="utf-8")
    prompt = Prompt(engine, tmp_path, "campaigns", "apply", str(file))
    try:
        prompt.until("Apply?")
        yield prompt
    finally:
        prompt.close()


def test_no_transaction_is_open_while_a_person_is_asked(asked: Prompt, world: World) -> None:
    rows = world.read(
        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    assert rows == []
    asked.answer("n")
    asked.until("Aborted")
    assert asked.process.wait() == 1


def test_of_a_page_a_program_and_the_command_one_wins_and_the_others_are_told(
    asked: Prompt, client: Client, world: World
) -> None:
    http = client()
    page = stamp(http.get("/campaigns/k/edit").text)
    review = hidden(posted(http, "/campaigns/k/edit", **filled(stamp=page, description="by a page"), do="review").text)
    file = http.get("/api/campaigns/k").json()["definition"] | {"description": "by a program"}
    digest = http.post("/api/campaigns/k/plan", json=file).json()["digest"]
    # An app is not made in two threads at once.
    browser, program = client(), client()
    ready = threading.Barrier(2)
    ended: dict[str, tuple[int, str]] = {}

    def by_page() -> None:
        ready.wait()
        done = posted(browser, "/campaigns/k/edit", **review, do="apply")
        ended["by a page"] = (done.status_code, done.text)

    def by_program() -> None:
        ready.wait()
        done = program.put("/api/campaigns/k", json=file, params={"plan": digest})
        ended["by a program"] = (done.status_code, done.text)

    threads = [threading.Thread(target=each) for each in (by_page, by_program)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {"by a page": 303, "by a program": 200}
    (winner,) = [who for who, (status, _) in ended.items() if status == won[who]]
    (loser,) = set(ended) - {winner}
    status, said = ended[loser]
    told = {
        "by a page": ((409, "Someone else changed this campaign"), (200, "The campaign changed after your review")),
        "by a program": ((412, "no longer holds"), (409, "was changed by someone else")),
    }
    assert any(status == code and words in said for code, words in told[loser]), (status, said)
    asked.answer("y")
    asked.until("Apply?", times=2)
    assert "k was changed by someone else at the same time; nothing was applied" in asked.said
    assert "creates version 3" in asked.said
    versions = world.read("SELECT version, definition ->> 'description' AS said FROM campaign_version ORDER BY 1")
    assert [(row.version, row.said) for row in versions] == [(1, None), (2, winner)]
    asked.answer("y")
    asked.until("Applied.")
    assert asked.process.wait() == 0
