"""`parcours users`: who may sign in to the pages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import users
from parcours.db.tables.users import Role, User
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import CampaignError, NotFoundError

app = typer.Typer(no_args_is_help=True, help="Who may sign in to the pages: create, list, disable, change a password.")

LEAST_PASSWORD = 10
MOST_PASSWORD = 1000

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The address that the person signs in with.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def create(
    email: Email,
    role: Annotated[
        Role, typer.Option(help="viewer: look. editor: change campaigns too. admin: everything.")
    ] = "editor",
    name: Annotated[str | None, typer.Option(help="As colleagues know them; default: the address.")] = None,
    password_stdin: FromStdin = False,
) -> None:
    """Make an account; the password is asked for twice."""
    here = session()
    email = _address(email)
    name = email if name is None else name.strip()
    if not name or "\0" in name:
        raise CampaignError("the name of a user cannot be blank; leave --name out to be known by the address")
    engine = here.engine
    password = _password(password_stdin)
    with engine.begin() as conn:
        user = users.create(conn, email, name=name, role=role, password=password)
    if user is None:
        raise CampaignError(f"there is a user {email!r} already; `parcours users password` changes the password")
    here.say(f"{user.email} can sign in, as {user.role}.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the accounts, disabled ones too."""
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
    """Keep somebody out, and sign them out where they are in."""
    user = _set_active(email, False)
    session().say(f"{user.email} can no longer sign in.")


@app.command()
def enable(email: Email) -> None:
    """Let somebody in again who was disabled."""
    user = _set_active(email, True)
    session().say(f"{user.email} can sign in.")


@app.command()
def password(email: Email, password_stdin: FromStdin = False) -> None:
    """Change a password; its owner is signed out everywhere."""
    here = session()
    engine = here.engine
    new = _password(password_stdin)
    with engine.begin() as conn:
        user = _found(users.set_password(conn, email.strip(), new), email)
    here.say(f"The password of {user.email} is changed.")


def _set_active(email: str, active: bool) -> User:
    with session().engine.begin() as conn:
        return _found(users.set_active(conn, email.strip(), active), email)


def _found(user: User | None, email: str) -> User:
    if user is None:
        raise NotFoundError("user", email.strip(), "`parcours users list` shows them")
    return user


def _address(email: str) -> str:
    email = email.strip()
    if not is_address(email):
        raise CampaignError(f"{email!r} is not an e-mail address")
    return email


def _password(from_stdin: bool) -> str:
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise CampaignError("nobody can type a password here; pipe it in with --password-stdin")
    if not LEAST_PASSWORD <= len(given) <= MOST_PASSWORD:
        raise CampaignError(f"a password has at least {LEAST_PASSWORD} and at most {MOST_PASSWORD} characters")
    return str(given)
