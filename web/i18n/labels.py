"""What the engine says in its own short words, for people: timing, results, waits, shares. Pure.

Texts are in the reader's language; English is what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from parcours.domain.campaign import Step
from parcours.domain.events import table
from parcours.domain.time.dates import AT_ONCE, ContactDate
from parcours.domain.time.intervals import Interval, format_interval, parse_interval
from parcours.domain.time.schedule import Timing
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.language import _, _n, day, in_digits, marked, number, planned, reader
from parcours.web.i18n.sentences import told
from parcours.web.pages.charts import Bucket

KINDS = {"action": marked("Action"), "decision": marked("Decision"), "condition": marked("Condition")}

RESULTS = {
    "done": marked("done"),
    "skipped": marked("skipped"),
    "failed": marked("failed"),
    "yes": marked("yes"),
    "no": marked("no"),
    "cancelled": marked("cancelled"),
    "waiting": marked("waiting"),
    "retrying": marked("retrying"),
    "undelivered": marked("not delivered"),
    # States of messages.
    "queued": marked("queued"),
    "sending": marked("sending"),
    "sent": marked("sent"),
}
REASONS = {
    "kickoff": marked("starting"),
    "delay": marked("scheduled"),
    "retry": marked("failed, will be retried"),
    "decision": marked("waiting for the contact"),
}
# What a contact stands at.
STANDS = {
    "action": marked("scheduled"),
    "condition": marked("scheduled"),
    "decision": marked("waiting for the contact"),
    "retry": marked("failed, will be retried"),
}
# What holds messages of a channel back.
RULES = {
    "cap": marked("frequency cap reached"),
    "quiet_hours": marked("quiet hours"),
    "blackout": marked("blackout day"),
    "holiday": marked("public holiday"),
    "paused": marked("pause"),
}
CHANNELS = {
    "email": marked("email"),
    "sms": marked("text message"),
    "push": marked("notification"),
    "webhook": marked("webhook"),
}
# What messages of a channel leave by; one of another package goes by its name.
PROVIDERS = {
    "files": marked("files on this machine: nothing is sent"),
    "smtp": marked("mail server (SMTP)"),
    "webhook": marked("calls over HTTP"),
    "gateway": marked("gateway over HTTP"),
}
QUEUES = {
    "decisions": marked("Events to look at"),
    "membership": marked("Contacts who enter or leave"),
    "executor": marked("Steps due"),
    "delivery": marked("Messages to send"),
    "sweeps": marked("Updates of campaigns"),
}
# By what a version of an email wins.
WINNER_BY = {"clicked": marked("Most clicks"), "opened": marked("Most opens")}
EMAIL_FIGURES = {
    "sent": marked("Sent"),
    "delivered": marked("Delivered"),
    "opened": marked("Opened"),
    "clicked": marked("Clicked"),
    "bounced": marked("Bounced"),
    "unsubscribed": marked("Unsubscribed"),
    "failed": marked("Failed"),
}
# What a receipt of an erasure counts.
ROWS = {
    "memberships": marked("memberships of campaigns"),
    "segments": marked("memberships of segments"),
    "waits": marked("waiting steps"),
    "outcomes": marked("results of steps"),
    "events": marked("events"),
    "messages": marked("messages"),
    "submissions": marked("submissions of forms"),
    "tags": marked("tags"),
}
REFUSALS = {
    "unsubscribed": marked("unsubscribed"),
    "bounced": marked("bounced"),
    "manual": marked("set manually"),
}
EVENT_TYPES = {name: each.label for name, each in table.EVENT_TYPES.items()} | {
    # What shops report most often, of their own.
    "cart.updated": marked("Changed a cart"),
    "order.paid": marked("Paid an order"),
}
EVERY = {
    "year": marked("every year"),
    "month": marked("every month"),
    "week": marked("every week"),
}
ARRIVALS = {
    "segment": marked("from a segment"),
    "form": marked("from a form"),
    "manual": marked("added manually"),
    "action": marked("by a campaign step"),
    "event": marked("by an event"),
    "date": marked("by a date of the contact"),
}
DEPARTURES = {
    "segment": marked("left all segments"),
    "action": marked("removed by a step"),
    "manual": marked("removed manually"),
    "exit": marked("by an exit of the campaign"),
}
SERIES = {
    "added": marked("Contacts added"),
    "emails_sent": marked("Emails sent"),
    "page_views": marked("Page views"),
}
EVENTS = {
    "created": marked("Created"),
    "published": marked("Switched on"),
    "paused": marked("Switched off"),
    "deleted": marked("Deleted"),
}
# Entries that end with a number.
MOVES = {
    "contacts added by hand: ": marked("Contacts added manually: {n}"),
    "contacts removed by hand: ": marked("Contacts removed manually: {n}"),
}
CHANGES = {
    "added": marked("new: {steps}"),
    "changed": marked("changed: {steps}"),
    "removed": marked("removed: {steps}"),
}
WEEKDAYS = (
    marked("Mon"),
    marked("Tue"),
    marked("Wed"),
    marked("Thu"),
    marked("Fri"),
    marked("Sat"),
    marked("Sun"),
)


def interval(value: Interval) -> str:
    """Return an interval as people say it: `1 year and 2 days`."""
    parts = []
    years, months = divmod(value.months, 12)
    weeks, days = divmod(value.days, 7)
    if days:
        weeks, days = 0, value.days
    minutes, seconds = divmod(int(value.exact / timedelta(seconds=1)), 60)
    hours, minutes = divmod(minutes, 60)
    for n, one, many in (
        (years, marked("{n} year"), marked("{n} years")),
        (months, marked("{n} month"), marked("{n} months")),
        (weeks, marked("{n} week"), marked("{n} weeks")),
        (days, marked("{n} day"), marked("{n} days")),
        (hours, marked("{n} hour"), marked("{n} hours")),
        (minutes, marked("{n} minute"), marked("{n} minutes")),
        (seconds, marked("{n} second"), marked("{n} seconds")),
    ):
        if n:
            parts.append(_n(one, many, n))
    return listed(parts) or _n("{n} minute", "{n} minutes", 0)


def typed_interval(value: Interval) -> str:
    """Return an interval as one would type it into a field: in the reader's language where that is understood."""
    said = interval(value)
    try:
        return said if parse_interval(said) == value else format_interval(value)
    except ValueError:
        return format_interval(value)


