"""People who do not exist: who they are and when they do what, all from a seed.

Each contact has random numbers of its own, so that it does the same in a small demo as in a large one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from parcours.db.tables.contacts import Incoming
from parcours.domain.campaign_file.model import AtFile, CampaignFile

# Country: its share, its timezones, names that are common there.
_COUNTRIES: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "US": (
        18,
        ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"),
        ("Mary", "James", "Ava", "Liam"),
    ),
    "GB": (11, ("Europe/London",), ("Olivia", "Arthur", "Isla", "George")),
    "DE": (9, ("Europe/Berlin",), ("Emilia", "Ben", "Lena", "Jonas")),
    "FR": (8, ("Europe/Paris",), ("Louise", "Gabriel", "Jade", "Hugo")),
    "IN": (8, ("Asia/Kolkata",), ("Ananya", "Aarav", "Diya", "Vihaan")),
    "CA": (5, ("America/Toronto", "America/Vancouver"), ("Emma", "Noah", "Chloé", "Lucas")),
    "BR": (5, ("America/Sao_Paulo", "America/Manaus"), ("Helena", "Miguel", "Alice", "Davi")),
    "JP": (5, ("Asia/Tokyo",), ("Himari", "Haruto", "Yui", "Sota")),
    "ES": (4, ("Europe/Madrid", "Atlantic/Canary"), ("Lucía", "Mateo", "Martina", "Leo")),
    "IT": (4, ("Europe/Rome",), ("Sofia", "Leonardo", "Giulia", "Tommaso")),
    "AU": (4, ("Australia/Sydney", "Australia/Perth"), ("Charlotte", "Jack", "Matilda", "Oscar")),
    "NL": (3, ("Europe/Amsterdam",), ("Sanne", "Daan", "Fleur", "Sem")),
    "MX": (3, ("America/Mexico_City",), ("Valentina", "Santiago", "Ximena", "Diego")),
    "ZA": (2, ("Africa/Johannesburg",), ("Thandi", "Lethabo", "Zanele", "Pieter")),
    "NG": (2, ("Africa/Lagos",), ("Ngozi", "Chidi", "Amina", "Tunde")),
    "KE": (2, ("Africa/Nairobi",), ("Wanjiru", "Otieno", "Achieng", "Kamau")),
    "SE": (2, ("Europe/Stockholm",), ("Astrid", "Nils", "Maja", "Elias")),
    "NZ": (1, ("Pacific/Auckland",), ("Aroha", "Nikau", "Ruby", "Finn")),
    "IE": (1, ("Europe/Dublin",), ("Aoife", "Cian", "Saoirse", "Oisín")),
    "KR": (1, ("Asia/Seoul",), ("Seo-yeon", "Min-jun", "Ji-woo", "Do-yun")),
    "AR": (1, ("America/Argentina/Buenos_Aires",), ("Catalina", "Benjamín", "Emma", "Thiago")),
    "NP": (1, ("Asia/Kathmandu",), ("Sita", "Bishal", "Asmita", "Prakash")),
}

What = Literal["joins", "leaves", "submits", "opens", "visits"]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a contact does; `about` is the form, the email or the address of the page.

    `email` is the template whose link led to a page.
    """

    at: datetime
    what: What
    key: str
    about: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A contact, and what kind of reader it is."""

    key: str
    first_name: str
    country: str
    timezone: str | None
    email: str | None
    points: int
    # 0 to 1: how likely this contact is to open, read and order.
    interest: float
    seed: str

    def incoming(self, line: int) -> Incoming:
        """Return the contact as an import takes it."""
        fields = json.dumps({"country": self.country, "first_name": self.first_name}, ensure_ascii=False)
        return Incoming(line, False, self.key, self.email, self.timezone, self.points, None, None, fields, None)

    def comes_and_goes(self, start: datetime) -> Iterator[Act]:
        """Yield how this contact signs up within two weeks, and whether it leaves and comes back."""
        chance = Random(f"{self.seed}/signup")
        way = chance.random()
        joined = self._awake(start + timedelta(days=14 * chance.random()), chance)
        if way < 0.05:
            return
        if way < 0.25:
            # Who came by the form stays in until a person or a step takes it out.
            yield Act(joined, "submits", self.key, "signup")
            return
        yield Act(joined, "joins", self.key)
        if chance.random() < 0.08:
            left = self._awake(joined + timedelta(days=1 + 8 * chance.random()), chance)
            yield Act(left, "leaves", self.key)
            if chance.random() < 0.4:
                yield Act(self._awake(left + timedelta(days=3 + 9 * chance.random()), chance), "joins", self.key)

    def answers(self, template: str, sent_at: datetime) -> Iterator[Act]:
        """Yield what an email leads this contact to do."""
        chance = Random(f"{self.seed}/{template}")
        if chance.random() > 0.15 + 0.75 * self.interest:
            return
        # Most emails are opened on the day they come, some only days later.
        opened = self._awake(sent_at + timedelta(hours=chance.expovariate(1 / 20)), chance)
        yield Act(opened, "opens", self.key, template)
        if chance.random() < 0.25 + 0.6 * self.interest:
            seen = self._awake(opened + timedelta(hours=chance.expovariate(1 / 12)), chance)
            page = chance.choice(("guide/", "guide/", "guide/green", "guide/pictures", "about"))
            yield Act(seen, "visits", self.key, f"https://www.example.com/{page}", template)
        if template == "offer" and chance.random() < 0.7 * self.interest:
            ordered = self._awake(opened + timedelta(hours=chance.expovariate(1 / 30)), chance)
            yield Act(ordered, "visits", self.key, "https://www.example.com/order", template)
            yield Act(ordered, "submits", self.key, "order")

    def _awake(self, at: datetime, chance: Random) -> datetime:
        """Return an instant in whole seconds, moved out of the contact's night."""
        at = at.replace(microsecond=0)
        local = at.astimezone(ZoneInfo(self.timezone or "UTC"))
        if 7 <= local.hour < 23:
            return at
        return at + timedelta(hours=(7 - local.hour) % 24, seconds=chance.randrange(7200))


