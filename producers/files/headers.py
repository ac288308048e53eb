"""The names that people's programs give to columns, and what they mean.

Names are compared without capitals, accents, spaces and signs. Of several columns with one meaning, the one whose
name stands first here has it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

# What comes before the columns of a file in one of its rejected rows.
REJECTED_LINE, REJECTED_REASON = "Rejected line", "Reason for the rejection"
# What a contact has by itself; every other column is a custom field.
OWN = ("key", "email", "timezone", "points", "stage", "owner", "tags", "company")

# Exports of Mailchimp, HubSpot, Salesforce, Mautic, Brevo, Google, Outlook, Shopify; Excel in French and German.
_EMAIL = """
    email, e-mail, email address, e-mail address, emailadresse, e-mail-adresse, adresse email, adresse e-mail,
    adresse mail, adresse de messagerie, adresse électronique, courriel, mail, mail address, mailadresse,
    primary email, e-mail 1 - value, email 1 - value, correo electrónico, e-mailadres, indirizzo email,
    contact email, work email, business email, customer email, subscriber email, user email
"""
_TIMEZONE = "timezone, time zone, tz, zeitzone, fuseau horaire"
_TAGS = "tags, tag names, étiquettes, schlagworte, schlagwörter, labels, group membership"
_COMPANY = """
    company, company name, account name, organization, organisation, organization name, organization 1 - name,
    associated company, entreprise, société, firma, unternehmen
"""
_FIRST_NAME = """
    first_name, first name, firstname, given name, fname, forename, prénom, vorname, nombre
"""
_LAST_NAME = "last_name, last name, lastname, surname, family name, lname, nom, nom de famille, nachname, apellido"
_PHONE = """
    phone, phone number, telephone, téléphone, telefon, telefonnummer, numéro de téléphone, tel, tél,
    mobile phone number, mobile phone, mobile, mobile number, sms, portable, téléphone portable, téléphone mobile,
    tél. mobile, handy, handynummer, mobiltelefon, phone 1 - value, cell, cell phone
"""

# Who must not be written to by email when the cell says yes.
_EMAIL_OUT = """
    do not email, donotemail, email opt out, email optout, opt out, optout, opted out, has opted out of email,
    opted out of email, opted out email, unsubscribed, unsubscribe, is unsubscribed, email unsubscribed,
    unsubscribed from all email, opted out of all email, hs_email_optout, email blacklisted, email_blacklist,
    emailblacklisted, blacklisted, blocklisted, email blocklisted, suppressed, unsubscribed at, unsub_time, unsub time,
    unsubscribe date, date unsubscribed, opt-out date, suppressions, email suppressions, marked as spam, complained,
    no email, no mail, no mailing,
    désinscrit, désabonné, désinscription, date de désinscription, ne pas contacter par email, ne pas envoyer d'email,
    refus email, opt-out email, abgemeldet, abgemeldet am, keine e-mail, keine e-mails, keine werbung, werbesperre
"""
_BOUNCED = """
    clean_time, cleaned, bounced, is bounced, email bounced, hard bounced, hard bounce, email hard bounced,
    email hard bounce reason
"""
_SMS_OUT = """
    do not sms, do not text, sms opt out, sms optout, opted out of sms, has opted out of sms, sms unsubscribed,
    sms blacklisted, sms_blacklist, smsblacklisted, unsubscribed from sms, ne pas contacter par sms, keine sms
"""
_ALL_OUT = """
    do not contact, donotcontact, dnc, do not market, do not disturb, ne pas contacter, opposition, nicht kontaktieren,
    kontaktsperre
"""
# Who must not be written to when the cell says no.
_EMAIL_IN = """
    accepts marketing, accepts email marketing, email opt in, email optin, opt in, optin, opted in, subscribed,
    is subscribed, email subscribed, email consent, marketing consent, email marketing consent,
    consent, gdpr consent, newsletter consent, rgpd, consentement, consentement rgpd, einwilligung, inscrit, abonné,
    angemeldet, receives email, can email, allow email
"""
_SMS_IN = "accepts sms marketing, sms opt in, sms optin, sms consent, sms marketing consent"
# Whose value is a word for it.
_STATUS = """
    status, subscription status, subscriber status, member status, email status, email subscription status,
    contact status, email marketing, email marketing status, statut, abonnementstatus
"""

_NOT_LETTERS = re.compile(r"[\W_]+")


@lru_cache(maxsize=4_096)
def folded(name: str) -> str:
    """Return a column's name without capitals, accents, spaces and signs."""
    plain = unicodedata.normalize("NFKD", name).replace("ß", "ss").casefold()
    return _NOT_LETTERS.sub("", plain)


def names_of(text: str) -> dict[str, int]:
    """Return the folded names with their rank."""
    ranks: dict[str, int] = {}
    for rank, name in enumerate(" ".join(text.split()).split(",")):
        ranks.setdefault(folded(name), rank)
    return ranks


OWN_NAMES = {
    "email": names_of(_EMAIL),
    "timezone": names_of(_TIMEZONE),
    "tags": names_of(_TAGS),
    "company": names_of(_COMPANY),
}
FIELD_NAMES = {"first_name": names_of(_FIRST_NAME), "last_name": names_of(_LAST_NAME), "phone": names_of(_PHONE)}


class RefusalColumn(NamedTuple):
    """What a column says of not being written to."""

    channels: tuple[str, ...]
    reason: str = "unsubscribed"
    # Whether it is the "no" that refuses.
    on_no: bool = False


EMAIL_REFUSAL = RefusalColumn(("email",))
_REFUSALS = {
    **dict.fromkeys(names_of(_ALL_OUT), RefusalColumn(("email", "sms", "push"))),
    **dict.fromkeys(names_of(_SMS_OUT), RefusalColumn(("sms",))),
    **dict.fromkeys(names_of(_EMAIL_OUT), EMAIL_REFUSAL),
    **dict.fromkeys(names_of(_BOUNCED), RefusalColumn(("email",), "bounced")),
    **dict.fromkeys(names_of(_SMS_IN), RefusalColumn(("sms",), on_no=True)),
    **dict.fromkeys(names_of(_EMAIL_IN), RefusalColumn(("email",), on_no=True)),
}
# HubSpot goes on with the name of a kind of email.
_REFUSING_STARTS = ("optedoutofemail", "unsubscribedfrom")
STATUSES = frozenset(names_of(_STATUS))


@lru_cache(maxsize=4_096)
def own_name(name: str) -> str | None:
    """Return which of a contact's own attributes a column's name means, or None."""
    plain = folded(name)
    if plain in OWN:
        return plain
    return next((own for own, names in OWN_NAMES.items() if plain in names), None)


def refusal_of(name: str) -> RefusalColumn | None:
    """Return what a column's name says of not being written to, or None."""
    plain = folded(name)
    return _REFUSALS.get(plain) or (EMAIL_REFUSAL if plain.startswith(_REFUSING_STARTS) else None)


def rank_of(name: str, meaning: str) -> int:
    """Return how near a column's name is to a meaning; the lowest is the nearest."""
    if name == meaning:
        return -2
    if folded(name) == folded(meaning):
        return -1
    names = OWN_NAMES.get(meaning) or FIELD_NAMES.get(meaning) or {}
    return names.get(folded(name), len(names))
