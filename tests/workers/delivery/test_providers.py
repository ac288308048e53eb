"""Providers as plugins: how one is chosen and made, and that one which fails stops its own channel alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parcours.db.scope import Scope
from parcours.db.tables import outbox
from parcours.domain.messages.circuit import THRESHOLD
from parcours.ops.settings import Settings, SettingsError, read_settings
from parcours.providers import Note, Provider, ProviderOptions, Result, Sent, Setup
from parcours.workers.delivery import registry
from parcours.workers.delivery.channels import Delivery, delivery_of
from parcours.workers.delivery.deliver import deliver_inline
from tests.conftest import ROOT, Run
from tests.packages import install
from tests.workers.worlds import START, World, at

BOTH = """
- {step: mail, action: email.send, with: {email: hello}}
- {step: text, action: sms.send, with: {text: Hello}}
"""
TEXT = "- {step: text, action: sms.send, with: {text: Hello, attempts: 2}}"
Installed = Callable[[str, str], None]


class PenpalOptions(ProviderOptions):
    token: str
    pages: int = 1


class Penpal(Provider[Note]):
    """Takes everything but what is for the number that the test names."""

    channels = frozenset({"sms"})
    options: ClassVar[type[ProviderOptions]] = PenpalOptions
    refuses: str | None = None
    error: type[BaseException] = RuntimeError
    got: list[str | None] = []  # noqa: RUF012

    def send(self, batch: Sequence[Note]) -> list[Result]:
        for note in batch:
            if self.refuses in ("everybody", note.to):
                raise self.error("a bug")
            self.got.append(note.to)
        return [Sent()] * len(batch)


class Moody(Penpal):
    """Cannot even be made."""

    options = ProviderOptions

    def __init__(self, setup: Setup) -> None:
        raise OSError("no licence file")


class Vague(Penpal):
    options = ProviderOptions

    def send(self, batch: Sequence[Note]) -> list[Any]:
        return [None] * len(batch)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Make a provider known as an installed package would."""
    known = {point.name: point for point in entry_points(group=registry.GROUP)}
    monkeypatch.setattr(registry, "_entry_points", lambda: known)
    monkeypatch.setattr(Penpal, "got", [])
    monkeypatch.setattr(Penpal, "refuses", None)

    def install_(name: str, value: str) -> None:
        known[name] = EntryPoint(name, value, registry.GROUP)

    install_("penpal", f"{__name__}:Penpal")
    return install_


def settings(home: Path, name: str | None = None, **options: str) -> Settings:
    made = Settings(home=home, sms_provider=name)
    made.provider_options.update({f"PARCOURS_PROVIDER_{option.upper()}": value for option, value in options.items()})
    return made


def prepared(world: World, *keys: str, steps: str = BOTH) -> None:
    world.email("hello")
    for number, key in enumerate(keys):
        world.contacts(key, segment="everyone", phone=f"+3361234567{number}")
    world.campaign(steps)
    world.run()


def deliver(world: World, delivery: Delivery, when: Any = START) -> dict[str, int]:
    return dict(deliver_inline(world.engine, delivery, Scope(), now=when, zone=world.zone))


def states(world: World) -> dict[tuple[str, str], tuple[str, int]]:
    rows = world.read(
        "SELECT contact.key, channel, state::text AS state, attempts "
        "FROM message JOIN contact ON contact.id = contact_id"
    )
    return {(row.key, row.channel): (row.state, row.attempts) for row in rows}


def why(home: Path, name: str, channel: str = "sms", **options: str) -> str:
    with pytest.raises(registry.UnusableProviderError) as caught:
        registry.make(settings(home, name, **options), channel, signing="")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_ours_are_registered_like_those_of_other_packages_and_chosen_by_the_settings(tmp_path: Path) -> None:
    known = entry_points(group=registry.GROUP)
    assert {point.name for point in known} == {"files", "gateway", "smtp", "webhook"}
    for point in known:
        assert issubclass(point.load(), Provider)
    bare = Settings(home=tmp_path)
    assert [registry.chosen(bare, name) for name in registry.CHANNELS] == ["files", "files", "files", "webhook"]
    full = Settings(smtp_url="smtp://x", sms_url="https://x", push_url="https://x")
    assert [registry.chosen(full, name) for name in registry.CHANNELS] == ["smtp", "gateway", "gateway", "webhook"]