def people(number: int, seed: int) -> list[Person]:
    """Return so many contacts; some have no timezone, a few no address."""
    return [_person(index, f"{seed}/{index}") for index in range(1, number + 1)]


def _person(index: int, seed: str) -> Person:
    chance = Random(seed)
    country = chance.choices(list(_COUNTRIES), [share for share, _, _ in _COUNTRIES.values()])[0]
    _, zones, names = _COUNTRIES[country]
    first_name = chance.choice(names)
    key = f"c{index:05}"
    return Person(
        key=key,
        first_name=first_name,
        country=country,
        timezone=chance.choice(zones) if chance.random() > 0.08 else None,
        # Nobody's: example.com is reserved for examples.
        email=f"{key}@example.com" if chance.random() > 0.03 else None,
        points=chance.choice((0, 0, 0, 5, 10, 15)),
        interest=chance.betavariate(1.3, 1.9),
        seed=seed,
    )


def with_dates(contact: Incoming, file: CampaignFile, start: datetime, days: int) -> Incoming:
    """Return a contact who has the dates that a campaign goes by.

    Dates that come again are of any day of the last 60 years; those that come once, of the days that are looked at.
    """
    again = {source.field for source in file.sources.dates if source.every is not None}
    once = {source.field for source in file.sources.dates} | {
        step.at.field for step in file.walk() if isinstance(step.at, AtFile)
    }
    made = json.loads(contact.fields or "{}")
    for field in sorted(again | once):
        draw = Random(f"{contact.key}/{field}")
        if field in again:
            made[field] = (start - timedelta(days=draw.randrange(60 * 365))).date().isoformat()
        else:
            made[field] = (start + timedelta(minutes=draw.randrange(1, days * 24 * 60))).isoformat(timespec="minutes")
    return contact._replace(fields=json.dumps(made)) if again or once else contact
