"""What the builder says where a file would name a property: what is to be chosen or written there, and what it is for.

Whoever writes a file is told names of properties and keys; on a page, one sees fields with names of their own.
"""

from __future__ import annotations

import re

from parcours.domain import operators
from parcours.web.i18n import step_words
from parcours.web.i18n.language import _, marked, reader
from parcours.web.i18n.sentences import told

_MISSING = re.compile(r"the property '([A-Za-z_]\w*)' is missing")

# On pages, a unit stands beside the number.
_NO_INTERVAL = re.compile(r".* is not an interval: write a whole number and a unit, .*", re.DOTALL)

# What is chosen on pages goes by its name there.
_OPERATOR = re.compile(r"the operator '([^']+)' (.*)", re.DOTALL)
_OF_OPERATORS = {
    "needs a value; use 'empty' to test for no value": marked(
        "“{comparison}” needs a value. To test for no value, choose “{empty}”."
    ),
    "takes one value, not several; use 'in' for a list": marked(
        "“{comparison}” takes one value. For several, choose “{several}”."
    ),
    "needs a list of at least one value": marked("“{comparison}” needs at least one value."),
    "needs a number, a date or a text, not true or false": marked("“{comparison}” needs a number, a date or a text."),
    "needs a text": marked("“{comparison}” needs a text."),
}
_NO_DAY = "needs anniversary, a day"

# Whoever writes into a field need not know what its placeholders are called.
_IN_TEMPLATE = re.compile(r"(?:\S+: )?invalid Liquid(?: in line (\d+))?: (.*)", re.DOTALL)

