"""The providers that come with Parcours, registered in just the way another package's would be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from parcours.domain.messages.results import Result
from parcours.workers.delivery import smtp_connection
from parcours.workers.delivery.payloads import Call, Note
from parcours.workers.delivery.provider import Provider, ProviderOptions, Setup
from parcours.workers.delivery.providers.files import NoteFiles
from parcours.workers.delivery.providers.smtp import MailFiles, Sender, SmtpProvider
from parcours.workers.delivery.render import Mail

if TYPE_CHECKING:
    from parcours.workers.delivery.providers.http import Gateway
    from parcours.workers.delivery.providers.webhook import WebhookProvider


class SmtpOptions(ProviderOptions):
    """Where the mail server is."""

    url: str


class Smtp(Provider[Mail]):
    """Emails by SMTP."""

    channels = frozenset({"email"})
    options = SmtpOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._server = SmtpProvider(smtp_connection.parse(setup.options.url), Sender(setup.host, setup.mail_from))

    def send(self, batch: Sequence[Mail]) -> list[Result]:
        return self._server.send(batch)

    def close(self) -> None:
        self._server.close()


class Files(Provider[Any]):
    """Messages as files below the home, in place of sending them."""

    channels = frozenset({"email", "sms", "push"})
    at_once = 200
    connections = 1
    to_files = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        folder = setup.home / ("mail" if setup.channel == "email" else setup.channel)
        sender = Sender(setup.host, setup.mail_from)
        self._files: MailFiles | NoteFiles = (
            MailFiles(folder, sender) if setup.channel == "email" else NoteFiles(folder)
        )

    def send(self, batch: Sequence[Any]) -> list[Result]:
        return self._files.send(batch)


class GatewayOptions(ProviderOptions):
    """Where messages are posted to."""

    url: str

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("write it like https://host/path")
        return value


class HttpGateway(Provider[Note]):
    """Text messages and notifications by `POST` of JSON."""

    channels = frozenset({"sms", "push"})
    options = GatewayOptions

    @cached_property
    def _gateway(self) -> Gateway:
        # Here, since what talks HTTP takes megabytes, and most processes send none.
        from parcours.workers.delivery.providers.http import Gateway

        return Gateway(self.setup.options.url)

    def send(self, batch: Sequence[Note]) -> list[Result]:
        return self._gateway.send(batch)

    def close(self) -> None:
        if (made := self.__dict__.pop("_gateway", None)) is not None:
            made.close()


class WebhookOptions(ProviderOptions):
    """What signs webhooks, and where they may go."""

    secret: str
    allow_private: bool = False


class SignedWebhook(Provider[Call]):
    """Calls of the web addresses that campaigns name."""

    channels = frozenset({"webhook"})
    options = WebhookOptions

    @cached_property
    def _calls(self) -> WebhookProvider:
        # Here, since what talks HTTP takes megabytes, and most processes call nobody.
        from parcours.workers.delivery.providers.webhook import WebhookProvider

        return WebhookProvider(self.setup.options.secret, allow_private=self.setup.options.allow_private)

    def send(self, batch: Sequence[Call]) -> list[Result]:
        return self._calls.send(batch)

    def close(self) -> None:
        if (made := self.__dict__.pop("_calls", None)) is not None:
            made.close()
