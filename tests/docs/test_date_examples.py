"""The examples whose campaigns go by dates of contacts do what their pages say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from parcours.testing import Sandbox, sandbox
from tests.conftest import ROOT, Run

EXAMPLES = ROOT / "examples"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def made(engine: Engine) -> Iterator[Sandbox]:
    url = engine.url.render_as_string(hide_password=False)
    with sandbox(url, start=utc("2026-11-01T12:00")) as found:
        yield found


def mails(made: Sandbox, contact: str) -> list[tuple[str, str]]:
    """Return what a contact was sent, by the step that sent it, and when."""
    found = [
        (each.step, f"{each.at:%Y-%m-%d %H:%M}")
        for each in made.outcomes(contact)
        if each.result == "done" and each.step not in ("thanks", "ended")
    ]
    assert [f"{each.at:%Y-%m-%d %H:%M}" for each in made.sent(contact)] == [at for _, at in found]
    return found


@pytest.mark.parametrize("name", ["birthday", "webinar", "renewal"])
def test_the_files_of_an_example_can_be_applied(run: Run, name: str) -> None:
    folder = EXAMPLES / name
    for line in (
        ("forms", "create", "webinar-registration"),
        ("emails", "apply", folder / "emails.yaml"),
        ("campaigns", "apply", folder / "campaign.yaml", "--yes"),
    ):
        done = run(*line)
        assert done.returncode == 0, done.stderr
    exported = run("campaigns", "export", name).stdout
    assert exported.startswith("format: 2\n")


def test_a_voucher_comes_each_year_a_week_before_the_birthday_at_nine(made: Sandbox) -> None:
    made.contact("ann", birthday="1990-03-09", known={"timezone": "Europe/Paris"})
    made.contact("leap", birthday="2000-02-29")
    made.campaign(EXAMPLES / "birthday" / "campaign.yaml")
    made.advance(to=utc("2027-03-04T12:00"))
    made.event("voucher.redeemed", "ann")
    made.advance(to=utc("2028-12-31T12:00"))
    assert mails(made, "ann") == [
        ("voucher", "2027-03-02 08:00"),
        ("voucher", "2028-03-02 08:00"),
        ("reminder", "2028-03-08 08:00"),
    ]
    assert mails(made, "leap") == [
        ("voucher", "2027-02-21 09:00"),
        ("reminder", "2027-02-27 09:00"),
        ("voucher", "2028-02-22 09:00"),
        ("reminder", "2028-02-28 09:00"),
    ]


def test_reminders_follow_a_webinar_that_moves(made: Sandbox) -> None:
    made.campaign(EXAMPLES / "webinar" / "campaign.yaml")
    for key in ("ann", "ben"):
        made.contact(key, webinar_at="2026-12-03T18:00+01:00")
        made.event("form.submitted", key, form="webinar-registration", fields={})
    made.advance(to=utc("2026-11-20T12:00"))
    for key in ("ann", "ben"):
        made.contact(key, webinar_at="2026-12-10T18:00+01:00")
    made.advance(to=utc("2026-12-10T15:30"))
    made.contact("late", webinar_at="2026-12-10T18:00+01:00")
    made.event("form.submitted", "late", form="webinar-registration", fields={})
    made.advance(to=utc("2026-12-10T18:00"))
    made.event("contact.changed", "ann", tags={"add": ["webinar-attended"]})
    made.advance(days=3)
    reminders = [("day-before", "2026-12-09 17:00"), ("hour-before", "2026-12-10 16:00")]
    assert mails(made, "ann") == [*reminders, ("slides", "2026-12-10 19:00")]
    assert mails(made, "ben") == [*reminders, ("recording", "2026-12-11 10:00")]
    assert made.results("late")[:3] == [("day-before", "skipped"), ("still-ahead", "yes"), ("hour-before", "done")]


def test_who_registers_after_a_webinar_is_not_reminded_of_it(made: Sandbox) -> None:
    made.campaign(EXAMPLES / "webinar" / "campaign.yaml")
    made.contact("late", webinar_at="2026-11-01T10:00Z")
    made.event("form.submitted", "late", form="webinar-registration", fields={})
    made.advance(days=3)
    assert mails(made, "late") == [("recording", "2026-11-02 10:00")]


def test_a_contract_that_is_renewed_calls_nobody_and_comes_again_a_year_later(made: Sandbox) -> None:
    for key in ("ann", "ben"):
        made.contact(key, contract_ends="2026-12-31", known={"owner": "sales@example.com"})
    made.campaign(EXAMPLES / "renewal" / "campaign.yaml")
    made.advance(to=utc("2026-12-10T12:00"))
    made.contact("ann", contract_ends="2027-12-31")
    made.advance(to=utc("2027-12-25T12:00"))
    assert mails(made, "ann") == [
        ("letter", "2026-12-01 09:00"),
        ("letter", "2027-12-01 09:00"),
        ("call", "2027-12-24 09:00"),
    ]
    assert mails(made, "ben") == [("letter", "2026-12-01 09:00"), ("call", "2026-12-24 09:00")]
