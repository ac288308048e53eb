"""What changed of a contact, and what a condition reads: one small vocabulary for both.

A token is one of KINDS, or a kind and a name, such as `fields.country`, `tags.vip` or `events.order.paid`. A kind alone
means anything of it. Whoever changes a contact says which tokens it touched; a rule is asked again when one of them
meets what it reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

from parcours.domain.contacts.contact import CHANGEABLE
from parcours.domain.events.table import event_type

# The contact's own attributes.
KEY, EMAIL, TIMEZONE, POINTS, STAGE, OWNER = "key", "email", "timezone", "points", "stage", "owner"
LAST_ACTIVE_AT, CREATED_AT = "last_active_at", "created_at"
# With a name: of a field, a tag, a segment, a campaign, a point group, a channel.
FIELDS, TAGS, SEGMENTS, CAMPAIGNS, SCORES, DO_NOT_CONTACT = (
    "fields",
    "tags",
    "segments",
    "campaigns",
    "scores",
    "do_not_contact",
)
# Which companies the contact is in, which is the primary one, and anything of these companies.
COMPANIES = "companies"
# With a name: of an event type, a form, an email template.
EVENTS, SUBMISSIONS, EMAILS = "events", "submissions", "emails"
VISITS, DEVICES, UTM, RULES = "visits", "devices", "utm", "rules"
# The data of the event that began a run: what only steps of campaigns know. Nobody touches it.
RUN = "run"
# Time passed. Nobody touches it; what reads it says when it may change (`StepType.flips`).
TIME = "time"
# Anything; for whoever cannot say what changed (a merge, a new contact), or what is read.
EVERYTHING = "*"

KINDS = frozenset(
    {
        *(KEY, EMAIL, TIMEZONE, POINTS, STAGE, OWNER, LAST_ACTIVE_AT, CREATED_AT),
        *(FIELDS, TAGS, SEGMENTS, CAMPAIGNS, SCORES, DO_NOT_CONTACT, COMPANIES),
        *(EVENTS, SUBMISSIONS, EMAILS, VISITS, DEVICES, UTM, RULES, RUN, TIME, EVERYTHING),
    }
)

# Sets of tokens: what was changed, and what is read.
Touched = frozenset[str]
Reads = frozenset[str]

ALL: Touched = frozenset([EVERYTHING])

K = TypeVar("K")


def of(kind: str, names: Iterable[str]) -> frozenset[str]:
    """Return the tokens of names of a kind."""
    return frozenset(f"{kind}.{name}" for name in names)


def meets(reads: Collection[str], touched: Collection[str]) -> bool:
    """Return whether something that was touched is read."""
    return bool(Readers({None: reads}).of(touched))


class Readers(Generic[K]):
    """Who reads what: built once of many rules, then asked for the few that what was touched concerns.

    Costs a look-up or two for each token touched, however many rules there are.
    """

    def __init__(self, reads: Mapping[K, Collection[str]]) -> None:
        self._everybody = frozenset(reads)
        # Of anything at all.
        self._anything = frozenset(key for key, tokens in reads.items() if EVERYTHING in tokens)
        # By token, and by the kind of any token.
        self._exactly: dict[str, set[K]] = {}
        self._of_kind: dict[str, set[K]] = {}
        for key, tokens in reads.items():
            for token in tokens:
                self._exactly.setdefault(token, set()).add(key)
                self._of_kind.setdefault(token.partition(".")[0], set()).add(key)

    def __bool__(self) -> bool:
        return bool(self._everybody)

    def of(self, touched: Collection[str]) -> frozenset[K]:
        """Return whose answers may be others now."""
        if not touched:
            return frozenset()
        if EVERYTHING in touched:
            return self._everybody
        found: set[K] = set(self._anything)
        for token in touched:
            kind, dot, _ = token.partition(".")
            if dot:
                found |= self._exactly.get(token, _NOBODY)
                found |= self._exactly.get(kind, _NOBODY)
            else:
                found |= self._of_kind.get(kind, _NOBODY)
        return frozenset(found)


_NOBODY: frozenset[Any] = frozenset()


def by_difference(before: tuple[Any, ...], after: tuple[Any, ...]) -> Touched:
    """Return what differs between two states of a contact (`Contact.state`)."""
    found: set[str] = set()
    for name, was, is_ in zip(CHANGEABLE, before, after, strict=True):
        if was == is_:
            continue
        if name in _SETS:
            found |= of(name, was ^ is_)
        elif name in _MAPPINGS:
            found |= of(name, (each for each in {*was, *is_} if was.get(each, _GONE) != is_.get(each, _GONE)))
        else:
            found.update(_CALLED.get(name, (name,)))
    return frozenset(found)


_GONE = object()
_SETS = frozenset({TAGS, SEGMENTS})
_MAPPINGS = frozenset({FIELDS, DO_NOT_CONTACT, SCORES})
# What a change of these means, where that is not their own name.
_CALLED: Mapping[str, tuple[str, ...]] = {
    "companies": (COMPANIES,),
    "company": (COMPANIES,),
    # Emails in the outbox.
    "received": (EMAILS,),
    "sent": (EMAILS,),
    "refusal_comments": (),
    "refused_by_hand": (),
}


def by_event(type_: str, data: Mapping[str, Any]) -> Touched:
    """Return what an event of a contact touches by having happened; what it changes besides is another matter.

    Besides are the attributes of `contact.changed`, the segments and the campaigns.
    """
    found = {f"{EVENTS}.{type_}"}
    known = event_type(type_)
    if not known.about_the_contact:
        found.add(LAST_ACTIVE_AT)
    if known.marks_message is not None:
        found.add(EMAILS)
    match type_:
        case "contact.merged":
            return ALL
        case "form.submitted":
            found |= {f"{SUBMISSIONS}.{data.get('form')}", UTM, DEVICES}
        case "page.hit":
            found |= {VISITS, UTM, DEVICES}
        case "device.seen":
            found.add(DEVICES)
        case "email.bounced" | "sms.bounced" | "email.unsubscribed" | "email.resubscribed" | "sms.replied":
            found.add(DO_NOT_CONTACT)
    return frozenset(found)