def listed(parts: list[str]) -> str:
    """Return words as a list: `a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return _("{first} and {last}", first=", ".join(parts[:-1]), last=parts[-1])


def timing(step: Step) -> str:
    """Return when a step is done, in words; nothing where that is at once."""
    return when(step.timing, step.within, step.look_back)


def when(timed: Timing, within: Interval | None, look_back: Interval | None) -> str:
    """Return a timing, the deadline of a decision, and how far back it looks, in words."""
    parts = _timing(timed)
    if within is not None:
        parts.append(_("within {interval}", interval=interval(within)))
    if look_back is not None:
        parts.append(_("looks back {interval}", interval=interval(look_back)))
    return ", ".join(parts)


def _timing(value: Timing) -> list[str]:
    parts = []
    if value.after is not None:
        after = interval(value.after)
        parts.append(
            _("after {interval} at {hour}", interval=after, hour=_hour(value.hour))
            if value.hour is not None
            else _("after {interval}", interval=after)
        )
    elif value.date is not None:
        parts.append(_by_date(value.date))
    elif value.at is not None:
        parts.append(_("on {instant}", instant=planned(value.at)))
    elif value.hour is not None:
        parts.append(_("at {hour}", hour=_hour(value.hour)))
    if value.between is not None:
        start, end = value.between
        parts.append(_("between {start} and {end}", start=_hour(start), end=_hour(end)))
    if value.days:
        parts.append(_days(value.days))
    return parts


def _by_date(date: ContactDate) -> str:
    field = field_name(date.field)
    if date.offset == AT_ONCE:
        text = _("on the date in “{field}”", field=field)
    elif date.before:
        text = _("{interval} before the date in “{field}”", interval=interval(date.offset), field=field)
    else:
        text = _("{interval} after the date in “{field}”", interval=interval(date.offset), field=field)
    return text if date.hour is None else _("{day} at {hour}", day=text, hour=_hour(date.hour))


def enters_by(date: ContactDate) -> str:
    """Return by which date contacts enter a campaign, and how often, in words."""
    return _by_date(date) if date.every is None else f"{_by_date(date)}, {_(EVERY[date.every])}"


def _days(days: frozenset[int]) -> str:
    if days == frozenset(range(5)):
        return _("Monday to Friday")
    if days == frozenset({5, 6}):
        return _("at the weekend")
    return _("on {days}", days=listed([_(WEEKDAYS[each]) for each in sorted(days)]))


def _hour(value: time) -> str:
    return f"{value:%H:%M}"


def share(value: float | None) -> str:
    """Return percent with one digit, none where it is nothing or all; a dash where there is no share."""
    if value is None:
        return "–"
    text = number(int(value)) if value in (0, 100) else number(float(value))
    return f"{text}\N{NARROW NO-BREAK SPACE}%" if reader().language == "fr" else f"{text}%"


def count(n: int, about: bool = False) -> str:
    """Return how many, to two digits where it is an estimate."""
    if not about:
        return number(n)
    unit = 10 ** max(len(str(n)) - 2, 0)
    return f"≈\N{NARROW NO-BREAK SPACE}{number(round(n / unit) * unit)}"


def word(table: dict[str, str], key: str | None) -> str:
    """Return the text of one of the engine's words; one that is new here is said as it is."""
    return "" if key is None else _(table.get(key, key))


