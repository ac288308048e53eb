"""Names of step types, of their properties and of what these take, for people; what is new here is said as it is."""

from __future__ import annotations

from parcours.domain.segments.rule import Condition
from parcours.domain.steps.types import Properties, StepType
from parcours.web.i18n import rule_words
from parcours.web.i18n.language import _, marked
from parcours.web.i18n.rule_words import NO_NAMES, Names
from parcours.web.i18n.sentences import told

TYPES = {
    "action campaign.change": marked("Add to or remove from campaigns"),
    "action campaign.jump": marked("Jump to another step"),
    "action company.add_contact": marked("Add to a company"),
    "action company.points": marked("Change points of the company"),
    "action company.update": marked("Set fields of the company"),
    "action contact.delete": marked("Delete the contact"),
    "action contact.dnc_add": marked("Add to do not contact"),
    "action contact.dnc_remove": marked("Remove from do not contact"),
    "action contact.owner": marked("Set the owner"),
    "action contact.points": marked("Change points"),
    "action contact.segments": marked("Add to or remove from segments"),
    "action contact.stage": marked("Move to a stage"),
    "action contact.tags": marked("Add or remove tags"),
    "action contact.update": marked("Set fields of the contact"),
    "action email.send": marked("Send an email"),
    "action email.send_to_user": marked("Send an email to colleagues"),
    "action message.send": marked("Send a message by the preferred channel"),
    "action push.send": marked("Send a notification"),
    "action sms.send": marked("Send a text message"),
    "action webhook.send": marked("Call a webhook"),
    "decision asset.download": marked("Downloads a file"),
    "decision contact.matches": marked("A rule becomes true"),
    "decision email.click": marked("Clicks a link in the email"),
    "decision email.open": marked("Opens the email"),
    "decision email.reply": marked("Replies to the email"),
    "decision event.happened": marked("An event happens"),
    "decision form.submit": marked("Submits a form"),
    "decision page.device": marked("Visits with a device"),
    "decision page.hit": marked("Visits a page"),
    "decision sms.reply": marked("Answers the text message"),
    "condition company.field": marked("Field of the company"),
    "condition contact.campaigns": marked("Campaigns of the contact"),
    "condition contact.created": marked("When the contact was created"),
    "condition contact.device": marked("Device of the contact"),
    "condition contact.dnc": marked("Do not contact"),
    "condition contact.email_valid": marked("Valid email address"),
    "condition contact.field": marked("Field of the contact"),
    "condition contact.owner": marked("Owner of the contact"),
    "condition contact.points": marked("Points of the contact"),
    "condition contact.segments": marked("Segments of the contact"),
    "condition contact.stage": marked("Stage of the contact"),
    "condition contact.tags": marked("Tags of the contact"),
    "condition email.activity": marked("What happened to emails"),
    "condition event.count": marked("How often an event happened"),
    "condition form.field": marked("Answer in a form"),
    "condition form.submitted": marked("A form was submitted"),
    "condition page.visited": marked("A page was visited"),
    "condition split.random": marked("Random split"),
}
PROPERTIES = {
    "activity": marked("What happened"),
    "add": marked("Add"),
    "added": marked("Added"),
    "again": marked("Send again"),
    "as_json": marked("Send as JSON"),
    "assets": marked("Files"),
    "at_least": marked("At least"),
    "at_most": marked("At most"),
    "attempts": marked("Attempts"),
    "bcc": marked("Bcc"),
    "body": marked("Body"),
    "campaigns": marked("Campaigns"),
    "cc": marked("Cc"),
    "channels": marked("Channels"),
    "company": marked("Company"),
    "date": marked("Date"),
    "device_brand": marked("Brand of the device"),
    "device_os": marked("Operating system"),
    "device_type": marked("Kind of device"),
    "draw": marked("Name of the draw"),
    "email": marked("Email"),
    "email_type": marked("Kind of email"),
    "emails": marked("Emails"),
    "exactly": marked("Exactly"),
    "field": marked("Field"),
    "fields": marked("Fields"),
    "form": marked("Form"),
    "forms": marked("Forms"),
    "group": marked("Point group"),
    "headers": marked("Headers"),
    "key": marked("Key of the run"),
    "match": marked("Match"),
    "message": marked("Message"),
    "method": marked("Method"),
    "number_field": marked("Field with the phone number"),
    "older_than": marked("Longer ago than"),
    "operator": marked("Comparison"),
    "owner": marked("Owner"),
    "owners": marked("Owners"),
    "page": marked("Pages"),
    "pages": marked("Pages"),
    "pattern": marked("Text"),
    "percent": marked("Percentage of yes"),
    "points": marked("Points"),
    "primary": marked("As the primary company"),
    "priority": marked("Priority"),
    "push": marked("Notification"),
    "reason": marked("Reason"),
    "referrer": marked("Referring pages"),
    "remove": marked("Remove"),
    "rule": marked("Rule"),
    "segments": marked("Segments"),
    "share": marked("Share"),
    "shares": marked("Shares"),
    "since": marked("Since"),
    "sms": marked("Text message"),
    "stage": marked("Stage"),
    "stages": marked("Stages"),
    "tags": marked("Tags"),
    "text": marked("Text"),
    "timeout": marked("Timeout in seconds"),
    "title": marked("Title"),
    "to": marked("To"),
    "to_owner": marked("To the owner"),
    "token_field": marked("Field with the device token"),
    "transactional": marked("Transactional"),
    "type": marked("Event type"),
    "until": marked("Until"),
    "url": marked("URL"),
    "urls": marked("URLs"),
    "value": marked("Value"),
    "where": marked("Only if its data says"),
    "which": marked("Which"),
    "within": marked("Within"),
}
# Where a property of one type is called otherwise.
OF_TYPE = {("action campaign.jump", "to"): marked("Step to jump to")}
VALUES = {
    "marketing": marked("Marketing"),
    "transactional": marked("Transactional"),
    "normal": marked("Normal"),
    "high": marked("High"),
    "primary": marked("The primary one"),
    "any": marked("Any"),
    "all": marked("All"),
    "latest": marked("The latest"),
    "unsubscribed": marked("unsubscribed"),
    "bounced": marked("bounced"),
    "manual": marked("set manually"),
    "sent": marked("sent"),
    "opened": marked("opened"),
    "clicked": marked("clicked"),
    "before": marked("before"),
    "after": marked("after"),
}
# What compares, as one chooses it.
OPERATORS = {
    "=": marked("is"),
    "!=": marked("is not"),
    "gt": marked("is more than"),
    "gte": marked("is at least"),
    "lt": marked("is less than"),
    "lte": marked("is at most"),
    "empty": marked("is empty"),
    "!empty": marked("is not empty"),
    "like": marked("is like, with % for any text"),
    "!like": marked("is not like, with % for any text"),
    "regexp": marked("matches the regular expression"),
    "!regexp": marked("does not match the regular expression"),
    "startsWith": marked("begins with"),
    "endsWith": marked("ends with"),
    "contains": marked("contains"),
    "in": marked("is one of"),
    "!in": marked("is none of"),
    "date": marked("is on the date"),
    "within": marked("is within the last"),
    "older_than": marked("is longer ago than"),
    "in_next": marked("is within the next"),
}
_MOST = 120


