"""Decisions on what a contact does on a web site: submitting a form, visiting a page."""

from __future__ import annotations

import re
from typing import Any

from pydantic import AliasChoices, Field

from domain.operators import wildcard
from domain.steps.properties import Name, Patterns
from domain.steps.registry import Fact, Properties, Standing, decision


class FormSubmitted(Properties):
    forms: list[Name] = Field(default=[], description="Keys of forms, any of which will do; none: any form.")


@decision("form.submit", properties=FormSubmitted, events=["form.submitted"], reference="form.submit")
def form_submitted(properties: FormSubmitted, fact: Fact, standing: Standing) -> bool:
    """The contact submits one of the forms, or any form when none is named."""
    return not properties.forms or fact.data.get("form") in properties.forms


class PageHit(Properties):
    pages: Patterns = Field(default=[], description="Keys of pages; * and ? are wildcards.")
    url: Patterns = Field(
        default=[],
        description="Addresses, whole; * stands for anything and ? for one character. Without a scheme in "
        "the pattern, http, https and a slash at the end do not matter.",
    )
    referrer: Patterns = Field(
        default=[],
        # The misspelling of HTTP is how the reference engine, and many a person, writes it.
        validation_alias=AliasChoices("referrer", "referer"),
        description="Addresses the visit came from, written as for `url`.",
    )


@decision("page.hit", properties=PageHit, events=["page.hit"], reference="page.pagehit")
def page_hit(properties: PageHit, fact: Fact, standing: Standing) -> bool:
    """The contact visits a page that matches one of the rules, by page, url or referrer.

    Without any rule, any page will do.
    """
    if not (properties.pages or properties.url or properties.referrer):
        return True
    page = fact.data.get("page")
    return (
        (isinstance(page, str) and any(wildcard(pattern).match(page.casefold()) for pattern in properties.pages))
        or _visited(properties.url, fact.data.get("url"))
        or _visited(properties.referrer, fact.data.get("referrer"))
    )


_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//")


def _visited(patterns: list[str], address: Any) -> bool:
    if not patterns or not isinstance(address, str) or not address:
        return False
    full = address.strip().casefold()
    bare = _SCHEME.sub("", full, count=1) if _SCHEME.match(full) else full
    bare = bare.removesuffix("/")
    for pattern in patterns:
        matches = wildcard(pattern).match
        if "://" in pattern:
            if matches(full):
                return True
        # With the slash as well, or `example.com/*` would miss example.com/ itself.
        elif matches(bare) or matches(bare + "/"):
            return True
    return False
