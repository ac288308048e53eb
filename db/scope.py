"""What a sweep is limited to: campaigns, contacts, kinds of waits."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal["kickoff", "delay", "retry", "decision"]


class Scope(BaseModel):
    """The options of `update` and `trigger`, with names turned into ids; stored with the sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign_ids: tuple[int, ...] | None = None
    excluded: tuple[int, ...] = ()
    contact_ids: tuple[int, ...] | None = None
    min_id: int | None = None
    max_id: int | None = None
    thread: int | None = None
    threads: int | None = None
    reasons: tuple[Reason, ...] | None = None
    # Contacts of one batch; None: the setting.
    batch_limit: int | None = None
    # Contacts of one campaign in this sweep.
    campaign_limit: int | None = None

    @property
    def is_partial(self) -> bool:
        """Whether it leaves out contacts of its campaigns, by name, by share or by number."""
        limits = (self.contact_ids, self.min_id, self.max_id, self.threads, self.campaign_limit)
        return any(each is not None for each in limits)

    def contacts(self) -> dict[str, Any]:
        """Return the parameters by which statements restrict contacts."""
        return {
            "ids": None if self.contact_ids is None else list(self.contact_ids),
            "min_id": self.min_id,
            "max_id": self.max_id,
            "thread": self.thread,
            "threads": self.threads,
        }

    def waits(self) -> dict[str, Any]:
        """Return the parameters by which statements restrict waits."""
        return {**self.contacts(), "reasons": None if self.reasons is None else list(self.reasons)}
