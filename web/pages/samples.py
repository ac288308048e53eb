"""The contact for whom the builder shows what texts say, and when steps are due."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from pydantic import ValidationError
from sqlalchemy import Connection

from parcours.db.tables import contacts, outbox, runs
from parcours.db.tables.outbox import Recipient, StepName
from parcours.domain.campaign_file.build import timing_of
from parcours.domain.campaign_file.model import BRANCH_NAMES, StepFile
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.contacts.names import full_name
from parcours.domain.errors import CampaignError
from parcours.domain.events.table import EVENT_TYPES
from parcours.domain.messages.templates import RenderError, is_fixed, placeholder, render_all
from parcours.domain.time import dates, schedule
from parcours.domain.time.intervals import parse_interval
from parcours.domain.time.zones import zone_of
from parcours.producers.files.campaigns import write
from parcours.web.context import site_of
from parcours.web.i18n import labels
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.language import _, day
from parcours.web.i18n.sentences import told
from parcours.web.pages.panels import PanelWidget
from parcours.web.security import access
from parcours.web.security.access import FormBody
from parcours.workers.delivery import render

SAMPLE_COOKIE = "parcours_sample"
MOST_SHOWN = 2_000
_MOST_KEY = 200
# What the table of event types names in its words.
_NAMED = re.compile(r"`([a-z_]+)`")


@dataclass(frozen=True)
class Sample:
    """A contact, and what began its run; without one there is nobody yet, or nobody of that name."""

    wanted: str
    zone: ZoneInfo
    recipient: Recipient | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call the contact."""
        return "" if self.recipient is None else full_name(self.recipient.fields) or self.recipient.key

    @property
    def key(self) -> str:
        return "" if self.recipient is None else self.recipient.key

    @property
    def is_unknown(self) -> bool:
        return self.recipient is None and bool(self.wanted)


def sample_of(conn: Connection, wanted: str, zone: ZoneInfo, campaign_id: int | None) -> Sample:
    """Return the contact that a key or an email names; of an empty one, the contact that was made last."""
    id_ = contacts.find(conn, wanted) if wanted else contacts.newest(conn)
    recipient = None if id_ is None else outbox.recipients(conn, [id_]).get(id_)
    if recipient is None:
        return Sample(wanted, zone)
    entry = {} if campaign_id is None else runs.last_entry(conn, recipient.id, campaign_id)
    return Sample(wanted, zone_of(recipient.timezone, zone), recipient, entry)


def sample_for_email(conn: Connection, wanted: str, zone: ZoneInfo) -> Sample:
    """Return the contact for whom an email is shown, with the last event that began a run of theirs."""
    sample = sample_of(conn, wanted, zone, None)
    if sample.recipient is None:
        return sample
    return replace(sample, entry=runs.last_entry_of_any(conn, sample.recipient.id))


def wanted_by(request: Request, form: FormBody | None = None) -> str:
    """Return whom somebody chose: in this form, or before."""
    if form is not None and "sample" in form:
        return form.text("sample").strip()[:_MOST_KEY]
    kept = site_of(request).tokens.read("sample", request.cookies.get(SAMPLE_COOKIE, ""))
    return kept if isinstance(kept, str) else ""


def remember(request: Request, answer: Response, form: FormBody) -> None:
    """Keep whom somebody chose, for the steps that they look at next."""
    wanted = wanted_by(request, form)
    if wanted != wanted_by(request):
        # As a token, since a cookie does not hold every letter.
        access.set_cookie(request, answer, SAMPLE_COOKIE, site_of(request).tokens.sign("sample", wanted))


# Texts.


