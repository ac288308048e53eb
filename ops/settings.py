"""The environment, read once by the entry point and passed down from there."""

import difflib
import logging
import os
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from parcours.domain.contacts.identity import country, timezone
from parcours.domain.invalid_values import why_invalid

if TYPE_CHECKING:
    from parcours.domain.campaign import StopRule

PREFIX = "PARCOURS_"
# Settings of providers, which know them themselves, go on with the provider's name.
PROVIDER_PREFIX = "PARCOURS_PROVIDER_"


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message says which and what to do."""


class Settings(BaseModel):
    """All settings with their defaults. The variable of a field is `PARCOURS_` and its name in capitals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(Path(".parcours"), description="Folder for the embedded database and for mail written to files.")
    database_url: str | None = Field(
        None, description="URL of the database, PostgreSQL 15 or newer. Default: the embedded server."
    )
    broker_url: str | None = Field(
        None, description="URL of the broker: redis://… or amqp://…. Default: inside the process."
    )
    events_url: str | None = Field(None, description="kombu URL of the contact events queue. Default: the broker.")
    email_provider: str | None = Field(
        None, description="Provider for emails. Default: `smtp` if `PARCOURS_SMTP_URL` is set, else `files`."
    )
    sms_provider: str | None = Field(
        None, description="Provider for text messages. Default: `gateway` if `PARCOURS_SMS_URL` is set, else `files`."
    )
    push_provider: str | None = Field(
        None,
        description="Provider for push notifications. Default: `gateway` if `PARCOURS_PUSH_URL` is set, else `files`.",
    )
    webhook_provider: str | None = Field(None, description="Provider for webhooks. Default: `webhook`.")
    smtp_url: str | None = Field(
        None, description="URL of the mail server. Default: mail is written to files in the home folder."
    )
    mail_from: str | None = Field(
        None, description="Sender of emails that have none. Default: parcours@ and the public host."
    )
    sms_url: str | None = Field(None, description="URL that text messages are posted to. Default: written to files.")
    push_url: str | None = Field(
        None, description="URL that push notifications are posted to. Default: written to files."
    )
    webhook_secret: str | None = Field(
        None, description="Secret that signs webhooks. Default: derived from the secret key."
    )
    webhook_allow_private: bool = Field(
        False, description="Whether webhooks can call private, loopback and link-local addresses."
    )
    email_per_second: float | None = Field(None, gt=0, description="Maximum emails per second, all workers together.")
    sms_per_second: float | None = Field(
        None, gt=0, description="Maximum text messages per second, all workers together."
    )
    push_per_second: float | None = Field(
        None, gt=0, description="Maximum push notifications per second, all workers together."
    )
    webhook_per_second: float | None = Field(
        None, gt=0, description="Maximum webhooks per second, all workers together."
    )
    delivery_connections: int = Field(
        4, ge=1, le=64, description="Simultaneous connections of one process to a provider."
    )
    delivery_lease_seconds: float = Field(
        120, ge=5, le=3600, description="Seconds after which another worker sends the messages of a dead worker."
    )
    secret_key: str | None = Field(
        None, description="Secret that signs links and sessions. Default: generated once and stored in the database."
    )
    public_url: str = Field(
        "http://127.0.0.1:8080",
        description="Public base URL of this installation, used in links to contacts. "
        "`parcours up` on this machine uses its own address if it is unset.",
    )
    default_timezone: str = Field("UTC", description="Timezone of contacts without one.")
    unknown_contacts: Literal["create", "reject"] = Field(
        "create", description="Whether an event of an unknown contact creates the contact or is rejected."
    )
    trusted_proxies: str | None = Field(
        None,
        description="Comma-separated addresses or networks of proxies in front of `web`, whose X-Forwarded-For is "
        "trusted. The limit on connections per source does not apply to them.",
    )
    forms_per_minute: int = Field(60, ge=1, description="Maximum form submissions per minute from one network address.")
    hits_per_minute: int = Field(600, ge=1, description="Maximum page hits per minute from one network address.")
    shared_addresses: Literal["reject", "allow"] = Field(
        "reject", description="Whether several contacts can have the same email address."
    )
    default_country: str | None = Field(
        None, description="Two-letter country, such as FR, for phone numbers without a country code."
    )
    max_inbox: int = Field(
        100_000, ge=1, description="Number of events in the inbox at which consumers pause and HTTP returns 429."
    )
    max_body_bytes: int = Field(
        5_000_000, ge=1, description="Maximum size of an HTTP request in bytes; larger requests get 413."
    )
    health_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="Port for health and metrics of `worker`, `tick` and `consume`. Default: not served.",
    )
    health_host: str = Field("127.0.0.1", description="Address for the health port to listen on.")
    log_format: Literal["json", "console"] | None = Field(
        None, description="Log format. Default: console on a terminal, else json."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest log level to write.")
    stop_share: float = Field(
        0.35,
        gt=0,
        le=1,
        description="Share of a step's recent contacts that must fail for the campaign to stop itself.",
    )
    stop_contacts: int = Field(100, ge=1, description="Number of contacts that must also have failed.")
    stop_minutes: int = Field(60, ge=1, le=44_640, description="Period in minutes that counts as recent.")
    batch_size: int = Field(4000, ge=1, le=20_000, description="Maximum number of contacts per batch.")

    _provider_options: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("write it like https://host/path")
        return value

    @field_validator("default_timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        return timezone(value)

    @field_validator("default_country")
    @classmethod
    def _known_country(cls, value: str | None) -> str | None:
        return None if value is None else country(value)

    @property
    def provider_options(self) -> dict[str, str]:
        """What is set with names of `PROVIDER_PREFIX`, by name."""
        return self._provider_options

    @property
    def zone(self) -> ZoneInfo:
        """The timezone of contacts who have none."""
        return ZoneInfo(self.default_timezone)

    @property
    def stop_rule(self) -> "StopRule":
        """When a campaign stops itself."""
        # Most commands read settings and no campaign.
        from parcours.domain.campaign import StopRule

        return StopRule(self.stop_contacts, self.stop_share, timedelta(minutes=self.stop_minutes))

    @property
    def events_broker_url(self) -> str | None:
        """Where contact events come from: `events_url`, else the broker."""
        return self.events_url or self.broker_url


def read_settings() -> Settings:
    """Read the settings from the environment and `.env`; the case of names is ignored.

    An empty value means the default. Raises SettingsError for an unknown name, so that a misspelt variable is not
    ignored, and for an invalid value.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name.upper(): (name, value) for name, value in (*_of_env_file(Path(".env")).items(), *os.environ.items())}
    ours = {name: said for name, said in sorted(given.items()) if name.startswith(PREFIX)}
    for name, (spelled, _value) in ours.items():
        if name not in known and not name.startswith(PROVIDER_PREFIX):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"unknown setting {spelled}{hint}")
    values = {name: value for name, (_spelled, value) in ours.items() if value}
    try:
        settings = Settings.model_validate(
            {name.removeprefix(PREFIX).lower(): value for name, value in values.items() if name in known}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {why_invalid(first, show=False)}") from None
    settings.provider_options.update(
        {name: value for name, value in values.items() if name.startswith(PROVIDER_PREFIX)}
    )
    return settings


def _of_env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    # Here, since most processes have no such file.
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        # Editors of Windows begin a file with a mark, which would become part of the first name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    for line in parse_stream(StringIO(text)):
        # What other programs write into the same file is for them to understand.
        if line.error and PREFIX in line.original.string.upper():
            raise SettingsError(
                f"{path}:{line.original.line}: this line cannot be read; write NAME=value, or NAME='value' "
                "with both quotes on the same line"
            )
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}
