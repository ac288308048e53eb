"""The invariants of the database, each one statement that returns what contradicts it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Engine

from parcours.db.statements import statements

sql = statements(__file__)

EXAMPLES = 10

# What must hold, by the statement that finds where it does not.
INVARIANTS = {
    "outcomes_twice": "a contact has one outcome of a step in a rotation and passage",
    "counters_differ": "the counters of the steps are the number of outcomes, by day and result",
    "waits_of_nobody": "a waiting contact is an active member of the campaign, in the rotation of the wait or of a run",
    "runs_differ": "a contact with runs is in the campaign as long as one is active, and its rotation is the highest",
    "waits_at_removed_steps": "no contact waits at a step that its campaign does not have",
    "lost_members": "every member of a running campaign has a wait or an outcome in the present rotation",
    "control_waits": "nothing happens to a contact in a control group: it waits nowhere",
    "trials_differ": "the counters of goals are the number of entries and conversions",
    "members_differ": "contacts added less contacts left is the number of active members",
    "of_contacts_gone": "inbox events, waits, entries, old keys, companies and scores are of contacts that exist",
    "due_without_rule": "scheduled evaluations belong to segments that have a rule, and to contacts that exist",
    "keys_twice": "a key is that of a contact or of one that was merged into another",
    "deliveries_differ": "the counters of deliveries are the number of messages that came to an end, by step",
    "messages_twice": "a contact has one message of a step in a passage",
}


class CheckedInvariant(NamedTuple):
    """An invariant, how many rows contradict it, and the first of them."""

    name: str
    says: str
    violations: int
    examples: list[dict[str, Any]]


def run(engine: Engine) -> Iterator[CheckedInvariant]:
    """Check one invariant after the other, all of one snapshot, so that work going on meanwhile contradicts nothing.

    Reads every outcome, wait and member; writes nothing. Contradictions are streamed and counted.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as conn:
        conn.execute(sql["take_room"])
        for name, says in INVARIANTS.items():
            found, examples = 0, []
            with conn.execution_options(yield_per=1000).execute(sql[name]) as rows:
                for row in rows:
                    found += 1
                    if found <= EXAMPLES:
                        examples.append(dict(row._mapping))
            yield CheckedInvariant(name, says, found, examples)