def inserts(conn: Connection, data: Mapping[str, Any], sample: Sample) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what can be put into a text, with what it is called, in groups.

    These are of the contact, of the event that begins a run, and of the campaign.
    """
    custom = [name for name in sorted(contacts.field_names(conn)) if name not in ATTRIBUTES]
    own = [f"{{{{ contact.{name} }}}}" for name in (*sorted(ATTRIBUTES), "company.name")]
    groups = [
        (_("Custom fields"), [(placeholder(name), field_name(name)) for name in custom]),
        (_("Contact"), list(zip(own, map(field_name, (*sorted(ATTRIBUTES), "company.name")), strict=True))),
    ]
    sources = data.get("sources")
    events = sources.get("events") if isinstance(sources, Mapping) else None
    if isinstance(events, list) and events:
        brought = _entry_names(events, sample)
        groups.append(
            (_("Event that began the run"), [(f"{{{{ entry.{name} }}}}", field_name(name)) for name in brought])
        )
    of_campaign = {"campaign.name": _("Name of the campaign"), "step.name": _("Name of the step")}
    groups.append((_("Campaign"), [(f"{{{{ {name} }}}}", said) for name, said in of_campaign.items()]))
    return [(label, names) for label, names in groups if names]


def _entry_names(events: Iterable[Any], sample: Sample) -> list[str]:
    found = dict.fromkeys(str(name) for name in sample.entry)
    for each in events:
        given = each if isinstance(each, Mapping) else {"type": each}
        known = EVENT_TYPES.get(str(given.get("type") or ""))
        found |= dict.fromkeys(_NAMED.findall(known.data) if known is not None else ())
        if isinstance(given.get("key"), str):
            found[given["key"]] = None
    return [name for name in found if re.fullmatch(r"[A-Za-z_]\w*", name)] or ["total"]


def filled_in(
    fields: Iterable[PanelWidget], given: Mapping[str, Any], about: StepName, step_name: str, sample: Sample
) -> list[PanelWidget]:
    """Return fields with what the texts in them say for the contact, or why they cannot say it."""
    values = None
    if sample.recipient is not None:
        values = render.values_of(sample.recipient, about, render.PREVIEW.key, step_name=step_name, entry=sample.entry)
    return [_filled_in(each, given.get(each.name), values) for each in fields]


def _filled_in(widget: PanelWidget, value: Any, values: Mapping[str, Any] | None) -> PanelWidget:
    text = value if isinstance(value, str) else "" if value is None else write(value)
    if not widget.liquid or values is None or is_fixed(text):
        return widget
    try:
        said = render_all(value, values)
    except RenderError as error:
        return replace(widget, shown_error=told(str(error)))
    shown = said if isinstance(said, str) else write(said).strip()
    return replace(widget, shown=shown[:MOST_SHOWN] or _("(empty)"))


# Timing.


def due_for(step: Mapping[str, Any], kind: str, sample: Sample, zone: ZoneInfo, now: datetime) -> str:
    """Return when a step is due for the contact, if it comes to the step now, as a sentence.

    `zone` is for dates of the campaign. Nothing for a timing that cannot be read, or that says nothing.
    """
    if sample.recipient is None:
        return ""
    try:
        return _due_for(step, kind, sample, zone, now)
    except (ValidationError, ValueError, OverflowError, CampaignError):
        return ""


def _due_for(step: Mapping[str, Any], kind: str, sample: Sample, zone: ZoneInfo, now: datetime) -> str:
    own = {name: value for name, value in step.items() if name not in (*BRANCH_NAMES, "with") and value is not None}
    read = StepFile.model_validate(own)
    assert sample.recipient is not None
    if kind == "decision":
        within = None if read.within is None else parse_interval(read.within)
        closes = schedule.deadline(within, (), since=now, zone=sample.zone)
        return (
            "" if closes is None else _("For {name}: no from {when} on", name=sample.name, when=_moment(closes, sample))
        )
    timing = timing_of(read, zone)
    if timing.date is None:
        due = schedule.due_at(timing, since=now, zone=sample.zone)
        return _said(due, sample) if due > now else _("For {name}: at once", name=sample.name)
    by_date = dates.due_at(timing.date, sample.recipient.fields.get(timing.date.field), sample.zone)
    if by_date is None:
        return _(
            "For {name}: never, as long as the field “{field}” has no date",
            name=sample.name,
            field=field_name(timing.date.field),
        )
    if by_date > now:
        return _said(by_date, sample)
    if kind == "action" and read.late != "run" and dates.is_late(by_date, now):
        return _("For {name}: skipped, since {when} has passed", name=sample.name, when=_moment(by_date, sample))
    return _("For {name}: at once, since {when} has passed", name=sample.name, when=_moment(by_date, sample))


def _said(due: datetime, sample: Sample) -> str:
    return _("For {name}: {when}", name=sample.name, when=_moment(due, sample))


def _moment(instant: datetime, sample: Sample) -> str:
    local = instant.astimezone(sample.zone)
    weekday = _(labels.WEEKDAYS[local.weekday()])
    city = sample.zone.key.rpartition("/")[2].replace("_", " ")
    return _("{day}, {hour} in {city}", day=f"{weekday} {day(local.date())}", hour=f"{local:%H:%M}", city=city)
