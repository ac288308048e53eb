"""`parcours users`: accounts for the pages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db import passwords
from parcours.db.tables import users
from parcours.db.tables.users import LEAST_PASSWORD, MOST_PASSWORD, Role, User
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import CampaignError, NotFoundError

app = typer.Typer(no_args_is_help=True, help="Create, list and disable accounts, and change passwords.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email address used to sign in.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    email: Email,
    role: Annotated[
        Role, typer.Option(help="viewer: read; editor: read and change campaigns; admin: everything.")
    ] = "editor",
    name: Annotated[str | None, typer.Option(help="Display name (default: the email address).")] = None,
    password_stdin: FromStdin = False,
) -> None:
    """Create an account. Prompts twice for the password."""
    here = session()
    email = _address(email)
    name = email if name is None else name.strip()
    if not name or "\0" in name:
        raise CampaignError("the name of a user cannot be blank; omit --name to use the email address")
    engine = here.engine
    password_hash = passwords.hashed(_password(password_stdin))
    with engine.begin() as conn:
        user = users.create(conn, email, name=name, role=role, password_hash=password_hash)
    if user is None:
        raise CampaignError(f"user {email!r} already exists; use `parcours users password` to change the password")
    here.say(f"{user.email} can sign in as {user.role}.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List accounts, including disabled ones."""
    here = session()
    with here.engine.connect() as conn:
        found = users.listing(conn)
    if as_json:
        here.print_json([each._asdict() for each in found])
        return
    here.print_table(
        "", ("email", "name", "role", "active"), [(each.email, each.name, each.role, each.active) for each in found]
    )


@app.command()
def disable(email: Email) -> None:
    """Disable an account and end its sessions."""
    user = _set_active(email, False)
    session().say(f"{user.email} can no longer sign in.")


@app.command()
def enable(email: Email) -> None:
    """Enable a disabled account."""
    user = _set_active(email, True)
    session().say(f"{user.email} can sign in.")


@app.command()
def password(email: Email, password_stdin: FromStdin = False) -> None:
    """Change a password and end the account's sessions."""
    here = session()
    engine = here.engine
    new_hash = passwords.hashed(_password(password_stdin))
    with engine.begin() as conn:
        user = _found(users.set_password(conn, email.strip(), new_hash), email)
    here.say(f"Changed the password of {user.email}.")


def _set_active(email: str, active: bool) -> User:
    with session().begin() as conn:
        return _found(users.set_active(conn, email.strip(), active), email)


def _found(user: User | None, email: str) -> User:
    if user is None:
        raise NotFoundError("user", email.strip(), "run `parcours users list` to see all users")
    return user


def _address(email: str) -> str:
    email = email.strip()
    if not is_address(email):
        raise CampaignError(f"{email!r} is not an email address")
    return email


def _password(from_stdin: bool) -> str:
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise CampaignError("cannot prompt for a password: not a terminal; use --password-stdin")
    if not LEAST_PASSWORD <= len(given) <= MOST_PASSWORD:
        raise CampaignError(f"a password must have {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    return str(given)
