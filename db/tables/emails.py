"""Email templates."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.stored import Stored
from parcours.domain.messages.content import MAIN, Chosen, Content, Variant, choose
from parcours.domain.messages.winner import WinnerRule, winner_rule

sql = statements(__file__)

# What a template fills in: outputs and tags.
FILLED_IN = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Email:
    """A template; subject, html and text are Liquid. Without a sender, the installation's is used.

    Who does not want emails of its category, a refusal of `email:CATEGORY`, is not sent it.
    """

    key: str
    subject: str
    html: str | None
    text: str | None
    sender: str | None
    published: bool
    category: str | None = None
    # Whether links and an image tell of clicks and openings.
    tracking: bool = True
    variants: tuple[Variant, ...] = ()
    # Locale to what is said in it.
    translations: Mapping[str, Content] = field(default_factory=dict)
    # By what one of the versions gets all further sends.
    winner: WinnerRule | None = None
    # How often the rule or the set of variants changed: tests of before are over.
    test_round: int = field(default=0, compare=False)

    @property
    def title(self) -> str:
        """What people call it."""
        return title_of(self.subject, self.key)

    def content_for(self, contact_id: int, language: str | None, *, version: str | None = None) -> Chosen:
        """Return what a contact who reads a language gets; a `version` that is settled goes before the weights."""
        main = Content(self.subject, self.html, self.text)
        return choose(
            self.key,
            main,
            self.variants,
            self.translations,
            contact_id=contact_id,
            language=language,
            version=version,
        )

    def version_names(self) -> list[str]:
        """Return the names of the versions that have a share: the main one, '', unless the variants have it all."""
        left = 100 - sum(variant.weight for variant in self.variants)
        return [*([MAIN] if left > 1e-9 else []), *(variant.name for variant in self.variants)]


def title_of(subject: str, key: str) -> str:
    """Return what people call an email: its subject, with … for what is filled in; the key where nothing is left."""
    title = " ".join(FILLED_IN.sub("…", subject).split())
    return title if title.strip("…!?., ") else key


def titles(conn: Connection, keys: Collection[str] | None = None) -> dict[str, str]:
    """Return what people call emails, by key; of two that are called the same, the key is said too."""
    rows = conn.execute(sql["titles"], {"keys": None if keys is None else list(keys)})
    found = {row.key: title_of(row.subject, row.key) for row in rows}
    counted = Counter(found.values())
    return {key: title if counted[title] == 1 else f"{title} ({key})" for key, title in found.items()}


def save(conn: Connection, email: Email, *, now: datetime) -> Stored:
    """Store a template as a whole and say what that changed."""
    given = {
        "key": email.key,
        "subject": email.subject,
        "html": email.html,
        "text": email.text,
        "sender": email.sender,
        "published": email.published,
        "category": email.category,
        "tracking": email.tracking,
        "variants": json.dumps([asdict(variant) for variant in email.variants]),
        "translations": json.dumps({locale: asdict(content) for locale, content in email.translations.items()}),
        "winner": None if email.winner is None else json.dumps(email.winner.as_data()),
        "now": now,
    }
    if conn.execute(sql["create"], given).one_or_none() is not None:
        return "created"
    return "unchanged" if conn.execute(sql["update"], given).one_or_none() is None else "updated"


def delete(conn: Connection, key: str) -> None:
    """Delete a template. Nothing may use it; its figures, and the messages that were sent, have its key."""
    conn.execute(sql["delete"], {"key": key})


def listed(conn: Connection, keys: Collection[str] | None = None) -> list[Email]:
    """Return templates by key: all of them, or those named that exist."""
    rows = conn.execute(sql["listed"], {"keys": None if keys is None else list(keys)})
    return [
        Email(
            row.key,
            row.subject,
            row.html,
            row.text,
            row.sender,
            row.published,
            row.category,
            row.tracking,
            tuple(map(_variant, row.variants)),
            _contents(row.translations),
            None if row.winner is None else winner_rule(row.winner["after"], row.winner["by"]),
            row.test_round,
        )
        for row in rows
    ]


def _variant(stored: Mapping[str, Any]) -> Variant:
    return Variant(stored["name"], stored["weight"], Content(**stored["content"]), _contents(stored["translations"]))


def _contents(stored: Mapping[str, Any]) -> dict[str, Content]:
    return {locale: Content(**content) for locale, content in stored.items()}
