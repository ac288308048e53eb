"""What to look at in a campaign: its worst emails, and where contacts wait, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.reads.overview import Figures
from parcours.db.reads.standing import StepStanding
from parcours.domain.campaign import Campaign, Step
from parcours.domain.messages.weak import LEAST_DELIVERED, Weak
from parcours.services.overview_json import insights
from parcours.services.standing import Cause, Standings
from parcours.services.weak_emails import WeakEmails
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, _n, number
from parcours.web.i18n.sentences import told
from parcours.web.pages.status import lasted
from parcours.web.paging import address

# Of all steps at which somebody waits; the others have their figures in the tree.
MOST_STEPS = 20


@dataclass(frozen=True)
class WeakLine:
    """An email that does worse than the others: what it is called, why it is named, and its other figures."""

    title: str
    address: str
    why: str
    beside: str


@dataclass(frozen=True)
class WaitLine:
    """A step at which contacts wait.

    `stuck` says how many are there longer than planned, and `causes` why, each with the part of the overview or the
    page that says more.
    """

    step: Step
    waiting: str
    median: str
    oldest: str
    oldest_since: datetime | None
    state: str
    stuck: str
    causes: list[tuple[str, str | None]]
    unanswered: str


def insights_of(
    conn: Connection,
    campaign: Campaign,
    figures: Figures,
    titles: Mapping[str, str],
    *,
    why_not: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Return what the template shows. `titles`: what emails are called, by key; `why_not`: why it does not run."""
    emails, found = insights(conn, campaign, figures, why_not=why_not, now=now)
    waiting = sorted((each for each in found.steps if each.waiting), key=lambda each: -each.waiting)
    shown = {each.step: each for each in (*found.stuck, *found.unanswered, *waiting[:MOST_STEPS])}
    lines = {key: _line(campaign, campaign.by_key[key], each, found, now) for key, each in shown.items()}
    return {
        "has_emails": bool(emails.emails),
        "weak": [_weak(each, emails, titles) for each, _email in emails.named],
        "weak_none": _none(emails),
        "stuck": [lines[each.step] for each in found.stuck],
        "unanswered": [lines[each.step] for each in found.unanswered],
        "waits": [lines[each.step] for each in waiting[:MOST_STEPS]],
        "waits_left": max(0, len(waiting) - MOST_STEPS),
    }


def _weak(weak: Weak, emails: WeakEmails, titles: Mapping[str, str]) -> WeakLine:
    figures = emails.emails[weak.email].figures
    given = {
        "rate": labels.share(100 * weak.rate),
        "delivered": number(weak.delivered),
        "others": labels.share(100 * weak.others),
    }
    why = (
        _("Clicked by {rate} of {delivered}, the others by {others}.", **given)
        if emails.comparison.by == "clicked"
        else _("Opened by {rate} of {delivered}, the others by {others}.", **given)
    )
    beside = " · ".join(
        f"{_(labels.EMAIL_FIGURES[name])} {number(n)} ({labels.share(100 * n / figures.sent)})"
        for name, n in (("bounced", figures.bounced), ("unsubscribed", figures.unsubscribed))
    )
    return WeakLine(titles.get(weak.email, weak.email), address("emails", weak.email), why, beside)


def _none(emails: WeakEmails) -> str:
    match emails.comparison.why_none:
        case "one":
            return _("The campaign sends only one email, so there is nothing to compare.")
        case "few":
            return _(
                "Not enough data yet: emails are compared once two of them were delivered {n} times.",
                n=number(LEAST_DELIVERED),
            )
        case "new":
            return _("Too early to tell: most emails that could be compared went out since yesterday.")
        case _:
            return _("No email does clearly worse than the others.")


def _line(campaign: Campaign, step: Step, standing: StepStanding, found: Standings, now: datetime) -> WaitLine:
    return WaitLine(
        step,
        labels.count(standing.waiting, standing.about),
        _for(standing.median_since, now),
        _for(standing.oldest_since, now),
        standing.oldest_since,
        labels.listed(_states(standing)),
        _stuck(standing),
        [_cause(each) for each in found.causes(standing)],
        _unanswered(campaign, step, standing, now),
    )


def _for(since: datetime | None, now: datetime) -> str:
    return lasted(None if since is None else (now - since).total_seconds())


def _states(standing: StepStanding) -> list[str]:
    """Return how it is with those who wait, with how many."""
    stuck = standing.stuck - standing.unsent
    counted = (
        (standing.planned, _("as planned")),
        (standing.answer, _("no answer yet")),
        (stuck, _("longer than planned")),
    )
    present = [(n, name) for n, name in counted if n]
    if len(present) == 1:
        return [present[0][1]]
    return [f"{name} ({labels.count(n, standing.about)})" for n, name in present]


def _stuck(standing: StepStanding) -> str:
    n = standing.stuck - standing.unsent
    if not n:
        return ""
    return _n("{n} contact is here longer than planned.", "{n} contacts are here longer than planned.", n)


def _cause(cause: Cause) -> tuple[str, str | None]:
    """Return a cause in a sentence, and where to look: `failures`, `status` or nowhere."""
    match cause.what:
        case "not_running":
            return _n("{n} is due, but the campaign is not running.", "{n} are due, but the campaign is not running.",
                      cause.n), None  # fmt: skip
        case "no_worker":
            return _n("{n} is due for more than 15 minutes: no worker is running.",
                      "{n} are due for more than 15 minutes: no worker is running.", cause.n), "status"  # fmt: skip
        case "workers_behind":
            return _n("{n} is due for more than 15 minutes: the workers are behind.",
                      "{n} are due for more than 15 minutes: the workers are behind.", cause.n), "status"  # fmt: skip
        case "retrying":
            return _n("{n} failed and will be tried again.", "{n} failed and will be tried again.",
                      cause.n), "failures"  # fmt: skip
        case "held":
            return _n("{n} is held back by a frequency cap or a pause of the contact.",
                      "{n} are held back by a frequency cap or a pause of the contact.", cause.n), None  # fmt: skip
        case "unsent" if cause.detail:
            return _n("{n} message could not be sent yet: {why}.", "{n} messages could not be sent yet: {why}.",
                      cause.n, why=told(cause.detail).rstrip(".")), "status"  # fmt: skip
        case "unsent":
            return _n("{n} message should have been sent by now.", "{n} messages should have been sent by now.",
                      cause.n), "status"  # fmt: skip


def _unanswered(campaign: Campaign, step: Step, standing: StepStanding, now: datetime) -> str:
    if not standing.answer:
        return ""
    said = [
        _n("{n} contact has not answered yet.", "{n} contacts have not answered yet.", standing.answer)
        if not standing.about
        else _("About {n} contacts have not answered yet.", n=labels.count(standing.answer, True))
    ]
    if standing.median_since is not None:
        said.append(_("Half of them have waited for {time} or longer.", time=_for(standing.median_since, now)))
    return " ".join([*said, _deadline(campaign, step)])


def _deadline(campaign: Campaign, step: Step) -> str:
    """Return when contacts without an answer go on: a decision that does not say waits for its first "no" step."""
    if step.within is not None:
        return _("Without an answer, they go on after {time}.", time=labels.interval(step.within))
    first = [labels.timing(child) for child in campaign.children(step, "no")]
    if not first:
        return _("There is no deadline.")
    if len(first) > 1 or not first[0]:
        return _("Without an answer, they go on when the first step of the “no” branch is due.")
    return _("Without an answer, they go on with the “no” branch: {when}.", when=first[0])