def why(text: str | None) -> str:
    """Return the reason of a result; what a step type or a provider said is said as it is."""
    return "" if text is None else told(text)


def local(value: datetime, zone: tzinfo) -> str:
    """Return an instant as somebody's clock and calendar show it."""
    there = value.astimezone(zone)
    return f"{_(WEEKDAYS[there.weekday()])} {day(there.date())}, {there:%H:%M}"


def bucket(at: datetime, of: Bucket, *, full: bool = False) -> str:
    """Return the name of a bucket that begins at a local time; short enough to stand below it unless `full`."""
    days = day(at.date())
    short = days.rsplit(" ", 1)[0]
    match of:
        case "hour":
            return f"{days}, {at:%H:%M}" if full else f"{at:%H:%M}" if at.hour else short
        case "day":
            return f"{_(WEEKDAYS[at.weekday()])} {days}" if full else short
        case "week":
            return _("week of {day}", day=days) if full else short
        case "month":
            return days.split(" ", 1)[1]


def soon(value: datetime, now: datetime) -> str:
    """Return how far off an instant is: `in 5 minutes`, `in 3 days`."""
    minutes = max(1, round((value - now) / timedelta(minutes=1)))
    if minutes < 90:
        return _n("in {n} minute", "in {n} minutes", minutes)
    hours = round(minutes / 60)
    return (
        _n("in {n} hour", "in {n} hours", hours) if hours < 48 else _n("in {n} day", "in {n} days", round(hours / 24))
    )


def happened(what: str, detail: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> str:
    """Return an audit entry as people read it; what is not known here is said as it is written.

    `titles` has what the steps are called, by key.
    """
    called = titles or {}
    if what.startswith("stopped: ") and {"step", "failed"} <= detail.keys():
        failed, step, minutes = (
            number(int(detail["failed"])),
            called.get(detail["step"], detail["step"]),
            int(detail.get("minutes", 60)),
        )
        if minutes == 60:
            return _(
                "Paused automatically: {failed} contacts failed at {step} within an hour", failed=failed, step=step
            )
        return _(
            "Paused automatically: {failed} contacts failed at {step} within {minutes} minutes",
            failed=failed,
            step=step,
            minutes=number(minutes),
        )
    for beginning, sentence in MOVES.items():
        if what.startswith(beginning):
            return _(sentence, n=in_digits(what.removeprefix(beginning)))
    why = f" ({detail['message']})" if detail.get("message") else ""
    changes = [
        _(sentence, steps=", ".join(called.get(key, str(key)) for key in detail[name]))
        for name, sentence in CHANGES.items()
        if what != "created" and detail.get(name)
    ]
    if what == "messages sent again" and {"step", "messages"} <= detail.keys():
        sent, step = int(detail["messages"]), called.get(detail["step"], detail["step"])
        return _n("{n} message of {step} sent again", "{n} messages of {step} sent again", sent, step=step)
    if what == "step tried again" and {"step", "contacts"} <= detail.keys():
        tried, step = int(detail["contacts"]), called.get(detail["step"], detail["step"])
        return _n("{step} tried again for {n} contact", "{step} tried again for {n} contacts", tried, step=step)
    if what == "rescheduled" and "waits" in detail:
        return _("Waiting contacts rescheduled: {n}", n=number(int(detail["waits"]))) + why
    version = what.removeprefix("changed to version ")
    if version != what:
        said = _("Changed to version {n}", n=version)
    else:
        said = _(EVENTS[what]) if what in EVENTS else what[:1].upper() + what[1:]
    return f"{said}{_(': ') if changes else ''}{'; '.join(changes)}{why}"
