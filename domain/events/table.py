"""The types of contact events that mean something to the engine: one table for all who ask.

Parsing, acting on events, decisions, the pages' labels and the reference take what they need from here. Any other
type is a custom event, for the decision `event.happened`.
"""

from __future__ import annotations

from dataclasses import dataclass

_MESSAGE = "`message` (our message id) or `email` (key of the template)"


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
        effect="Creates or changes the contact. For each attribute the value with the latest time wins, in whatever "
        "order events arrive. `null` erases a value. `tags` is a list, or `add` and `remove`; a tag "
        "has no semicolon, | or :::.",
        about_the_contact=True,
        changes_attributes=True,
    ),
    EventType(
        "contact.deleted",
        label="Data erased",
        data="none",
        effect="Erases the contact and everything that is known about them.",
        about_the_contact=True,
    ),
    EventType(
        "contact.merged",
        label="Merged with another contact",
        data="`from` (required): a key",
        effect="Merges the contact `from` into the subject, for good. The old key leads to the subject.",
        required=("from",),
        about_the_contact=True,
        changes_attributes=True,
    ),
    EventType(
        "segment.contact_added",
        label="Came into a segment",
        data="`segment` (required)",
        effect="Adds the contact to the segment and to the campaigns that the segment feeds.",
        required=("segment",),
        about_the_contact=True,
        adds_to_segment=True,
    ),
    EventType(
        "segment.contact_removed",
        label="Left a segment",
        data="`segment` (required)",
        effect="Removes the contact from the segment, and from campaigns that no other source of theirs feeds.",
        required=("segment",),
        about_the_contact=True,
        adds_to_segment=False,
    ),
    EventType(
        "form.submitted",
        label="Submitted a form",
        data="`form` (required), `fields`",
        effect="Stores the submission. The campaigns that the form feeds are joined, then decisions are taken.",
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
        effect="Marks the message as clicked. Counts as an opening too.",
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
        effect="Stops email to this address. `kind: soft` is stored and stops nothing.",
        about_the_contact=True,
        marks_message="bounced",
    ),
    EventType(
        "email.unsubscribed",
        label="Unsubscribed from emails",
        data="`channel` (default `email`)",
        effect="Refuses marketing messages on the channel, for the contact's address.",
    ),
    EventType(
        "email.resubscribed",
        label="Subscribed to emails again",
        data="`channel` (default `email`)",
        effect="Takes back what `email.unsubscribed` said before.",
    ),
    EventType(
        "page.hit",
        label="Visited a page",
        data="`url` (required), `referrer`, `page`, `campaign` or `message`, `device`, `utm_source` and the other four",
        effect="Counts a page view for the campaign that is named, or that sent the message. Remembers where the "
        "contact came from.",
        required=("url",),
        by_machines=True,
    ),
    EventType("device.seen", label="Used a device", data="`type`, `os`, `brand`", effect="Remembers the device."),
    EventType("asset.downloaded", label="Downloaded a file", data="`asset`", effect="Is stored."),
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
        effect="Marks the message as answered. STOP, or its like in English and French, refuses text messages; START "
        "takes it back.",
        marks_message="replied",
    ),
)

EVENT_TYPES = {each.name: each for each in _ALL}

# A custom event: it needs nothing and changes nothing but what waits for it.
_CUSTOM = EventType("*", label="", data="", effect="")

ABOUT_THE_CONTACT = frozenset(each.name for each in _ALL if each.about_the_contact)

# Types about a segment, and whether they add to it; another one that begins so is a custom event.
SEGMENT_TYPES = {each.name: each.adds_to_segment for each in _ALL if each.adds_to_segment is not None}

# What the data of contact.changed may name: what a person can say of a contact, and nothing that would be lost.
CHANGES = ("email", "timezone", "owner", "stage", "company", "fields", "tags", "channels")


def event_type(name: str) -> EventType:
    """Return what is known of a type; of a custom one, nothing."""
    return EVENT_TYPES.get(name, _CUSTOM)
