"""Keys of messages name the installation, so that a copy's are never taken for the original's."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from parcours.db.tables import installation
from tests.conftest import Run
from tests.workers.worlds import START, World

HELLO = "- {step: hello, action: webhook.send, with: {url: 'https://example.com/hook', method: post}}"


def keys(world: World) -> list[str]:
    return [row.key for row in world.read("SELECT key FROM message ORDER BY id")]


def test_a_key_ends_with_the_installation_s_name_and_a_copy_gets_its_own(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(HELLO)
    world.run(START)
    (name,) = world.read("SELECT value FROM installation WHERE name = 'name'")
    assert len(keys(world)) == 2
    assert all(key.endswith(f"-{name.value}") and key.count("-") == 4 for key in keys(world))
    # What an earlier version wrote has no name yet; what has left keeps its key.
    world.write(
        "UPDATE message SET key = regexp_replace(key, '-[^-]*$', '') WHERE contact_id = (SELECT max(id) FROM contact)"
    )
    before = keys(world)
    with world.engine.begin() as conn:
        other = installation.rename(conn)
    assert other != name.value
    after = keys(world)
    assert not set(before) & set(after)
    assert all(key.endswith(f"-{other}") and key.count("-") == 4 for key in after)
    world.write("UPDATE message SET state = 'sent'")
    with world.engine.begin() as conn:
        installation.rename(conn)
    assert keys(world) == after


def test_a_copy_is_renamed_by_command(run: Run, tmp_path: Path) -> None:
    said = [run("db", "rename").stdout for _ in range(2)]
    assert all("Its message keys end with that name" in each for each in said)
    assert said[0] != said[1]


def test_every_installation_has_a_name_from_the_start(world: World) -> None:
    with world.engine.connect() as conn:
        assert conn.execute(text("SELECT value ~ '^[0-9a-f]{8}$' FROM installation WHERE name = 'name'")).scalar_one()
