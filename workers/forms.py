"""A form submission: stored, members added, decisions taken, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.tables import campaigns, forms
from parcours.db.tables.forms import Form, StoredSubmission
from parcours.domain.campaign import StopRule
from parcours.domain.contacts.membership import Arrival
from parcours.domain.steps.batch import Fact
from parcours.workers import decisions, membership
from parcours.workers.decisions import Reacted
from parcours.workers.executor import BY_DEFAULT


def submit(
    conn: Connection,
    form: Form,
    submissions: Mapping[int, StoredSubmission],
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
) -> Reacted:
    """Store one submission a contact and do all that follows at once; return what happened.

    Members join before decisions are looked at, so a "submits form" decision at the root of the
    campaign that was just joined is satisfied by the same submission.
    """
    present = batch.lock(conn, submissions)
    forms.submit(conn, form.id, {contact_id: submissions[contact_id] for contact_id in present})
    done: Counter[str] = Counter()
    if not form.standalone:
        for campaign_id in campaigns.of_form(conn, form.id):
            campaign, status = campaigns.enter(conn, campaign_id, zone)
            if status.why_not(now) is None:
                since = {contact_id: submissions[contact_id].at for contact_id in present}
                done += membership.arrive(conn, campaign, present, Arrival.FORM, now=now, zone=zone, since=since)
    happened = {
        contact_id: [Fact("form.submitted", {**more, "form": form.key, "fields": fields}, at)]
        for contact_id in present
        for at, fields, more in (submissions[contact_id],)
    }
    reacted = decisions.react(conn, happened, now=now, zone=zone, stop=stop)
    reacted.counts += done
    return reacted
