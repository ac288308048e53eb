"""Email templates: read with the checks of files, as JSON, checked for what receivers dislike, and sent as a test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Engine

from parcours.db.tables import contacts, emails, installation, outbox, runs
from parcours.db.tables.emails import Email
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.messages.content import Chosen, Content
from parcours.domain.messages.results import Sent
from parcours.domain.messages.templates import RenderError
from parcours.ops.settings import Settings
from parcours.ops.tokens import Tokens
from parcours.producers.files import emails as email_files
from parcours.services.template_notes import notes
from parcours.workers.delivery import registry, render
from parcours.workers.delivery.channels import webhook_secret

# What YAML, as which the checks of files read it, refuses or takes for the end of a line where JSON does not.
_UNLIKE_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# From so many bytes on, Gmail cuts a message off.
CLIPPED_BYTES = 102_000
# Characters of a subject that a phone shows.
LONG_SUBJECT = 70
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_LINK = re.compile(r"(?:https?://|mailto:|tel:|sms:|#.)", re.IGNORECASE)


class VersionName(NamedTuple):
    """Which version of an email: of a variant, in a locale; both None: the main one."""

    variant: str | None
    locale: str | None


@dataclass(frozen=True)
class EmailVersion:
    """A version of an email as it is sent, and what of it is its own."""

    name: VersionName
    content: Content
    own: Content


@dataclass(frozen=True)
class EmailNote:
    """Something that a person should look at in a version of an email; None: in all of it."""

    version: VersionName | None
    sentence: str


def read(data: Mapping[str, Any], key: str) -> tuple[Email | None, list[str]]:
    """Return the template that some data describes, with the checks of email files, or what is wrong with it."""
    text = _UNLIKE_JSON.sub(_escaped, json.dumps({**data, "key": key}, ensure_ascii=False))
    found, problems = email_files.read_text(text, Path("body.json"))
    if problems or not found:
        said = [each.what if each.template is None else str(each.template) for each in problems]
        return None, said or ["an email is an object: subject, html, …"]
    return found[0], []


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def email_json(email: Email) -> dict[str, Any]:
    """Return a template as REST answers it and an email file has it."""
    return {
        **asdict(Content(email.subject, email.html, email.text)),
        "key": email.key,
        "from": email.sender,
        "category": email.category,
        "published": email.published,
        "tracking": email.tracking,
        "variants": [
            {
                **asdict(each.content),
                "name": each.name,
                "weight": each.weight,
                "translations": {locale: asdict(content) for locale, content in each.translations.items()},
            }
            for each in email.variants
        ],
        "translations": {locale: asdict(content) for locale, content in email.translations.items()},
        "winner": None if email.winner is None else email.winner.as_data(),
    }


def versions(email: Email) -> list[EmailVersion]:
    """Return all versions of an email, the main one first."""
    main = Content(email.subject, email.html, email.text)
    found = [EmailVersion(VersionName(None, None), main, main)]
    found += [
        EmailVersion(VersionName(each.name, None), each.content.over(main), each.content) for each in email.variants
    ]
    for locale, own in email.translations.items():
        found.append(EmailVersion(VersionName(None, locale), own.over(main), own))
        for variant in email.variants:
            if locale in variant.translations:
                over = variant.translations[locale].over(variant.content).over(own.over(main))
                found.append(EmailVersion(VersionName(variant.name, locale), over, variant.translations[locale]))
    return found


def looked_over(conn: Any, email: Email) -> list[EmailNote]:
    """Return what a person should look at before the email is sent; none of it is an error."""
    found = [
        EmailNote(None, each)
        for each in notes(
            conn, (("this email", (each.own.subject, each.own.html, each.own.text)) for each in versions(email))
        )
    ]
    for version in versions(email):
        found += [EmailNote(version.name, each) for each in _looked_over(version)]
    return list(dict.fromkeys(found))


def _looked_over(version: EmailVersion) -> Iterator[str]:
    """Yield what to look at in a version; what it takes from another one is told there."""
    content, own = version.content, version.own
    bodies = [body for body in (content.html, content.text) if body]
    has_own_body = own.html is not None or own.text is not None
    if has_own_body and not any("unsubscribe_url" in body for body in bodies):
        yield "there is no link to unsubscribe; add {{ unsubscribe_url }} unless the email is transactional"
    if len(_LIQUID.sub("", own.subject or "")) > LONG_SUBJECT:
        yield f"the subject is longer than {LONG_SUBJECT} characters; phones cut it off"
    if content.html is None or not has_own_body:
        return
    size = len(content.html.encode())
    if size > CLIPPED_BYTES:
        yield f"the HTML has {size // 1000:,} kB; Gmail cuts off messages of more than 102 kB"
    reader = _Links()
    reader.feed(content.html)
    for link in reader.links:
        plain = link.strip()
        if not plain:
            yield "a link has no address"
        elif not plain.startswith(("{{", "{%")) and not _LINK.match(plain):
            yield f"the link {plain[:80]!r} leads nowhere in an email; write the whole address with https://"
    if reader.without_alt:
        yield "an image has no text (alt) for readers who do not see it"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.without_alt = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and "href" in given:
            self.links.append(given["href"] or "")
        elif tag == "img" and "alt" not in given and "open_url" not in (given.get("src") or ""):
            self.without_alt = True


def send_test(
    engine: Engine,
    settings: Settings,
    email: Email,
    to: str,
    *,
    contact: str | None = None,
    version: VersionName | None = None,
) -> str:
    """Send an email to an address, filled in for a contact or for nobody; return how it went out, for people.

    The subject begins with [Test], and nothing is counted. Raises CampaignError when it could not be sent.
    """
    if not is_address(to):
        raise CampaignError(f"{to!r} is not an email address")
    with engine.connect() as conn:
        id_ = contacts.find(conn, contact) if contact else None
        if contact and id_ is None:
            raise NotFoundError("contact", contact)
        recipient = None if id_ is None else outbox.recipients(conn, [id_])[id_]
        entry = {} if id_ is None else runs.last_entry_of_any(conn, id_)
    secret = settings.secret_key or installation.secret_key(engine)
    chosen = _chosen(email, version, recipient)
    key = f"test-{uuid4()}"
    try:
        mail = render.mail_to_contact(
            email,
            chosen,
            render.preview_values(recipient, entry),
            render.Links(Tokens(secret), settings.public_url),
            key=key,
            at=datetime.now(UTC),
            address=to,
            marketing=True,
        )
    except RenderError as error:
        raise CampaignError(f"email {email.key!r}: {error}") from None
    mail = render.Mail(
        **{**{name: getattr(mail, name) for name in mail.__slots__}, "subject": f"[Test] {mail.subject}"}
    )
    provider = registry.make(settings, "email", signing=webhook_secret(settings, secret))
    try:
        (result,) = provider.send([mail])
    finally:
        provider.close()
    if not isinstance(result, Sent):
        raise CampaignError(f"the test email was not sent: {getattr(result, 'error', 'try again later')}")
    if provider.to_files:
        return f"the test email was written to {settings.home / 'mail'}"
    return f"the test email was sent to {to}"


def _chosen(email: Email, version: VersionName | None, recipient: outbox.Recipient | None) -> Chosen:
    if version is None and recipient is not None:
        return email.content_for(recipient.id, render.language_of(recipient))
    wanted = version or VersionName(None, None)
    for each in versions(email):
        if each.name == wanted:
            return Chosen(*wanted, each.content)
    raise CampaignError("this version of the email does not exist")


def find(conn: Any, key: str) -> Email:
    """Return an email. Raises NotFoundError."""
    found = emails.listed(conn, [key])
    if not found:
        raise NotFoundError("email", key)
    return found[0]
