"""Who somebody is: the one notion of an email address, a timezone and a phone number.

Whatever comes in by any way is read here, and means the same everywhere.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from contextlib import suppress
from functools import cache
from zoneinfo import available_timezones

# Characters. Source: RFC 5321, section 4.5.3.1, and RFC 3696, erratum 1690.
MAX_ADDRESS = 254
MAX_LOCAL = 64
# Characters of a number as people write it; E.164 has 15 digits.
MAX_PHONE = 40

# The common form of an address: a local part without quotes, and a domain of at least two labels. Letters
# of any script will do. Neither part has two ways to match the same text, so none takes long.
_LABEL = r"(?!-)[^\W_](?:[^\W_]|-){0,62}(?<!-)"
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")


class IdentityError(ValueError):
    """A text is no address, timezone or phone number; the message is one sentence that says why."""


def address(text: str) -> str:
    """Return an email address as it is kept: one mailbox, without spaces around, as it was spelled.

    An internationalized domain has its letters (`münchen.de`), also where it came in ASCII (`xn--mnchen-3ya.de`).
    Raises IdentityError for anything else: lists, names with an address in angle brackets, `mailto:`.

    Source: RFC 5321, section 4.1.2, without quoted local parts and address literals; RFC 6531 for letters
    beyond ASCII.
    """
    text = text.strip()
    local, at, domain = text.rpartition("@")
    if not at:
        raise IdentityError(f"{_shown(text)} is not an email address: it has no @")
    if len(text) > MAX_ADDRESS or len(local) > MAX_LOCAL:
        raise IdentityError(f"{_shown(text)} is not an email address: it is too long")
    if text.lower().startswith("mailto:"):
        raise IdentityError(f"{_shown(text)} is not an email address: leave out mailto:")
    if any(mark in local for mark in "@,; "):
        raise IdentityError(f"{_shown(text)} contains more than one email address; give one address per contact")
    if unicodedata.normalize("NFKC", text) != unicodedata.normalize("NFC", text):
        # Full-width letters and their like would be a second spelling of the same mailbox.
        raise IdentityError(f"{_shown(text)} is not an email address: write it with ordinary letters and digits")
    if not _LOCAL.fullmatch(local):
        raise IdentityError(f"{_shown(text)} is not an email address: check the part before @")
    if wire_domain(domain) is None:
        raise IdentityError(f"{_shown(text)} is not an email address: check the part after @")
    return _one_spelling(text)


def _one_spelling(text: str) -> str:
    """Return an address with composed letters, and with those of its domain instead of their form in ASCII."""
    local, at, domain = unicodedata.normalize("NFC", text).rpartition("@")
    if "xn--" in domain.lower():
        with suppress(UnicodeError):
            domain = domain.lower().encode("ascii").decode("idna")
    return f"{local}{at}{domain}"


def is_address(text: str) -> bool:
    """Return whether a text is one email address."""
    try:
        address(text)
    except IdentityError:
        return False
    return True


def same_address(text: str) -> str:
    """Return an address in the form in which two spellings of one mailbox are equal: without regard to case.

    Of a text that is no address, too.
    """
    return _one_spelling(text.strip()).lower()


def in_use(address: str, *, owner: str, key: str) -> str:
    """Return why the contact of a key does not get an address that another one has, and what to do."""
    return (
        f"the address {address} belongs to contact {owner!r}; merge the two with "
        f"`parcours contacts merge {key} {owner}`, or correct the address"
    )


def taken(address: str, *, owner: str) -> str:
    """Return why nobody is made a contact with an address that another one has, and what to do."""
    return f"the address {address} belongs to contact {owner!r}; use that contact"


def wire_domain(domain: str) -> str | None:
    """Return a domain as mail servers take it, in ASCII; None for what is no domain of a mailbox."""
    if not _DOMAIN.fullmatch(domain):
        return None
    try:
        return domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None


def wire_address(text: str) -> str | None:
    """Return an address as mail servers take it, its domain in ASCII; None for what is no address."""
    try:
        local, _, domain = address(text).rpartition("@")
    except IdentityError:
        return None
    return f"{local}@{wire_domain(domain)}"


def wire_sender(text: str) -> str | None:
    """Return the address of a sender as `wire_address` does; its host may be one of the own network, like localhost or
    127.0.0.1, which stands for us where nobody has set who we are.
    """
    local, _, host = text.strip().rpartition("@")
    if host.isascii() and _HOST.fullmatch(host) and _LOCAL.fullmatch(local):
        return text.strip()
    return wire_address(text)


def timezone(name: str) -> str:
    """Return the canonical spelling of an IANA timezone; case is forgiven.

    Raises IdentityError with the nearest name.
    """
    found = known_timezone(name)
    if found is not None:
        return found
    known, folded = _timezones(), name.strip().casefold()
    near = difflib.get_close_matches(folded, known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else "use a name like 'Europe/Paris'"
    raise IdentityError(f"unknown timezone {_shown(name)}; {hint}")


def known_timezone(name: str) -> str | None:
    """Return the canonical spelling of an IANA timezone, or None for what is none."""
    return _timezones().get(name.strip().casefold())


def timezones() -> list[str]:
    """Return the names of all timezones, in order."""
    return list(_timezones().values())


def phone(text: str, country: str | None = None) -> str:
    """Return a phone number in the form +33123456789.

    `country` (two letters, ISO 3166-1) says how a number without a country code is read.

    Raises IdentityError. Source: ITU-T E.164, with the numbering plans of the package phonenumbers.
    """
    # Here, since its tables of all countries take a while to load and most processes never ask.
    import phonenumbers

    if len(text) > MAX_PHONE:
        raise IdentityError(f"{_shown(text)} is not a phone number: it is too long")
    written = text.strip()
    if written.startswith("00"):
        # The prefix of most countries for numbers of other countries.
        written = "+" + written[2:]
    try:
        found = phonenumbers.parse(written, country.strip().upper() if country else None)
    except phonenumbers.NumberParseException:
        hint = "" if country else "; write it with the country code, like +33 1 23 45 67 89"
        raise IdentityError(f"{_shown(text)} is not a phone number{hint}") from None
    if not phonenumbers.is_possible_number(found):
        raise IdentityError(f"{_shown(text)} is not a phone number: it has too few or too many digits")
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)


def country(code: str) -> str:
    """Return a country's code of two letters in capitals. Raises IdentityError for one without phone numbers."""
    import phonenumbers

    found = code.strip().upper()
    if found not in phonenumbers.SUPPORTED_REGIONS:
        raise IdentityError(f"unknown country {_shown(code)}; use a two-letter code such as FR or US")
    return found


@cache
def _timezones() -> dict[str, str]:
    # `localtime` is what the machine is set to, and `Factory` that nobody set it: neither is anybody's timezone.
    return {name.casefold(): name for name in sorted(available_timezones() - {"localtime", "Factory"})}


def _shown(text: str) -> str:
    return ascii(text)[:60] if not text.isprintable() else repr(text)[:60]
