"""Addresses of the web: whose they are, and the visit that a click writes into them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

VISIT = "parcours"
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


def with_visit(address: str, token: str) -> str:
    """Return an address with a visit in its query; what is there, and the fragment, stays as it is."""
    page, mark, fragment = address.partition("#")
    joint = "?" if "?" not in page else "" if page.endswith(("?", "&")) else "&"
    return f"{page}{joint}{VISIT}={token}{mark}{fragment}"


def without_visit(address: str) -> str:
    """Return an address as it was before a visit was written into it."""
    page, mark, fragment = address.partition("#")
    return _VISIT.sub("", page).rstrip("?&") + mark + fragment if _VISIT.search(page) else address
