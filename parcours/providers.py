"""Providers of channels in other packages: everything that their module imports.

A provider is a subclass of `Provider`, named by an entry point of the group `parcours.providers`. It gets batches of
`Mail` (email), `Note` (sms, push) or `Call` (webhook) and returns one result for each message.
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
