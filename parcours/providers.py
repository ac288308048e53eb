"""Everything that a package needs to define a provider.

A provider is a subclass of `Provider`. The package names it in an entry point of the group `parcours.providers`. It
receives batches of `Mail` (email), `Note` (sms, push) or `Call` (webhook) and returns one result per message.
"""

from __future__ import annotations

from parcours.domain.messages.results import Bounced, GaveUp, Result, Retry, Sent
from parcours.workers.delivery.payloads import Call, Note
from parcours.workers.delivery.provider import (
    ForgedError,
    IncomingRequest,
    Provider,
    ProviderOptions,
    Reported,
    Setup,
)
from parcours.workers.delivery.render import Mail

__all__ = [
    "Bounced",
    "Call",
    "ForgedError",
    "GaveUp",
    "IncomingRequest",
    "Mail",
    "Note",
    "Provider",
    "ProviderOptions",
    "Reported",
    "Result",
    "Retry",
    "Sent",
    "Setup",
]
