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
    """The options of a provider: each field is a setting `PARCOURS_PROVIDER_NAME_FIELD`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Setup:
    """What a provider is made with."""

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
    """A request that came in from a provider, exactly as it was sent."""

    # As the provider knows it: our public URL, the path and the query.
    url: str
    # Names in small letters.
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reported:
    """What a provider says that a contact, or a contact's telephone, did; it becomes an event of that contact.

    Whose it is, the first that is given says: our message key, the contact's key, an email address, or a phone
    number. With the provider's own `id`, the same report again changes nothing.
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
    """The signature of a request is missing or wrong. Raised by `parse`; the answer is 401."""


class Provider(Generic[M]):
    """A provider of one channel or several. An instance is one connection, used by one thread at a time.

    Making one must not connect: that is for `send`, which should give up waiting after some seconds.
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
        """Hand messages to the provider and return what became of each, in their order.

        What it returned is recorded before `send` is called again, so a worker that dies costs at most one
        batch done twice, under the same keys. Whatever this raises is that message's failure; when it raises for
        every message, the provider counts as away.
        """
        raise NotImplementedError

    def parse(self, request: IncomingRequest) -> Iterable[Reported]:
        """Check the signature of a request and return what it reports.

        Several threads call this at the same time. Raises ForgedError, or ValueError for a request that cannot be
        understood.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the connection; `send` may be called again later."""

    @classmethod
    def reports_back(cls) -> bool:
        """Return whether requests of the provider can be understood."""
        return cls.parse is not Provider.parse
