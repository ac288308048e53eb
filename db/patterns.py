"""What is searched for, as a pattern of LIKE."""


def beginning(text: str) -> str:
    """Return the pattern of texts that begin with one, every sign of which stands for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def containing(text: str) -> str | None:
    """Return the pattern of texts that contain one; None for nothing to search for."""
    return f"%{beginning(text)}" if text else None