def type_name(kind: str, name: str) -> str:
    """Return what a step type is called; one of another package goes by its name."""
    return _(TYPES[f"{kind} {name}"]) if f"{kind} {name}" in TYPES else name


def is_known(found: StepType) -> bool:
    """Return whether a step type is one of ours, whose properties mean what they are called here."""
    return f"{found.kind} {found.name}" in TYPES or found.properties.__module__.startswith("parcours.")


def operators() -> list[tuple[str, str]]:
    """Return all that compares, with what it is called."""
    return [(each, _(text)) for each, text in OPERATORS.items()]


def property_name(kind: str, type_: str, name: str) -> str:
    """Return what a property is called; one that is new here goes by its name."""
    label = OF_TYPE.get((f"{kind} {type_}", name)) or PROPERTIES.get(name)
    return _(label) if label else name.replace("_", " ").capitalize()


def value_name(value: str, of: str = "") -> str:
    """Return what one of the values that a property takes is called."""
    if of == "method":
        # Of HTTP, in capitals wherever people read it.
        return value.upper()
    return _(VALUES[value]) if value in VALUES else value


def in_words(found: StepType, properties: Properties, names: Names = NO_NAMES) -> str:
    """Return what a step does in the reader's language; the name of its type if that does not say.

    `names` are of what a rule in it refers to; the properties have been given theirs by `named`.
    """
    said = (
        _waited_for(found, properties, names)
        or _asked(found, properties)
        or told(found.in_words(properties) or "")
        or type_name(found.kind.value, found.name)
    )
    said = said if len(said) <= _MOST else f"{said[:_MOST].rstrip()}…"
    return said[:1].upper() + said[1:]


def _waited_for(found: StepType, properties: Properties, names: Names) -> str | None:
    """Return the rule that a decision waits for in words."""
    # Also of another package, whose code may raise anything.
    try:
        rule = None if found.rule_of is None else found.rule_of(properties)
        return None if rule is None else _("A rule becomes true: {rule}", rule=rule_words.in_short(rule, names))
    except (Exception, SystemExit):
        return None


def _asked(found: StepType, properties: Properties) -> str | None:
    """Return what a condition asks in the words of rules."""
    if found.says is None or found.summary is not None:
        return None
    try:
        return rule_words.said(Condition(found, properties))
    # Also of another package, whose code may raise anything.
    except (Exception, SystemExit):
        return None