EMPTY = "must not be empty"
# By the name of a required property.
MISSING = {
    "activity": marked("Choose what happened."),
    "campaigns": marked("Choose at least one campaign."),
    "channels": marked("Enter at least one channel, such as email."),
    "company": marked("Enter a company."),
    "email": marked("Choose an email."),
    "event": marked("Enter the type of the event, such as order.paid."),
    "field": marked("Enter the name of a field."),
    "fields": marked("Enter at least one field and its value."),
    "form": marked("Choose a form."),
    "message": marked("Choose a message."),
    "operator": marked("Choose a comparison."),
    "owner": marked("Enter an owner."),
    "owners": marked("Enter at least one owner."),
    "points": marked("Enter a number of points."),
    "rule": marked("Add at least one condition."),
    "segments": marked("Choose at least one segment."),
    "stage": marked("Enter a stage."),
    "stages": marked("Enter at least one stage."),
    "tags": marked("Enter at least one tag."),
    "to": marked("Choose a step."),
    "type": marked("Enter the type of the event, such as order.paid."),
    "url": marked("Enter a URL."),
}
# Where one of several properties is needed.
ONE_OF = {
    "give at least one campaign, or `this`, in add or remove": marked("Choose at least one campaign."),
    "give at least one segment in add or remove": marked("Choose at least one segment."),
    "give at least one tag in add or remove": marked("Enter at least one tag."),
    "give at least one field and its value": marked("Enter at least one field and its value."),
    "give at least one address in to, cc or bcc, or set to_owner": marked(
        "Enter at least one address, or choose that the owner gets the email."
    ),
    "give either 'sms', the key of a template, or 'text'": marked("Choose a text message or write a text, not both."),
    "give 'push', the key of a template, or both 'title' and 'text'": marked(
        "Choose a notification, or write a title and a text."
    ),
    "give 'percent', or 'draw', 'shares' and 'share'": marked(
        "Enter the percentage of contacts who take the yes branch."
    ),
    "set 'within', 'older_than', or 'operator' and 'value'": marked(
        "Enter a length of time, or choose a comparison and enter a value."
    ),
    "the value needs an 'operator', such as gte": marked("Choose a comparison."),
    "a transactional email goes every time; leave 'again' out": marked(
        "A transactional email is sent every time. Leave “Send again” empty."
    ),
}
_FILLED_IN = marked("Fields of the contact can be filled in.")
_ONE_IS_ENOUGH = marked("One of them is enough.")
# By the description of a property in the reference.
HELP = {
    "Keys of campaigns to join. `this` restarts the present campaign, if its reentry allows it.": marked(
        "Campaigns to join. “this” restarts the present campaign, if its re-entry allows it."
    ),
    "Keys of campaigns to leave, after joining others. `this` is the present campaign.": marked(
        "Campaigns to leave, after joining others. “this” is the present campaign."
    ),
    "Key of the step in this campaign to continue from.": "",
    "Key of the company.": marked("Its key."),
    "Number of points to add to each company; a negative number subtracts. Not 0. `score` is an alias.": marked(
        "A negative number subtracts."
    ),
    "Number of points to add; a negative number subtracts. Not 0.": marked("A negative number subtracts."),
    "Values by field name, at least one. `name` is a built-in attribute; other texts can contain Liquid. "
    "A blank value does not change the field.": marked(
        "Fields of the company and their values. A blank value does not change the field."
    ),
    "Key of the point group to change. Default: the contact's own points.": marked(
        "If empty, the contact’s own points."
    ),
    "Keys of segments to add the contact to.": "",
    "Keys of segments to remove the contact from. A segment in both lists is removed.": marked(
        "A segment in both lists is removed."
    ),
    "Key of the stage to move the contact to.": marked("A new stage is created."),
    "Values by field name, at least one. `email`, `timezone` and `owner` are built-in attributes; other names are "
    "custom fields. Texts can contain Liquid, such as {{ contact.country }}. A blank value does not change the "
    "field.": marked("Fields of the contact and their values. A blank value does not change the field."),
    "Tags to add; new tags are created. A tag name with a leading `-` is removed instead.": marked(
        "New tags are created."
    ),
    "Key of the email template.": "",
    "When a contact may receive this marketing email again: `always`, or some time after the last one, such as "
    "`after 300 days`. By default, a contact receives it once.": marked(
        "If empty, a contact receives this marketing email once. Otherwise, write “always” or a time after the last "
        "one, such as “after 300 days”."
    ),
    "Email addresses, or Liquid such as {{ contact.owner }}.": marked(
        "Email addresses, or {{ contact.owner }} for the owner of the contact."
    ),
    "Key of the marketing message, which has one template per channel.": marked("It has one text for each channel."),
    "Key of the template. Alternatively, give `title` and `text`.": marked("Or write a title and a text below."),
    "Key of the template. Alternatively, give `text`.": marked("Or write a text below."),
    "Title; can contain Liquid.": _FILLED_IN,
    "Message text; can contain Liquid.": _FILLED_IN,
    "URL that a click opens; can contain Liquid.": marked("The page that a click opens."),
    "URL, http or https; can contain Liquid.": marked("It begins with https:// or http://."),
    "Custom field that contains the token of the contact's device. Default: the provider receives the contact's "
    "key.": marked("The field that holds the token of the contact’s device."),
    "Headers by name; values can contain Liquid.": _FILLED_IN,
    "Mapping, list or text; texts can contain Liquid. With get, a mapping that becomes the query string.": marked(
        "A text, or names and values. Fields of the contact can be filled in."
    ),
    "Campaign keys, or `this` for the present campaign, at least one; one match is enough.": marked(
        "One of them is enough. “this” is the present campaign."
    ),
    "Name of a company field, or one of key, name and points.": "",
    "Name of a custom field, or one of key, email, timezone, points, stage, owner, last_active_at, tags, "
    "utm_campaign, utm_content, utm_medium, utm_source, utm_term; `company.NAME` is the key, name, points or a field "
    "of the primary company, `entry.NAME` a property of the event that began the run.": marked(
        "For a field of the contact’s company, write “company.” before its name; for a property of the event by which "
        "the contact entered, “entry.”."
    ),
    "Value to compare with. For in and !in: a list. For date: `anniversary`, a duration from today such as +P0D or "
    "-P1D, or a day such as 2026-12-24. For within (up to now), older_than and in_next: an interval such as 30 days. "
    "For =, !=, gt, gte, lt and lte: {field: NAME} compares two fields. For empty and !empty: omit it.": "",
    "Value to compare with, as in the condition contact.field.": "",
    "When the contact was added to that campaign: an operator and a date, within or older_than.": marked(
        "When the contact was added to that campaign, if that matters."
    ),
    "Owners, at least one; one match is enough.": _ONE_IS_ENOUGH,
    "Number to compare with. `score` and `value` are aliases.": "",
    "Key of the point group. Default: the contact's own points.": marked("If empty, the contact’s own points."),
    "Segment keys, at least one; one match is enough.": _ONE_IS_ENOUGH,
    "Keys of stages, at least one; one match is enough.": _ONE_IS_ENOUGH,
    "Tag names, at least one; one match is enough.": _ONE_IS_ENOUGH,
    "Email keys; one match is enough. Without keys, any email matches.": marked("If empty, any email."),
    "Key of the form.": "",
    "Form keys; one match is enough. Without keys, any form matches.": marked("If empty, any form."),
    "Form keys; one match is enough. Default: any form.": marked("If empty, any form."),
    "Page keys; * and ? are wildcards.": marked("* stands for any text, ? for any letter."),
    "Percentage of contacts that take the yes branch, 0 to 100. Alternatively, give `draw`, `shares` and "
    "`share`.": marked("Of the contacts, from 0 to 100."),
    "Asset keys; one match is enough. Default: any asset.": marked("If empty, any file."),
    "One condition, or a combination with `all`, `any` and `not`, as in the file of a segment. `entry` is the data "
    "of the event that began the run.": "",
    "Name of a property in the event's data that must hold the key of the run, such as cart_id; none: the event "
    "counts for every run of the contact.": marked(
        "The property of the event that names the run, such as cart_id. If empty, the event counts for all of them."
    ),
    "Patterns for the referrer, written as for `url`.": marked("* stands for any text, ? for any letter."),
}


