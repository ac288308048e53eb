"""The types of contact events that mean something to the engine: one table for all who ask.

Parsing, acting on events, decisions, the pages' labels and the reference take what they need from here. Any other
type is a custom event, for the decision `event.happened`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

_MESSAGE = "`message` (our message id) or `email` (key of the template; meant is the last one sent before the event)"


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of contact event: what its data holds, what it changes, and the words for it."""

    name: str
    # What a contact's history says; pages show it in the reader's language.
    label: str
    # What the data may hold, and what the engine does, for the reference.
    data: str
    effect: str
    # Texts that the data must name.
    required: tuple[str, ...] = ()
    # It says something about the contact rather than what the contact did: no decision looks at it.
    about_the_contact: bool = False
    # It may change attributes, and with them when local times fall due.
    changes_attributes: bool = False
    # Whether it adds the contact to a segment or removes it; None: neither.
    adds_to_segment: bool | None = None
    # What becomes of the message that it names.
    marks_message: str | None = None
    # The type of event that it counts as too.
    counts_as: str | None = None
    # A machine may cause it in the contact's name.
    by_machines: bool = False


_ALL = (
    EventType(
        "contact.changed",
        label="Attributes changed",
        data="`email`, `timezone`, `owner`, `stage`, `company`, `fields`, `tags`, `channels`; all optional",
        effect="Creates or changes the contact. For each attribute, the value with the latest time wins, regardless "
        "of the order of arrival. `null` erases a value. `tags` is a list, or `add` and `remove`; a tag must not "
        "contain a semicolon, | or :::.",
        about_the_contact=True,
        changes_attributes=True,
    ),
    EventType(
        "contact.deleted",
        label="Data erased",
        data="none",
        effect="Erases the contact and all data about them.",
        about_the_contact=True,
    ),
    EventType(
        "contact.merged",
        label="Merged with another contact",
        data="`from` (required): a key",
        effect="Permanently merges the contact `from` into the subject. The old key then refers to the subject.",
        required=("from",),
        about_the_contact=True,
        changes_attributes=True,
    ),
    EventType(
        "segment.contact_added",
        label="Joined a segment",
        data="`segment` (required)",
        effect="Adds the contact to the segment and to the campaigns that use the segment as a source.",
        required=("segment",),
        about_the_contact=True,
        adds_to_segment=True,
    ),
    EventType(
        "segment.contact_removed",
        label="Left a segment",
        data="`segment` (required)",
        effect="Removes the contact from the segment, and from campaigns where no other source keeps it.",
        required=("segment",),
        about_the_contact=True,
        adds_to_segment=False,
    ),
    EventType(
        "form.submitted",
        label="Submitted a form",
        data="`form` (required), `fields`",
        effect="Stores the submission. The contact joins the campaigns that use the form as a source, then decisions "
        "are taken.",
        required=("form",),
        changes_attributes=True,
    ),
    EventType(
        "email.opened",
        label="Opened an email",
        data=_MESSAGE,
        effect="Marks the message as opened.",
        marks_message="opened",
        by_machines=True,
    ),
    EventType(
        "email.clicked",
        label="Clicked a link in an email",
        data=f"`url`, {_MESSAGE}",
        effect="Marks the message as clicked. Also counts as an open.",
        marks_message="clicked",
        counts_as="email.opened",
        by_machines=True,
    ),
    EventType(
        "email.replied",
        label="Answered an email",
        data=_MESSAGE,
        effect="Marks the message as answered.",
        marks_message="replied",
    ),
    EventType(
        "email.bounced",
        label="An email bounced",
        data="`message`, `kind` (`hard` or `soft`), `reason`",
        effect="Stops emails to this address. `kind: soft` is stored and stops nothing.",
        about_the_contact=True,
        marks_message="bounced",
    ),
    EventType(
        "email.unsubscribed",
        label="Unsubscribed from emails",
        data="`channel` (default `email`)",
        effect="Opts the contact's address out of marketing messages on the channel.",
    ),
    EventType(
        "email.resubscribed",
        label="Subscribed to emails again",
        data="`channel` (default `email`)",
        effect="Reverses an earlier `email.unsubscribed`.",
    ),
    EventType(
        "page.hit",
        label="Visited a page",
        data="`url` (required), `referrer`, `page`, `campaign` or `message`, `device`, `utm_source` and the other four",
        effect="Counts a page view for the given campaign, or the one that sent the message. Stores the UTM values.",
        required=("url",),
        by_machines=True,
    ),
    EventType("device.seen", label="Used a device", data="`type`, `os`, `brand`", effect="Stores the device."),
    EventType(
        "asset.downloaded", label="Downloaded a file", data="`asset`", effect="Stored; has no further effect by itself."
    ),
    EventType(
        "sms.clicked",
        label="Clicked a link in a text message",
        data="`message`, `url`",
        effect="Marks the text message as clicked.",
        marks_message="clicked",
        by_machines=True,
    ),
    EventType(
        "push.clicked",
        label="Clicked a notification",
        data="`message`, `url`",
        effect="Marks the notification as clicked.",
        marks_message="clicked",
        by_machines=True,
    ),
    EventType(
        "sms.bounced",
        label="A text message bounced",
        data="`message`, `kind` (`hard` or `soft`), `reason`",
        effect="Stops text messages to this number. `kind: soft` is stored and stops nothing.",
        about_the_contact=True,
        marks_message="bounced",
    ),
    EventType(
        "sms.replied",
        label="Answered a text message",
        data="`text`, `message`",
        effect="Marks the message as answered. STOP and similar words in seven languages opt out of text "
        "messages; START opts in again.",
        marks_message="replied",
    ),
)