def test_a_provider_gets_its_options_from_its_own_settings(tmp_path: Path, installed: Installed) -> None:
    made = registry.make(settings(tmp_path, "penpal", penpal_token="t", penpal_pages="3"), "sms", signing="")
    assert made.setup.options == PenpalOptions(token="t", pages=3)
    assert made.setup.inbound_url == "http://127.0.0.1:8080/inbound/providers/penpal"


def test_options_that_are_wrong_are_named_in_a_sentence(tmp_path: Path, installed: Installed) -> None:
    assert why(tmp_path, "penpal") == "PARCOURS_PROVIDER_PENPAL_TOKEN: this setting is required"
    said = why(tmp_path, "penpal", penpal_token="t", penpal_page="3")
    assert said.startswith(
        "PARCOURS_PROVIDER_PENPAL_PAGE: unknown option; known options: PARCOURS_PROVIDER_PENPAL_TOKEN"
    )
    said = why(tmp_path, "penpal", penpal_token="hunter2", penpal_pages="many")
    assert said.startswith("PARCOURS_PROVIDER_PENPAL_PAGES: ")
    assert "hunter2" not in said
    said = why(tmp_path, "penpal", penpal_page="3", penpal_pages="many")
    for name in ("PENPAL_TOKEN: this setting is required", "PENPAL_PAGE: unknown option", "PENPAL_PAGES: "):
        assert f"PARCOURS_PROVIDER_{name}" in said
    assert why(tmp_path, "gateway").startswith("PARCOURS_SMS_URL: this setting is required")


def test_of_two_providers_whose_names_begin_alike_each_gets_its_own(tmp_path: Path, installed: Installed) -> None:
    installed("penpal_two", f"{__name__}:Penpal")
    given = settings(tmp_path, "penpal", penpal_token="one", penpal_two_token="two")
    assert registry.make(given, "sms", signing="").setup.options.token == "one"
    assert registry.unclaimed(given) == ["PARCOURS_PROVIDER_PENPAL_TWO_TOKEN"]


def test_a_name_that_is_wrong_is_said_with_the_nearest(tmp_path: Path, installed: Installed) -> None:
    assert why(tmp_path, "penpall") == "PARCOURS_SMS_PROVIDER: there is no provider 'penpall'; did you mean 'penpal'?"
    assert "supports email; choose one that supports sms" in why(tmp_path, "smtp")
    installed("broken", "no_such_module:Provider")
    assert "'broken' cannot be imported (ModuleNotFoundError" in why(tmp_path, "broken")
    installed("other", "json:JSONEncoder")
    assert "must have a lowercase name and refer to a subclass of parcours.providers.Provider" in why(tmp_path, "other")
    installed("moody", f"{__name__}:Moody")
    assert "'moody' cannot be used (OSError: no licence file)" in why(tmp_path, "moody")


def test_the_hint_names_only_providers_of_the_channel(tmp_path: Path, installed: Installed) -> None:
    installed("broken", "no_such_module_anywhere:Provider")
    said = why(tmp_path, "unheard")
    assert said.endswith("install its package, or choose one of files, gateway, penpal"), said