def problem(sentence: str, field: str = "") -> str:
    """Return what is wrong with a field of a page, in the reader's language, without the names that files have."""
    if sentence == EMPTY and field:
        # It is also told far from the field.
        name = next((each for each in reversed(field.split(".")) if not each.isdigit()), field)
        sentence = f"the property {name!r} is missing"
    if sentence in ONE_OF:
        return _(ONE_OF[sentence])
    if _NO_INTERVAL.fullmatch(sentence):
        return _("Enter a whole number and a unit, such as 3 days.")
    compared = _OPERATOR.fullmatch(sentence)
    if compared is not None and operators.named(compared[1]) in step_words.OPERATORS:
        return _of_operator(operators.named(compared[1]), compared[2]) or sentence
    template = _IN_TEMPLATE.fullmatch(sentence)
    if template is not None:
        return f"line {template[1]}: {template[2]}" if template[1] else template[2]
    found = _MISSING.fullmatch(sentence)
    if found is None:
        return sentence
    if found[1] in MISSING:
        return _(MISSING[found[1]])
    return _("Fill in “{field}”.", field=step_words.property_name("", "", found[1]))


def _of_operator(operator: str, said: str) -> str | None:
    if said.startswith(_NO_DAY):
        return _("Choose a day from the list, or enter a date such as 2026-12-24.")
    if said not in _OF_OPERATORS:
        return None
    names = dict(step_words.operators())
    return _(_OF_OPERATORS[said], comparison=names[operator], empty=names["empty"], several=names["in"])


def help_of(described: str) -> str:
    """Return what a field is for: nothing where its name says it, or where nothing is in the reader's language."""
    if described in HELP:
        return _(HELP[described]) if HELP[described] else ""
    said = told(described)
    # What is code in the documentation stands without its marks.
    return said.replace("`", "") if reader().language == "en" or said != described else ""
