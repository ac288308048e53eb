"""Errors that a retry cannot fix."""


class CampaignError(Exception):
    """Base class of errors that a retry cannot fix.

    The message is one sentence that says what to do. Workers do not retry; the command prints the message without a
    traceback and exits with 1.
    """


# What to do, where nobody knows better.
_HINTS = {
    "contact": "check the key or the email address",
    "email": "check the key",
    "segment": "run `parcours segments list` to see all segments",
}


class NotFoundError(CampaignError):
    """Something was named that does not exist."""

    def __init__(self, what: str, key: str, hint: str = "") -> None:
        hint = hint or _HINTS.get(what, "")
        self.what_is_missing = f"there is no {what} {key!r}"
        super().__init__(f"{self.what_is_missing}{'; ' + hint if hint else ''}")
        self.what = what
        self.key = key


class UnknownStepError(CampaignError):
    """A wait points at a step that its campaign's tree does not have."""

    def __init__(self, campaign_id: int, step_id: int) -> None:
        super().__init__(f"campaign {campaign_id} has no step {step_id}")
        self.campaign_id = campaign_id
        self.step_id = step_id


class UnreadableCampaignError(CampaignError):
    """A stored campaign cannot be read by this process, which sets it aside; others may read it.

    `why` is the reason alone.
    """

    def __init__(self, sentence: str, why: str = "") -> None:
        super().__init__(sentence)
        self.why = why or sentence
