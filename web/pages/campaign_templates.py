"""What a new campaign may begin with. Its emails, and who comes in, are chosen in the builder."""

from __future__ import annotations

from typing import Any, NamedTuple

from parcours.web.i18n.language import _, marked


class CampaignTemplate(NamedTuple):
    """A campaign to begin from: what it is called, what it is for, and its settings and steps."""

    key: str
    name: str
    about: str
    settings: dict[str, Any]
    steps: list[dict[str, Any]]
    # What has to be there for it, in words.
    needs: str = ""


def _email(step: str, name: str, **more: Any) -> dict[str, Any]:
    return {"step": step, "name": name, "action": "email.send", **more}


TEMPLATES: tuple[CampaignTemplate, ...] = (
    CampaignTemplate("empty", marked("Empty"), marked("No steps yet."), {}, []),
    CampaignTemplate(
        "welcome",
        marked("Welcome"),
        marked("An email at once; points for whoever opens it, and a reminder for whoever does not."),
        {},
        [
            _email(
                "hello",
                marked("Welcome email"),
                then=[
                    {
                        "step": "opened",
                        "decision": "email.open",
                        "within": "3 days",
                        "yes": [{"step": "points", "action": "contact.points", "with": {"points": 5}}],
                        "no": [_email("reminder", marked("Reminder"))],
                    }
                ],
            )
        ],
        marked("Needs a segment with the new contacts, and two emails."),
    ),
    CampaignTemplate(
        "win-back",
        marked("Win back"),
        marked("Two emails to contacts who have been silent; who does not come back gets a tag."),
        {},
        [
            _email(
                "miss-you",
                marked("We miss you"),
                then=[
                    {
                        "step": "clicked",
                        "decision": "email.click",
                        "within": "7 days",
                        "yes": [{"step": "back", "action": "contact.tags", "with": {"add": ["back"]}}],
                        "no": [
                            _email(
                                "last-offer",
                                marked("Last offer"),
                                then=[
                                    {
                                        "step": "silent",
                                        "action": "contact.tags",
                                        "with": {"add": ["silent"]},
                                        "after": "14 days",
                                    }
                                ],
                            )
                        ],
                    }
                ],
            )
        ],
        marked("Needs a segment with the silent contacts, and two emails."),
    ),
    CampaignTemplate(
        "birthday",
        marked("Birthday"),
        marked("An email each year on the birthday of the contact."),
        {
            "reentry": "always",
            "sources": {"dates": [{"field": "birthday", "every": "year", "hour": "09:00"}]},
        },
        [_email("birthday", marked("Birthday email"), **{"with": {"again": "after 300 days"}})],
        marked("No segment is needed: it goes to every contact who has a date in the field “Birthday”."),
    ),
    CampaignTemplate(
        "webinar",
        marked("Webinar"),
        marked("An invitation, a reminder a day before the date of the webinar, and a thank-you the day after."),
        {},
        [
            _email("invitation", marked("Invitation")),
            _email("reminder", marked("Reminder"), at={"field": "webinar_at", "before": "1 day"}),
            _email("thank-you", marked("Thank you"), at={"field": "webinar_at", "after": "1 day"}),
        ],
        marked(
            "Needs a segment with whom you invite, three emails, and for each contact the "
            "day in the field “Date of the webinar”."
        ),
    ),
    CampaignTemplate(
        "cart",
        marked("Abandoned cart"),
        marked("A reminder after two hours, unless the cart is ordered; each cart is a run of its own."),
        {
            "reentry": "always",
            "sources": {"events": [{"type": "cart.updated", "key": "cart_id"}]},
            "exit": [{"event": "order.paid", "key": "cart_id"}],
        },
        [_email("cart-reminder", marked("Cart reminder"), after="2 hours", **{"with": {"again": "always"}})],
        marked("No segment is needed: your shop reports carts and orders, which a developer connects once."),
    ),
)


def file_of(template: CampaignTemplate, *, key: str, name: str) -> dict[str, Any]:
    """Return the file of a new campaign, with the names of its steps in the reader's language."""
    steps = [_translated(step) for step in template.steps]
    return {"campaign": key, "name": name, "sources": {}, **template.settings, "steps": steps}


def _translated(step: dict[str, Any]) -> dict[str, Any]:
    made = dict(step)
    if "name" in made:
        made["name"] = _(made["name"])
    for branch in ("then", "yes", "no"):
        if branch in made:
            made[branch] = [_translated(each) for each in made[branch]]
    return made
