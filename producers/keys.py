"""Keys as people type them."""

from domain.errors import CampaignError
from producers.contact_files import KEY_LENGTH


def checked_key(what: str, key: str) -> str:
    """Return a key without blanks around it; raises CampaignError for one that cannot be a key."""
    trimmed = key.strip()
    if not trimmed:
        raise CampaignError(f"the key of a {what} cannot be blank")
    if "\0" in trimmed or len(trimmed) > KEY_LENGTH:
        raise CampaignError(f"the key of a {what} has at most {KEY_LENGTH} characters, and no NUL")
    return trimmed
