"""Winners among the versions of emails: chosen when the next messages of a step are about to go, once for each test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection

from parcours.db.tables import variant_tests
from parcours.db.tables.emails import Email
from parcours.db.tables.variant_tests import TriedPlace, VariantTest
from parcours.domain.messages.results import Claimed
from parcours.domain.messages.winner import VersionTried, best_version


def place_of(message: Claimed, emails: Mapping[str, Email]) -> TriedPlace | None:
    """Return the test that a message is part of; None when its email has no winner to choose."""
    email = emails.get(message.template or "") if message.channel == "email" else None
    if email is None or email.winner is None or not email.variants:
        return None
    return TriedPlace(email.key, message.campaign_id, message.step_id, email.test_round)


def decided(
    conn: Connection, messages: Iterable[Claimed], emails: Mapping[str, Email], *, now: datetime
) -> tuple[dict[TriedPlace, VariantTest], list[VariantTest]]:
    """Return the tests of a batch, and those of them whose winner was chosen here.

    One statement for all messages; another few for each test whose time is over and that has no winner yet.
    """
    places = {place for message in messages if (place := place_of(message, emails)) is not None}
    tests = variant_tests.of_places(conn, places)
    chosen = []
    for place, test in sorted(tests.items()):
        email = emails[place.template]
        rule = email.winner
        if rule is None or test.decided_at is not None or now < rule.ends_at(test.started_at):
            continue
        counted = variant_tests.figures(conn, place)
        tried = {
            name: VersionTried(counted[name].get("sent", 0), counted[name].get(rule.by, 0))
            for name in email.version_names()
            if name in counted
        }
        best = best_version(tried)
        if best is None:
            continue
        tests[place], is_first = variant_tests.decide(conn, place, best, now=now)
        if is_first:
            chosen.append(tests[place])
    return tests, chosen
