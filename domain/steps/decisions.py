"""Decisions on what a contact does: on a web site, with its device, by text message, or anything of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import AliasChoices, Field, field_validator

from parcours.domain.events.matching import PropertyTest, passes
from parcours.domain.events.reading import key_of
from parcours.domain.events.table import ABOUT_THE_CONTACT
from parcours.domain.operators import wildcard
from parcours.domain.steps.batch import Fact, Standing
from parcours.domain.steps.properties import Name, Patterns, Plain, without_scheme
from parcours.domain.steps.registry import decision
from parcours.domain.steps.types import Properties, RefersTo
from parcours.domain.steps.words import listed, named
from parcours.domain.urls import comparable


class FormSubmitted(Properties):
    forms: list[Name] = Field(default=[], description="Form keys; one match is enough. Default: any form.")


@decision(
    "form.submit",
    properties=FormSubmitted,
    events=["form.submitted"],
    refers_to={"forms": RefersTo.FORM},
    likely=10,
    reference="form.submit",
    summary=lambda asked: f"submits {named('form', 'forms', asked.forms)}" if asked.forms else "submits any form",
)
def form_submitted(properties: FormSubmitted, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact submits one of the forms, or any form if none is given."""
    return not properties.forms or fact.data.get("form") in properties.forms


class PageHit(Properties):
    pages: Patterns = Field(default=[], description="Page keys; * and ? are wildcards.")
    url: Patterns = Field(
        default=[],
        description="Patterns for the full URL; * matches anything and ? matches one character. If a pattern has no "
        "scheme, http, https and a trailing slash are ignored.",
    )
    referrer: Patterns = Field(
        default=[],
        # The misspelling of HTTP is how Mautic, and many a person, writes it.
        validation_alias=AliasChoices("referrer", "referer"),
        description="Patterns for the referrer, written as for `url`.",
    )


