"""Files of email templates: YAML, checked as a whole before anything is stored."""

from pathlib import Path

from db.emails import Email
from producers.documents import Document, Places, Problem, mappings, sort

PROPERTIES = ("key", "subject", "html", "text", "from", "category", "published")


def read(paths: list[Path]) -> tuple[list[Email], list[Problem]]:
    """Return the templates of some files, and everything that is wrong in any of them.

    Raises OSError when a file cannot be opened.
    """
    emails: list[Email] = []
    problems: list[Problem] = []
    places = Places()
    for path, node in mappings(paths, problems, "an email is a mapping: key, subject, …"):
        document = Document(path, node, problems, kind="email", key_name="key", known=PROPERTIES)
        places.check(document)
        email = _email(document)
        if email is not None:
            emails.append(email)
    sort(problems, paths)
    return emails, problems


def _email(document: Document) -> Email | None:
    """Return the template of a mapping, or None when something is wrong with it, which is noted."""
    subject, html, text = (document.text(name, liquid=True) for name in ("subject", "html", "text"))
    sender, category = document.text("from"), (document.text("category") or "").strip()
    published = document.flag("published", default=True)
    if not subject:
        document.note(document.node, "has no subject")
    if not html and not text:
        document.note(document.node, "has neither html nor text")
    if not document.is_right or document.key is None or subject is None:
        return None
    return Email(document.key, subject, html, text, sender, published, category or None)
