"""The types of contact events that mean something to the engine."""

from __future__ import annotations

# What the data of our own types must name. Any other type is a custom event, for `event.happened`.
REQUIRED: dict[str, tuple[str, ...]] = {
    "contact.merged": ("from",),
    "segment.contact_added": ("segment",),
    "segment.contact_removed": ("segment",),
    "form.submitted": ("form",),
    "email.clicked": (),
    "page.hit": ("url",),
}

# Types that change a contact or its segments rather than say what the contact did.
ABOUT_THE_CONTACT = frozenset(
    {
        "contact.changed",
        "contact.deleted",
        "contact.merged",
        "segment.contact_added",
        "segment.contact_removed",
        "email.bounced",
        "sms.bounced",
    }
)

# Types about a segment; another one that begins so is a custom event.
SEGMENT_TYPES = frozenset({"segment.contact_added", "segment.contact_removed"})

# What the data of contact.changed may name: what a person can say of a contact, and nothing that would be lost.
CHANGES = ("email", "timezone", "owner", "stage", "company", "fields", "tags", "channels")