@decision(
    "page.hit",
    properties=PageHit,
    events=["page.hit"],
    likely=20,
    reference="page.pagehit",
    summary=lambda asked: (
        f"visits {listed([*asked.pages, *asked.url, *asked.referrer])}"
        if asked.pages or asked.url or asked.referrer
        else "visits any page"
    ),
)
def page_hit(properties: PageHit, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact visits a page that matches one of the rules (page, url or referrer).

    Without rules, any page matches.
    """
    if not (properties.pages or properties.url or properties.referrer):
        return True
    return (
        is_page(properties.pages, fact.data.get("page"))
        or visited(properties.url, fact.data.get("url"))
        or visited(properties.referrer, fact.data.get("referrer"))
    )


def is_page(patterns: list[str], page: Any) -> bool:
    """Return whether the key of a page matches one of some patterns."""
    return isinstance(page, str) and any(wildcard(pattern).match(page.casefold()) for pattern in patterns)


def visited(patterns: list[str], address: Any) -> bool:
    """Return whether an address matches one of some patterns, as the property `url` explains them."""
    if not patterns or not isinstance(address, str) or not address:
        return False
    full = comparable(address.strip())
    bare = without_scheme(full)
    for pattern in patterns:
        matches = _of_addresses(pattern).match
        if "://" in pattern:
            if matches(full):
                return True
        # With the slash as well, or `example.com/*` would miss example.com/ itself.
        elif matches(bare) or matches(bare + "/"):
            return True
    return False


@lru_cache(maxsize=4096)
def _of_addresses(pattern: str) -> re.Pattern[str]:
    return wildcard(comparable(pattern))


class PageDevice(Properties):
    device_type: Patterns = Field(
        default=[], description="Device types, such as desktop, mobile or tablet; one match is enough."
    )
    device_brand: Patterns = Field(default=[], description="Device brands; one match is enough.")
    device_os: Patterns = Field(default=[], description="Operating systems; one match is enough.")


@decision(
    "page.device",
    properties=PageDevice,
    events=["page.hit", "device.seen"],
    reference="page.devicehit",
    summary=lambda asked: "visits with a matching device",
)
def page_device(properties: PageDevice, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact visits a page, or is seen, with a matching device.

    All given criteria must match; within a criterion, one value is enough. Case is ignored. Without criteria, any
    device matches.
    """
    device = fact.data if fact.type == "device.seen" else fact.data.get("device")
    return is_device(properties, device if isinstance(device, Mapping) else {})


def is_device(properties: PageDevice, device: Mapping[str, Any]) -> bool:
    """Return whether a device has what is asked for: any value within a criterion, all criteria together."""
    # Source: Mautic 5 lets only the last criterion count, and wants all of its values
    # at once; users expect any value of each, and all criteria together.
    wanted = {
        "type": properties.device_type,
        "brand": properties.device_brand,
        "os": properties.device_os,
    }
    return all(_is_one_of(device.get(name), names) for name, names in wanted.items() if names)


def _is_one_of(value: Any, names: list[str]) -> bool:
    return isinstance(value, str) and value.strip().casefold() in {name.casefold() for name in names}


class AssetDownloaded(Properties):
    assets: list[Name] = Field(default=[], description="Asset keys; one match is enough. Default: any asset.")


@decision(
    "asset.download",
    properties=AssetDownloaded,
    events=["asset.downloaded"],
    reference="asset.download",
    summary=lambda asked: f"downloads {named('file', 'files', asked.assets)}" if asked.assets else "downloads any file",
)
def asset_downloaded(properties: AssetDownloaded, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact downloads one of the assets, or any asset if none is given."""
    return not properties.assets or fact.data.get("asset") in properties.assets


class SmsReplied(Properties):
    pattern: Plain = Field(
        default="",
        description="Pattern for the full text; case is ignored, * matches anything and ? matches one character. "
        "Default: any text.",
    )


@decision(
    "sms.reply",
    properties=SmsReplied,
    events=["sms.replied"],
    likely=5,
    reference="sms.reply",
    summary=lambda asked: (
        f"answers the text message with {asked.pattern}" if asked.pattern else "answers the text message"
    ),
)
def sms_replied(properties: SmsReplied, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact sends a text message that matches the pattern, if one is given.

    After a step that sends text messages, only replies received after a message from this campaign count.
    """
    # Source: Mautic 5 takes any text for an answer, also to what was never sent.
    answers = fact.data.get("answers")
    if answers is not None and standing.campaign.id not in answers and standing.campaign.texts_upstream(standing.step):
        return False
    pattern, text = properties.pattern.strip(), fact.data.get("text")
    return not pattern or (isinstance(text, str) and wildcard(pattern).match(text.strip().casefold()) is not None)


class EventHappened(Properties):
    type: Name = Field(description="Event type, such as order.paid; * matches anything.")
    where: list[PropertyTest] = Field(
        default=[], description="Tests of the event's properties; all must pass. Default: any event of this type."
    )
    key: Name | None = Field(
        default=None,
        description="Name of a property in the event's data that must hold the key of the run, such as cart_id; none: "
        "the event counts for every run of the contact.",
    )

    @field_validator("type")
    @classmethod
    def _can_be_waited_for(cls, type_: str) -> str:
        if type_ in ABOUT_THE_CONTACT:
            raise ValueError(f"{type_} changes contact data and is not an activity; decisions cannot wait for it")
        return type_


def _types_of(properties: EventHappened) -> frozenset[str]:
    return frozenset([properties.type])


@decision(
    "event.happened",
    properties=EventHappened,
    events=_types_of,
    run_key="key",
    summary=lambda asked: f"the event {asked.type} happens",
)
def event_happened(properties: EventHappened, fact: Fact, standing: Standing) -> bool:
    """Waits for a custom event of the contact whose properties pass the tests.

    Date tests use UTC days, relative to the time of the event. A test fails if its regular expression takes too long.
    """
    if properties.key is not None and standing.run_key != (key_of(fact.data, properties.key) or ""):
        return False
    return passes(properties.where, fact)
