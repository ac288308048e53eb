"""The environment, read once by the entry point and passed down from there."""

import difflib
import os
from datetime import timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from parcours.domain.campaign import StopRule
from parcours.domain.contacts.identity import country, timezone

PREFIX = "PARCOURS_"
# Settings of providers, which know them themselves, go on with the provider's name.
PROVIDER_PREFIX = "PARCOURS_PROVIDER_"


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message says which and what to do."""


class Settings(BaseSettings):
    """Every setting, with its default. Variables are named `PARCOURS_` + the field in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path(".parcours"), description="Folder of the embedded database and of mail written to files.")
    database_url: str | None = Field(None, description="PostgreSQL 15 or newer; unset: the embedded server.")
    broker_url: str | None = Field(None, description="redis://… or amqp://…; unset: inside the process.")
    events_url: str | None = Field(None, description="kombu URL of contact events; default: the broker's.")
    email_provider: str | None = Field(
        None, description="Who sends emails; unset: `smtp` with `PARCOURS_SMTP_URL`, else `files`."
    )
    sms_provider: str | None = Field(
        None, description="Who sends text messages; unset: `gateway` with `PARCOURS_SMS_URL`, else `files`."
    )
    push_provider: str | None = Field(
        None, description="Who sends notifications; unset: `gateway` with `PARCOURS_PUSH_URL`, else `files`."
    )
    webhook_provider: str | None = Field(None, description="Who calls web addresses; unset: `webhook`.")
    smtp_url: str | None = Field(None, description="Unset: mail is written to files below the home.")
    mail_from: str | None = Field(None, description="Sender of emails without one; unset: parcours@ the public host.")
    sms_url: str | None = Field(None, description="Text messages are posted here; unset: written to files.")
    push_url: str | None = Field(None, description="Notifications are posted here; unset: written to files.")
    webhook_secret: str | None = Field(None, description="Signs webhooks; unset: made of the secret key.")
    webhook_allow_private: bool = Field(False, description="Whether webhooks may call addresses inside a network.")
    email_per_second: float | None = Field(None, gt=0, description="Emails a second, all workers together.")
    sms_per_second: float | None = Field(None, gt=0, description="Text messages a second, all workers together.")
    push_per_second: float | None = Field(None, gt=0, description="Notifications a second, all workers together.")
    webhook_per_second: float | None = Field(None, gt=0, description="Webhooks a second, all workers together.")
    delivery_connections: int = Field(
        4, ge=1, le=64, description="Connections of one process to a provider, used at the same time."
    )
    delivery_lease_seconds: float = Field(
        120, ge=5, le=3600, description="After so long, what a dead worker was sending is sent by another."
    )
    secret_key: str | None = Field(None, description="Signs links and sessions; unset: made once, in the database.")
    public_url: str = Field("http://127.0.0.1:8080", description="Where contacts reach our pages.")
    default_timezone: str = Field("UTC", description="Timezone of contacts who have none.")
    unknown_contacts: Literal["create", "reject"] = Field(
        "create", description="What an event of an unknown contact does."
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses or networks of proxies before `web`, with commas; they say whom a request is from, and "
        "no share of connections limits them.",
    )
    forms_per_minute: int = Field(60, ge=1, description="Form submissions of one network address in a minute.")
    hits_per_minute: int = Field(600, ge=1, description="Page hits from one network address in a minute.")
    shared_addresses: Literal["reject", "allow"] = Field(
        "reject", description="Whether several contacts may have one email address."
    )
    default_country: str | None = Field(
        None, description="Two letters, such as FR: how phone numbers without a country code are read."
    )
    max_inbox: int = Field(100_000, ge=1, description="Events in the inbox at which consumers pause and HTTP says 429.")
    max_body_bytes: int = Field(5_000_000, ge=1, description="Bytes of one HTTP request at which the answer is 413.")
    health_port: int | None = Field(
        None, ge=1, le=65_535, description="Health and metrics of `worker`, `tick` and `consume`; unset: not served."
    )
    health_host: str = Field("127.0.0.1", description="Address that `health_port` is bound to.")
    log_format: Literal["json", "console"] | None = Field(
        None, description="Default: console on a terminal, else json."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lines below this level are not written."
    )
    stop_share: float = Field(
        0.35,
        gt=0,
        le=1,
        description="Share of a step's contacts that failed lately at which its campaign stops itself.",
    )
    stop_contacts: int = Field(100, ge=1, description="So many contacts must have failed as well.")
    stop_minutes: int = Field(60, ge=1, le=44_640, description="How long ago still counts as lately.")
    batch_size: int = Field(4000, ge=1, le=20_000, description="Most contacts of one unit of work.")

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
    def stop_rule(self) -> StopRule:
        """When a campaign stops itself."""
        return StopRule(self.stop_contacts, self.stop_share, timedelta(minutes=self.stop_minutes))

    @property
    def events_broker_url(self) -> str | None:
        """Where contact events come from: `events_url`, else the broker."""
        return self.events_url or self.broker_url


def read_settings() -> Settings:
    """Return the settings of this process's environment and `.env`.

    Raises SettingsError for a name that we do not know, so that a misspelt variable
    is not silently ignored, and for a value that does not fit.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted({*os.environ, *_names_in_env_file(Path(".env"))}):
        if name.startswith(PREFIX) and name not in known and not name.startswith(PROVIDER_PREFIX):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"unknown setting {name}{hint}")
    try:
        settings = Settings()
        settings.provider_options.update(_provider_options())
        return settings
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


def _provider_options() -> dict[str, str]:
    found = {**dotenv_values(".env", encoding="utf-8"), **os.environ}
    return {name: value for name, value in found.items() if name.startswith(PROVIDER_PREFIX) and value}


def _names_in_env_file(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split("=", 1)[0].removeprefix("export ").strip() for line in lines if "=" in line]
