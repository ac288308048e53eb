"""Which provider serves which channel, by the settings; found by entry points of the group `parcours.providers`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from parcours.domain.errors import CampaignError
from parcours.domain.gate import clean
from parcours.domain.invalid_values import why_invalid
from parcours.ops.settings import PREFIX, PROVIDER_PREFIX, Settings
from parcours.workers.delivery.provider import Provider, ProviderOptions, Setup

GROUP = "parcours.providers"
CHANNELS = ("email", "sms", "push", "webhook")
# A name is part of a setting and of an address.
_NAME = re.compile(r"[a-z][a-z0-9_]*")
SHOWN = 200


class UnusableProviderError(CampaignError):
    """The provider of a channel cannot be used; its messages wait. The sentence says why and what to do."""


def chosen(settings: Settings, channel: str) -> str:
    """Return the name of the provider of a channel: the one set, else the one that other settings imply."""
    named: str | None = getattr(settings, f"{channel}_provider")
    if named is not None:
        return named
    if channel == "webhook":
        return "webhook"
    if channel == "email":
        return "files" if settings.smtp_url is None else "smtp"
    return "files" if getattr(settings, f"{channel}_url") is None else "gateway"


def provider_class(channel: str, name: str) -> type[Provider[Any]]:
    """Return the class of a provider. Raises UnusableProviderError when it does not exist or serve the channel."""
    setting = f"{PREFIX}{channel.upper()}_PROVIDER"
    point = _entry_points().get(name)
    if point is None:
        known = sorted(_entry_points())
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"install its package, or choose one of {_usable_for(channel)}"
        raise UnusableProviderError(f"{setting}: there is no provider {name!r}; {hint}")
    try:
        found = point.load()
    # Another package's code, which may raise anything, and even end the process.
    except (Exception, SystemExit) as error:
        raise UnusableProviderError(
            f"the package of the provider {name!r} cannot be imported ({_short(error)}); "
            f"fix it, or set {setting} to another provider"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Provider) and _NAME.fullmatch(name)):
        raise UnusableProviderError(
            f"the entry point {name!r} ({point.value}) must have a lowercase name and refer to a subclass of "
            "parcours.providers.Provider"
        )
    if channel not in found.channels:
        served = ", ".join(sorted(found.channels)) or "no channel"
        raise UnusableProviderError(
            f"{setting}: the provider {name!r} supports {served}; choose one that supports {channel}"
        )
    return found


def _usable_for(channel: str) -> str:
    """Return the names of the providers that can serve a channel, as a person reads them."""
    return ", ".join(name for name in sorted(_entry_points()) if _serves(channel, name))


def _serves(channel: str, name: str) -> bool:
    try:
        provider_class(channel, name)
    except UnusableProviderError:
        return False
    return True


def make(settings: Settings, channel: str, *, signing: str) -> Provider[Any]:
    """Return a new connection of a channel's provider; `signing` is the secret of webhooks.

    Raises UnusableProviderError, whatever the provider raises.
    """
    name = chosen(settings, channel)
    found = provider_class(channel, name)
    own = _own(settings, channel, name, signing)
    options = {option: value for option, (_, value) in own.items() if value is not None}
    options |= _given(settings, name)
    try:
        checked = found.options(**options)
    except ValidationError as error:
        names = {option: setting for option, (setting, _) in own.items()}
        raise UnusableProviderError(_all_wrong(error, found.options, names, prefix_of(name))) from None
    host = urlsplit(settings.public_url).hostname or "localhost"
    setup = Setup(
        channel=channel,
        options=checked,
        home=settings.home,
        host=host,
        mail_from=settings.mail_from or f"parcours@{host}",
        inbound_url=f"{settings.public_url.rstrip('/')}/inbound/providers/{name}",
    )
    try:
        return found(setup)
    except CampaignError as error:
        raise UnusableProviderError(str(error)) from error
    except (Exception, SystemExit) as error:
        raise UnusableProviderError(
            f"the provider {name!r} cannot be used ({_short(error)}); check its documentation and its settings "
            f"{prefix_of(name)}…"
        ) from error


def _all_wrong(error: ValidationError, options: type[ProviderOptions], own: Mapping[str, str], prefix: str) -> str:
    """Return what is wrong with the options of a provider, all of it; `own` has settings that have other names."""
    settings_by_fault: dict[str, list[str]] = {}
    known = ", ".join(own.get(each, f"{prefix}{each.upper()}") for each in options.model_fields)
    for each in error.errors(include_input=False):
        option = str(each["loc"][0]) if each["loc"] else ""
        says = {
            "missing": "required",
            "extra_forbidden": f"unknown option; known options: {known or 'none'}",
        }.get(each["type"], why_invalid(each, show=False))
        settings_by_fault.setdefault(says, []).append(own.get(option, f"{prefix}{option.upper()}"))
    faults = []
    for says, settings in settings_by_fault.items():
        required = "this setting is required" if len(settings) == 1 else "these settings are required"
        faults.append(f"{', '.join(settings)}: {required if says == 'required' else says}")
    # What says what to do after a semicolon comes last.
    return " and ".join(sorted(faults, key=lambda fault: ";" in fault))


def prefix_of(name: str) -> str:
    """Return how the settings of a provider begin."""
    return f"{PROVIDER_PREFIX}{name.upper()}_"


def unclaimed(settings: Settings) -> list[str]:
    """Return the settings of providers that no channel uses."""
    used = {chosen(settings, channel) for channel in CHANNELS}
    return sorted(name for name in settings.provider_options if _whose(name) not in used)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _whose(setting: str) -> str | None:
    """Return the provider that a setting belongs to: of two whose names begin alike, the longer name."""
    return max((name for name in _entry_points() if setting.startswith(prefix_of(name))), key=len, default=None)


def _given(settings: Settings, name: str) -> dict[str, str]:
    return {
        setting.removeprefix(prefix_of(name)).lower(): value
        for setting, value in settings.provider_options.items()
        if _whose(setting) == name
    }


def _own(settings: Settings, channel: str, name: str, signing: str) -> Mapping[str, tuple[str, Any]]:
    """Return options that have settings of their own, each with the setting's name."""
    match name:
        case "smtp":
            return {"url": (f"{PREFIX}SMTP_URL", settings.smtp_url)}
        case "gateway" if channel in ("sms", "push"):
            return {"url": (f"{PREFIX}{channel.upper()}_URL", getattr(settings, f"{channel}_url"))}
        case "webhook":
            return {
                "secret": (f"{PREFIX}WEBHOOK_SECRET", signing),
                "allow_private": (f"{PREFIX}WEBHOOK_ALLOW_PRIVATE", settings.webhook_allow_private),
            }
    return {}


def _short(error: BaseException) -> str:
    line = clean((str(error).splitlines() or [""])[0])[:SHOWN]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
