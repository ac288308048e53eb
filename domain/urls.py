"""Addresses of the web: whose they are, and the visit that a click writes into them."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes, urlsplit

VISIT = "parcours"
_ESCAPES = re.compile("(?:%[0-9a-fA-F]{2})+")
_PUNYCODE = re.compile(r"(?i)(?<![\w-])xn--[a-z0-9-]{1,59}(?![\w-])")
_MEANT = " :/?#[]@!$&'()*+,;=%"
_PORTS = {"http": 80, "https": 443}
_VISIT = re.compile(rf"(?<=[?&]){VISIT}=[^&#]*&?")


def origin_of(address: str) -> str | None:
    """Return the origin of an http or https address, as browsers write it; None for anything else.

    Source: RFC 6454, section 6.2.
    """
    # What browsers mend in silence could lead elsewhere than it says.
    if "\\" in address or any(ord(each) <= 32 for each in address):
        return None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def comparable(address: str) -> str:
    """Return an address, or a pattern of some, in the one form in which they are compared.

    A browser writes `/größe` as `/gr%C3%B6%C3%9Fe` and `münchen.de` as `xn--mnchen-3ya.de`; people write either.
    Escapes of what has a meaning of its own in addresses and patterns, such as %2F or %2A, stay.
    """
    if "%" in address:
        address = _ESCAPES.sub(_unescaped, address)
    if "xn--" in address.lower():
        address = _PUNYCODE.sub(_plain_label, address)
    return unicodedata.normalize("NFC", address.replace(" ", "%20")).casefold()


def _unescaped(found: re.Match[str]) -> str:
    try:
        text = unquote_to_bytes(found[0]).decode()
    except UnicodeDecodeError:
        # Of another encoding.
        return found[0]
    return "".join(
        each if each.isprintable() and not (each.isascii() and each in _MEANT) else quote(each, safe="")
        for each in text
    )


def _plain_label(found: re.Match[str]) -> str:
    try:
        return found[0].encode("ascii").decode("idna")
    except UnicodeError:
        return found[0]


def with_visit(address: str, token: str) -> str:
    """Return an address with a visit in its query; what is there, and the fragment, stays as it is."""
    page, mark, fragment = address.partition("#")
    joint = "?" if "?" not in page else "" if page.endswith(("?", "&")) else "&"
    return f"{page}{joint}{VISIT}={token}{mark}{fragment}"


def without_visit(address: str) -> str:
    """Return an address as it was before a visit was written into it."""
    page, mark, fragment = address.partition("#")
    return _VISIT.sub("", page).rstrip("?&") + mark + fragment if _VISIT.search(page) else address