@pytest.mark.parametrize("value", ["no_such_module:Provider", f"{__name__}:Moody"])
def test_a_provider_that_cannot_be_used_stops_its_own_channel_alone(
    world: World, tmp_path: Path, installed: Installed, value: str
) -> None:
    prepared(world, "ann")
    installed("broken", value)
    stopped = delivery_of(world.engine, settings(tmp_path, "broken"))
    assert list(stopped.stopped) == ["sms"]
    assert deliver(world, stopped) == {"sent": 1}
    assert states(world) == {("ann", "email"): ("sent", 1), ("ann", "sms"): ("queued", 0)}
    # Mended, and the worker begun again.
    mended = delivery_of(world.engine, settings(tmp_path, "penpal", penpal_token="t"))
    assert deliver(world, mended) == {"sent": 1}
    assert Penpal.got == ["+33612345670"]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_provider_that_raises_for_one_message_costs_the_others_nothing(
    world: World,
    tmp_path: Path,
    installed: Installed,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    prepared(world, "ann", "ben", steps=TEXT)
    monkeypatch.setattr(Penpal, "error", error)
    monkeypatch.setattr(Penpal, "refuses", "+33612345670")
    delivery = delivery_of(world.engine, settings(tmp_path, "penpal", penpal_token="t"))
    assert deliver(world, delivery) == {"sent": 1}
    assert states(world)["ann", "sms"] == ("queued", 1)
    assert deliver(world, delivery, at(2)) == {"failed": 1}


@pytest.mark.parametrize("value", [f"{__name__}:Penpal", f"{__name__}:Vague"])
def test_a_provider_that_raises_for_every_message_is_away_and_nobody_fails(
    world: World, tmp_path: Path, installed: Installed, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    installed("penpal", value)
    token = {"penpal_token": "t"} if value.endswith("Penpal") else {}
    keys = [f"c{number}" for number in range(2 * THRESHOLD)]
    prepared(world, *keys, steps=TEXT)
    monkeypatch.setattr(Penpal, "refuses", "everybody")
    delivery = delivery_of(world.engine, settings(tmp_path, "penpal", **token))
    assert deliver(world, delivery) == {}
    assert {state for state, _ in states(world).values()} == {"queued"}
    with world.engine.connect() as conn:
        circuit = outbox.circuits(conn)["sms"]
    assert (circuit.state, "unexpectedly" in (circuit.error or "")) == ("open", True)


def test_a_setting_of_a_provider_is_no_unknown_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PARCOURS_")]:
        # What the run itself was told, such as where its servers are.
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("PARCOURS_PROVIDER_PENPAL_TOKEN='of the file'\nPARCOURS_PROVIDER_PENPAL_PAGES=2\n")
    monkeypatch.setenv("PARCOURS_PROVIDER_PENPAL_PAGES", "3")
    assert read_settings().provider_options == {
        "PARCOURS_PROVIDER_PENPAL_TOKEN": "of the file",
        "PARCOURS_PROVIDER_PENPAL_PAGES": "3",
    }
    monkeypatch.setenv("PARCOURS_SMS_PROVIDR", "penpal")
    with pytest.raises(SettingsError, match="did you mean PARCOURS_SMS_PROVIDER"):
        read_settings()


def test_the_doctor_says_which_channel_waits_and_why(run: Run, tmp_path: Path) -> None:
    site = install(ROOT / "examples" / "sms_provider", tmp_path / "site")
    env = tmp_path / ".env"
    env.write_text("PARCOURS_SMS_PROVIDER=textline\n")
    done = run("doctor", path=site)
    assert done.returncode == 1
    required = ", ".join(f"PARCOURS_PROVIDER_TEXTLINE_{option}" for option in ("URL", "KEY", "SECRET", "SENDER"))
    assert f"sms provider: {required}: these settings are required; sms messages wait" in done.stdout
    lines = [f"PARCOURS_PROVIDER_TEXTLINE_{option}=http://x\n" for option in ("URL", "KEY", "SECRET", "SENDER")]
    env.write_text("".join(["PARCOURS_SMS_PROVIDER=textline\n", *lines]))
    assert "ok       sms provider: textline" in run("doctor", path=site).stdout
    with env.open("a") as file:
        file.write("PARCOURS_PROVIDER_TEXTLIN_URL=https://x\n")
    assert "not used by any selected provider: PARCOURS_PROVIDER_TEXTLIN_URL" in run("doctor", path=site).stdout


@pytest.mark.parametrize("module", ["steps", "providers", "client", "testing"])
def test_each_public_module_can_be_imported_first(module: str) -> None:
    code = f"from parcours.{module} import *"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
