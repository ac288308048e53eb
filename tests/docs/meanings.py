"""What the source does not say by itself: log events, and licences of packages for other systems."""

from __future__ import annotations

LOG_EVENTS = {
    "broker_away": "The broker does not answer; the process tries again by itself.",
    "campaign_unreadable": "This process cannot read a stored campaign. It is set aside; all others run.",
    "consumer_failed": "Taking events failed for an unforeseen reason. Messages in hand went back to the queue.",
    "database_away": "The database does not answer; the process tries again by itself.",
    "database_busy": "A transaction lost a deadlock or a lock, and begins again.",
    "delivery_failed": "Preparing, sending or recording a message failed for an unforeseen reason. It is tried again.",
    "event_buried": "An event could not be acted on and became a dead letter.",
    "event_not_judged": "A replayed event could not be judged again; it stays a dead letter.",
    "event_not_stored": "An event could not be stored for an unforeseen reason; it is rejected with a reason.",
    "form_field_not_understood": "A field of a form cannot become what it is mapped to; the submission counts.",
    "event_not_understood": "Reading an event failed for an unforeseen reason; it is rejected with a reason.",
    "event_refused": "The database cannot store a value of an event; it is rejected with a reason.",
    "events_acted_on": "A batch of events from the inbox took effect.",
    "events_stored": "A batch of messages from the events queue was stored in the inbox.",
    "figures_not_read": "A source of the shared metrics did not answer; `parcours_source_up` says so too.",
    "files_of_erased_contacts_left": "Files of an erased contact could not be deleted. It is tried again every 15 "
    "seconds; mend what `error` says.",
    "health_served": "Health and metrics are served on this address.",
    "hint_not_published": "Events were stored, but the broker could not be told. They are found without it.",
    "inbox_full": "The inbox is longer than `PARCOURS_MAX_INBOX`; taking events pauses.",
    "member_left_out": "One contact could not be added to or removed from a campaign by `update`; all others were.",
    "member_not_let_go": "One contact could not be removed from a campaign by an event; all others were.",
    "message_failed": "Handling a message of the task queue failed; `warning` when it asks for another turn.",
    "message_handled": "A message of the task queue was handled.",
    "order_refused": "A message of the task queue is none of ours; it was dropped.",
    "part_died": "A part of `parcours up` ended; the process stops.",
    "provider_failed": "A provider's class failed to understand a request; the answer was 500.",
    "provider_not_understood": "A provider sent a request that its class cannot understand; the answer was 400.",
    "provider_unusable": "The provider of a channel cannot be used; `text` says why. Its messages wait.",
    "refused_requests_not_logged": "So many refused requests of the last second have no line of their own.",
    "requests_not_logged": "So many requests of the last second that were answered have no line of their own.",
    "request_failed": "An HTTP request failed for an unforeseen reason; the answer was 500.",
    "request_handled": "An HTTP request was answered.",
    "request_refused_by_database": "The database cannot store a value of a request; the answer was 422.",
    "rule_failed": "The rule of a segment could not tell of some contacts. They stay as they are.",
    "rules_go_round": "Rules and campaigns change each other without end. They are left as they are; take one out.",
    "rules_not_asked": "The rules of one contact could not be asked; all others were. They are asked again in an hour.",
    "sighting_kept": "An opening, click or page hit waits in memory until the database answers.",
    "sightings_lost": "Openings, clicks or page hits were lost; `why` says how.",
    "step_raised": "A step type raised an error for some contacts; they have a failed attempt.",
    "tick": "Due work was published.",
    "tick_interrupted": "The database or the broker does not answer; tick tries again by itself.",
    "tick_leads": "This process leads the ticks from now on.",
}

# The lock serves every system and Python; these are installed on others than most.
LICENCES_NOT_INSTALLED = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
}
