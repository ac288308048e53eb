"""Processing dead letters again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.tables import events as events_table
from parcours.domain import gate
from parcours.domain.events.parsing import EventError, parse
from parcours.ops.settings import Settings
from parcours.services.contact_import import Begin
from parcours.workers import events, intake


class Replayed(NamedTuple):
    """What became of dead letters. `again`: decisions that had failed were asked of so many, `asked` could answer."""

    accepted: int
    duplicates: int
    again: int
    asked: int
    yes: int
    failing: int


def replay(engine: Engine, settings: Settings, ids: Sequence[int] | None, *, begin: Begin | None = None) -> Replayed:
    """Process dead letters again, all of them without ids. Those that fail again stay, with the new reason.

    `begin` begins the transaction, if not the engine.
    """
    partitions.begin(engine)
    with (begin or engine.begin)() as conn:
        now = database_now(conn)
        letters = events_table.take_dead_letters(conn, ids)
        good, bodies, dead, unjudged = [], [], [], []
        for letter in letters:
            try:
                value = json.loads(letter.body)
                good.append(intake.understood(partial(parse, value, now=now)))
            except EventError as error:
                dead.append((str(error), letter.body))
            except (ValueError, RecursionError) as error:
                dead.append((f"the event is not JSON ({gate.why_not_json(error)}); discard it", letter.body))
            else:
                bodies.append(letter.body)
                unjudged.append(events_table.unjudged_of(value))
        done = intake.accept(conn, good, now=now, unknown_contacts=settings.unknown_contacts)
        dead += [(reason, bodies[index]) for index, reason in done.rejected if reason != intake.ERASED]
        events_table.add_dead_letters(conn, dead, origin="event", now=now)
        # They are acted on already, but for the decisions that could not judge them.
        again = [(good[index], unjudged[index]) for index in done.known if unjudged[index]]
        judged = events.judge_again(conn, again, now=now, zone=settings.zone, stop=settings.stop_rule)
        events_table.add_dead_events(conn, judged.letters, now=now)
    events.act_on_all(engine, [event.contact for event in good], zone=settings.zone, stop=settings.stop_rule)
    return Replayed(
        done.accepted,
        done.duplicates - len(again),
        len(again),
        len(again) - len(judged.letters),
        judged.counts["yes"],
        len(dead) + len(judged.letters),
    )
