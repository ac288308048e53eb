"""What the source does not say by itself: log events, and licences of packages for other systems."""

from __future__ import annotations

LOG_EVENTS = {
    "broker_away": "The broker is unavailable; the process retries automatically.",
    "campaign_unreadable": "This process cannot read a stored campaign. The campaign is stopped; all others keep "
    "running.",
    "campaign_paused": "A user paused a campaign on a page or over REST, or the campaign stopped itself because a step "
    "fails for too many contacts (`who` is `parcours`). Its messages wait. The activity of the campaign also has what "
    "commands and files change.",
    "campaign_published": "A campaign was switched on, on a page or over REST.",
    "consumer_failed": "Reading events failed unexpectedly. The current messages were returned to the queue.",
    "database_away": "The database is unavailable; the process retries automatically.",
    "database_busy": "A transaction was aborted by a deadlock or a lock timeout, and is retried.",
    "delivery_failed": "Preparing, sending or recording a message failed unexpectedly. It is retried.",
    "event_buried": "An event could not be processed and became a dead letter.",
    "event_not_judged": "A replayed event could not be evaluated; it stays a dead letter.",
    "event_without_key": "An event lacks the key that the source of a campaign names; it begins no run.",
    "entry_refused": "Contacts did not enter a campaign because it has had as many as its `entry.most` allows.",
    "run_not_begun": "A contact has as many runs of a campaign as it may have at a time; another key begins none.",
    "event_not_stored": "An event could not be stored because of an unexpected error; it is rejected with a reason.",
    "form_field_not_understood": "The value of a form field does not fit its mapped attribute; the submission is "
    "accepted.",
    "event_not_understood": "Parsing an event failed unexpectedly; it is rejected with a reason.",
    "event_refused": "The database cannot store a value of an event; it is rejected with a reason.",
    "events_acted_on": "A batch of events from the inbox was processed.",
    "events_stored": "A batch of messages from the events queue was stored in the inbox.",
    "figures_not_read": "A source of the shared metrics did not respond; see also `parcours_source_up`.",
    "files_of_erased_contacts_left": "Files of an erased contact could not be deleted. Parcours retries every 15 "
    "seconds; fix the cause in `error`.",
    "health_served": "Health and metrics are served on this address.",
    "hint_not_published": "Events were stored, but the broker could not be notified. They are found without it.",
    "import_failed": "Importing an uploaded file of contacts failed unexpectedly; nothing was imported.",
    "inbox_full": "The inbox is longer than `PARCOURS_MAX_INBOX`; reading events is paused.",
    "member_left_out": "One contact could not be added to or removed from a campaign by `update`; all others were.",
    "member_not_let_in": "One contact could not enter a campaign by its date; all others did.",
    "member_not_let_go": "One contact could not be removed from a campaign by an event; all others were.",
    "message_failed": "Handling a message of the task queue failed; level `warning` if it will be retried.",
    "message_handled": "A message of the task queue was handled.",
    "order_refused": "A message of the task queue is not valid and was removed; `why` gives the reason, "
    "`advice` what to do.",
    "part_died": "A part of `parcours up` ended; the process stops.",
    "provider_failed": "A provider's class failed while it parsed a request; the response was 500.",
    "text_command_of_nobody": "STOP or START came from `n` numbers that no contact has in `phone` or `mobile`. It is "
    "kept for the number, whichever field a step uses.",
    "provider_not_understood": "A provider sent a request that its class cannot parse; the response was 400.",
    "provider_unusable": "The provider of a channel cannot be used; `text` gives the reason. Its messages wait.",
    "refused_requests_not_logged": "Number of rejected requests in the last second that were not logged individually.",
    "requests_not_logged": "Number of handled requests in the last second that were not logged individually.",
    "request_failed": "An HTTP request failed unexpectedly; the response was 500.",
    "request_handled": "An HTTP request was handled.",
    "request_refused_by_database": "The database cannot store a value of a request; the response was 422.",
    "decision_rule_failed": "The rule of a decision failed for `contacts` contacts. They continue to wait; it is "
    "evaluated again in an hour.",
    "exit_rule_failed": "The exit rule of a campaign failed for `contacts` contacts. They stay in; it is evaluated "
    "again in an hour.",
    "messages_kept_back": "This process keeps back the messages of a channel, because its provider is paused. Written "
    "once, until messages can be sent again.",
    "sending_paused": "Several attempts in a row failed: all workers stop sending to a provider, for `seconds` at "
    "first. They try one message from time to time. `parcours status` shows the error.",
    "sending_resumed": "A provider responds again after `sending_paused`; its messages are sent.",
    "rule_failed": "A segment's rule failed for some contacts. Their membership does not change.",
    "rule_range_failed": "A segment's rule failed for a range of contacts. If `in_python` is false, it is tried again.",
    "rules_go_round": "Segment rules and campaigns change each other without end. Change one of the rules.",
    "rules_not_asked": "Segment rules could not be evaluated for one contact. They are evaluated again in an hour.",
    "sighting_kept": "An open, click or page hit is kept in memory until the database is available.",
    "variant_won": "The winner among the versions of an email was chosen for a step; `variant` names it.",
    "sightings_lost": "Opens, clicks or page hits were lost; `why` gives the reason.",
    "step_raised": "A step type raised an error for some contacts; they have a failed attempt.",
    "tick": "Due work was published.",
    "tick_interrupted": "The database or the broker is unavailable; tick retries automatically.",
    "tick_leads": "This process is now the active tick.",
}

# The lock serves every system and Python; these are installed on others than most.
LICENCES_NOT_INSTALLED = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
}
