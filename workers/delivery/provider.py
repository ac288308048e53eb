"""What a provider of a channel is. Other packages add some; `parcours.providers` shows them what is here.

A provider is one class: `send` hands messages to the outside, and `parse` understands the provider's own webhooks,
where it reports back. It is found by an entry point of the group `parcours.providers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from parcours.domain.messages.results import Result

M = TypeVar("M")


class ProviderOptions(BaseModel):
    """Base class of a provider's options. Each field is a setting `PARCOURS_PROVIDER_NAME_FIELD`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Setup:
    """The argument of a provider's constructor."""

    # The channel that it is to serve, of those that its class names.
    channel: str
    # Checked; of the class that the provider names.
    options: Any
    # A folder that is ours.
    home: Path
    # The host of our public URL, and the sender of emails that name none.
    host: str
    mail_from: str
    # Where the provider's webhooks reach us.
    inbound_url: str


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A request from a provider, unchanged."""

    # As the provider knows it: our public URL, the path and the query.
    url: str
    # Names in small letters.
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reported:
    """An event that a provider reports about a contact.

    The contact is found by the first of these that is given: `message` (the key that `send` received), `contact`,
    `email`, `phone`. If the provider's `id` is given, a repeated report changes nothing.
    """

    type: str
    message: str | None = None
    contact: str | None = None
    email: str | None = None
    phone: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    time: datetime | None = None


class ForgedError(Exception):
    """Raise it in `parse` if the signature of a request is missing or wrong. The response is 401."""


class Provider(Generic[M]):
    """Base class of providers, for one channel or several. An instance is used by one thread at a time.

    Connect in `send`, not in the constructor, with a timeout of some seconds.
    """

    # Of email, sms, push and webhook.
    channels: ClassVar[frozenset[str]] = frozenset()
    options: ClassVar[type[ProviderOptions]] = ProviderOptions
    # Messages of one call of `send`.
    at_once: ClassVar[int] = 1
    # Whether messages stay here, in files that go when their contact is erased.
    to_files: ClassVar[bool] = False
    # Connections of a process; None: as PARCOURS_DELIVERY_CONNECTIONS says.
    connections: ClassVar[int | None] = None

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def send(self, batch: Sequence[M]) -> list[Result]:
        """Pass messages to the provider and return one result per message, in the same order.

        The results are stored before the next call. If a worker dies, at most one batch is sent again, with the same
        keys. An exception is a failed attempt of the message; after exceptions for several messages in a row, the
        provider counts as unavailable.
        """
        raise NotImplementedError

    def parse(self, request: IncomingRequest) -> Iterable[Reported]:
        """Check the signature of a request and return the events that it reports.

        Several threads may call this at the same time. Raises ForgedError for a wrong signature, and ValueError for a
        request that cannot be parsed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection. `send` may be called again later."""

    @classmethod
    def reports_back(cls) -> bool:
        """Return whether requests of the provider can be understood."""
        return cls.parse is not Provider.parse
