"""Where a visit came from, as the links of campaigns say it: the five utm_ parameters.

The latest visit or submission that says anything of it counts, as a whole: what it leaves out is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from parcours.domain.events.visitors import is_automatic

NAMES = ("utm_campaign", "utm_content", "utm_medium", "utm_source", "utm_term")
MAX_VALUE = 255
# More parameters than any link has.
_MOST_PARAMETERS = 100


def utm_of(type_: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Return what an event says of where the contact came from, by name; empty when it says nothing.

    Of a page hit, the properties of these names and, for what they leave out, the query of its url; of a form,
    the fields of these names. A machine's hit says nothing. Values are cut to 255 characters.
    """
    if is_automatic(type_, data):
        return {}
    if type_ == "page.hit":
        return {**_known(_query(data.get("url"))), **_known(data.items())}
    if type_ == "form.submitted":
        fields = data.get("fields")
        return _known(fields.items()) if isinstance(fields, Mapping) else {}
    return {}


def _known(pairs: Iterator[tuple[str, Any]] | Any) -> dict[str, str]:
    found = {}
    for name, value in pairs:
        if name in NAMES and isinstance(value, str):
            # The database has no NUL in texts, and a link may have one as %00.
            text = value.replace("\0", "").strip()[:MAX_VALUE]
            if text:
                found[name] = text
    return found


def _query(url: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(url, str) or "utm_" not in url:
        return
    try:
        query = urlsplit(url).query
        yield from parse_qsl(query, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        # No address, or one made to be expensive.
        return
