"""`parcours users`: accounts for the pages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import LEAST_PASSWORD, MOST_PASSWORD, Account, Role, User
from parcours.domain.contacts.identity import IdentityError, is_address
from parcours.domain.contacts.identity import timezone as known_timezone
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.gate import MAX_NAME

app = typer.Typer(no_args_is_help=True, help="Create, list, edit and disable accounts, and change passwords.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email address used to sign in.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Timezone = Annotated[
    str | None, typer.Option(help='Timezone in which pages show times; "" for that of the installation.')
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    email: Email,
    role: Annotated[
        Role, typer.Option(help="viewer: read; editor: read and change campaigns; admin: everything.")
    ] = "editor",
    name: Annotated[str | None, typer.Option(help="Display name (default: the email address).")] = None,
    timezone: Timezone = None,
    password_stdin: FromStdin = False,
) -> None:
    """Create an account. Prompts twice for the password."""
    here = session()
    email = _address(email)
    name = email if name is None else _name(name)
    zone = _timezone(timezone)
    engine = here.engine
    password_hash = passwords.hashed(_password(password_stdin))
    with engine.begin() as conn:
        user = users.create(
            conn, email, name=name, role=role, password_hash=password_hash, timezone=zone, now=database_now(conn)
        )
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
        "",
        ("email", "name", "role", "active", "timezone", "last sign-in"),
        [(each.email, each.name, each.role, each.active, each.timezone, _last_sign_in(each)) for each in found],
    )


@app.command()
def edit(
    email: Email,
    name: Annotated[str | None, typer.Option(help="Display name.")] = None,
    role: Annotated[
        Role | None, typer.Option(help="viewer: read; editor: read and change campaigns; admin: all.")
    ] = None,
    timezone: Timezone = None,
) -> None:
    """Change the name, role or timezone of an account."""
    if name is None and role is None and timezone is None:
        raise CampaignError("nothing to change; give --name, --role or --timezone")
    email, name, zone = email.strip(), None if name is None else _name(name), _timezone(timezone)
    with session().begin() as conn:
        user = _found(users.edit(conn, email, name=name, role=role), email)
        if timezone is not None:
            users.set_timezone(conn, email, zone)
        others = user.role == "admin" or users.has_other_admin(conn, user)
    session().say(f"Changed {user.email}.")
    _warn(others)


@app.command()
def disable(email: Email) -> None:
    """Disable an account and end its sessions."""
    with session().begin() as conn:
        user = _found(users.set_active(conn, email.strip(), False), email)
        others = users.has_other_admin(conn, user)
    session().say(f"{user.email} can no longer sign in.")
    _warn(others)


@app.command()
def enable(email: Email) -> None:
    """Enable a disabled account."""
    with session().begin() as conn:
        user = _found(users.set_active(conn, email.strip(), True), email)
    session().say(f"{user.email} can sign in.")


@app.command()
def password(email: Email, password_stdin: FromStdin = False) -> None:
    """Change a password and end the account's sessions."""
    here = session()
    engine = here.engine
    new_hash = passwords.hashed(_password(password_stdin))
    with engine.begin() as conn:
        user = _found(users.set_password(conn, email.strip(), new_hash, now=database_now(conn)), email)
    here.say(f"Changed the password of {user.email}.")


def _warn(has_admin: bool) -> None:
    if not has_admin:
        session().warn("No administrator can sign in now; run `parcours users edit EMAIL --role admin` to have one.")


def _last_sign_in(account: Account) -> object:
    return account.signed_in_at or ("never" if account.sign_ins_kept else "unknown")


def _name(name: str) -> str:
    name = name.strip()
    if not name or "\0" in name:
        raise CampaignError("the name of a user cannot be blank; omit --name to use the email address")
    if len(name) > MAX_NAME:
        raise CampaignError(f"the name of a user has at most {MAX_NAME} characters")
    return name


def _timezone(timezone: str | None) -> str | None:
    """Return a timezone in its one spelling; None for that of the installation."""
    if not timezone:
        return None
    try:
        return known_timezone(timezone)
    except IdentityError as error:
        raise CampaignError(str(error)) from None


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