EVENT_TYPES = {each.name: each for each in _ALL}

# A custom event: it needs nothing and changes nothing but what waits for it.
_CUSTOM = EventType("*", label="", data="", effect="")

# Characters of a type that can be named.
MOST_TYPE = 255

# What types of ours begin with; `contact` and `page` too, but people have such events of their own.
RESERVED = frozenset({"email", "segment", "form", "sms"})

ABOUT_THE_CONTACT = frozenset(each.name for each in _ALL if each.about_the_contact)

# Types about a segment, and whether they add to it; another one that begins so is a custom event.
SEGMENT_TYPES = {each.name: each.adds_to_segment for each in _ALL if each.adds_to_segment is not None}

# What the data of contact.changed may name: what a person can say of a contact, and nothing that would be lost.
CHANGES = ("email", "timezone", "owner", "stage", "company", "fields", "tags", "channels")


def event_type(name: str) -> EventType:
    """Return what is known of a type; of a custom one, nothing."""
    return EVENT_TYPES.get(name, _CUSTOM)


def refused_type(name: str, *, source: bool) -> str | None:
    """Return why no event of a type can let a contact into a campaign (`source`) or out of it; None when it can.

    A type that looks like one of ours and is none is a slip of the pen: nobody would ever publish it.
    """
    if name in ABOUT_THE_CONTACT:
        return f"{name} states something about the contact, not what the contact did; use a segment instead"
    if name == "form.submitted" and source:
        return "add the form to 'forms' instead"
    if "*" in name or "?" in name:
        return "must be one event type, such as order.paid; wildcards work only in the decision event.happened"
    if len(name) > MOST_TYPE:
        return f"an event type has at most {MOST_TYPE} characters"
    if name in EVENT_TYPES:
        return None
    own = difflib.get_close_matches(name.lower(), EVENT_TYPES, n=1, cutoff=0.85)
    if own:
        return f"unknown event type {name!r}; did you mean {own[0]!r}?"
    prefix = name.partition(".")[0]
    if "." in name and prefix in RESERVED:
        known = ", ".join(sorted(each for each in EVENT_TYPES if each.startswith(f"{prefix}.")))
        return f"event types that begin with {prefix}. are reserved, and {name!r} does not exist; known are {known}"
    return None
