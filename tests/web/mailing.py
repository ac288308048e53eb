"""A campaign that wrote to somebody, and what they do with the message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from parcours.ops.tokens import Purpose, Tokens, tokens_of
from tests.web.conftest import settings_with
from tests.workers.worlds import World

BROWSER = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Mobile/15E148 Safari/604.1"
)
PERSON = {"user-agent": BROWSER}
SCANNER = {"user-agent": "Mozilla/5.0 (compatible; SomeBot/1.0)"}
STEPS = """
- step: hello
  action: email.send
  with: {email: hello}
  then:
    - {step: opened, decision: email.open, yes: [{action: contact.tags, with: {add: [opened]}}]}
    - {step: clicked, decision: email.click, yes: [{action: contact.tags, with: {add: [clicked]}}]}
    - step: visited
      decision: page.hit
      with: {url: "*/pricing"}
      yes: [{action: contact.tags, with: {add: [visited]}}]
    - step: phoned
      decision: page.device
      with: {device_type: [mobile], device_os: [iOS]}
      yes: [{action: contact.tags, with: {add: [phoned]}}]
"""


class Mailing(World):
    """Ann is in campaign `c`, and got its email `hello`; the message is key `key`."""

    key: str
    tokens: Tokens

    def token(self, purpose: Purpose, value: Any = None) -> str:
        return self.tokens.sign(purpose, self.key if value is None else value)

    def stored(self) -> Sequence[Any]:
        """Return what was accepted and not acted on: (type, contact, data), oldest first."""
        return self.read(
            "SELECT type, contact.key AS contact, source, data FROM inbox "
            "JOIN contact ON contact.id = contact_id ORDER BY seq"
        )

    def act_now(self) -> None:
        self.act(datetime.now(UTC))

    def refused(self, key: str = "ann") -> dict[str, str]:
        rows = self.read(
            "SELECT channel, reason FROM do_not_contact JOIN contact ON contact.id = contact_id WHERE key = :key",
            key=key,
        )
        return {row.channel: row.reason for row in rows}


def mailing(engine: Engine, folder: Path, steps: str = STEPS) -> Mailing:
    """Return a world in which a campaign has written to Ann."""
    world = Mailing(engine, folder)
    world.contacts("ann", segment="everyone", phone="+33 6 12 34")
    world.email("hello")
    world.campaign(steps)
    world.run()
    (row,) = world.read("SELECT key FROM message")
    world.key = row.key
    world.tokens = tokens_of(engine, settings_with())
    return world
