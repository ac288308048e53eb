"""What saving something under a key came to."""

from typing import Literal

Stored = Literal["created", "updated", "unchanged"]
